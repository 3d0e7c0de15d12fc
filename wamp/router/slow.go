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
	maxBytes int
	sum      *atomic.Int64 // bytes of all backlogs of the realm
	maxSum   int64
	count    func(error) // books each event, as the broker does

	mu     sync.Mutex // guards what follows
	events []lateEvent
	bytes  int
	feeds  bool               // the goroutine runs
	sends  wamp.ID            // subscription of the event that it is sending
	cancel context.CancelFunc // gives that event up
	idle   *sync.Cond         // told when it is not sending any more
}

type lateEvent struct {
	event  *wamp.Event
	topic  wamp.URI
	latest bool // only the newest of its subscription and topic counts
	size   int
}

// late keeps an event for later. The policy says what goes when there is no room:
// older events, those of the same topic, or the session. It reports false when the
// session has been ended.
func (l *backlog) late(ev *wamp.Event, topic wamp.URI, policy wamp.Overflow) bool {
	if policy == wamp.OverflowDisconnect {
		l.s.lost(wamp.ErrQueueFull)
		return false
	}
	own := wamp.Clone(ev).(*wamp.Event)
	e := lateEvent{event: own, topic: ownURI(topic), latest: policy == wamp.OverflowLatest, size: own.Payload.Size() + len(topic) + 128}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.latest {
		for i := range l.events {
			if old := &l.events[i]; old.latest && old.topic == topic && old.event.Subscription == ev.Subscription {
				l.remove(i)
				break
			}
		}
	}
	for len(l.events) > 0 && (l.bytes+e.size > l.maxBytes || l.sum.Load()+int64(e.size) > l.maxSum) {
		l.remove(0)
	}
	if l.sum.Load()+int64(e.size) > l.maxSum {
		l.count(wamp.ErrQueueFull) // others keep so much that nothing is left for this one
		return true
	}
	l.events = append(l.events, e)
	l.grow(e.size)
	if !l.feeds {
		l.feeds = true
		l.s.closers.Go(l.feed)
	}
	return true
}

// remove drops an event. mu is held.
func (l *backlog) remove(i int) {
	l.grow(-l.events[i].size)
	// The oldest goes most often, and there may be thousands behind it.
	copy(l.events[1:i+1], l.events[:i])
	l.events[0] = lateEvent{}
	l.events = l.events[1:]
	l.count(wamp.ErrQueueFull)
}

// grow accounts for n more bytes. mu is held.
func (l *backlog) grow(n int) {
	l.bytes += n
	l.sum.Add(int64(n))
}

// waiting reports whether events must go behind others.
func (l *backlog) waiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.feeds
}

// feed hands the events over one by one.
func (l *backlog) feed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.events) > 0 {
		e := l.events[0]
		l.events[0] = lateEvent{}
		l.events = l.events[1:]
		l.grow(-e.size)
		var ctx context.Context
		ctx, l.cancel = context.WithCancel(context.Background())
		l.sends = e.event.Subscription
		l.mu.Unlock()
		err := wamp.ErrClosed
		if !l.s.gone.Load() {
			err = l.s.peer.Send(ctx, e.event)
		}
		l.mu.Lock()
		l.cancel()
		l.sends = 0
		l.idle.Broadcast()
		l.count(err)
	}
	l.events = nil
	l.feeds = false
}

// forget drops the events of a subscription that the session gives up: when it
// returns none of them will be sent any more.
func (l *backlog) forget(subscription wamp.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := 0; i < len(l.events); {
		if l.events[i].event.Subscription == subscription {
			l.remove(i)
		} else {
			i++
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
	if l == nil || !l.waiting() {
		switch err := to.offer(msg); err {
		case nil:
			return 1
		case wamp.ErrQueueFull:
		default:
			b.count(to, err)
			return 0
		}
	}
	b.postpone(to, l, sub, ev, topic)
	return 0
}

// postpone deals with an event that a queue has no room for.
func (b *broker) postpone(to *session, l *backlog, sub *subscription, ev *wamp.Event, topic wamp.URI) {
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
		l.idle = sync.NewCond(&l.mu)
		if !to.backlog.CompareAndSwap(nil, l) {
			l = to.backlog.Load()
		}
	}
	if !l.late(ev, topic, policy) {
		b.count(to, wamp.ErrQueueFull)
	}
}
