package websocket

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
	"unicode/utf8"
)

// StreamEncoding is how the bytes of a Stream become messages. Where one message
// ends and the next begins has no meaning.
type StreamEncoding int

// The encodings of a Stream.
const (
	StreamBinary StreamEncoding = iota // binary messages
	StreamText                         // text messages: the bytes must be UTF-8
	StreamBase64                       // text messages, each of which is Base64 of its own
)

// maxPiece is how many bytes of a stream make one message at most.
const maxPiece = 32 << 10

// errStreamText is returned for bytes that a text stream cannot send.
var errStreamText = errors.New("websocket: a text stream takes UTF-8 only")

// Stream is a net.Conn over a WebSocket, so that any program that talks over a
// stream of bytes does so over a WebSocket. Any number of goroutines may use it.
//
// A read deadline that passes leaves the Stream as it was. A write deadline that
// passes during a write ends the connection, since a frame is cut; one that has
// passed before does not.
//
// A normal close of the other side is io.EOF for Read. It is not answered before
// Close or CloseWrite, so that this side may finish what it has to say; other sides
// than a Stream may not listen any longer.
type Stream struct {
	c   *Conn
	enc StreamEncoding

	pieces chan []byte   // what has arrived; the pump sends, Read receives
	taken  chan struct{} // Read has used up the last piece; Read sends, the pump receives
	closed chan struct{} // closed by Close
	once   sync.Once
	pumped chan struct{} // closed by the pump when it ends
	err    error         // set by the pump before that: what ends reading

	readMu sync.Mutex // held while reading; guards rest and open
	rest   []byte     // of the last piece
	open   bool       // the last piece has not been given back

	deadline deadline // of reading

	writeMu sync.Mutex // held while writing; guards tail
	tail    []byte     // an unfinished character of a text stream
}

var _ net.Conn = (*Stream)(nil)

// Stream makes a stream of bytes of a connection from which nothing has been read
// yet and that nobody else reads from afterwards. It reads what arrives, of either
// type, in a goroutine that ends with the connection. The caller closes the Stream.
func (c *Conn) Stream(enc StreamEncoding) *Stream {
	c.answering = false
	s := &Stream{c: c, enc: enc, pieces: make(chan []byte), taken: make(chan struct{}), closed: make(chan struct{}),
		pumped: make(chan struct{}), deadline: newDeadline()}
	go s.pump()
	return s
}

// pump reads from the connection and hands over piece after piece.
func (s *Stream) pump() {
	defer close(s.pumped)
	s.err = s.copy()
	var ce *CloseError
	if errors.As(s.err, &ce) && ce.Normal() {
		s.err = io.EOF
	}
}

func (s *Stream) copy() error {
	buf := make([]byte, maxPiece)
	for {
		_, m, err := s.c.Reader()
		if err != nil {
			return err
		}
		var r io.Reader = m
		if s.enc == StreamBase64 {
			r = base64.NewDecoder(base64.StdEncoding, m)
		}
		for err == nil {
			var n int
			n, err = r.Read(buf)
			if n > 0 && !s.deliver(buf[:n]) {
				return net.ErrClosed
			}
		}
		var damaged base64.CorruptInputError
		switch {
		case errors.As(err, &damaged) || s.enc == StreamBase64 && errors.Is(err, io.ErrUnexpectedEOF) && m.done:
			wrong := &ProtocolError{CloseInvalidPayload, "message is not Base64"}
			s.c.refuse(wrong.Code, wrong.Text)
			return wrong
		case err != io.EOF:
			return err
		}
	}
}

// deliver hands b to Read and waits until it is used up; false: the Stream is
// closed.
func (s *Stream) deliver(b []byte) bool {
	select {
	case s.pieces <- b:
	case <-s.closed:
		return false
	}
	select {
	case <-s.taken:
		return true
	case <-s.closed:
		return false
	}
}

// Read returns what has arrived, and waits if nothing has. The error is io.EOF
// after a normal close of the other side, os.ErrDeadlineExceeded, or that of
// Conn.Read.
func (s *Stream) Read(b []byte) (int, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	if s.deadline.passed() {
		return 0, os.ErrDeadlineExceeded
	}
	if len(b) == 0 {
		return 0, nil
	}
	if len(s.rest) == 0 {
		if s.open {
			s.open = false
			select {
			case s.taken <- struct{}{}:
			case <-s.closed:
				return 0, net.ErrClosed
			}
		}
		select {
		case s.rest = <-s.pieces:
			s.open = true
		case <-s.deadline.wait():
			return 0, os.ErrDeadlineExceeded
		case <-s.closed:
			return 0, net.ErrClosed
		case <-s.pumped:
			return 0, s.err
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Write sends b, in messages of up to 32 KiB.
func (s *Stream) Write(b []byte) (int, error) {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if until := s.c.wire.until.Load(); until != 0 && time.Now().UnixNano() >= until {
		return 0, os.ErrDeadlineExceeded
	}
	total := len(b)
	for len(b) > 0 {
		n := min(len(b), maxPiece)
		if err := s.write(b[:n]); err != nil {
			return total - len(b), err
		}
		b = b[n:]
	}
	return total, nil
}

// write sends one piece. writeMu is held.
func (s *Stream) write(b []byte) error {
	switch s.enc {
	case StreamBase64:
		return s.c.Write(Text, base64.StdEncoding.AppendEncode(nil, b))
	case StreamText:
		all := append(s.tail, b...)
		var check utf8Check
		if !check.valid(all) {
			return errStreamText
		}
		whole := all[:len(all)-check.n]
		s.tail = append(make([]byte, 0, utf8.UTFMax), all[len(whole):]...)
		if len(whole) == 0 {
			return nil
		}
		return s.c.Write(Text, whole)
	}
	return s.c.Write(Binary, b)
}

// CloseWrite sends a close frame with code 1000: the other side reads io.EOF.
// Reading goes on until the other side closes as well. Writing ends.
func (s *Stream) CloseWrite() error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if err := s.c.begin(context.Background()); err != nil {
		return err
	}
	defer s.c.done()
	if err := s.c.sendClose(CloseNormal, ""); err != nil {
		return err
	}
	if len(s.tail) > 0 {
		return errStreamText // it ends within a character
	}
	return nil
}

// Close closes the connection with code 1000. See Conn.Close.
func (s *Stream) Close() error {
	s.once.Do(func() { close(s.closed) })
	err := s.c.Close(CloseNormal, "")
	<-s.pumped
	return err
}

// LocalAddr returns the network address of this side.
func (s *Stream) LocalAddr() net.Addr { return s.c.wire.LocalAddr() }

// RemoteAddr returns the network address of the other side.
func (s *Stream) RemoteAddr() net.Addr { return s.c.wire.RemoteAddr() }

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of present and later reads; zero means none.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.deadline.set(t)
	return nil
}

// SetWriteDeadline sets the deadline of present and later writes; zero means
// Config.WriteTimeout for each.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	w := s.c.wire
	if t.IsZero() {
		w.until.Store(0)
		return w.Conn.SetWriteDeadline(time.Now().Add(w.timeout))
	}
	w.until.Store(t.UnixNano())
	return w.Conn.SetWriteDeadline(t)
}

// deadline ends waiting at a time that may be changed meanwhile.
type deadline struct {
	mu    sync.Mutex // guards what follows
	timer *time.Timer
	over  chan struct{} // closed when the time has come; never sent to
}

func newDeadline() deadline { return deadline{over: make(chan struct{})} }

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}

func (d *deadline) passed() bool {
	select {
	case <-d.wait():
		return true
	default:
		return false
	}
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.over // the timer's function has run or is about to close it
	}
	d.timer = nil
	select {
	case <-d.over:
		d.over = make(chan struct{})
	default:
	}
	switch rest := time.Until(t); {
	case t.IsZero():
	case rest <= 0:
		close(d.over)
	default:
		over := d.over
		d.timer = time.AfterFunc(rest, func() { close(over) })
	}
}
