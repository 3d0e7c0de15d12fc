package websocket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	gorilla "github.com/gorilla/websocket"

	"gantry/wamp"
	"gantry/wamp/internal/outq"
)

// Close codes (RFC 6455, 7.4.1).
const (
	CloseNormal          = gorilla.CloseNormalClosure
	CloseGoingAway       = gorilla.CloseGoingAway
	CloseProtocolError   = gorilla.CloseProtocolError
	CloseUnsupportedData = gorilla.CloseUnsupportedData
	CloseMessageTooBig   = gorilla.CloseMessageTooBig
)

// ErrMessageTooBig is returned by Read when the other side sent more than
// Config.MaxMessage.
var ErrMessageTooBig = errors.New("websocket: message is larger than this side takes")

// Conn is one WebSocket connection. One goroutine may read; any number may send;
// Close may be called by anyone.
type Conn struct {
	cfg    Config
	net    net.Conn
	ws     *gorilla.Conn
	out    *outq.Queue
	client bool

	reading atomic.Bool // a read is under way
	heard   atomic.Bool // something has arrived since the last tick
	silent  int         // ticks without a sign of life; the ticker's alone
	ticker  *time.Timer

	closing atomic.Bool
	once    sync.Once
	done    chan struct{} // closed when Close has finished
}

// queued is the net.Conn that gorilla sees: what it writes by itself (handshake,
// pong, close) goes through the queue like everything else.
type queued struct {
	net.Conn
	out *outq.Queue
}

func (q *queued) Write(b []byte) (int, error) {
	if err := q.out.Append(true, func(dst []byte) ([]byte, error) { return append(dst, b...), nil }); err != nil {
		return 0, err
	}
	return len(b), nil
}

// SetWriteDeadline is the queue's to set.
func (q *queued) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline sets what is left to gorilla, the deadline for reading.
func (q *queued) SetDeadline(t time.Time) error { return q.SetReadDeadline(t) }

func newConn(cfg Config, nc net.Conn, out *outq.Queue, ws *gorilla.Conn, client bool) *Conn {
	c := &Conn{cfg: cfg, net: nc, ws: ws, out: out, client: client, done: make(chan struct{})}
	ws.SetReadLimit(int64(cfg.MaxMessage))
	ws.SetPingHandler(func(data string) error {
		c.heard.Store(true)
		return ignoreFull(c.control(opPong, []byte(data)))
	})
	ws.SetPongHandler(func(string) error {
		c.heard.Store(true)
		return nil
	})
	ws.SetCloseHandler(func(code int, text string) error {
		if code == gorilla.CloseNoStatusReceived {
			return ignoreFull(c.control(opClose, nil))
		}
		return ignoreFull(c.control(opClose, closePayload(code, "")))
	})
	if cfg.PingInterval > 0 {
		// Armed by hand before it can fire, so that tick sees c.ticker.
		c.ticker = time.AfterFunc(time.Hour, c.tick)
		c.ticker.Reset(cfg.PingInterval)
	}
	return c
}

// ignoreFull lets the answer to a ping or close be lost rather than the
// connection when the queue is full or closed.
func ignoreFull(err error) error {
	if errors.Is(err, wamp.ErrQueueFull) || errors.Is(err, wamp.ErrClosed) {
		return nil
	}
	return err
}

// tick looks for signs of life: a side that has been silent for one interval is
// pinged, for two it is dropped. Time in which nobody reads does not count.
func (c *Conn) tick() {
	switch {
	case c.closing.Load():
		return
	case c.heard.Swap(false) || !c.reading.Load():
		c.silent = 0
	case c.silent > 0:
		_ = c.net.Close() // frees the reader, which reports the loss
		return
	default:
		c.silent++
		if err := c.control(opPing, nil); errors.Is(err, wamp.ErrClosed) {
			return
		}
	}
	c.ticker.Reset(c.cfg.PingInterval)
}

func (c *Conn) control(op Kind, payload []byte) error {
	return c.out.Append(true, func(dst []byte) ([]byte, error) {
		return appendFrame(dst, op, len(payload), c.client, func(dst []byte) ([]byte, error) {
			return append(dst, payload...), nil
		})
	})
}

func closePayload(code int, text string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), text...)
}

// Subprotocol returns the subprotocol agreed on, "" for none.
func (c *Conn) Subprotocol() string { return c.ws.Subprotocol() }

// RemoteAddr returns the other side's address.
func (c *Conn) RemoteAddr() net.Addr { return c.net.RemoteAddr() }

// Read reads one message into buf, growing it as needed up to
// Config.MaxMessage, and returns the message, which shares buf's memory. It
// returns io.EOF when the other side has closed in order, ErrMessageTooBig, or
// the connection's error.
func (c *Conn) Read(buf []byte) (Kind, []byte, error) {
	c.reading.Store(true)
	defer c.reading.Store(false)
	kind, r, err := c.ws.NextReader()
	if err != nil {
		return 0, nil, c.readError(err)
	}
	b := buf[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			c.heard.Store(true)
			return Kind(kind), b, nil
		}
		if err != nil {
			return 0, nil, c.readError(err)
		}
	}
}

func (c *Conn) readError(err error) error {
	switch {
	case errors.Is(err, gorilla.ErrReadLimit):
		return ErrMessageTooBig
	case gorilla.IsCloseError(err, CloseNormal, CloseGoingAway, gorilla.CloseNoStatusReceived):
		return io.EOF
	case c.closing.Load():
		return wamp.ErrClosed
	}
	return fmt.Errorf("websocket: %w", err)
}

// Send queues one message whose payload build appends to dst, and returns at
// once: nil, wamp.ErrQueueFull, wamp.ErrClosed or build's error. hint is the
// payload's likely size. last marks the final messages of a connection, for which
// there is always some room.
func (c *Conn) Send(kind Kind, hint int, last bool, build func(dst []byte) ([]byte, error)) error {
	return c.out.Append(last, func(dst []byte) ([]byte, error) {
		return appendFrame(dst, kind, hint, c.client, build)
	})
}

// SendFrame queues a frame made by AppendFrame, shared with other connections of
// a server. It must not change any more.
func (c *Conn) SendFrame(frame []byte) error { return c.out.AppendFrame(frame) }

// Room returns nil if a message would be taken or the connection is closed,
// otherwise a channel that is closed when that may have changed.
func (c *Conn) Room() <-chan struct{} { return c.out.Room() }

// Shareable reports whether SendFrame may be used: servers do not mask.
func (c *Conn) Shareable() bool { return !c.client }

// Close sends what is queued and a close frame with code, waits for the other
// side to close for as long as Config.Linger allows, and releases the connection.
// Only the first call's code counts; the others wait for it.
func (c *Conn) Close(code int, text string) error {
	c.once.Do(func() {
		defer close(c.done)
		c.closing.Store(true)
		if c.ticker != nil {
			c.ticker.Stop()
		}
		// A full queue has no room for a farewell.
		_ = c.control(opClose, closePayload(code, text))
		c.out.Close()
		Drain(c.net, c.cfg.Linger)
	})
	<-c.done
	return nil
}

// drainBytes bounds what Drain reads.
const drainBytes = 256 << 10

// Drain ends the sending side of a connection and takes what the other side still
// sends, for at most linger, before it closes: to close with unread input would
// destroy the last messages on their way out.
func Drain(nc net.Conn, linger time.Duration) {
	defer func() { _ = nc.Close() }()
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if nc.SetReadDeadline(time.Now().Add(min(linger, time.Second))) != nil {
		return
	}
	// Whatever ends the reading ends the connection.
	_, _ = io.Copy(io.Discard, io.LimitReader(nc, drainBytes))
}

// sendContext is Send that waits for room until ctx ends.
func (c *Conn) sendContext(ctx context.Context, kind Kind, b []byte) error {
	for {
		err := c.Send(kind, len(b), false, func(dst []byte) ([]byte, error) { return append(dst, b...), nil })
		if !errors.Is(err, wamp.ErrQueueFull) {
			return err
		}
		room := c.Room()
		if room == nil {
			continue
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Write sends b as one message, waiting for room in the queue until ctx ends. b is
// copied.
func (c *Conn) Write(ctx context.Context, kind Kind, b []byte) error { return c.sendContext(ctx, kind, b) }
