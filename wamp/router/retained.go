package router

import (
	"sync"
	"time"

	"gantry/wamp"
)

// retained keeps the last value of topics (AP "Event Retention"), bounded by
// number and bytes. It has a lock of its own, taken inside the broker's.
type retained struct {
	maxCount, maxBytes int
	ttl                time.Duration // 0 = for ever

	mu      sync.Mutex
	values  map[wamp.URI]*retainedValue
	slots   []*retainedValue // all values, nil between them: for those who read some at a time
	free    []int32          // of slots
	seq     uint64           // of the newest value
	bytes   int
	refused uint64 // values not kept because of the bounds
	swept   time.Time
}

// retainedValue is the last publication of a topic. It owns its memory.
type retainedValue struct {
	topic       wamp.URI
	seq         uint64 // grows with each publication that is kept
	slot, size  int32
	publication wamp.ID
	details     wamp.EventDetails
	filter      *wamp.PublishFilter
	payload     wamp.Payload
	kept        time.Time // since when; its monotonic reading counts
}

func (r *retained) put(topic wamp.URI, id wamp.ID, details wamp.EventDetails, m *wamp.Publish) {
	size := retainedSize(topic, m)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.roomFor(topic, size) {
		r.refused++
		// A value that cannot be kept must not leave an older one to be taken for it.
		r.forget(topic)
		return
	}
	if r.values == nil {
		r.values = map[wamp.URI]*retainedValue{}
	}
	ev := wamp.Clone(&wamp.Event{Details: details, Payload: m.Payload}).(*wamp.Event)
	v := r.values[topic]
	if v == nil {
		v = r.insert(ownURI(topic))
	}
	r.seq++
	r.bytes += size - int(v.size)
	// The topic stays: the one of m is borrowed.
	*v = retainedValue{
		topic: v.topic, slot: v.slot, seq: r.seq, publication: id, details: ev.Details, filter: m.Options.Filter,
		payload: ev.Payload, size: int32(size), kept: time.Now(),
	}
}

// retainedSize is what a value counts for.
func retainedSize(topic wamp.URI, m *wamp.Publish) int {
	return len(topic) + m.Payload.Size() + filterBytes(m.Options.Filter) + 128
}

// roomFor reports whether a value of that size can be kept. mu is held.
func (r *retained) roomFor(topic wamp.URI, size int) bool {
	room := func() bool {
		old := r.values[topic]
		if old == nil {
			return len(r.values) < r.maxCount && r.bytes+size <= r.maxBytes
		}
		return r.bytes-int(old.size)+size <= r.maxBytes
	}
	if room() {
		return true
	}
	r.expire()
	return room()
}

// canKeep reports whether the value of a publication can be kept. It counts one that
// cannot.
func (r *retained) canKeep(m *wamp.Publish) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ok := r.roomFor(m.Topic, retainedSize(m.Topic, m))
	if !ok {
		r.refused++
	}
	return ok
}

// insert enters a topic that has no value yet.
func (r *retained) insert(topic wamp.URI) *retainedValue {
	v := &retainedValue{topic: topic}
	if n := len(r.free); n > 0 {
		v.slot = r.free[n-1]
		r.free = r.free[:n-1]
		r.slots[v.slot] = v
	} else {
		v.slot = int32(len(r.slots))
		r.slots = append(r.slots, v)
	}
	r.values[topic] = v
	return v
}

func (r *retained) remove(topic wamp.URI) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(topic)
}

func (r *retained) forget(topic wamp.URI) {
	if v := r.values[topic]; v != nil {
		r.bytes -= int(v.size)
		delete(r.values, topic)
		r.slots[v.slot] = nil
		r.free = append(r.free, v.slot)
	}
}

// expired reports whether a value has been kept for long enough.
func (r *retained) expired(v *retainedValue) bool { return r.ttl > 0 && time.Since(v.kept) >= r.ttl }

// sweepPause is how long expire does not look again: with all values at every
// publication that finds no room, one publisher would stop all others.
const sweepPause = time.Second

// expire forgets what is expired, unless it has looked just before.
func (r *retained) expire() {
	now := time.Now()
	if r.ttl == 0 || now.Sub(r.swept) < sweepPause {
		return
	}
	r.swept = now
	for topic, v := range r.values {
		if r.expired(v) {
			r.forget(topic)
		}
	}
}

// each calls f for every kept value that the pattern covers.
func (r *retained) each(m wamp.Match, pattern wamp.URI, f func(wamp.URI, *retainedValue)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m == wamp.MatchExact {
		if v := r.values[pattern]; v != nil && !r.expired(v) {
			f(pattern, v)
		}
		return
	}
	r.expire()
	for topic, v := range r.values {
		if pattern.Matches(m, topic) && !r.expired(v) {
			f(topic, v)
		}
	}
}

// retainedCursor is how far somebody has read the values that a pattern covers. It skips
// those that are newer than itself.
type retainedCursor struct {
	match   wamp.Match
	pattern wamp.URI
	seq     uint64 // of the newest value when it was made
	next    int    // slot
	end     bool
}

// cursor returns one at the beginning.
func (r *retained) cursor(m wamp.Match, pattern wamp.URI) retainedCursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return retainedCursor{match: m, pattern: pattern, seq: r.seq}
}

// read calls f for the values behind the cursor and moves it, until f returns false, which
// leaves the cursor before that value, or most slots have been looked at.
func (r *retained) read(c *retainedCursor, most int, f func(v *retainedValue) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.match == wamp.MatchExact {
		v := r.values[c.pattern]
		c.end = v == nil || r.expired(v) || v.seq > c.seq || f(v)
		return
	}
	for last := min(len(r.slots), c.next+most); c.next < last; c.next++ {
		v := r.slots[c.next]
		if v != nil && v.seq <= c.seq && c.pattern.Matches(c.match, v.topic) && !r.expired(v) && !f(v) {
			return
		}
	}
	c.end = c.next >= len(r.slots)
}
