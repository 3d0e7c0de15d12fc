package websocket

import (
	"net"
	"time"
)

// Defaults of Config.
const (
	DefaultMaxMessage   = 1 << 20
	DefaultWriteTimeout = 10 * time.Second
	DefaultPingInterval = 5 * time.Second
	DefaultPingTimeout  = 10 * time.Second
	DefaultLinger       = 2 * time.Second
	// DefaultFragment is the payload in bytes of the frames that a MessageWriter sends.
	DefaultFragment = 16 << 10
)

// Config holds what a client and a server set alike. The zero value means the
// defaults.
type Config struct {
	// MaxMessage is the largest message in bytes that is received, all its
	// fragments together, and counted after inflating. A larger one fails the
	// connection with close code 1009 before it is buffered.
	MaxMessage int
	// MaxFrame is the largest frame in bytes of payload that is received; 0 leaves
	// it to MaxMessage. A larger one fails the connection with close code 1009.
	MaxFrame int
	// Fragment is the size in bytes above which a message is sent as several
	// frames of that size; 0 sends messages as one frame each.
	Fragment int
	// WriteTimeout is how long a write may take before the connection fails.
	WriteTimeout time.Duration
	// PingInterval is the silence after which the other side is pinged, and
	// PingTimeout how long an answer may take; after both together the connection
	// is dropped. A negative PingInterval switches the keepalive off.
	PingInterval, PingTimeout time.Duration
	// Idle is how long a connection may be without a message in either direction
	// before it is closed with code 1001; 0 means for ever.
	Idle time.Duration
	// Linger is how long Close waits for the other side to close as well.
	Linger time.Duration
	// EchoReason has the answer to a close frame repeat its reason as well as its
	// code.
	EchoReason bool
	// FailByDrop ends a connection whose other side breaks the protocol or a limit
	// without a close frame, so that it learns nothing.
	FailByDrop bool
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
	// DeflateLevel is the compressor's effort, from 1, the fastest, to 9; 0 means 1.
	// Values beyond count as the nearest one.
	DeflateLevel int
	// Trace, if not nil, is told of everything on the wire from the end of the
	// handshake on. It is called by the goroutines that read and write, at times
	// by both at once. See TraceTo and TraceLog. It must not be set with Wrap.
	Trace func(TraceEvent)
	// Wrap, if not nil, replaces the network connection beneath the WebSocket.
	// Everything passes through the wrapper, the handshake included; each control
	// frame is one Write. Such a connection keeps no statistics of what it
	// receives, has no MaxFrame and does not show frames: that is up to the wrapper.
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
	c.DeflateLevel = min(max(c.DeflateLevel, 1), maxLevel)
	return c
}
