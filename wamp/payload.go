package wamp

import "bytes"

// List and Dict are the two containers of WAMP values. A value is nil, bool,
// int64, uint64 (only above the int64 range), float64, string, []byte, List or
// Dict; when sending, every Go type that the serializer package can encode is
// allowed as well.
type (
	// List is an ordered sequence of values.
	List = []any
	// Dict maps text keys to values.
	Dict = map[string]any
)

// Format is a serialization of messages: one of JSON, MsgPack, CBOR.
type Format uint8

// The formats. The zero value stands for Go values that are not serialized.
const (
	NoFormat Format = iota
	JSON
	MsgPack
	CBOR
	// FormatCount is the number of Format values, for tables indexed by one.
	FormatCount
)

var formatNames = [...]string{"values", "json", "msgpack", "cbor"}

// String returns the name used in subprotocols: json, msgpack, cbor.
func (f Format) String() string {
	if f < FormatCount {
		return formatNames[f]
	}
	return "invalid"
}

// Payload is the application part of a message: positional and keyword
// arguments. It is either Go values or bytes of one serializer that have been
// checked for form but not decoded, so that a router can splice them from one
// message into another.
//
// A raw payload aliases the message it was read from. Whoever keeps it longer
// than it was lent (see Peer) calls Clone. The zero Payload is empty.
type Payload struct {
	format Format
	args   []byte // one array in format; nil = absent
	kwargs []byte // one map in format; nil = absent
	list   List
	dict   Dict
}

// Values returns a payload of Go values. Both may be nil; both are kept.
func Values(args List, kwargs Dict) Payload { return Payload{list: args, dict: kwargs} }

// Args returns a payload of positional Go values.
func Args(args ...any) Payload { return Payload{list: args} }

// RawPayload returns a payload of serialized bytes: args must be one well-formed
// array and kwargs one well-formed map with text keys in f, nil where absent.
// The slices are kept, not copied.
func RawPayload(f Format, args, kwargs []byte) Payload {
	return Payload{format: f, args: args, kwargs: kwargs}
}

// Format returns the serializer of a raw payload, NoFormat for Go values.
func (p *Payload) Format() Format { return p.format }

// Raw returns the serialized array and map of a raw payload; nil where absent
// and for Go values.
func (p *Payload) Raw() (args, kwargs []byte) { return p.args, p.kwargs }

// GoValues returns the values of a payload that is not raw; nil for a raw one
// (decode it with serialize.Values).
func (p *Payload) GoValues() (args List, kwargs Dict) { return p.list, p.dict }

// Empty reports whether the payload has neither args nor kwargs. A raw payload
// with an empty array is not Empty: it is written as it is. Decoders drop empty
// ones, so this is about payloads made by RawPayload.
func (p *Payload) Empty() bool {
	return p.args == nil && p.kwargs == nil && len(p.list) == 0 && len(p.dict) == 0
}

// Size returns the bytes that a raw payload holds; 0 for Go values.
func (p *Payload) Size() int { return len(p.args) + len(p.kwargs) }

// Clone returns a payload that shares no bytes with the message it was read
// from. Go values are shared: they are not changed once sent.
func (p Payload) Clone() Payload {
	if p.format == NoFormat {
		return p
	}
	if p.kwargs == nil {
		p.args = bytes.Clone(p.args)
		return p
	}
	b := make([]byte, len(p.args)+len(p.kwargs))
	n := copy(b, p.args)
	copy(b[n:], p.kwargs)
	if p.args != nil {
		p.args = b[:n:n]
	}
	p.kwargs = b[n:]
	return p
}
