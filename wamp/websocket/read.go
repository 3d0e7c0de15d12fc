package websocket

import (
	"errors"
	"io"
	"unicode/utf8"
)

// Read returns the next message, Text (valid UTF-8) or Binary. The bytes are
// valid until the next Read. The error is a *CloseError when the other side
// closed, a *ProtocolError or ErrTooBig for its faults, or that of the connection;
// the connection is then over. Text that is not UTF-8 fails the connection as soon
// as the first wrong byte arrives.
func (c *Conn) Read() (Opcode, []byte, error) {
	op, b, err := c.readInto(true, func(full []byte) []byte {
		if full == nil {
			full = c.buf[:0]
		}
		return append(full, 0)[:len(full)]
	})
	if b != nil {
		c.buf = b
	}
	return op, b, err
}

// ReadInto returns the next message in the memory that get gives. get is called
// with nil once the message has begun to arrive, so that an idle connection needs
// no memory, and with what has arrived whenever that has become full: it then
// returns the same bytes with room for more. They are returned even with an error
// that came after a call of get. ReadInto does not check that Text is UTF-8. See
// Read.
func (c *Conn) ReadInto(get func(full []byte) []byte) (Opcode, []byte, error) {
	return c.readInto(false, get)
}

func (c *Conn) readInto(check bool, get func(full []byte) []byte) (Opcode, []byte, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	r := &c.reader
	if err := r.next(); err != nil {
		return 0, nil, err
	}
	b := get(nil)
	r.check = check && r.op == Text
	begin := len(b)
	ask := c.grow
	for {
		if ask != nil && len(b) >= c.growFrom {
			if err := ask(); err != nil {
				return 0, b, c.fail(err)
			}
			ask = nil
		}
		if len(b) == cap(b) {
			b = get(b)
		}
		n, err := r.read(b[len(b):min(cap(b), begin+c.max+1)])
		b = b[:len(b)+n]
		switch err {
		case nil:
		case io.EOF:
			return r.op, b, nil
		default:
			return 0, b, err
		}
	}
}

// MessageReader reads one message as it arrives, with the limits and checks of
// Conn.Read. It is valid until the next message is begun.
type MessageReader struct {
	c     *Conn
	op    Opcode
	src   io.Reader
	n     int // bytes of the message so far
	check bool
	text  utf8Check
	done  bool // the end has been seen

	framed bool // NextFrame is used
	taken  bool // the header of the last frame has left the wire's queue
	frame  FrameHeader
	left   uint64 // of frame
	ahead  []byte // of frame, read to learn of it
	peek   [1]byte
}

// Reader waits for the next message and returns its type and its payload as it
// arrives. What the caller has not read of the message before is skipped. Errors
// are those of Conn.Read, also later on when reading.
func (c *Conn) Reader() (Opcode, *MessageReader, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	r := &c.reader
	if err := r.next(); err != nil {
		return 0, nil, err
	}
	r.check = r.op == Text
	return r.op, r, nil
}

// next waits for the next message. readMu is held.
func (r *MessageReader) next() error {
	c := r.c
	if c.readErr != nil {
		return c.readErr
	}
	op, src, err := c.ws.NextReader()
	if err != nil {
		return c.fail(err)
	}
	in := c.wire.in
	if in != nil && r.src != nil && !r.taken {
		in.skip() // the rest of a message that has not been read to its end
	}
	c.alive.moved()
	*r = MessageReader{c: c, op: Opcode(op), src: src}
	return nil
}

// Read reads from the message, or from the present frame once NextFrame has been
// called, and returns io.EOF at its end.
func (r *MessageReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	r.c.readMu.Lock()
	defer r.c.readMu.Unlock()
	if r.framed && r.frame.Length != unknown {
		return r.readFrame(b)
	}
	return r.read(b)
}

// read reads from the message and returns io.EOF or the error that ends the
// connection. readMu is held.
func (r *MessageReader) read(b []byte) (int, error) {
	c := r.c
	if r.done {
		return 0, io.EOF
	}
	if c.readErr != nil {
		return 0, c.readErr
	}
	// The library counts what is on the wire; this counts what becomes of it.
	n, err := r.src.Read(b[:min(len(b), c.max+1-r.n)])
	if r.n += n; r.n > c.max {
		return n, c.fail(ErrTooBig)
	}
	if r.check && !r.text.valid(b[:n]) {
		return n, c.fail(errNotUTF8)
	}
	switch {
	case err == io.EOF:
		if r.check && !r.text.complete() {
			return n, c.fail(errNotUTF8)
		}
		r.end()
		return n, io.EOF
	case err != nil:
		return n, c.fail(err)
	}
	return n, nil
}

var errNotUTF8 = &ProtocolError{CloseInvalidPayload, "text message is not UTF-8"}

// end takes note that the message is whole.
func (r *MessageReader) end() {
	r.done = true
	if in := r.c.wire.in; in != nil && !r.framed {
		in.skip()
		r.taken = true
	}
	r.c.alive.hear()
	r.c.alive.moved()
}

// unknown is the length of a frame that stands for a whole message.
const unknown = 1<<64 - 1

// errFramesLate is returned by a NextFrame that comes too late.
var errFramesLate = errors.New("websocket: frames are not visible once the message has been read from")

// NextFrame goes on to the next frame of the message, skipping what has not been
// read of the present one, and returns its header; Read then reads that frame
// alone. It returns io.EOF after the last frame. It must be called before the first
// Read of the message. The frames of a compressed message are not visible, nor are
// those of a connection with Config.Wrap: all of it comes as one final frame, whose
// Length is the largest number.
func (r *MessageReader) NextFrame() (FrameHeader, error) {
	r.c.readMu.Lock()
	defer r.c.readMu.Unlock()
	if !r.framed && (r.n > 0 || r.done) {
		return FrameHeader{}, errFramesLate
	}
	in := r.c.wire.in
	if !r.framed && (in == nil || in.deflated()) {
		r.framed = true
		r.frame = FrameHeader{Final: true, Opcode: r.op, Length: unknown}
		return r.frame, nil
	}
	if err := r.skipFrame(); err != nil {
		return FrameHeader{}, err
	}
	r.framed = true
	for {
		if h, ok := in.take(); ok {
			r.frame, r.left, r.taken = h, h.Length, h.Final
			return h, nil
		}
		// The next header arrives with the first byte that follows it.
		n, err := r.read(r.peek[:])
		if err != nil && (err != io.EOF || len(in.queue) == 0) {
			return FrameHeader{}, err
		}
		r.ahead = r.peek[:n]
	}
}

// skipFrame goes to the end of the present frame and of the message if that was the
// last one, where it returns io.EOF.
func (r *MessageReader) skipFrame() error {
	if !r.framed {
		return nil
	}
	var waste [512]byte
	for r.frame.Length == unknown || r.left > 0 {
		var err error
		if r.frame.Length == unknown {
			_, err = r.read(waste[:])
		} else {
			_, err = r.readFrame(waste[:])
		}
		if err != nil {
			return err
		}
	}
	if !r.frame.Final {
		return nil
	}
	if !r.done {
		if _, err := r.read(waste[:]); err != nil {
			return err
		}
	}
	return io.EOF
}

// readFrame reads from the present frame.
func (r *MessageReader) readFrame(b []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if len(r.ahead) > 0 {
		n := copy(b, r.ahead)
		r.ahead = r.ahead[n:]
		r.left -= uint64(n)
		return n, nil
	}
	n, err := r.read(b[:min(uint64(len(b)), r.left)])
	r.left -= uint64(n)
	if err == io.EOF && n > 0 {
		err = nil
	}
	return n, err
}

// utf8Check validates text that comes in pieces.
type utf8Check struct {
	tail [utf8.UTFMax]byte // an unfinished character
	n    int               // its length
}

// valid reports whether the text so far is UTF-8 or may become so.
func (u *utf8Check) valid(b []byte) bool {
	for u.n > 0 && len(b) > 0 {
		u.tail[u.n] = b[0]
		u.n++
		b = b[1:]
		if utf8.FullRune(u.tail[:u.n]) {
			if r, size := utf8.DecodeRune(u.tail[:u.n]); r == utf8.RuneError && size <= 1 {
				return false
			}
			u.n = 0
		}
	}
	end := len(b)
	for back := 1; back < utf8.UTFMax && back <= len(b); back++ {
		if c := b[len(b)-back]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-back:]) {
				end = len(b) - back
				u.n = copy(u.tail[:], b[end:])
			}
			break
		}
	}
	return utf8.Valid(b[:end])
}

// complete reports whether no character is unfinished.
func (u *utf8Check) complete() bool { return u.n == 0 }

var _ io.Reader = (*MessageReader)(nil)
