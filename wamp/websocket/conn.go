package websocket

import (
	"compress/flate"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Conn is a WebSocket connection. One goroutine may read; any number may write;
// anyone may close.
type Conn struct {
	ws   *websocket.Conn
	wire *wire
	cfg  Config
	buf  []byte // of Read
	max  int    // largest message received

	server   bool
	deflated bool // compression is agreed on
	window   int  // see Window
	level    int  // of compression

	growFrom int          // see Grow
	grow     func() error // nil: nobody is asked

	readMu  sync.Mutex    // held by whoever reads, so that Close can take over
	readErr error         // guarded by readMu: the error that ended reading
	reader  MessageReader // guarded by readMu: of the message last begun

	turn      chan struct{} // holds one token while a message is written; its writer takes it out
	over      chan struct{} // closed when the network connection is; never sent to
	overOnce  sync.Once
	streaming atomic.Bool // a MessageWriter has the turn

	hooks     Handler // of Run
	answering bool    // by a close frame when one arrives; false for a Stream

	alive     keepalive
	closed    atomic.Bool // Close was called
	closeOnce sync.Once
	peerClose atomic.Pointer[CloseError] // the other side's close frame
	why       atomic.Pointer[error]      // why this side dropped the connection
}

// newConn sets limits and handlers before anything is read.
// window is that of compression.
func newConn(ws *websocket.Conn, cfg Config, server bool, window int) *Conn {
	c := &Conn{ws: ws, wire: ws.NetConn().(*wire), cfg: cfg, server: server, deflated: window > 0, window: window, answering: true,
		turn: make(chan struct{}, 1), over: make(chan struct{})}
	if c.level = cfg.DeflateLevel; window < fullWindow {
		c.level = flate.HuffmanOnly // refers to nothing, so it fits any window
	}
	c.reader.c = c
	c.wire.open.Store(true)
	c.SetMaxMessage(cfg.MaxMessage)
	ws.SetPingHandler(c.pinged)
	ws.SetPongHandler(c.ponged)
	ws.SetCloseHandler(c.closing)
	c.alive.start(c)
	return c
}

// Subprotocol returns the subprotocol agreed on, "" if none.
func (c *Conn) Subprotocol() string { return c.ws.Subprotocol() }

// Deflated reports whether compression has been agreed on.
func (c *Conn) Deflated() bool { return c.deflated }

// Window returns how far back in bits compressed messages to the other side may
// refer (RFC 7692, 7.1.2), 8 to 15, or 0 without compression.
func (c *Conn) Window() int { return c.window }

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

// NetConn returns the network connection, wrapped if Config.Wrap did so. It must
// be neither read nor written. For TLS it is a *tls.Conn.
func (c *Conn) NetConn() net.Conn { return c.wire.Conn }

// TLS returns the state of the TLS connection, nil if there is none.
func (c *Conn) TLS() *tls.ConnectionState {
	tc, ok := c.wire.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := tc.ConnectionState()
	return &state
}

// RemoteAddr returns the network address of the other side, or of the proxy.
func (c *Conn) RemoteAddr() net.Addr { return c.wire.RemoteAddr() }

// Stats is what has passed over a connection, whole frames only.
type Stats struct {
	FramesIn, FramesOut     uint64 // control frames included
	MessagesIn, MessagesOut uint64
	BytesIn, BytesOut       uint64 // on the wire: headers included, payloads as compressed
	PingsIn, PongsIn        uint64
	RoundTrip               time.Duration // of the last ping that was answered, 0 if none was
}

// Stats returns the statistics of the connection since its handshake. A connection
// with Config.Wrap does not count what it receives.
func (c *Conn) Stats() Stats {
	s := Stats{FramesOut: c.wire.framesOut.Load(), MessagesOut: c.wire.messagesOut.Load(), BytesOut: c.wire.bytesOut.Load(),
		RoundTrip: time.Duration(c.alive.roundTrip.Load())}
	if in := c.wire.in; in != nil {
		s.FramesIn, s.MessagesIn, s.BytesIn = in.frames.Load(), in.messages.Load(), in.bytes.Load()
		s.PingsIn, s.PongsIn = in.pings.Load(), in.pongs.Load()
	}
	return s
}

// closing answers the other side's close frame.
func (c *Conn) closing(code int, reason string) error {
	c.peerClose.Store(&CloseError{Code: code, Reason: reason})
	if !c.answering {
		return nil
	}
	if !c.cfg.EchoReason {
		reason = ""
	}
	// That the answer cannot be sent any more is no news to anybody.
	_ = c.sendClose(code, reason)
	return nil
}

// fail keeps and returns the error that ended reading. readMu is held.
func (c *Conn) fail(err error) error {
	if c.readErr == nil {
		c.readErr = c.cause(err)
	}
	return c.readErr
}

// cause translates an error of the library into those that Read returns, and tells
// the other side of its own faults unless the library has.
func (c *Conn) cause(err error) error {
	if why := c.why.Load(); why != nil {
		return *why
	}
	var ce *websocket.CloseError
	var wrong *ProtocolError
	var closed *CloseError
	switch {
	case errors.As(err, &closed): // one that the library does not know
		_ = c.closing(closed.Code, closed.Reason)
		return closed
	case errors.Is(err, websocket.ErrReadLimit):
		if !c.wire.closeSent() {
			// The library is silent about a length with its highest bit set.
			c.refuse(CloseTooBig, "")
		}
		return ErrTooBig
	case errors.Is(err, ErrTooBig):
		c.refuse(CloseTooBig, "")
	case errors.As(err, &wrong):
		c.refuse(wrong.Code, wrong.Text)
	case errors.As(err, &ce):
		if ce.Code == CloseAbnormal {
			return io.ErrUnexpectedEOF
		}
		return &CloseError{Code: ce.Code, Reason: ce.Text}
	case c.deflated && damaged(err):
		c.refuse(CloseInvalidPayload, "damaged")
		return &ProtocolError{CloseInvalidPayload, "compressed message is damaged"}
	}
	// The library has a text of its own for each fault, and no type.
	if text, ok := strings.CutPrefix(err.Error(), "websocket: "); ok && wrong == nil && errors.Unwrap(err) == nil && !errors.Is(err, ErrTooBig) {
		return &ProtocolError{CloseProtocolError, text}
	}
	return err
}

// refuse ends the connection for a fault of the other side.
func (c *Conn) refuse(code int, reason string) {
	if c.cfg.FailByDrop {
		_ = c.wire.Conn.Close()
		return
	}
	_ = c.sendClose(code, reason)
}

func (c *Conn) sendClose(code int, reason string) error {
	return c.wire.frame(finalBit|byte(Close), ClosePayload(code, strings.ToValidUTF8(reason, "\uFFFD")))
}

// drop closes the network connection for a reason that Read returns.
func (c *Conn) drop(why error) {
	c.why.CompareAndSwap(nil, &why)
	_ = c.wire.Conn.Close()
}

// validClose reports whether a close code may be sent (RFC 6455, 7.4; the registry
// of IANA).
func validClose(code int) bool {
	return code >= CloseNormal && code <= CloseUnsupportedData || code == CloseNoStatus ||
		code >= CloseInvalidPayload && code <= 1014 || code >= 3000 && code <= 4999
}

// Close sends a close frame, waits up to Linger for the other side's, so that
// neither side loses what is on its way, and frees the connection. A message that
// is being written is finished first, unless it is that of a MessageWriter. A
// blocked Read returns. CloseNoStatus sends no code; the reason is cut to 123
// bytes. For a code that must not be sent, the connection is closed with
// CloseInternalError and the error is ErrCloseCode. Later calls do nothing.
func (c *Conn) Close(code int, reason string) error {
	var err error
	c.closeOnce.Do(func() {
		if !validClose(code) {
			code, reason, err = CloseInternalError, "", ErrCloseCode
		}
		c.alive.stop()
		c.closed.Store(true)
		c.waitForMessage()
		sent := c.sendClose(code, reason)
		_ = c.ws.SetReadDeadline(time.Now().Add(c.cfg.Linger))
		// A reader in progress sees the other side's close frame itself.
		c.readMu.Lock()
		for c.readErr == nil {
			if _, _, err := c.ws.NextReader(); err != nil {
				_ = c.fail(err)
			}
		}
		if !c.cfg.FailByDrop {
			c.linger()
		}
		c.readMu.Unlock()
		_ = c.end()
		if !errors.Is(sent, net.ErrClosed) { // the other side's close frame has been answered
			err = errors.Join(err, sent)
		}
	})
	return err
}

// linger reads until the other side has finished as well, so that the network does
// not take back the close frame because of what is still on its way. A server ends
// the stream first (RFC 6455, 7.1.1). The read deadline is set and readMu held.
func (c *Conn) linger() {
	var closed *CloseError
	var wrong *ProtocolError
	if !errors.As(c.readErr, &closed) && !errors.As(c.readErr, &wrong) && !errors.Is(c.readErr, ErrTooBig) {
		return // the stream is over
	}
	if c.server {
		half, ok := c.wire.Conn.(interface{ CloseWrite() error })
		if !ok || half.CloseWrite() != nil {
			return
		}
	}
	var waste [512]byte
	for {
		if _, err := c.wire.Conn.Read(waste[:]); err != nil {
			return
		}
	}
}

// waitForMessage lets a message that is being written come to its end.
func (c *Conn) waitForMessage() {
	if c.streaming.Load() {
		return
	}
	t := time.NewTimer(c.cfg.WriteTimeout)
	defer t.Stop()
	select {
	case c.turn <- struct{}{}:
		<-c.turn
	case <-t.C:
	case <-c.over:
	}
}

// end closes the network connection.
func (c *Conn) end() error {
	c.overOnce.Do(func() { close(c.over) })
	return c.wire.Conn.Close()
}

// Abandon closes the network connection at once.
func (c *Conn) Abandon() error {
	c.alive.stop()
	c.closed.Store(true)
	return c.end()
}

// Clean reports whether both sides have sent a close frame.
func (c *Conn) Clean() bool {
	return c.peerClose.Load() != nil && c.wire.closeSent()
}
