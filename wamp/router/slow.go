package router

import (
	"context"
	"sync"
	"sync/atomic"

	"gantry/wamp"
)

// backlog holds the events that a session's queue could not take, for as long as
// it is slow. One goroutine hands them over as there is room; while it does, new
// events go behind them, so that their order stays. A session has none before it
// is slow for the first time.
type backlog struct {
	s        *session
	framer   wamp.Framer // the session's peer; nil if it sends no frames
	maxBytes int
	sum      *atomic.Int64 // bytes of all backlogs of the realm
	maxSum   int64
	count    func(error) // books each event, as the broker does

	feeds  atomic.Bool // the goroutine runs; set with mu held
	mu     sync.Mutex  // guards what follows
	ring   []lateEvent // the events are from head on
	head   int
	bytes  int
	alone  wamp.Shared        // for events that go to this session alone
	sends  wamp.ID            // subscription of the event that it is sending
	cancel context.CancelFunc // gives that event up
	idle   *sync.Cond         // told when it is not sending any more
}

// lateEvent is an event as the frame that others have been sent, or, where the peer
// sends none, as a copy.
type lateEvent struct {
	subscription wamp.ID
	frame        wamp.Frame // nil: event
	encoding     wamp.Encoding
	latest       bool // only the newest of its subscription and topic counts
	event        *wamp.Event
	topic        wamp.URI // of those that are latest
	size         int
}

// lateCost is what an event takes besides its bytes.
const lateCost = 128

// keep returns the event ev, which is queued as msg, to be sent later. mu is held.
func (l *backlog) keep(msg wamp.Message, ev *wamp.Event) lateEvent {
	e := lateEvent{subscription: ev.Subscription}
	shared, _ := msg.(*wamp.Shared)
	if l.framer != nil {
		of := shared
		if of == nil {
			of = &l.alone
			of.Msg = ev
			defer of.Done()
		}
		if e.encoding, e.frame = l.framer.Frame(of); e.frame != nil {
			e.frame.Hold()
			e.size = cap(e.frame.Bytes()) + lateCost
			return e
		}
	}
	if shared != nil {
		e.event = shared.Own().(*wamp.Event)
	} else {
		e.event = wamp.Clone(ev).(*wamp.Event)
	}
	e.size = e.event.Payload.Size() + len(e.event.Details.Topic) + lateCost
	return e
}

// message returns what is sent, s being used for a frame.
func (e *lateEvent) message(s *wamp.Shared) wamp.Message {
	if e.frame == nil {
		return e.event
	}
	s.Msg = &wamp.Event{Subscription: e.subscription}
	s.SetFrame(e.encoding, e.frame)
	return s
}

// late keeps an event for later. The policy says what goes when there is no room:
// older events, those of the same topic, or the session. It reports false when the
// session has been ended.
func (l *backlog) late(msg wamp.Message, ev *wamp.Event, topic wamp.URI, policy wamp.Overflow) bool {
	if policy == wamp.OverflowDisconnect {
		l.s.lost(wamp.ErrQueueFull)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.keep(msg, ev)
	if policy == wamp.OverflowLatest {
		e.latest, e.topic = true, ownURI(topic)
		e.size += len(topic)
		for i := l.head; i < len(l.ring); i++ {
			if old := &l.ring[i]; old.latest && old.topic == topic && old.subscription == e.subscription {
				l.remove(i)
				break
			}
		}
	}
	for l.head < len(l.ring) && (l.bytes+e.size > l.maxBytes || l.sum.Load()+int64(e.size) > l.maxSum) {
		l.remove(l.head)
	}
	if l.sum.Load()+int64(e.size) > l.maxSum {
		e.release()
		l.count(wamp.ErrQueueFull) // others keep so much that nothing is left for this one
		return true
	}
	l.add(e)
	if !l.feeds.Load() {
		l.feeds.Store(true)
		l.s.closers.Go(l.feed)
	}
	return true
}

func (e *lateEvent) release() {
	if e.frame != nil {
		e.frame.Release()
	}
}

// add puts an event behind the others. mu is held.
func (l *backlog) add(e lateEvent) {
	if len(l.ring) == cap(l.ring) && l.head > len(l.ring)/2 {
		n := copy(l.ring, l.ring[l.head:])
		clear(l.ring[n:])
		l.ring, l.head = l.ring[:n], 0
	}
	l.ring = append(l.ring, e)
	l.grow(e.size)
}

// take takes event i out. mu is held.
func (l *backlog) take(i int) lateEvent {
	e := l.ring[i]
	l.grow(-e.size)
	// The oldest goes most often, and there may be thousands behind it.
	copy(l.ring[l.head+1:i+1], l.ring[l.head:i])
	l.ring[l.head] = lateEvent{}
	l.head++
	return e
}

// remove drops an event. mu is held.
func (l *backlog) remove(i int) {
	e := l.take(i)
	e.release()
	l.count(wamp.ErrQueueFull)
}

// grow accounts for n more bytes. mu is held.
func (l *backlog) grow(n int) {
	l.bytes += n
	l.sum.Add(int64(n))
}

// feed hands the events over one by one.
func (l *backlog) feed() {
	var shared wamp.Shared
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.head < len(l.ring) {
		e := l.take(l.head)
		var ctx context.Context
		ctx, l.cancel = context.WithCancel(context.Background())
		l.sends = e.subscription
		l.mu.Unlock()
		err := wamp.ErrClosed
		m := e.message(&shared)
		if !l.s.gone.Load() {
			err = l.s.peer.Send(ctx, m)
		}
		shared.Done()
		l.mu.Lock()
		l.cancel()
		l.sends = 0
		l.idle.Broadcast()
		l.count(err)
	}
	l.ring, l.head = nil, 0
	l.feeds.Store(false)
}

// forget drops the events of a subscription that the session gives up: when it
// returns none of them will be sent any more.
func (l *backlog) forget(subscription wamp.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := l.head; i < len(l.ring); i++ {
		if l.ring[i].subscription == subscription {
			l.remove(i) // those before it move up
		}
	}
	for l.sends == subscription {
		l.cancel()
		l.idle.Wait()
	}
}

// deliver queues an event at a session, or keeps it for later when its queue is
// full. It returns 1 for an event that was queued: publications add them up, since
// a counter that all of them share costs more than a short event.
func (b *broker) deliver(to *session, sub *subscription, msg wamp.Message, ev *wamp.Event, topic wamp.URI) (queued uint64) {
	l := to.backlog.Load()
	if l == nil || !l.feeds.Load() {
		switch err := to.offer(msg); err {
		case nil:
			return 1
		case wamp.ErrQueueFull:
		default:
			b.count(to, err)
			return 0
		}
	}
	b.postpone(to, l, sub, msg, ev, topic)
	return 0
}

// postpone deals with an event that a queue has no room for.
func (b *broker) postpone(to *session, l *backlog, sub *subscription, msg wamp.Message, ev *wamp.Event, topic wamp.URI) {
	policy := to.overflow[sub.id]
	if policy == wamp.OverflowDefault {
		policy = b.cfg.Overflow
	}
	if policy == wamp.OverflowDropNewest {
		b.count(to, wamp.ErrQueueFull)
		return
	}
	if l == nil {
		l = &backlog{s: to, maxBytes: b.cfg.MaxBacklogBytes, sum: &b.late, maxSum: int64(b.cfg.MaxBacklogSum), count: func(err error) { b.count(to, err) }}
		l.framer, _ = to.peer.(wamp.Framer)
		l.idle = sync.NewCond(&l.mu)
		if !to.backlog.CompareAndSwap(nil, l) {
			l = to.backlog.Load()
		}
	}
	if !l.late(msg, ev, topic, policy) {
		b.count(to, wamp.ErrQueueFull)
	}
}
