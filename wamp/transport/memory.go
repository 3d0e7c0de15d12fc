package transport

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"gantry/wamp"
)

// memory bounds what all connections of a Server hold together. Each has its
// share, a buffer of largeBuffer bytes in either direction, without asking; what
// goes beyond is taken from here. So small messages always get through, and large
// ones wait for each other.
type memory struct {
	arriving pool // for messages that are being received
	waiting  pool // for messages that wait to be sent
}

// pool is memory that is taken and given back, first come, first served.
type pool struct {
	free  *semaphore.Weighted
	taken atomic.Int64
}

func newPool(n int) pool { return pool{free: semaphore.NewWeighted(int64(n))} }

// try takes n bytes if there are so many.
func (p *pool) try(n int) bool {
	ok := p.free.TryAcquire(int64(n))
	if ok {
		p.taken.Add(int64(n))
	}
	return ok
}

// take takes n bytes, and waits for them until ctx ends.
func (p *pool) take(ctx context.Context, n int) error {
	err := p.free.Acquire(ctx, int64(n))
	if err == nil {
		p.taken.Add(int64(n))
	}
	return err
}

func (p *pool) give(n int) {
	p.taken.Add(-int64(n))
	p.free.Release(int64(n))
}

// newMemory divides n bytes. The largest message always fits.
func newMemory(n, largest int) *memory {
	return &memory{arriving: newPool(max(n/2, largest)), waiting: newPool(n / 2)}
}

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
	if !q.memory.waiting.try(need) {
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
		q.memory.waiting.give(q.booked - need)
		q.booked = need
	}
}

// A large message has messageTime, and a second more for each messageRate bytes,
// to arrive: whoever holds memory has to use it.
const (
	messageTime = 30 * time.Second
	messageRate = 16 << 10
)

// claim takes the memory for a message of n bytes that has begun to arrive, and
// waits for it while others have it. The owner of recv calls it.
func (l *link) claim(n int) error {
	if l.memory == nil || n <= largeBuffer || l.claimed > 0 {
		return nil
	}
	if !l.memory.arriving.try(n) {
		if err := l.waitForMemory(n); err != nil {
			return err
		}
	}
	l.claimed = n
	l.allow(messageTime + time.Duration(n/messageRate)*time.Second)
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
	err := l.memory.arriving.take(ctx, n)
	l.mu.Lock()
	l.giveUp = nil
	l.mu.Unlock()
	if err != nil {
		return l.readFailure(wamp.ErrClosed)
	}
	l.heard.Store(int64(time.Since(l.started))) // it was not listened to
	return nil
}

// unclaim gives back the memory of a message that is not needed any more.
func (l *link) unclaim() {
	if l.claimed > 0 {
		l.memory.arriving.give(l.claimed)
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
