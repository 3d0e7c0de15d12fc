package transport

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"gantry/internal/budget"
	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/websocket"
)

const (
	// controlReserve is what may be queued behind everything else: the messages that
	// end a session, and the frames of the transport itself.
	controlReserve = 4 << 10
	// byReference is the size from which a shared frame is queued without a copy.
	byReference = 2 << 10
)

// queue is what waits to be sent on one connection: finished frames, one after
// the other, in buffers. Whoever sets writing drains it.
type queue struct {
	framing framing
	limit   int // bytes, see Options.Queue
	// welcomed is called, with mu held, when WELCOME is sent; nil at a client.
	welcomed func()
	joined   atomic.Bool    // WELCOME has been sent
	crowded  atomic.Bool    // many answers wait; set with mu held
	memory   *budget.Budget // of the Server; nil at a client

	mu      sync.Mutex // guards what follows
	segs    [][]byte   // what goes before tail
	bufs    []*buffer  // for each of segs what it lies in
	tail    *buffer    // still has room; nil if there is none
	start   int
	size    int    // bytes queued, those being written included
	written uint64 // bytes that have left
	crowd   crowd
	booked  int   // bytes of memory taken for them
	filling bool  // the frame that begins at start in tail takes more messages
	writing bool  // somebody has promised to drain
	closing bool  // no more messages
	parted  bool  // a close frame is queued: nothing may follow
	err     error // why the connection is dead
	room    chan struct{}
	idle    chan struct{} // made by Close, closed when the queue is empty or dead
}

// state returns why nothing can be queued. q.mu is held.
func (q *queue) state() error {
	if q.closing || q.parted || q.err != nil {
		return wamp.ErrClosed
	}
	return nil
}

// open returns the tail with room for n more bytes. q.mu is held.
func (q *queue) open(n int) *buffer {
	if t := q.tail; t != nil {
		if cap(t.b)-len(t.b) >= n {
			return t
		}
		q.seal()
		n = max(n, largeBuffer)
	}
	q.tail = getBuffer(n)
	return q.tail
}

// seal moves the tail behind the finished segments. q.mu is held.
func (q *queue) seal() {
	if q.tail == nil {
		return
	}
	q.endBatch()
	if len(q.tail.b) == 0 {
		q.tail.release()
	} else {
		q.segs = append(q.segs, q.tail.b)
		q.bufs = append(q.bufs, q.tail)
	}
	q.tail = nil
}

// put queues m. It reports whether the caller has to have the queue drained.
// q.mu is held.
func (q *queue) put(m wamp.Message) (kick bool, err error) {
	if err := q.state(); err != nil {
		return false, err
	}
	c, before := q.classOf(m), q.size
	if kick, err = q.append(m, c); err == nil && c == answer {
		q.answered(q.size - before)
	}
	return kick, err
}

// append is put for a message of a class.
func (q *queue) append(m wamp.Message, c class) (kick bool, err error) {
	if _, ok := m.(*wamp.Welcome); ok {
		q.joined.Store(true)
		if q.welcomed != nil {
			q.welcomed()
		}
	}
	if q.full(1, c) {
		return false, wamp.ErrQueueFull
	}
	if q.framing.batching != unbatched {
		return q.putBatched(m, c)
	}
	if s, ok := m.(*wamp.Shared); ok {
		if q.framing.encoding == wamp.NoEncoding {
			m = s.Msg
		} else {
			return q.putShared(s, c)
		}
	}
	t := q.open(frameSpace(m))
	start := len(t.b)
	b, err := q.framing.append(t.b, m)
	if err == nil && q.full(len(b)-start, c) {
		err = wamp.ErrQueueFull
	}
	if err != nil {
		q.undo(start)
		return false, err
	}
	t.b = b
	return q.grown(len(b) - start), nil
}

// Frame returns the frame of s. See wamp.Framer.
func (q *queue) Frame(s *wamp.Shared) (wamp.Encoding, wamp.Frame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.framing.encoding
	if e == wamp.NoEncoding || q.framing.batching != unbatched { // the separator may change
		return e, nil
	}
	if s.Frame(e) == nil {
		scrap := getBuffer(frameSpace(s.Msg))
		defer scrap.release()
		b, err := q.framing.append(scrap.b, s.Msg)
		if err != nil {
			return e, nil
		}
		scrap.b = b
		s.SetFrame(e, newFrame(b))
	}
	return e, s.Frame(e)
}

// putShared queues the frame of s and makes it first if nobody has.
func (q *queue) putShared(s *wamp.Shared, c class) (kick bool, err error) {
	made := s.Frame(q.framing.encoding)
	if made == nil {
		t := q.open(frameSpace(s.Msg))
		start := len(t.b)
		b, err := q.framing.append(t.b, s.Msg)
		if err != nil {
			q.undo(start)
			return false, err
		}
		n := len(b) - start
		s.SetFrame(q.framing.encoding, newFrame(b[start:]))
		if q.full(n, c) {
			q.undo(start)
			return false, wamp.ErrQueueFull
		}
		t.b = b
		return q.grown(n), nil
	}
	frame := made.Bytes()
	switch {
	case q.framing.tooLarge(len(frame)):
		return false, wamp.ErrTooLarge
	case q.full(len(frame), c):
		return false, wamp.ErrQueueFull
	case len(frame) >= byReference:
		q.refer(made)
	default:
		t := q.open(len(frame))
		t.b = append(t.b, frame...)
	}
	return q.grown(len(frame)), nil
}

// refer queues a shared frame without a copy. q.mu is held.
func (q *queue) refer(f wamp.Frame) {
	q.seal()
	b, ok := f.(*buffer)
	if ok {
		b.Hold()
	} else {
		b = newFrame(f.Bytes())
	}
	q.segs, q.bufs = append(q.segs, b.b), append(q.bufs, b)
}

// putControl queues a finished frame of the transport, up to the reserve.
// q.mu is held.
func (q *queue) putControl(frame []byte) (kick bool, err error) {
	switch {
	case q.parted || q.err != nil:
		return false, wamp.ErrClosed
	case q.full(len(frame), parting):
		return false, wamp.ErrQueueFull
	}
	q.endBatch()
	t := q.open(len(frame))
	t.b = append(t.b, frame...)
	return q.grown(len(frame)), nil
}

// undo cuts the tail back after a frame that did not make it.
func (q *queue) undo(start int) {
	if start == 0 {
		q.tail.release()
		q.tail = nil
	}
}

// grown accounts for n bytes and takes the promise to drain if nobody holds it.
func (q *queue) grown(n int) (kick bool) {
	q.size += n
	kick = !q.writing
	q.writing = true
	return kick
}

// roomLocked returns a channel that is closed when there is room again or the
// connection is over.
func (q *queue) roomLocked() <-chan struct{} {
	if q.room == nil {
		q.room = make(chan struct{})
	}
	return q.room
}

// settle tells those who wait what has changed. q.mu is held.
func (q *queue) settle() {
	q.unbook()
	over := q.err != nil || q.closing
	q.thin(over)
	if q.room != nil && (over || q.size <= q.limit-q.limit/8) {
		close(q.room)
		q.room = nil
	}
	if q.idle != nil && (q.err != nil || q.size == 0) {
		close(q.idle)
		q.idle = nil
	}
}

// drop forgets everything that waits, for a dead connection. q.mu is held.
func (q *queue) drop() {
	q.filling = false
	q.seal()
	for _, b := range q.bufs {
		b.release()
	}
	q.segs, q.bufs, q.size = nil, nil, 0
}

// TrySend queues m. See wamp.Peer.
func (l *link) TrySend(m wamp.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	kick, err := l.put(m)
	if kick {
		l.schedule()
	}
	return err
}

// Send is TrySend that waits for room.
func (l *link) Send(ctx context.Context, m wamp.Message) error {
	return whenRoom(ctx, func() (room <-chan struct{}, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		kick, err := l.put(m)
		if kick {
			l.schedule()
		}
		if errors.Is(err, wamp.ErrQueueFull) {
			room = l.roomLocked()
		}
		return room, err
	})
}

// frameSpace guesses how many bytes the frame of m takes, so that the buffer
// seldom has to grow.
func frameSpace(m wamp.Message) int {
	return 512 + payloadSize(m)
}

// framing is how one connection turns messages into frames.
type framing struct {
	format   wamp.Format
	batching batching
	encoding wamp.Encoding // NoEncoding if frames cannot be shared: masked ones
	space    int           // bytes reserved for the header
	maxSend  int           // largest message; 0 = no limit
	op       websocket.Opcode
	deflate  int // size from which a frame is compressed; 0 = never
	// finish writes the header of the frame that begins at start, behind which
	// the message follows after the reserved space, and may move the message.
	finish func(dst []byte, start int) []byte
}

func (f *framing) deflates() bool { return f.deflate > 0 }

// append appends the frame of m to dst.
func (f *framing) append(dst []byte, m wamp.Message) ([]byte, error) {
	start := len(dst)
	var space [16]byte
	dst = append(dst, space[:f.space]...)
	dst, err := serialize.Append(dst, f.format, m)
	if err != nil {
		return nil, err
	}
	if n := len(dst) - start - f.space; f.maxSend > 0 && n > f.maxSend {
		return nil, wamp.ErrTooLarge
	}
	return f.finish(dst, start), nil
}

// tooLarge reports whether a finished frame holds more than the other side takes.
func (f *framing) tooLarge(frame int) bool {
	return f.maxSend > 0 && frame > f.maxSend+f.space
}
