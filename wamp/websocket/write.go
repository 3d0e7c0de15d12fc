package websocket

import (
	"context"
	"net"
)

// WriteOptions say how one message is sent. The zero value means as the
// connection's Config says.
type WriteOptions struct {
	// Plain sends the message without compression, as for one that is compressed
	// already or that holds a secret.
	Plain bool
	// Fragment replaces Config.Fragment if it is above 0.
	Fragment int
}

// Write sends one message, Text or Binary, and does not check that Text is UTF-8.
// It blocks until the network has taken it or WriteTimeout has passed; the
// connection is over after an error.
func (c *Conn) Write(op Opcode, b []byte) error { return c.WriteWith(op, b, WriteOptions{}) }

// WriteWith is Write with options.
func (c *Conn) WriteWith(op Opcode, b []byte, o WriteOptions) error {
	if op != Text && op != Binary {
		return ErrOpcode
	}
	if err := c.begin(context.Background()); err != nil {
		return err
	}
	defer c.done()
	first, size := byte(op), c.fragment(o)
	if c.deflated && !o.Plain && len(b) >= c.cfg.DeflateFrom {
		d := getDeflater(c.level)
		defer d.release()
		if small := d.message(b); len(small) < len(b) {
			first, b = first|byte(Deflated), small
		}
	}
	for size > 0 && len(b) > size {
		if err := c.wire.frame(first, b[:size]); err != nil {
			return err
		}
		first, b = 0, b[size:]
	}
	return c.wire.frame(first|finalBit, b)
}

// fragment returns the size above which a message is split, 0 if there is none.
func (c *Conn) fragment(o WriteOptions) int {
	if o.Fragment > 0 {
		return o.Fragment
	}
	return c.cfg.Fragment
}

// begin waits until no other message is being written, or ctx ends.
func (c *Conn) begin(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
	default:
		select {
		case c.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.over:
			return net.ErrClosed
		}
	}
	if c.closed.Load() {
		<-c.turn
		return net.ErrClosed
	}
	return nil
}

// done lets the next message begin.
func (c *Conn) done() {
	c.alive.moved()
	<-c.turn
}

// MessageWriter sends one message piece by piece. It is for one goroutine. Other
// writers of the connection wait until it is closed; pings and pongs do not.
type MessageWriter struct {
	c     *Conn
	first byte // of the next frame
	size  int  // of a frame's payload
	buf   *[largeFrame]byte
	n     int // bytes in buf
	d     *deflater
	err   error
}

// Writer waits until no other message is being written, or ctx ends, and begins
// one that is sent as it is written, in frames of Config.Fragment or
// DefaultFragment bytes. The caller must close it: that ends the message.
func (c *Conn) Writer(ctx context.Context, op Opcode, o WriteOptions) (*MessageWriter, error) {
	if op != Text && op != Binary {
		return nil, ErrOpcode
	}
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	c.streaming.Store(true)
	w := &MessageWriter{c: c, first: byte(op), size: c.fragment(o)}
	if w.size <= 0 {
		w.size = DefaultFragment
	}
	w.size = min(w.size, largeFrame)
	if c.deflated && !o.Plain {
		w.first |= byte(Deflated)
		w.d = getDeflater(c.level)
	} else {
		w.buf = largeFrames.Get().(*[largeFrame]byte)
	}
	return w, nil
}

// Write adds b to the message and sends the frames that have become full.
func (w *MessageWriter) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.d != nil {
		// A bytes.Buffer takes everything.
		_, _ = w.d.w.Write(b)
		for w.d.out.Len() > w.size {
			if err := w.send(0, w.d.out.Next(w.size)); err != nil {
				return 0, err
			}
		}
		return len(b), nil
	}
	total := len(b)
	for len(b) > 0 {
		if w.n == 0 && len(b) > w.size {
			if err := w.send(0, b[:w.size]); err != nil {
				return total - len(b), err
			}
			b = b[w.size:]
			continue
		}
		if w.n == w.size {
			if err := w.Flush(); err != nil {
				return total - len(b), err
			}
		}
		m := copy(w.buf[w.n:w.size], b)
		w.n += m
		b = b[m:]
	}
	return total, nil
}

// Flush sends what has been written and not yet sent as a frame, so that the other
// side can read all of it.
func (w *MessageWriter) Flush() error {
	if w.err != nil {
		return w.err
	}
	if w.d != nil {
		_ = w.d.w.Flush()
		return w.send(0, w.d.out.Next(w.d.out.Len()))
	}
	if w.n == 0 {
		return nil
	}
	n := w.n
	w.n = 0
	return w.send(0, w.buf[:n])
}

// WriteFrame sends what is left in the writer and then b, which may be empty, as a
// frame of its own. The frame of a compressed message holds b compressed.
func (w *MessageWriter) WriteFrame(b []byte) error {
	if w.d != nil {
		if _, err := w.Write(b); err != nil {
			return err
		}
		return w.Flush()
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return w.send(0, b)
}

// Close sends the last frame, with what is left and maybe empty, and ends the
// message.
func (w *MessageWriter) Close() error {
	if w.d == nil && w.buf == nil {
		return w.err // closed before
	}
	err := w.err
	switch {
	case err != nil:
	case w.d != nil:
		_ = w.d.w.Flush()
		err = w.send(finalBit, w.d.out.Bytes()[:w.d.out.Len()-len(deflateTail)])
	default:
		err = w.send(finalBit, w.buf[:w.n])
	}
	if w.d != nil {
		w.d.release()
	} else {
		largeFrames.Put(w.buf)
	}
	w.d, w.buf = nil, nil
	w.err = net.ErrClosed
	w.c.streaming.Store(false)
	w.c.done()
	return err
}

func (w *MessageWriter) send(final byte, b []byte) error {
	w.err = w.c.wire.frame(w.first|final, b)
	w.first = 0
	return w.err
}
