package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"gantry/drivers/serialport"
)

// stream is an open end.
type stream interface {
	io.ReadWriteCloser
	// CloseWrite tells the other side that nothing more will come. errOver says that
	// nothing more will come from there either.
	CloseWrite() error
}

var errOver = errors.New("the other direction has ended as well")

// serialStream is an open serial port.
type serialStream struct {
	ctx   context.Context // ends with the stream
	end   context.CancelFunc
	conn  *serialport.Conn
	piece int // bytes written at a time
}

// newSerialStream opens the port. Its bytes are handed to the kernel by the second,
// so that none waits there longer than a write may take.
func newSerialStream(ctx context.Context, p *serialport.Port) (stream, error) {
	conn, err := p.Open(ctx)
	if err != nil {
		return nil, err
	}
	s := &serialStream{conn: conn, piece: max(p.Baud()/10, 1)}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s, nil
}

func (s *serialStream) Read(b []byte) (int, error) { return s.conn.Read(s.ctx, b) }

func (s *serialStream) Write(b []byte) (int, error) {
	for n := 0; n < len(b); n += s.piece {
		if err := s.conn.Write(s.ctx, b[n:min(n+s.piece, len(b))]); err != nil {
			return n, err
		}
	}
	return len(b), nil
}

// CloseWrite does nothing: a serial line has no end.
func (s *serialStream) CloseWrite() error { return nil }

func (s *serialStream) Close() error {
	s.end()
	return s.conn.Close()
}

// stdioStream is standard input and output.
type stdioStream struct {
	in  io.Reader
	out io.Writer

	once   sync.Once
	closed chan struct{} // closed by Close
	pieces chan []byte   // what has been read; never closed
	ended  chan error    // why reading ended; has room for it
	rest   []byte        // of the last piece
	taken  chan struct{} // the last piece has been used up
	end    error         // what Read goes on to return
}

// newStdioStream reads in a goroutine that Close does not wait for: reading from a
// terminal cannot be interrupted, and the program ends anyway.
func newStdioStream(in io.Reader, out io.Writer) *stdioStream {
	s := &stdioStream{in: in, out: out, closed: make(chan struct{}), pieces: make(chan []byte), ended: make(chan error, 1), taken: make(chan struct{}, 1)}
	go s.pump()
	return s
}

func (s *stdioStream) pump() {
	buf := make([]byte, relayBuffer)
	for {
		n, err := s.in.Read(buf)
		if n > 0 {
			select {
			case s.pieces <- buf[:n]:
			case <-s.closed:
				return
			}
			select {
			case <-s.taken:
			case <-s.closed:
				return
			}
		}
		if err != nil {
			s.ended <- err
			return
		}
	}
}

func (s *stdioStream) Read(b []byte) (int, error) {
	if len(s.rest) == 0 {
		if s.end != nil {
			return 0, s.end
		}
		select {
		case s.rest = <-s.pieces:
		case s.end = <-s.ended:
			return 0, s.end
		case <-s.closed:
			return 0, net.ErrClosed
		}
	}
	n := copy(b, s.rest)
	if s.rest = s.rest[n:]; len(s.rest) == 0 {
		s.taken <- struct{}{}
	}
	return n, nil
}

func (s *stdioStream) Write(b []byte) (int, error) { return s.out.Write(b) }

// CloseWrite says that it is over: nobody waits for what is typed after that.
func (s *stdioStream) CloseWrite() error { return errOver }

func (s *stdioStream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
