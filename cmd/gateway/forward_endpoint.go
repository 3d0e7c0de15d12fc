package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"gantry/drivers/serialport"
	"gantry/wamp/websocket"
)

// endpoint is one side of gantry forward.
type endpoint struct {
	text string // as given
	kind string // tcp, tls, unix, ws, serial, stdio
	addr string // HOST:PORT, or the file of a Unix socket
	ws   websocket.URL
	port serialport.Config
	line serialport.LineConfig
}

const endpointForms = "expected tcp:[HOST:]PORT, tls:[HOST:]PORT, unix:FILE, ws://[HOST:]PORT/PATH, wss://[HOST:]PORT/PATH, ws+unix://FILE:/PATH, wss+unix://FILE:/PATH, stdio: or serial:FILE[,baud=N]"

// loopback is the host of an endpoint that names none.
const loopback = "127.0.0.1"

// tls reports whether an end that listens needs a certificate.
func (e endpoint) tls() bool { return e.kind == "tls" || e.kind == "ws" && e.ws.TLS }

// parseEndpoint parses an endpoint; the error names it and says what is allowed.
func parseEndpoint(text string) (endpoint, error) {
	e := endpoint{text: text}
	kind, rest, ok := strings.Cut(text, ":")
	if !ok {
		return e, fmt.Errorf("%q: %s", text, endpointForms)
	}
	e.kind = kind
	var err error
	switch kind {
	case "tcp", "tls":
		e.addr, err = hostPort(rest)
	case "unix":
		e.addr = rest
		if rest == "" {
			err = errors.New("expected unix:FILE")
		}
	case "ws", "wss", "ws+unix", "wss+unix":
		e.kind = "ws"
		if e.ws, err = websocket.ParseURL(withHost(text)); err != nil {
			return e, err // names the URL itself
		}
	case "serial":
		err = e.parseSerial(rest)
	case "stdio":
		if rest != "" {
			err = errors.New("expected stdio: and nothing behind")
		}
	default:
		err = errors.New(endpointForms)
	}
	if err != nil {
		return e, fmt.Errorf("%q: %w", text, err)
	}
	return e, nil
}

// hostPort completes [HOST:]PORT.
func hostPort(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = "", s
	}
	if host == "" {
		host = loopback
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("port %q, expected [HOST:]PORT with a port of 0 to 65535", port)
	} else if port != strconv.FormatUint(n, 10) {
		return "", fmt.Errorf("port %q, expected plain digits", port)
	}
	return net.JoinHostPort(host, port), nil
}

// withHost completes the URL of a WebSocket that names no host: ws://:80/ and
// ws://80/.
func withHost(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || strings.HasSuffix(scheme, "unix") {
		return text
	}
	authority, path, slash := strings.Cut(rest, "/")
	port := strings.TrimPrefix(authority, ":")
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return text
	}
	if slash {
		path = "/" + path
	}
	return scheme + "://" + loopback + ":" + port + path
}

// parseSerial parses FILE or usb=..., and options behind commas.
func (e *endpoint) parseSerial(s string) error {
	const forms = "expected serial:FILE or serial:usb=VVVV:PPPP, then ,serial=TEXT ,baud=N ,mode=8N1 ,dtr=on|off ,rts=on|off"
	words := strings.Split(s, ",")
	if !strings.HasPrefix(words[0], "usb=") {
		e.port.Path, words = words[0], words[1:]
	}
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		var err error
		switch key {
		case "usb":
			e.port.USB = value
		case "serial":
			e.port.Serial = value
		case "baud":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 32)
			e.line.Baud = uint32(n)
			if n == 0 {
				err = errors.New("no speed")
			}
		case "mode":
			e.line.Mode = value
		case "dtr":
			e.line.DTR, err = level(value)
		case "rts":
			e.line.RTS, err = level(value)
		default:
			err = errors.New("unknown option")
		}
		if err != nil {
			return fmt.Errorf("%q: %s", w, forms)
		}
	}
	if err := e.port.Validate(); err != nil {
		return fmt.Errorf("%w; %s", err, forms)
	}
	return e.line.Validate()
}

func level(s string) (*bool, error) {
	on := s == "on"
	if !on && s != "off" {
		return nil, errors.New("expected on or off")
	}
	return &on, nil
}

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

// relayBuffer is how many bytes are read ahead in each direction.
const relayBuffer = 32 << 10

// relay carries bytes between a and b until both directions have ended, one has
// failed, nothing has passed for idle, or for linger after the first end, or ctx
// ends. It closes both and returns what failed.
func relay(ctx context.Context, a, b stream, idle, linger time.Duration) error {
	r := &relaying{moved: make(chan struct{}, 1), ends: make(chan error, 2)}
	var running sync.WaitGroup
	running.Go(func() { r.ends <- r.copy(b, a) })
	running.Go(func() { r.ends <- r.copy(a, b) })
	err := r.watch(ctx, idle, linger)
	_ = a.Close()
	_ = b.Close()
	running.Wait()
	return err
}

// relaying is what the two directions of a relay share.
type relaying struct {
	moved chan struct{} // a token: bytes have passed
	ends  chan error    // what the directions ended with; has room for both
}

func (r *relaying) copy(to, from stream) error {
	buf := make([]byte, relayBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return werr
			}
			select {
			case r.moved <- struct{}{}:
			default:
			}
		}
		if err == io.EOF {
			return to.CloseWrite()
		}
		if err != nil {
			return err
		}
	}
}

// watch waits for the end.
func (r *relaying) watch(ctx context.Context, idle, linger time.Duration) error {
	const never = 1<<63 - 1
	wait := idle
	if wait <= 0 {
		wait = never
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for open := 2; open > 0; {
		select {
		case err := <-r.ends:
			if errors.Is(err, errOver) {
				return nil
			}
			if err != nil {
				return err
			}
			open--
			wait = min(wait, linger)
			timer.Reset(wait)
		case <-r.moved:
			timer.Reset(wait)
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
