package transport

import (
	"context"
	"io"
	"sync"

	"gantry/wamp"
)

// PipeConfig sets the bounds of an in-process pipe. The zero value of a field is
// its default.
type PipeConfig struct {
	// Queue is the number of messages that each direction holds. Default 256.
	Queue int
	// Lossless makes the direction from router to client take every message: the
	// router's end is a wamp.Congestible that is congested from Queue messages on.
	Lossless bool
}

// Pipe returns the two ends of an in-process connection. Messages pass as Go
// values: what is borrowed in them is copied once, nothing is serialized.
func Pipe(cfg PipeConfig) (client, router wamp.Peer) {
	if cfg.Queue <= 0 {
		cfg.Queue = 256
	}
	up := newPipeQueue(cfg.Queue, false)
	down := newPipeQueue(cfg.Queue, cfg.Lossless)
	c := &pipeEnd{out: up, in: down}
	r := &pipeEnd{out: down, in: up}
	if cfg.Lossless {
		return c, &losslessEnd{r}
	}
	return c, r
}

// pipeEnd is one end of a pipe.
type pipeEnd struct{ out, in *pipeQueue }

// losslessEnd is the router's end of a lossless pipe.
type losslessEnd struct{ *pipeEnd }

var (
	_ wamp.Peer        = (*pipeEnd)(nil)
	_ wamp.Congestible = (*losslessEnd)(nil)
)

func (e *pipeEnd) Recv() (wamp.Message, error) { return e.in.pop() }

func (e *pipeEnd) TrySend(m wamp.Message) error { return e.out.push(m) }

func (e *pipeEnd) Send(ctx context.Context, m wamp.Message) error {
	for {
		err := e.out.push(m)
		if err != wamp.ErrQueueFull {
			return err
		}
		room := e.out.room()
		if room == nil {
			continue
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends both directions. What was queued towards the other end can still be
// received there.
func (e *pipeEnd) Close() error {
	e.out.end(false)
	e.in.end(true)
	return nil
}

func (e *pipeEnd) Info() wamp.PeerInfo {
	return wamp.PeerInfo{Transport: "pipe", Remote: "pipe", Local: true, Encrypted: true}
}

// Congested implements wamp.Congestible.
func (e *losslessEnd) Congested() <-chan struct{} { return e.out.room() }

// pipeQueue is one direction: a queue of messages that the sender's side fills
// and the receiver's side empties.
type pipeQueue struct {
	limit    int
	lossless bool

	mu       sync.Mutex
	messages []wamp.Message
	head     int
	closed   bool
	dead     bool          // the receiver's side is closed: nothing is taken any more
	arrived  chan struct{} // capacity 1: wakes the one receiver
	free     chan struct{} // closed when there is room again; nil while nobody waits
}

func newPipeQueue(limit int, lossless bool) *pipeQueue {
	return &pipeQueue{limit: limit, lossless: lossless, arrived: make(chan struct{}, 1)}
}

func (q *pipeQueue) push(m wamp.Message) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return wamp.ErrClosed
	}
	last := m.Type() == wamp.TypeAbort || m.Type() == wamp.TypeGoodbye
	if !q.lossless && !last && len(q.messages)-q.head >= q.limit {
		return wamp.ErrQueueFull
	}
	if q.head > 0 && len(q.messages) == cap(q.messages) {
		n := copy(q.messages, q.messages[q.head:])
		clear(q.messages[n:])
		q.messages, q.head = q.messages[:n], 0
	}
	q.messages = append(q.messages, wamp.Clone(m))
	select {
	case q.arrived <- struct{}{}:
	default:
	}
	return nil
}

func (q *pipeQueue) pop() (wamp.Message, error) {
	for {
		q.mu.Lock()
		if q.head < len(q.messages) && !q.dead {
			m := q.messages[q.head]
			q.messages[q.head] = nil
			if q.head++; q.head == len(q.messages) {
				q.messages, q.head = q.messages[:0], 0
			}
			if q.free != nil && len(q.messages)-q.head < q.limit {
				close(q.free)
				q.free = nil
			}
			q.mu.Unlock()
			return m, nil
		}
		closed, dead := q.closed, q.dead
		q.mu.Unlock()
		switch {
		case dead:
			return nil, wamp.ErrClosed
		case closed:
			return nil, io.EOF
		}
		<-q.arrived
	}
}

// room returns nil if there is room or the queue is closed, otherwise a channel
// that is closed when that changes.
func (q *pipeQueue) room() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.messages)-q.head < q.limit {
		return nil
	}
	if q.free == nil {
		q.free = make(chan struct{})
	}
	return q.free
}

func (q *pipeQueue) end(dead bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.dead = true, q.dead || dead
	if q.free != nil {
		close(q.free)
		q.free = nil
	}
	select {
	case q.arrived <- struct{}{}:
	default:
	}
}
