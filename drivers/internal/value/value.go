// Package value turns the bytes of a device's protocol into values and back: numbers
// of all widths and orders, floats, BCD, bits, text. It serves all drivers of binary
// protocols. What holds no value says why, and never becomes a number.
package value

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"gantry/drivers"
)

// Reasons for a reading of quality Bad that its value is to blame for.
const (
	WhyAbsent = "absent"       // the device's mark for: there is no such value
	WhyNumber = "not_a_number" // a float, or digits, that are none
	WhyRange  = "out_of_range" // more than an int64 holds
	WhyText   = "not_text"     // not UTF-8
	WhyBCD    = "not_bcd"      // a digit above 9
)

// Kind is how the bits of a value are to be understood.
type Kind uint8

// The kinds.
const (
	Unsigned Kind = iota
	Signed
	Float // IEEE 754, 32 or 64 bits
	BCD   // two decimal digits in a byte
	Text  // UTF-8, padded with NUL or spaces
	Octets
	Bool
)

// Form is the type of a value on the wire: what its bytes hold, and in which order.
type Form struct {
	Kind  Kind
	Size  int    // bytes; up to 8 but for text and bytes
	Order []byte // place of each byte on the wire, most significant first; nil = as sent

	// Parts of an unsigned: Bits many from Bit on; Bits 0 = all of it. One bit is
	// a bool where Flag says so.
	Bit, Bits uint
	Flag      bool

	Absent    uint64 // the bits that stand for no value, if HasAbsent
	HasAbsent bool
}

// Named returns the form that configuration calls by name: u8 u16 u24 u32 u64, i8
// to i64, f32, f64, bcd8 to bcd64, bool, text, bytes. The last three leave Size to
// the caller.
func Named(name string) (Form, bool) {
	switch name {
	case "bool":
		return Form{Kind: Bool}, true
	case "text":
		return Form{Kind: Text}, true
	case "bytes":
		return Form{Kind: Octets}, true
	}
	prefix := strings.TrimRight(name, "0123456789")
	width := name[len(prefix):]
	size := map[string]int{"8": 1, "16": 2, "24": 3, "32": 4, "64": 8}[width]
	kind, ok := map[string]Kind{"u": Unsigned, "i": Signed, "f": Float, "bcd": BCD}[prefix]
	if !ok || size == 0 || kind == Float && size < 4 || kind == BCD && size == 3 {
		return Form{}, false
	}
	return Form{Kind: kind, Size: size}, true
}

// Type returns the type of the values.
func (f *Form) Type() drivers.Type {
	switch {
	case f.Flag || f.Kind == Bool:
		return drivers.Bool
	case f.Kind == Float:
		return drivers.Float
	case f.Kind == Text:
		return drivers.Text
	case f.Kind == Octets:
		return drivers.Bytes
	}
	return drivers.Int
}

// ParseOrder returns the places of a value's bytes. s names them in the order in
// which they come over the wire, "a" being the most significant: "cdab" has the
// low register first. Four letters also do for 64 bits: cdab has the registers in
// reverse, badc the bytes within each, dcba both. An empty s is "ab...".
func ParseOrder(s string, n int) ([]byte, bool) {
	const letters = "abcdefgh"
	if len(s) == 4 && n == 8 {
		long, ok := map[string]string{"abcd": "abcdefgh", "cdab": "ghefcdab", "badc": "badcfehg", "dcba": "hgfedcba"}[s]
		if !ok {
			return nil, false
		}
		s = long
	}
	if s == "" || s == letters[:min(n, len(letters))] {
		return nil, true
	}
	if n > len(letters) || len(s) != n {
		return nil, false
	}
	order := make([]byte, n)
	for i := range order {
		at := strings.IndexByte(s, letters[i])
		if at < 0 {
			return nil, false
		}
		order[i] = byte(at)
	}
	return order, true
}

// arrange returns the bytes of a value, most significant first.
func (f *Form) arrange(wire []byte, buf *[8]byte) []byte {
	if f.Order == nil {
		return wire
	}
	for i, at := range f.Order {
		buf[i] = wire[at]
	}
	return buf[:len(f.Order)]
}

// raw returns the bits of a number.
func (f *Form) raw(wire []byte) uint64 {
	var buf [8]byte
	var v uint64
	for _, b := range f.arrange(wire, &buf) {
		v = v<<8 | uint64(b)
	}
	return v
}

// Read returns the value in wire, which holds f.Size bytes, or why there is
// none.
func (f *Form) Read(wire []byte) (v drivers.Value, why string) {
	if f.Kind == Text || f.Kind == Octets {
		return f.readBytes(wire)
	}
	v64 := f.raw(wire)
	if f.HasAbsent && v64 == f.Absent {
		return nil, WhyAbsent
	}
	switch f.Kind {
	case Bool:
		return v64 != 0, ""
	case Signed:
		shift := 64 - 8*f.Size
		return int64(v64<<shift) >> shift, ""
	case Float:
		return f.readFloat(v64)
	case BCD:
		return readBCD(v64)
	}
	if f.Bits > 0 {
		v64 = v64 >> f.Bit & (1<<f.Bits - 1)
		if f.Flag {
			return v64 != 0, ""
		}
	}
	if v64 > math.MaxInt64 {
		return nil, WhyRange
	}
	return int64(v64), ""
}

// readFloat returns a float of 32 bits as the shortest decimal that stands for it:
// 230.1 is meant, not 230.10000610351562.
func (f *Form) readFloat(v uint64) (drivers.Value, string) {
	x := math.Float64frombits(v)
	if f.Size == 4 {
		x = float64(math.Float32frombits(uint32(v)))
	}
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil, WhyNumber
	}
	if f.Size == 4 && x != math.Trunc(x) {
		var buf [32]byte
		// What FormatFloat has written parses.
		x, _ = strconv.ParseFloat(string(strconv.AppendFloat(buf[:0], x, 'g', -1, 32)), 64)
	}
	return x, ""
}

func readBCD(v uint64) (drivers.Value, string) {
	var n int64
	for shift := 60; shift >= 0; shift -= 4 {
		d := v >> shift & 15
		if d > 9 {
			return nil, WhyBCD
		}
		n = 10*n + int64(d)
	}
	return n, ""
}

func (f *Form) readBytes(wire []byte) (drivers.Value, string) {
	b := f.swapPairs(wire)
	if f.Kind == Octets {
		return b, ""
	}
	s := strings.TrimRight(string(b), "\x00 ")
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = strings.TrimRight(s[:i], " ")
	}
	if !utf8.ValidString(s) {
		return nil, WhyText
	}
	return s, ""
}

// swapPairs returns a copy of b, with the bytes of each pair exchanged if the
// order says so.
func (f *Form) swapPairs(b []byte) []byte {
	out := append([]byte(nil), b...)
	if f.Order != nil {
		for i := 0; i+1 < len(out); i += 2 {
			out[i], out[i+1] = out[i+1], out[i]
		}
	}
	return out
}

// Write returns the bytes that hold v, or says what is wrong with it. Parts are not
// written: Bit and Bits do not apply.
func (f *Form) Write(v drivers.Value) ([]byte, error) {
	switch f.Kind {
	case Text:
		s, ok := v.(string)
		if !ok || len(s) > f.Size {
			return nil, fmt.Errorf("is no text of up to %d bytes", f.Size)
		}
		return f.swapPairs(append([]byte(s), make([]byte, f.Size-len(s))...)), nil
	case Octets:
		b, ok := v.([]byte)
		if !ok || len(b) != f.Size {
			return nil, fmt.Errorf("is not %d bytes", f.Size)
		}
		return f.swapPairs(b), nil
	}
	bits, err := f.pack(v)
	if err != nil {
		return nil, err
	}
	n := f.Size
	out := make([]byte, n)
	var be [8]byte
	binary.BigEndian.PutUint64(be[:], bits)
	for i, b := range be[8-n:] {
		if f.Order != nil {
			i = int(f.Order[i])
		}
		out[i] = b
	}
	return out, nil
}

// pack returns the bits of a number or bool.
func (f *Form) pack(v drivers.Value) (uint64, error) {
	switch f.Kind {
	case Bool:
		on, ok := v.(bool)
		if !ok {
			return 0, fmt.Errorf("is no bool")
		}
		if on {
			return 1, nil
		}
		return 0, nil
	case Float:
		x, ok := v.(float64)
		if !ok || math.IsNaN(x) || math.IsInf(x, 0) {
			return 0, fmt.Errorf("is no number")
		}
		if f.Size == 8 {
			return math.Float64bits(x), nil
		}
		if math.IsInf(float64(float32(x)), 0) {
			return 0, fmt.Errorf("%g is more than a float of 32 bits holds", x)
		}
		return uint64(math.Float32bits(float32(x))), nil
	}
	n, ok := v.(int64)
	if !ok {
		return 0, fmt.Errorf("is no integer")
	}
	if low, high := f.Span(); n < low || n > high {
		return 0, fmt.Errorf("%d is not from %d to %d", n, low, high)
	}
	if f.Kind == BCD {
		var out uint64
		for shift := 0; n > 0; shift += 4 {
			out |= uint64(n%10) << shift
			n /= 10
		}
		return out, nil
	}
	return uint64(n) << (64 - 8*f.Size) >> (64 - 8*f.Size), nil
}

// Span returns the least and the greatest integer of the form.
func (f *Form) Span() (low, high int64) {
	width := uint(8 * f.Size)
	switch {
	case f.Kind == BCD:
		high = 1
		for range 2 * f.Size {
			high *= 10
		}
		return 0, high - 1
	case f.Kind == Signed:
		return -1 << (width - 1), 1<<(width-1) - 1
	case f.Bits > 0:
		width = f.Bits
	}
	if width >= 63 {
		return 0, math.MaxInt64
	}
	return 0, 1<<width - 1
}
