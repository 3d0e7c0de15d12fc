package transport

import "gantry/wamp"

// crowd keeps account of the answers that wait in a queue: those that the other
// side has asked for. Whoever serves it asks before it receives the next request,
// so a client that asks faster than it reads is held up, not ended. Its lock is that
// of the queue.
type crowd struct {
	bytes   int           // of the answers in the queue, at most
	last    uint64        // where the last of them ends, counted as queue.written is
	stretch int           // bytes that answers have taken over the queue's limit
	fewer   chan struct{} // made by whoever waits, closed when few wait again
}

// class says how far into a queue a message may go.
type class uint8

const (
	ordinary class = iota // up to the limit
	// lossy messages leave an eighth of it free: a subscriber that reads slowly must
	// not lose the answers that it waits for, which would end its session.
	lossy
	// answers go over the limit while half of the Server's memory is free. They are no
	// more than the requests that have been received, which are not when it is crowded.
	answer
	// parting messages, which end a session, and the transport's own frames have
	// controlReserve behind everything else.
	parting
)

// classOf returns the class of what is queued for a client, or by one.
func (q *queue) classOf(m wamp.Message) class {
	switch m.Type() {
	case wamp.TypeAbort, wamp.TypeGoodbye:
		return parting
	case wamp.TypeEvent:
		return lossy
	}
	if q.memory != nil && isAnswer(m) {
		return answer
	}
	return ordinary
}

// isAnswer reports whether a router says m to a client once for a request. Of
// progressive results a single request may bring any number.
func isAnswer(m wamp.Message) bool {
	switch m := m.(type) {
	case *wamp.Result:
		return !m.Details.Progress
	case *wamp.ErrorReply, *wamp.Published, *wamp.Subscribed, *wamp.Unsubscribed, *wamp.Registered, *wamp.Unregistered:
		return true
	}
	return false
}

// full reports whether n more bytes of a class are too many. An empty queue takes
// any message. q.mu is held.
func (q *queue) full(n int, c class) bool {
	size := q.size + n
	switch c {
	case parting:
		return q.size > 0 && size > q.limit+q.crowd.stretch+controlReserve
	case lossy:
		return q.size > 0 && size > q.limit-q.limit/8 || !q.book(n)
	case answer:
		return q.size > 0 && size > q.limit && !q.memory.Waiting.HalfFree(n) || !q.book(n)
	}
	return q.size > 0 && size > q.limit || !q.book(n)
}

// answered notes that an answer of n bytes has been queued. q.mu is held.
func (q *queue) answered(n int) {
	c := &q.crowd
	c.bytes = min(c.bytes, q.size-n) + n
	c.last = q.written + uint64(q.size)
	c.stretch = max(c.stretch, q.size-q.limit)
	if q.tooMany() {
		q.crowded.Store(true)
	}
}

// tooMany reports whether the other side has to read first: a quarter of the queue
// is answers, which leaves room for those of the calls that are in progress.
func (q *queue) tooMany() bool { return min(q.crowd.bytes, q.size) > q.limit/4 }

// thin tells who waits that few answers are left, or the connection over. q.mu is
// held.
func (q *queue) thin(over bool) {
	c := &q.crowd
	if q.written >= c.last {
		c.bytes = 0
	}
	if q.size <= q.limit {
		c.stretch = 0
	}
	if q.crowded.Load() && (over || !q.tooMany()) {
		q.crowded.Store(false)
		if c.fewer != nil {
			close(c.fewer)
			c.fewer = nil
		}
	}
}

// Crowded returns a channel while many answers wait. See wamp.Throttled.
func (q *queue) Crowded() <-chan struct{} {
	if !q.crowded.Load() {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.crowded.Load() || q.state() != nil {
		return nil
	}
	if q.crowd.fewer == nil {
		q.crowd.fewer = make(chan struct{})
	}
	return q.crowd.fewer
}

// Crowded is that of the queue, which is written while its reader waits.
func (l *link) Crowded() <-chan struct{} {
	ch := l.queue.Crowded()
	if ch != nil && l.recv.TryLock() { // or it is being closed
		l.pause()
		l.recv.Unlock()
	}
	return ch
}

var (
	_ wamp.Throttled = (*rawPeer)(nil)
	_ wamp.Throttled = (*wsPeer)(nil)
	_ wamp.Throttled = (*pollPeer)(nil)
)
