package serialize

import (
	"bytes"
	"math"
	"sync"

	"gantry/wamp"
)

// maxFields is the most elements that a message has: those of ERROR.
const maxFields = 7

// Decoder turns the messages of one connection from bytes into structs. It has
// one struct of each type and scratch memory, which every Decode uses again, and
// is not safe for concurrent use.
type Decoder struct {
	format wamp.Format
	lim    Limits
	*memory
}

// memory is what a Decoder has while its connection is not idle: 3 KiB.
type memory struct {
	b      []byte // message being decoded
	fields [maxFields][]byte
	n      int // fields of this message
	typ    wamp.MessageType

	walk   walk
	read   reader // scalars and keys of the head
	keys   []string
	reader fieldReader
	ppt    wamp.Passthru

	hello        wamp.Hello
	welcome      wamp.Welcome
	abort        wamp.Abort
	challenge    wamp.Challenge
	authenticate wamp.Authenticate
	goodbye      wamp.Goodbye
	errorReply   wamp.ErrorReply
	publish      wamp.Publish
	published    wamp.Published
	subscribe    wamp.Subscribe
	subscribed   wamp.Subscribed
	unsubscribe  wamp.Unsubscribe
	unsubscribed wamp.Unsubscribed
	event        wamp.Event
	call         wamp.Call
	cancel       wamp.Cancel
	result       wamp.Result
	register     wamp.Register
	registered   wamp.Registered
	unregister   wamp.Unregister
	unregistered wamp.Unregistered
	invocation   wamp.Invocation
	interrupt    wamp.Interrupt
	yield        wamp.Yield
}

// memories are those of idle decoders.
var memories = sync.Pool{New: func() any { return new(memory) }}

// NewDecoder returns a decoder of messages in format f, which is one of JSON,
// MsgPack and CBOR.
func NewDecoder(f wamp.Format, lim Limits) *Decoder {
	return &Decoder{format: f, lim: lim.withDefaults()}
}

// borrow provides memory.
func (d *Decoder) borrow() {
	if d.memory == nil {
		d.memory = memories.Get().(*memory)
		d.read.format, d.read.keep = d.format, true
	}
}

// Release gives the memory back that the last message lies in, whose loan ends.
// The next Decode takes some again.
func (d *Decoder) Release() {
	m := d.memory
	if m == nil {
		return
	}
	d.memory = nil
	keys, sizes, buf := m.keys, m.walk.sizes[:0], m.read.buf[:0]
	clear(keys)
	if cap(buf) > keepScratch/16 {
		buf = nil
	}
	if cap(sizes) > keepScratch/16 {
		sizes = nil
	}
	*m = memory{keys: keys[:0]}
	m.walk.sizes, m.read.buf = sizes, buf
	memories.Put(m)
}

// Decode reads b, which is one message. The message returned, with its texts and
// payload, borrows b and the decoder's memory: it is valid until b changes and the
// next Decode or Release (see wamp.Peer). Dicts and filter lists are new each time; an empty
// Dict is nil. Arguments are proven well formed but not decoded.
//
// The error is a *wamp.ProtocolError whose text names the message and the field.
func (d *Decoder) Decode(b []byte) (wamp.Message, error) {
	if known(d.format) != nil {
		return nil, violation("no serializer chosen")
	}
	if len(b) > d.lim.Bytes {
		return nil, violation("message " + string(errSize))
	}
	d.borrow()
	d.b, d.n, d.typ = b, 0, 0
	if cap(d.read.buf) > keepScratch {
		d.read.buf = nil
	}
	d.read.buf = d.read.buf[:0]
	d.walk.limit(d.lim.Depth, d.lim.Elements)
	if i, err := d.split(); err != nil {
		return nil, violation("malformed message: " + syntaxError(d.format, i, err).Error())
	}
	// What is in the fields is proven now; walks only skip from here on.
	d.walk.limit(maxDepth, math.MaxInt)
	typ, ok := d.uint(d.fields[0])
	if !ok || typ == 0 || typ > math.MaxUint16 {
		return nil, violation("message type is not a message type number")
	}
	d.typ = wamp.MessageType(typ)
	return d.message()
}

func violation(text string) error { return &wamp.ProtocolError{Text: text} }

// split proves the message and finds its fields.
func (d *Decoder) split() (int, error) {
	if d.format == wamp.JSON {
		return d.splitJSON()
	}
	return d.splitBinary()
}

// field adds the bytes from start to end as the next field.
func (d *Decoder) field(start, end int) error {
	if d.n == maxFields {
		return fault("message has too many fields")
	}
	d.fields[d.n] = d.b[start:end:end]
	d.n++
	return nil
}

const (
	errNotList = fault("message is not a list")
	errEmpty   = fault("message is empty")
)

func (d *Decoder) splitJSON() (int, error) {
	b := d.b
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '[' {
		return i, errNotList
	}
	if i = skipSpace(b, i+1); i < len(b) && b[i] == ']' {
		return i, errEmpty
	}
	for {
		i = skipSpace(b, i)
		end, err := d.walk.json(b, i)
		if err != nil {
			return end, err
		}
		if err = d.field(i, end); err != nil {
			return i, err
		}
		if i = skipSpace(b, end); i >= len(b) {
			return i, errTruncated
		}
		if b[i] != ',' {
			break
		}
		i++
	}
	if b[i] != ']' {
		return i, errJSONSyntax
	}
	if i = skipSpace(b, i+1); i != len(b) {
		return i, errTrailing
	}
	return i, nil
}

func (d *Decoder) splitBinary() (int, error) {
	b := d.b
	k, n, i, err := head(d.format, b, 0)
	for tags := 0; err == nil && k == kindTag; tags++ {
		if tags == d.lim.Depth {
			return i, errDepth
		}
		k, n, i, err = head(d.format, b, i)
	}
	switch {
	case err != nil:
		return i, err
	case k != kindList:
		return 0, errNotList
	}
	for uint64(d.n) < n {
		if n == indefinite && i < len(b) && b[i] == 0xff {
			i++
			break
		}
		end, err := d.walk.binary(d.format, b, i)
		if err != nil {
			return end, err
		}
		if err = d.field(i, end); err != nil {
			return i, err
		}
		i = end
	}
	switch {
	case d.n == 0:
		return i, errEmpty
	case i != len(b):
		return i, errTrailing
	}
	return i, nil
}

// peek returns the kind of the proven value v, its number or length, and the
// index behind its head. In JSON a text may turn out to be bytes, and all numbers
// that are no kindUint are kindFloat64.
func (d *Decoder) peek(v []byte) (kind, uint64, int) {
	if d.format != wamp.JSON {
		k, n, i, _ := head(d.format, v, 0)
		for k == kindTag {
			k, n, i, _ = head(d.format, v, i)
		}
		return k, n, i
	}
	switch v[0] {
	case '{':
		return kindDict, 0, 1
	case '[':
		return kindList, 0, 1
	case '"':
		return kindText, 0, 1
	case 't':
		return kindTrue, 0, 1
	case 'f':
		return kindFalse, 0, 1
	case 'n':
		return kindNull, 0, 1
	}
	if skipDigits(v, 0) == len(v) {
		if n, ok := parseUint(v); ok {
			return kindUint, n, 1
		}
	}
	return kindFloat64, 0, 1
}

func (d *Decoder) uint(v []byte) (uint64, bool) {
	k, n, _ := d.peek(v)
	return n, k == kindUint
}

// id reads an ID, which languages whose only numbers are floating point may write
// as one (BP "IDs"); ok is false for what is no integer from 0 to 2^53.
func (d *Decoder) id(v []byte) (id wamp.ID, ok bool) {
	k, n, _ := d.peek(v)
	f := 0.0
	switch k {
	case kindUint:
		return wamp.ID(n), n <= uint64(wamp.MaxID)
	case kindFloat32:
		f = float64(math.Float32frombits(uint32(n)))
	case kindFloat64:
		f = math.Float64frombits(n)
	}
	// A comparison with NaN is false.
	if !(f >= 1 && f <= float64(wamp.MaxID)) || f != math.Trunc(f) {
		return 0, false
	}
	return wamp.ID(f), true
}

// is reports whether v is a value of kind k.
func (d *Decoder) is(v []byte, k kind) bool {
	got, _, _ := d.peek(v)
	return got == k
}

// text returns the text v, which aliases the message where it is written plainly
// there and the reader's buffer otherwise.
func (d *Decoder) text(v []byte) (string, bool) {
	k, n, i := d.peek(v)
	switch {
	case k != kindText:
		return "", false
	case d.format != wamp.JSON && n != indefinite:
		return alias(v[i:]), true
	case d.format == wamp.JSON && bytes.IndexByte(v, '\\') < 0:
		return alias(v[1 : len(v)-1]), true
	}
	d.read.b, d.read.i = v, 0
	t, err := d.read.next(false)
	return t.text(), err == nil && t.kind == kindText
}
