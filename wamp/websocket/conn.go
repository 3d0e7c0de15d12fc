package websocket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// Defaults of Config.
const (
	DefaultMaxMessage   = 1 << 20
	DefaultWriteTimeout = 10 * time.Second
	DefaultPingInterval = 5 * time.Second
	DefaultPingTimeout  = 10 * time.Second
	DefaultLinger       = 2 * time.Second
)

// Config holds what a client and a server set alike. The zero value means the
// defaults.
type Config struct {
	// MaxMessage is the largest message in bytes that is received, all its
	// fragments together, and counted after inflating. A larger one fails the
	// connection with close code 1009 before it is buffered.
	MaxMessage int
	// WriteTimeout is how long a write may take before the connection fails.
	WriteTimeout time.Duration
	// PingInterval is the silence after which the other side is pinged, and
	// PingTimeout how long an answer may take; after both together the connection
	// is dropped. A negative PingInterval switches the keepalive off.
	PingInterval, PingTimeout time.Duration
	// Linger is how long Close waits for the other side to close as well.
	Linger time.Duration
	// ReadBuffer is the size in bytes of the buffer that each connection keeps;
	// 0 means 1024. Larger messages bypass it.
	ReadBuffer int
	// Deflate compresses messages (RFC 7692, "permessage-deflate") if the other side
	// does so as well. Each message stands alone: there is no context takeover in
	// either direction. It is off by default: it costs time, the memory of a
	// compressor for each message being written, and secrets that share a message
	// with an attacker's text can be guessed from its length.
	Deflate bool
	// DeflateFrom is the size in bytes from which a message is compressed when it
	// is written; 0 means DefaultDeflateFrom.
	DeflateFrom int
	// Wrap, if not nil, replaces the network connection beneath the WebSocket.
	// Everything passes through the wrapper, the handshake included; each control
	// frame is one Write.
	Wrap func(net.Conn) net.Conn
}

func (c Config) withDefaults() Config {
	if c.MaxMessage <= 0 {
		c.MaxMessage = DefaultMaxMessage
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.WriteTimeout, DefaultWriteTimeout}, {&c.PingTimeout, DefaultPingTimeout}, {&c.Linger, DefaultLinger},
	} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if c.PingInterval == 0 {
		c.PingInterval = DefaultPingInterval
	}
	if c.ReadBuffer <= 0 {
		c.ReadBuffer = 1024
	}
	if c.DeflateFrom <= 0 {
		c.DeflateFrom = DefaultDeflateFrom
	}
	return c
}

// ErrTooBig is returned when the other side sends a message over MaxMessage. The
// connection has been failed with close code 1009.
var ErrTooBig = errors.New("websocket: message is larger than allowed")

// CloseError is the close frame that ended a connection.
type CloseError struct {
	Code   int    // RFC 6455, 7.4.1; CloseNoStatus if the frame had none
	Reason string // UTF-8
}

// Error returns code and reason.
func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("websocket: closed with code %d", e.Code)
	}
	return fmt.Sprintf("websocket: closed with code %d: %s", e.Code, e.Reason)
}

// Normal reports whether the code is the one of an orderly end: 1000, 1001 or none.
func (e *CloseError) Normal() bool {
	return e.Code == CloseNormal || e.Code == CloseGoingAway || e.Code == CloseNoStatus
}

// Conn is a WebSocket connection. One goroutine may read; any number may write;
// anyone may close.
type Conn struct {
	ws  *websocket.Conn
	cfg Config
	buf []byte // of Read
	max int    // largest message received

	deflated bool // compression is agreed on

	growFrom int          // see Grow
	grow     func() error // nil: nobody is asked

	readMu  sync.Mutex // held by whoever reads, so that Close can take over
	readErr error      // guarded by readMu: the error that ended reading
	writeMu sync.Mutex // held while a message is written

	heard  atomic.Int64 // when something last arrived, in Unix nanoseconds
	closed atomic.Bool  // Close was called
	done   sync.Once
	timer  *time.Timer // runs keepalive, nil when off
}

// newConn sets limits and handlers before anything is read.
func newConn(ws *websocket.Conn, cfg Config, deflated bool) *Conn {
	c := &Conn{ws: ws, cfg: cfg, deflated: deflated}
	c.SetMaxMessage(cfg.MaxMessage)
	if cfg.PingInterval < 0 {
		return c
	}
	answer := ws.PingHandler()
	ws.SetPingHandler(func(s string) error {
		c.hear()
		return answer(s)
	})
	ws.SetPongHandler(func(string) error {
		c.hear()
		return nil
	})
	c.hear()
	// The timer is set under the lock that its function takes first, so that
	// the function sees it.
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.timer = time.AfterFunc(cfg.PingInterval, c.keepalive)
	return c
}

func (c *Conn) hear() { c.heard.Store(time.Now().UnixNano()) }

// keepalive pings a silent peer and drops one that does not answer.
func (c *Conn) keepalive() {
	if c.closed.Load() {
		return
	}
	silent := time.Duration(time.Now().UnixNano() - c.heard.Load())
	limit := c.cfg.PingInterval + c.cfg.PingTimeout
	next := c.cfg.PingInterval - silent
	switch {
	case silent >= limit:
		_ = c.ws.UnderlyingConn().Close()
		return
	case silent >= c.cfg.PingInterval:
		if err := c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(c.cfg.WriteTimeout)); err != nil {
			_ = c.ws.UnderlyingConn().Close()
			return
		}
		next = min(c.cfg.PingInterval, limit-silent)
	}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if !c.closed.Load() {
		c.timer.Reset(next)
	}
}

// Subprotocol returns the subprotocol agreed on, "" if none.
func (c *Conn) Subprotocol() string { return c.ws.Subprotocol() }

// Deflated reports whether compression has been agreed on.
func (c *Conn) Deflated() bool { return c.deflated }

// SetMaxMessage replaces Config.MaxMessage. It must not be called during a read.
func (c *Conn) SetMaxMessage(n int) {
	c.max = n
	if c.deflated {
		n += n/256 + 64 // what does not compress becomes a little longer
	}
	c.ws.SetReadLimit(int64(n))
}

// Grow has f asked before a message grows beyond a size. f may block; its error
// ends reading. It must not be called during a read.
func (c *Conn) Grow(from int, f func() error) { c.growFrom, c.grow = from, f }

// NetConn returns the network connection, wrapped if Config.Wrap did so.
func (c *Conn) NetConn() net.Conn { return c.ws.UnderlyingConn() }

// Read returns the next message, Text (valid UTF-8) or Binary. The bytes are
// valid until the next Read. The error is a *CloseError when the other side
// closed, ErrTooBig, or that of the connection; the connection is then over.
func (c *Conn) Read() (Opcode, []byte, error) {
	op, b, err := c.ReadInto(func(full []byte) []byte {
		if full == nil {
			full = c.buf[:0]
		}
		return append(full, 0)[:len(full)]
	})
	if b != nil {
		c.buf = b
	}
	if err == nil && op == Text && !utf8.Valid(b) {
		err = errors.New("websocket: text message is not UTF-8")
		_ = c.sendClose(CloseInvalidPayload, "not UTF-8")
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
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if c.readErr != nil {
		return 0, nil, c.readErr
	}
	op, r, err := c.ws.NextReader()
	if err != nil {
		return 0, nil, c.fail(err)
	}
	b := get(nil)
	// The library counts what is on the wire; this counts what becomes of it.
	most := len(b) + c.max
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
		n, err := r.Read(b[len(b):min(cap(b), most+1)])
		b = b[:len(b)+n]
		switch {
		case len(b) > most:
			_ = c.sendClose(CloseTooBig, "")
			return 0, b, c.fail(ErrTooBig)
		case err == io.EOF:
			if c.cfg.PingInterval > 0 {
				c.hear()
			}
			return Opcode(op), b, nil
		case c.deflated && err != nil && damaged(err):
			_ = c.sendClose(CloseInvalidPayload, "damaged")
			return 0, b, c.fail(errDeflate)
		case err != nil:
			return 0, b, c.fail(err)
		}
	}
}

// fail keeps and returns the error that ended reading. readMu is held.
func (c *Conn) fail(err error) error {
	if c.readErr == nil {
		c.readErr = cause(err)
	}
	return c.readErr
}

// cause translates an error of the library into those that Read returns.
func cause(err error) error {
	var ce *websocket.CloseError
	switch {
	case errors.Is(err, websocket.ErrReadLimit):
		return ErrTooBig
	case errors.As(err, &ce):
		if ce.Code == CloseAbnormal {
			return io.ErrUnexpectedEOF
		}
		return &CloseError{Code: ce.Code, Reason: ce.Text}
	}
	return err
}

// Write sends one message. It blocks until the network has taken it or
// WriteTimeout has passed; the connection is over after an error.
func (c *Conn) Write(op Opcode, b []byte) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.closed.Load() {
		return net.ErrClosed
	}
	if err := c.ws.SetWriteDeadline(time.Now().Add(c.cfg.WriteTimeout)); err != nil {
		return err
	}
	c.ws.EnableWriteCompression(len(b) >= c.cfg.DeflateFrom)
	return c.ws.WriteMessage(int(op), b)
}

func (c *Conn) sendClose(code int, reason string) error {
	return c.ws.WriteControl(websocket.CloseMessage, ClosePayload(code, reason), time.Now().Add(c.cfg.WriteTimeout))
}

// Close sends a close frame, waits up to Linger for the other side's, so that
// neither side loses what is on its way, and frees the connection. A blocked
// Read returns. Later calls do nothing.
func (c *Conn) Close(code int, reason string) error {
	var err error
	c.done.Do(func() {
		c.writeMu.Lock()
		c.closed.Store(true)
		if c.timer != nil {
			c.timer.Stop()
		}
		err = c.sendClose(code, reason)
		c.writeMu.Unlock()
		_ = c.ws.SetReadDeadline(time.Now().Add(c.cfg.Linger))
		// A reader in progress sees the other side's close frame itself.
		c.readMu.Lock()
		for c.readErr == nil {
			if _, _, err := c.ws.NextReader(); err != nil {
				_ = c.fail(err)
			}
		}
		c.readMu.Unlock()
		if cerr := c.ws.Close(); err == nil || errors.Is(err, websocket.ErrCloseSent) {
			err = cerr
		}
	})
	return err
}

// Abandon closes the network connection at once.
func (c *Conn) Abandon() error {
	c.closed.Store(true)
	return c.ws.Close()
}
