package transport

import (
	"context"
	"fmt"
	"time"

	"gantry/wamp"
)

// bookStep is in what pieces memory is booked for a queue, so that one that comes
// and goes does not touch what all share for each message.
const bookStep = 64 << 10

// book takes the memory for n more bytes in the queue. q.mu is held.
func (q *queue) book(n int) bool {
	over := q.size + n - largeBuffer
	if q.memory == nil || over <= q.booked {
		return true
	}
	need := (over - q.booked + bookStep - 1) / bookStep * bookStep
	if !q.memory.Waiting.Try(need) {
		return false
	}
	q.booked += need
	return true
}

// unbook gives back what the queue does not need any more. q.mu is held.
func (q *queue) unbook() {
	if q.booked == 0 {
		return
	}
	need := 0
	if q.err == nil {
		need = (max(q.size-largeBuffer, 0) + bookStep - 1) / bookStep * bookStep
	}
	if need < q.booked {
		q.memory.Waiting.Give(q.booked - need)
		q.booked = need
	}
}

// messageRate is how many bytes of a large message have to arrive in a second, see
// Options.MessageTimeout.
const messageRate = 16 << 10

// claim takes the memory for a message of n bytes that has begun to arrive, and
// waits for it while others have it. The owner of recv calls it.
func (l *link) claim(n int) error {
	if l.memory == nil || n <= largeBuffer || l.claimed > 0 {
		return nil
	}
	size := l.memory.Arriving.Fit(n)
	if !l.memory.Arriving.Try(size) {
		if err := l.waitForMemory(size); err != nil {
			return err
		}
	}
	l.claimed = size
	l.allow(l.opts.MessageTimeout + time.Duration(n/messageRate)*time.Second)
	return nil
}

func (l *link) waitForMemory(n int) error {
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	l.pause() // others go on meanwhile
	l.mu.Lock()
	if l.err != nil || l.closing {
		l.mu.Unlock()
		return l.readFailure(wamp.ErrClosed)
	}
	l.giveUp = giveUp
	l.mu.Unlock()
	err := l.memory.Arriving.Take(ctx, n)
	l.mu.Lock()
	l.giveUp = nil
	l.mu.Unlock()
	if err != nil {
		return l.readFailure(wamp.ErrClosed)
	}
	l.heard.Store(l.opts.now()) // it was not listened to
	return nil
}

// unclaim gives back the memory of a message that is not needed any more.
func (l *link) unclaim() {
	if l.claimed > 0 {
		l.memory.Arriving.Give(l.claimed)
		l.claimed = 0
		l.allow(0)
	}
}

// allow sets how long reading may take; 0 = for ever.
func (l *link) allow(d time.Duration) {
	var until time.Time
	if d > 0 {
		until = time.Now().Add(d)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && !l.closing { // or Close has set the last deadline
		_ = l.conn.SetReadDeadline(until) // fails when closed, as the read will
	}
}

// late is the error for a message that did not arrive in time.
func (l *link) late() error {
	err := &wamp.ProtocolError{Text: fmt.Sprintf("a message of up to %d bytes was not complete in time", l.claimed)}
	l.visit.refuse(unfinished, err)
	return err
}
