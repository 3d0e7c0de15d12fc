package transport

import (
	"fmt"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// Defaults of Options.
const (
	DefaultMaxMessage       = 1 << 20
	DefaultQueue            = 1 << 20
	DefaultPingInterval     = 5 * time.Second
	DefaultPingTimeout      = 10 * time.Second
	DefaultWriteTimeout     = 10 * time.Second
	DefaultHandshakeTimeout = 5 * time.Second
	DefaultLinger           = 2 * time.Second
)

// Options are what both ends of a network connection set alike. The zero value
// means the defaults.
type Options struct {
	// MaxMessage is the largest message received, in bytes, 512 to 2^24.
	// RawSocket announces the next lower power of two.
	MaxMessage int
	// MaxDepth and MaxElements bound what a message may contain; 0 means the
	// defaults of serialize.Limits.
	MaxDepth, MaxElements int
	// Queue is how many bytes may wait to be sent. An empty queue takes a message
	// of any size that the other side takes.
	Queue int
	// PingInterval is the silence after which the other side is pinged, and
	// PingTimeout how long it may then stay silent. After both together it is
	// dropped. A negative PingInterval switches pings off.
	PingInterval, PingTimeout time.Duration
	// QuietRawSocket sends no pings on RawSocket, because Autobahn|Python on
	// Twisted takes them for an enormous message and hangs up. A dead host is then
	// still noticed by TCP, a stuck program is not.
	QuietRawSocket bool
	// WriteTimeout is how long the other side may take nothing of what is sent
	// before it is dropped.
	WriteTimeout time.Duration
	// HandshakeTimeout bounds everything before the first message.
	HandshakeTimeout time.Duration
	// Linger bounds Close: flushing the queue and waiting for the other side to
	// have read it.
	Linger time.Duration
}

func (o Options) withDefaults() (Options, error) {
	if o.MaxMessage == 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.MaxMessage < 1<<9 || o.MaxMessage > 1<<24 {
		return o, fmt.Errorf("largest message is %d bytes, allowed are 512 to 16777216", o.MaxMessage)
	}
	if o.Queue < 0 || o.MaxDepth < 0 || o.MaxElements < 0 {
		return o, fmt.Errorf("queue, depth and elements may not be negative")
	}
	o.Queue = orDefault(o.Queue, DefaultQueue)
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&o.PingTimeout, DefaultPingTimeout},
		{&o.WriteTimeout, DefaultWriteTimeout},
		{&o.HandshakeTimeout, DefaultHandshakeTimeout},
		{&o.Linger, DefaultLinger},
	} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if o.PingInterval == 0 {
		o.PingInterval = DefaultPingInterval
	}
	return o, nil
}

func (o *Options) limits(message int) serialize.Limits {
	return serialize.Limits{Bytes: message, Depth: o.MaxDepth, Elements: o.MaxElements}
}

// allFormats is the preference of both ends where none is configured.
var allFormats = []wamp.Format{wamp.CBOR, wamp.MsgPack, wamp.JSON}

func checkFormats(fs []wamp.Format) ([]wamp.Format, error) {
	if len(fs) == 0 {
		return allFormats, nil
	}
	for _, f := range fs {
		if f == wamp.NoFormat || f >= wamp.FormatCount {
			return nil, fmt.Errorf("format %d is none of json, msgpack, cbor", f)
		}
	}
	return fs, nil
}
