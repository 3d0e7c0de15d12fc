package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// format is a serializer.
type format int

const (
	formatJSON format = 1 + iota // numbered as in the handshake of RawSocket
	formatMsgPack
	formatCBOR
)

var formatNames = map[string]format{"json": formatJSON, "msgpack": formatMsgPack, "cbor": formatCBOR}

// list and dict are what messages are made of, besides int, float64 and string.
type (
	list []any
	dict []pair
	pair struct {
		k string
		v any
	}
)

// encode appends v.
func encode(b []byte, f format, v any) []byte {
	switch v := v.(type) {
	case int:
		return appendInt(b, f, uint64(v))
	case float64:
		switch f {
		case formatJSON:
			return strconv.AppendFloat(b, v, 'g', -1, 64)
		case formatMsgPack:
			b = append(b, 0xCB)
		case formatCBOR:
			b = append(b, 0xFB)
		}
		return binary.BigEndian.AppendUint64(b, math.Float64bits(v))
	case string:
		if f == formatJSON {
			return append(append(append(b, '"'), v...), '"') // nothing here needs an escape
		}
		return append(appendStringHead(b, f, len(v)), v...)
	case list:
		b = appendHead(b, f, '[', len(v))
		for i, e := range v {
			if f == formatJSON && i > 0 {
				b = append(b, ',')
			}
			b = encode(b, f, e)
		}
		return appendEnd(b, f, ']')
	case dict:
		b = appendHead(b, f, '{', len(v))
		for i, e := range v {
			if f == formatJSON && i > 0 {
				b = append(b, ',')
			}
			b = encode(b, f, e.k)
			if f == formatJSON {
				b = append(b, ':')
			}
			b = encode(b, f, e.v)
		}
		return appendEnd(b, f, '}')
	}
	panic(fmt.Sprintf("no encoding for %T", v))
}

// appendHead opens a list or dictionary of n entries, 15 at most.
func appendHead(b []byte, f format, kind byte, n int) []byte {
	switch {
	case f == formatJSON:
		return append(b, kind)
	case f == formatMsgPack && kind == '[':
		return append(b, 0x90|byte(n))
	case f == formatMsgPack:
		return append(b, 0x80|byte(n))
	case kind == '[':
		return append(b, 0x80|byte(n))
	}
	return append(b, 0xA0|byte(n))
}

func appendEnd(b []byte, f format, kind byte) []byte {
	if f == formatJSON {
		return append(b, kind)
	}
	return b
}

func appendInt(b []byte, f format, n uint64) []byte {
	switch f {
	case formatJSON:
		return strconv.AppendUint(b, n, 10)
	case formatMsgPack:
		switch {
		case n < 1<<7:
			return append(b, byte(n))
		case n < 1<<16:
			return binary.BigEndian.AppendUint16(append(b, 0xCD), uint16(n))
		case n < 1<<32:
			return binary.BigEndian.AppendUint32(append(b, 0xCE), uint32(n))
		}
		return binary.BigEndian.AppendUint64(append(b, 0xCF), n)
	}
	return appendCBORHead(b, 0, n)
}

func appendCBORHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendStringHead(b []byte, f format, n int) []byte {
	switch {
	case f == formatCBOR:
		return appendCBORHead(b, 0x60, uint64(n))
	case n < 32:
		return append(b, 0xA0|byte(n))
	case n < 1<<8:
		return append(b, 0xD9, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 0xDA), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xDB), uint32(n))
}

// head returns the first two elements of a message, a list that begins with
// integers; 0 for what is none.
func head(f format, b []byte) (kind, id uint64) {
	if len(b) == 0 {
		return 0, 0
	}
	switch f {
	case formatJSON:
		kind, b = jsonInt(b[1:])
		id, _ = jsonInt(b)
		return kind, id
	case formatMsgPack:
		n := 1
		if b[0] == 0xDC {
			n = 3
		}
		kind, b = msgpackInt(b[n:])
		id, _ = msgpackInt(b)
		return kind, id
	}
	n := 1
	if b[0] == 0x98 {
		n = 2
	}
	kind, b = cborInt(b[n:])
	id, _ = cborInt(b)
	return kind, id
}

func jsonInt(b []byte) (n uint64, rest []byte) {
	for len(b) > 0 && (b[0] == ' ' || b[0] == ',') {
		b = b[1:]
	}
	for len(b) > 0 && b[0] >= '0' && b[0] <= '9' {
		n = 10*n + uint64(b[0]-'0')
		b = b[1:]
	}
	return n, b
}

func msgpackInt(b []byte) (n uint64, rest []byte) {
	size := 0
	switch {
	case len(b) == 0:
		return 0, nil
	case b[0] < 1<<7:
		return uint64(b[0]), b[1:]
	case b[0] >= 0xCC && b[0] <= 0xCF:
		size = 1 << (b[0] - 0xCC)
	case b[0] >= 0xD0 && b[0] <= 0xD3:
		size = 1 << (b[0] - 0xD0)
	}
	return bigEndian(b[1:], size)
}

func cborInt(b []byte) (n uint64, rest []byte) {
	switch {
	case len(b) == 0:
		return 0, nil
	case b[0] < 24:
		return uint64(b[0]), b[1:]
	case b[0] <= 27:
		return bigEndian(b[1:], 1<<(b[0]-24))
	}
	return 0, nil
}

func bigEndian(b []byte, size int) (n uint64, rest []byte) {
	if len(b) < size {
		return 0, nil
	}
	for _, c := range b[:size] {
		n = n<<8 | uint64(c)
	}
	return n, b[size:]
}

// template is a message that is sent often: the second element, an ID, changes,
// and so do 16 digits of the payload.
type template struct {
	before, after []byte
	mark          int // where the digits begin, from the end of after; 0 = there are none
}

// newTemplate makes the message [kind, ID, rest...].
func newTemplate(f format, kind int, rest ...any) *template {
	t := &template{before: encode(appendHead(nil, f, '[', len(rest)+2), f, kind)}
	if f == formatJSON {
		t.before = append(t.before, ',')
	}
	for _, v := range rest {
		if f == formatJSON {
			t.after = append(t.after, ',')
		}
		t.after = encode(t.after, f, v)
	}
	t.after = appendEnd(t.after, f, ']')
	return t
}

// The payloads. Their last argument is a string that begins with the mark and 16
// hexadecimal digits, by which an event is known again.
const (
	markLetter = '#'
	markLen    = 1 + 16
)

func marked(size int) string {
	b := make([]byte, max(size, markLen))
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	copy(b, "#0000000000000000")
	return string(b)
}

// text is one string of size bytes.
func text(size int) list { return list{marked(size)} }

// sensor is a reading with what usually goes with it.
func sensor(size int) list {
	return list{21.625, dict{
		{"ts", 1700000000123456}, {"q", "good"}, {"unit", "Cel"}, {"seq", 471100}, {"ep", 3}, {"clk", "sync"},
		{"limits", list{-40.5, 125.0}}, {"site", "barn"},
	}, marked(size - 128)}
}

// markFromEnd tells where the digits are in a message that ends with this payload.
func markFromEnd(f format, payload list) int {
	n := len(payload[len(payload)-1].(string)) - 1
	if f == formatJSON {
		n += len(`"]]`)
	}
	return n
}

const hexDigits = "0123456789abcdef"

func putHex(b []byte, n uint64) {
	for i := 15; i >= 0; i-- {
		b[i] = hexDigits[n&15]
		n >>= 4
	}
}

func readHex(b []byte) (n uint64) {
	for _, c := range b[:16] {
		if c >= 'a' {
			c -= 'a' - '9' - 1
		}
		n = n<<4 | uint64(c-'0')
	}
	return n
}
