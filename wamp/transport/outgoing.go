package transport

import (
	"context"
	"errors"

	"gantry/wamp"
)

// outgoing is what waits on either side of a long-poll connection until a request
// carries it. The queue holds frames of RawSocket, so that long-poll shares the
// encodings cached for it; next cuts the messages out of them.
type outgoing struct {
	queue
	// notify is called with mu held when something has been queued. kick is the
	// promise to drain, see queue.writing.
	notify func(kick bool)
	over   chan struct{} // closed when the connection is; owned by die

	// Guarded by queue.mu.
	batching batching // of the bodies
	flight   [][]byte // taken from the queue, not handed out yet
	held     []*buffer
	out      int // bytes handed out that still count
}

func (o *outgoing) init(opts *Options, f wamp.Format, k batching) {
	o.limit, o.batching = opts.Queue, k
	o.over = make(chan struct{})
	o.framing = framing{
		format:   f,
		encoding: wamp.RawSocketJSON + wamp.Encoding(f-wamp.JSON),
		space:    rawHeader,
		maxSend:  1 << 24,
		finish:   finishRaw,
	}
}

// TrySend queues m. See wamp.Peer.
func (o *outgoing) TrySend(m wamp.Message) error {
	_, err := o.send(m)
	return err
}

// Send is TrySend that waits for room.
func (o *outgoing) Send(ctx context.Context, m wamp.Message) error {
	return whenRoom(ctx, func() (<-chan struct{}, error) { return o.send(m) })
}

// whenRoom calls send again when there is room, until it says something else than
// ErrQueueFull: then the channel that it returns tells of room.
func whenRoom(ctx context.Context, send func() (room <-chan struct{}, err error)) error {
	for {
		room, err := send()
		if !errors.Is(err, wamp.ErrQueueFull) {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (o *outgoing) send(m wamp.Message) (room <-chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kick, err := o.put(m)
	switch {
	case err == nil:
		o.notify(kick)
	case errors.Is(err, wamp.ErrQueueFull):
		room = o.roomLocked()
	}
	return room, err
}

// next appends to dst what one request carries: one message, or a batch of those
// that wait. It stays counted until landed. o.mu is held.
func (o *outgoing) next(dst []byte) []byte {
	for {
		if len(o.flight) == 0 {
			o.release()
			o.seal()
			o.flight, o.segs = o.segs, nil
			o.held, o.bufs = o.bufs, nil
		}
		if len(o.flight) == 0 {
			return dst
		}
		seg := o.flight[0]
		// The frame is our own: it is well formed.
		_, n, _ := rawLength(seg)
		if len(dst) > 0 && (o.batching == unbatched || len(dst)+n+batchPrefix > maxBatch) {
			return dst
		}
		n += rawHeader
		dst = o.batching.appendRecord(dst, seg[rawHeader:n])
		o.out += n
		if o.flight[0] = seg[n:]; len(seg) == n {
			o.flight = o.flight[1:]
		}
	}
}

// landed counts off what has been handed out. o.mu is held.
func (o *outgoing) landed() {
	o.written += uint64(o.out)
	o.size = max(o.size-o.out, 0)
	o.out = 0
	o.settle()
}

func (o *outgoing) release() {
	for _, b := range o.held {
		b.release()
	}
	o.flight, o.held = nil, nil
}

// die ends the connection for the reason err. o.mu is held.
func (o *outgoing) die(err error) {
	if o.err != nil {
		return
	}
	o.err = err
	o.release()
	o.drop()
	o.settle()
	close(o.over)
}

// reason is why Recv ends once the connection is over.
func (o *outgoing) reason() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return wamp.ErrClosed
	}
	return o.err
}
