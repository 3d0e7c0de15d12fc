package transport

import (
	"fmt"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/websocket"
)

// Defaults of Options.
const (
	DefaultMaxMessage       = 1 << 20
	DefaultMaxHello         = 16 << 10
	DefaultQueue            = 1 << 20
	DefaultPingInterval     = 5 * time.Second
	DefaultPingTimeout      = 8 * time.Second // with the interval 13 s: on a busy machine, too, less than 15 s
	DefaultWriteTimeout     = 10 * time.Second
	DefaultHandshakeTimeout = 5 * time.Second
	DefaultMessageTimeout   = 30 * time.Second
	DefaultLinger           = 2 * time.Second
)

// Options are what both ends of a network connection set alike. The zero value
// means the defaults.
type Options struct {
	// MaxMessage is the largest message received, in bytes, 512 to 2^24, counted
	// after inflating. RawSocket announces the next lower power of two. A batch of
	// smaller messages may have 64 KiB even if that is more.
	MaxMessage int
	// MaxHello is the largest message received by a server before it has welcomed
	// the client to a realm, since strangers need no large ones.
	MaxHello int
	// MaxDepth and MaxElements bound what a message may contain; 0 means the
	// defaults of serialize.Limits.
	MaxDepth, MaxElements int
	// Batched speaks the WebSocket subprotocols that put several messages into one
	// frame: a client offers them before the plain ones, a server takes them.
	Batched bool
	// Separator is the octet that is written behind each message of a JSON batch,
	// SeparatorRS or SeparatorCAN; both are always read. 0 means the one that the
	// other side uses and SeparatorRS until it has used one.
	Separator byte
	// Deflate compresses WebSocket messages of DeflateFrom bytes or more (0 means
	// websocket.DefaultDeflateFrom) if the other side can inflate, and offers to
	// inflate its. See websocket.Config.Deflate for what it costs.
	Deflate     bool
	DeflateFrom int
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
	// MessageTimeout bounds the arrival of a message of more than 16 KiB at a server:
	// with a second more for each 16 KiB of it, for whoever holds memory has to use it.
	MessageTimeout time.Duration
	// Linger bounds Close: flushing the queue and waiting for the other side to
	// have read it.
	Linger time.Duration

	epoch time.Time // what now counts from
}

// now is a time in nanoseconds that only runs forward.
func (o *Options) now() int64 { return int64(time.Since(o.epoch)) }

func (o Options) withDefaults() (Options, error) {
	if o.MaxMessage == 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.MaxMessage < 1<<9 || o.MaxMessage > 1<<24 {
		return o, fmt.Errorf("largest message is %d bytes, allowed are 512 to 16777216", o.MaxMessage)
	}
	o.MaxHello = orDefault(o.MaxHello, DefaultMaxHello)
	if o.MaxHello < 0 || o.Queue < 0 || o.MaxDepth < 0 || o.MaxElements < 0 || o.DeflateFrom < 0 {
		return o, fmt.Errorf("queue, depth, elements and the size to compress from may not be negative")
	}
	if o.Separator != 0 && o.Separator != SeparatorRS && o.Separator != SeparatorCAN {
		return o, fmt.Errorf("separator of batches is octet 0x%02x, expected 0x1e or 0x18", o.Separator)
	}
	o.epoch = time.Now()
	o.DeflateFrom = orDefault(o.DeflateFrom, websocket.DefaultDeflateFrom)
	o.Queue = orDefault(o.Queue, DefaultQueue)
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&o.PingTimeout, DefaultPingTimeout},
		{&o.WriteTimeout, DefaultWriteTimeout},
		{&o.HandshakeTimeout, DefaultHandshakeTimeout},
		{&o.MessageTimeout, DefaultMessageTimeout},
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

// largest returns the limit of messages, max for those that are known.
func (o *Options) largest(max int, stranger bool) int {
	if stranger {
		return min(max, o.MaxHello)
	}
	return max
}

// largestOf returns the largest frame of a WebSocket.
func (o *Options) largestOf(k batching) int {
	if k != unbatched {
		return o.largestFrame()
	}
	return o.MaxMessage
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
