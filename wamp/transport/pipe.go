package transport

import (
	"context"
	"io"
	"sync"

	"gantry/wamp"
)

// Defaults of PipeConfig.
const (
	DefaultPipeRequests  = 64
	DefaultPipeEvents    = 1024
	DefaultPipeMarkBytes = 1 << 20
)

// PipeConfig says how much an in-process pipe holds.
type PipeConfig struct {
	// Requests is how many messages from the client may wait for the router; the
	// next Send blocks, the next TrySend returns wamp.ErrQueueFull. 0 means
	// DefaultPipeRequests.
	Requests int
	// Events is how many messages from the router may wait for the client, of answers
	// eight times as many. 0 means DefaultPipeEvents. Over it the router's TrySend
	// returns wamp.ErrQueueFull, or, with Lossless, the router's peer is congested.
	Events int
	// EventBytes bounds the raw payloads of the same messages, in bytes, in the
	// same way. An empty queue takes a message of any size. 0 means
	// DefaultPipeMarkBytes.
	EventBytes int
	// Lossless makes the router's peer take every message. It then implements
	// wamp.Congestible, with Events and EventBytes as the mark.
	Lossless bool
	// Name is what Info reports as the remote address on both ends; "pipe" if empty.
	Name string
}

// Pipe returns the two ends of a connection inside the process: client for a
// session and router for router.Accept. Messages pass as values and are owned by
// whoever receives them; a raw payload keeps the format it was sent in, and a
// *wamp.Shared arrives as its Own message, which must not be changed.
//
// What was sent before Close is still received by the other end, which then gets
// io.EOF.
func Pipe(cfg PipeConfig) (client, router wamp.Peer) {
	name := cfg.Name
	if name == "" {
		name = "pipe"
	}
	in := &lane{count: orDefault(cfg.Requests, DefaultPipeRequests), ready: make(chan struct{}, 1)}
	out := &lane{
		count:    orDefault(cfg.Events, DefaultPipeEvents),
		bytes:    orDefault(cfg.EventBytes, DefaultPipeMarkBytes),
		lossless: cfg.Lossless,
		ready:    make(chan struct{}, 1),
	}
	info := wamp.PeerInfo{Transport: "pipe", Remote: name, Local: true}
	c := &pipeEnd{in: out, out: in, info: info}
	r := &pipeEnd{in: in, out: out, info: info}
	if cfg.Lossless {
		return c, &losslessEnd{r}
	}
	return c, r
}

func orDefault(n, d int) int {
	if n <= 0 {
		return d
	}
	return n
}

// pipeEnd is one end of a pipe.
type pipeEnd struct {
	in, out *lane
	info    wamp.PeerInfo
}

var (
	_ wamp.Peer        = (*pipeEnd)(nil)
	_ wamp.Congestible = (*losslessEnd)(nil)
)

// Recv returns the next message. See wamp.Peer.
func (p *pipeEnd) Recv() (wamp.Message, error) { return p.in.pop() }

// TrySend queues a copy of m. See wamp.Peer.
func (p *pipeEnd) TrySend(m wamp.Message) error {
	_, err := p.out.push(m, false)
	return err
}

// Send is TrySend that waits for room.
func (p *pipeEnd) Send(ctx context.Context, m wamp.Message) error {
	return whenRoom(ctx, func() (<-chan struct{}, error) { return p.out.push(m, true) })
}

// Close ends both directions. It never waits: what was sent is the receiver's.
func (p *pipeEnd) Close() error {
	p.out.end(false)
	p.in.end(true)
	return nil
}

// Info describes the other end.
func (p *pipeEnd) Info() wamp.PeerInfo { return p.info }

// losslessEnd is the router's end of a lossless pipe.
type losslessEnd struct{ *pipeEnd }

// Congested returns nil while fewer messages and bytes wait than the mark. See
// wamp.Congestible.
func (p *losslessEnd) Congested() <-chan struct{} { return p.out.congested() }

// lane is one direction of a pipe: a queue with one receiver.
type lane struct {
	count, bytes int // limits; bytes 0 = none
	lossless     bool

	// ready has room for one token, left by senders for the receiver when the
	// queue stops being empty or the lane ends. Nobody closes it.
	ready chan struct{}

	mu    sync.Mutex // guards what follows
	ring  []wamp.Message
	head  int
	n     int
	held  int           // raw payload bytes in the ring
	ended bool          // the sender closed: what is queued is still received
	gone  bool          // the receiver closed: what is queued is lost
	room  chan struct{} // made by whoever waits, closed below the limits or at the end
}

func (l *lane) full() bool {
	return l.n >= l.count || l.bytes > 0 && l.n > 0 && l.held >= l.bytes
}

// push queues a copy of m. When there is no room it returns wamp.ErrQueueFull
// and, if wait is set, a channel that is closed when trying again makes sense.
func (l *lane) push(m wamp.Message, wait bool) (<-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.gone {
		return nil, wamp.ErrClosed
	}
	if !l.lossless && !l.takes(m) {
		if !wait {
			return nil, wamp.ErrQueueFull
		}
		return l.roomLocked(), wamp.ErrQueueFull
	}
	own := wamp.Clone(m)
	if l.n == len(l.ring) {
		l.grow()
	}
	l.ring[(l.head+l.n)%len(l.ring)] = own
	l.n++
	l.held += payloadSize(own)
	if l.n == 1 {
		l.wake()
	}
	return nil, nil
}

// partingReserve is how many of the messages that end a session fit into a full
// lane.
const partingReserve = 4

// takes reports whether there is room for m. Events leave some for the answers
// that a session waits for.
func (l *lane) takes(m wamp.Message) bool {
	switch m.Type() {
	case wamp.TypeAbort, wamp.TypeGoodbye:
		return l.n < answersOver*l.count+partingReserve
	case wamp.TypeEvent:
		return !l.full() && (l.n == 0 || l.n < l.count-l.count/8)
	}
	count, bytes := l.count, l.bytes+l.bytes/8
	if l.bytes > 0 && isAnswer(m) {
		count, bytes = answersOver*count, answersOver*bytes
	}
	// Bytes are counted for payloads, of which answers may have large ones; one
	// message over the mark is always taken.
	return l.n < count && (l.bytes == 0 || l.held < bytes)
}

// answersOver is how many times more of a pipe answers may fill than what the client
// has not asked for: it is ended when they do not fit.
const answersOver = 8

func (l *lane) grow() {
	next := make([]wamp.Message, max(8, 2*len(l.ring)))
	for i := range l.n {
		next[i] = l.ring[(l.head+i)%len(l.ring)]
	}
	l.ring, l.head = next, 0
}

// smallRing is the ring that an empty lane keeps.
const smallRing = 64

func (l *lane) pop() (wamp.Message, error) {
	for {
		l.mu.Lock()
		switch {
		case l.gone:
			l.mu.Unlock()
			return nil, wamp.ErrClosed
		case l.n > 0:
			m := l.ring[l.head]
			l.ring[l.head] = nil
			l.head = (l.head + 1) % len(l.ring)
			l.n--
			l.held -= payloadSize(m)
			if l.room != nil && !l.full() {
				close(l.room)
				l.room = nil
			}
			if l.n == 0 && len(l.ring) > smallRing {
				l.ring, l.head = nil, 0
			}
			l.mu.Unlock()
			return m, nil
		case l.ended:
			l.mu.Unlock()
			return nil, io.EOF
		}
		l.mu.Unlock()
		<-l.ready
	}
}

func (l *lane) end(receiver bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if receiver {
		l.gone = true
		l.ring, l.n, l.held = nil, 0, 0
	} else {
		l.ended = true
	}
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
	l.wake()
}

func (l *lane) wake() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

func (l *lane) roomLocked() <-chan struct{} {
	if l.room == nil {
		l.room = make(chan struct{})
	}
	return l.room
}

func (l *lane) congested() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.gone || !l.full() {
		return nil
	}
	return l.roomLocked()
}

// payloadSize returns the bytes of m's raw payload.
func payloadSize(m wamp.Message) int {
	if p := payloadOf(m); p != nil {
		return p.Size()
	}
	return 0
}

// payloadOf returns m's payload, nil if its type has none.
func payloadOf(m wamp.Message) *wamp.Payload {
	switch m := m.(type) {
	case *wamp.Event:
		return &m.Payload
	case *wamp.Publish:
		return &m.Payload
	case *wamp.Call:
		return &m.Payload
	case *wamp.Result:
		return &m.Payload
	case *wamp.Invocation:
		return &m.Payload
	case *wamp.Yield:
		return &m.Payload
	case *wamp.ErrorReply:
		return &m.Payload
	case *wamp.Abort:
		return &m.Payload
	}
	return nil
}
