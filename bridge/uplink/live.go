package uplink

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

const (
	// behind is how old the next record of the queue must be for live values to go
	// past it.
	behind = 400 * time.Millisecond
	// old is how long what is older than the connection may take instead, while answers
	// come quickly: it has waited already, and a new value would wait behind it.
	old = behind / 4
	// liveTick is how often that is looked at.
	liveTick = 100 * time.Millisecond
	// liveTopics bounds the topics whose newest value is kept; liveBatch is how many
	// bytes of them are on their way at a time.
	liveTopics = 4096
	liveBatch  = 2 << 10
)

// liveKey marks the envelope of an event that has gone past the queue.
const liveKey = "live"

// lane keeps the newest value of each point that waits in the queue, to be sent
// ahead of it while that takes long.
type lane struct {
	position atomic.Uint64 // the last record that was sent

	mu     sync.Mutex // guards what follows
	newest map[wamp.URI]liveValue
	order  []wamp.URI    // the keys of newest, the longest waiting first
	marks  []mark        // how far the queue was when, not denser than liveTick
	more   chan struct{} // capacity 1
}

type liveValue struct {
	seq    uint64
	record []byte
}

// mark says that the queue had got as far as seq at a time.
type mark struct {
	seq uint64
	at  time.Time
}

func newLane() *lane {
	return &lane{newest: map[wamp.URI]liveValue{}, more: make(chan struct{}, 1)}
}

// put notes a value that has got the number seq in the queue. record is copied.
func (l *lane) put(topic wamp.URI, seq uint64, record []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); len(l.marks) == 0 || now.Sub(l.marks[len(l.marks)-1].at) >= liveTick {
		l.forget(now)
		l.marks = append(l.marks, mark{seq, now})
	}
	v, known := l.newest[topic]
	if !known {
		if len(l.newest) >= liveTopics {
			return
		}
		l.order = append(l.order, topic)
	}
	l.newest[topic] = liveValue{seq, append(v.record[:0], record...)}
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// late reports whether the next record to be sent has waited too long, though answers
// come. history is the last record that is older than the connection, made at.
func (l *lane) late(history mark, answering func(within time.Duration) bool) bool {
	position := l.position.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if position < history.seq {
		age := now.Sub(history.at)
		return age > behind && answering(alive(behind)) || age > old && answering(alive(old))
	}
	l.forget(now)
	return len(l.marks) > 0 && now.Sub(l.marks[0].at) > behind && position < l.marks[0].seq && answering(alive(behind))
}

// alive is how much longer than an answer takes the next one may, where records may wait
// for so long: a connection that is stuck is not made better by more, and its queue is
// not taken for slow because of that.
func alive(wait time.Duration) time.Duration { return wait * 3 / 4 }

// forget forgets the marks before the last one that is old enough: that is the one that
// counts. mu is held.
func (l *lane) forget(now time.Time) {
	i := 0
	for i+1 < len(l.marks) && now.Sub(l.marks[i+1].at) > behind {
		i++
	}
	l.marks = slices.Delete(l.marks, 0, i)
}

// take returns records of values that have not been sent in their turn, as many as it
// takes for room bytes.
func (l *lane) take(room int) (records [][]byte) {
	position := l.position.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	size, n := 0, 0
	for _, topic := range l.order {
		if size >= room {
			break
		}
		n++
		v := l.newest[topic]
		delete(l.newest, topic)
		if v.seq > position {
			records = append(records, v.record)
			size += len(v.record)
		}
	}
	l.order = append(l.order[:0], l.order[n:]...)
	return records
}

// clear forgets the values that have been sent in their turn.
func (l *lane) clear() {
	position := l.position.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.order[:0]
	for _, topic := range l.order {
		if l.newest[topic].seq > position {
			kept = append(kept, topic)
		} else {
			delete(l.newest, topic)
		}
	}
	l.order = kept
}

// overtake sends live values for as long as ctx runs, while the queue is late. It gives
// the connection up when that fails.
func (u *Uplink) overtake(ctx context.Context, c Conn, f *flow, end context.CancelCauseFunc) {
	tick := time.NewTicker(liveTick)
	defer tick.Stop()
	// The bytes of each value that the far world has answered. Its capacity is more
	// values than are on their way at a time, as each has bytes.
	landed := make(chan int, liveBatch)
	late, flying := false, 0
	for {
		more := u.lane.more
		if !late || flying >= liveBatch {
			more = nil
		}
		select {
		case n := <-landed:
			flying -= n
		case <-more:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		late = u.lane.late(f.history, f.w.answering)
		if !late {
			u.lane.clear()
			continue
		}
		if flying < liveBatch {
			n, err := u.sendLive(ctx, c, u.lane.take(liveBatch-flying), landed)
			if err != nil {
				end(err)
				return
			}
			flying += n
		}
	}
}

// sendLive sends live values, and returns their bytes, which landed gets as the answers
// come.
func (u *Uplink) sendLive(ctx context.Context, c Conn, records [][]byte, landed chan<- int) (bytes int, err error) {
	events, sizes := make([]Event, 0, len(records)), make([]int, 0, len(records))
	for _, b := range records {
		r, ok := u.parse(b)
		if !ok {
			continue
		}
		if p, ok := withoutNumbers(r.payload); ok {
			events = append(events, Event{Topic: r.topic, Live: true, Payload: p, Passthru: r.passthru})
			sizes = append(sizes, len(b))
			bytes += len(b)
			u.limit.take(len(b))
		}
	}
	if len(events) == 0 {
		return 0, nil
	}
	return bytes, c.Send(ctx, events, func(i int, _ error) {
		u.live.Add(1)
		landed <- sizes[i]
	})
}

// withoutNumbers returns an envelope without its place in the stream, marked as
// live. A payload without numbers is none of a reading.
func withoutNumbers(p wamp.Payload) (wamp.Payload, bool) {
	args, kwargs, err := serialize.Values(p)
	if err != nil || kwargs == nil {
		return wamp.Payload{}, false
	}
	delete(kwargs, "seq")
	delete(kwargs, "ep")
	kwargs[liveKey] = true
	p, err = serialize.Encode(wamp.CBOR, wamp.Values(args, kwargs))
	return p, err == nil
}
