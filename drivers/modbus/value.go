package modbus

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
	whyAbsent = "absent"       // the device's mark for: there is no such value
	whyNumber = "not_a_number" // a float that is none
	whyRange  = "out_of_range" // more than an int64 holds
	whyText   = "not_text"     // not UTF-8
	whyBCD    = "not_bcd"      // a digit above 9
)

// kindOf is how the bits of registers are to be understood.
type kindOf uint8

const (
	unsigned kindOf = iota
	signed
	float
	bcd
	text
	octets
	boolean
)

// form is the type of a value in registers: what they hold, and in which order.
type form struct {
	kind  kindOf
	regs  int    // registers, 1 to 123
	order []byte // place of each byte on the wire, most significant first; nil = as sent

	// Parts of an unsigned: bits many from bit on; bits 0 = all of it. One bit is
	// a bool.
	bit, bits uint
	flag      bool

	absent    uint64 // the bits that stand for no value
	hasAbsent bool
}

var forms = map[string]form{
	"u16": {kind: unsigned, regs: 1}, "i16": {kind: signed, regs: 1},
	"u32": {kind: unsigned, regs: 2}, "i32": {kind: signed, regs: 2}, "f32": {kind: float, regs: 2},
	"u64": {kind: unsigned, regs: 4}, "i64": {kind: signed, regs: 4}, "f64": {kind: float, regs: 4},
	"bcd16": {kind: bcd, regs: 1}, "bcd32": {kind: bcd, regs: 2}, "bcd64": {kind: bcd, regs: 4},
	"text": {kind: text}, "bytes": {kind: octets}, "bool": {kind: boolean, regs: 1},
}

const formNames = "u16, i16, u32, i32, u64, i64, f32, f64, bcd16, bcd32, bcd64, bool, text, bytes"

// TypeRegisters returns how many registers a value of the type takes, 0 for text and
// bytes, which say so themselves. ok is false if there is no such type.
func TypeRegisters(name string) (n uint16, ok bool) {
	f, ok := forms[name]
	return uint16(f.regs), ok
}

// typ returns the type of the values.
func (f *form) typ() drivers.Type {
	switch {
	case f.flag || f.kind == boolean:
		return drivers.Bool
	case f.kind == float:
		return drivers.Float
	case f.kind == text:
		return drivers.Text
	case f.kind == octets:
		return drivers.Bytes
	}
	return drivers.Int
}

// parseOrder returns the places of a value's bytes. s names them in the order in
// which they come over the wire, "a" being the most significant: "cdab" has the
// low register first. Four letters also do for 64 bits: cdab has the registers in
// reverse, badc the bytes within each, dcba both. An empty s is "ab...".
func parseOrder(s string, n int) ([]byte, bool) {
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
func (f *form) arrange(wire []byte, buf *[8]byte) []byte {
	if f.order == nil {
		return wire
	}
	for i, at := range f.order {
		buf[i] = wire[at]
	}
	return buf[:len(f.order)]
}

// raw returns the bits of a number.
func (f *form) raw(wire []byte) uint64 {
	var buf [8]byte
	var v uint64
	for _, b := range f.arrange(wire, &buf) {
		v = v<<8 | uint64(b)
	}
	return v
}

// read returns the value in wire, which holds f.regs registers, or why there is
// none.
func (f *form) read(wire []byte) (v drivers.Value, why string) {
	if f.kind == text || f.kind == octets {
		return f.readBytes(wire)
	}
	v64 := f.raw(wire)
	if f.hasAbsent && v64 == f.absent {
		return nil, whyAbsent
	}
	switch f.kind {
	case boolean:
		return v64 != 0, ""
	case signed:
		shift := 64 - 16*f.regs
		return int64(v64<<shift) >> shift, ""
	case float:
		return f.readFloat(v64)
	case bcd:
		return readBCD(v64)
	}
	if f.bits > 0 {
		v64 = v64 >> f.bit & (1<<f.bits - 1)
		if f.flag {
			return v64 != 0, ""
		}
	}
	if v64 > math.MaxInt64 {
		return nil, whyRange
	}
	return int64(v64), ""
}

// readFloat returns a float of 32 bits as the shortest decimal that stands for it:
// 230.1 is meant, not 230.10000610351562.
func (f *form) readFloat(v uint64) (drivers.Value, string) {
	x := math.Float64frombits(v)
	if f.regs == 2 {
		x = float64(math.Float32frombits(uint32(v)))
	}
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil, whyNumber
	}
	if f.regs == 2 && x != math.Trunc(x) {
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
			return nil, whyBCD
		}
		n = 10*n + int64(d)
	}
	return n, ""
}

func (f *form) readBytes(wire []byte) (drivers.Value, string) {
	b := f.swapPairs(wire)
	if f.kind == octets {
		return b, ""
	}
	s := strings.TrimRight(string(b), "\x00 ")
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = strings.TrimRight(s[:i], " ")
	}
	if !utf8.ValidString(s) {
		return nil, whyText
	}
	return s, ""
}

// swapPairs returns a copy of b, with the bytes of each register exchanged if the
// order says so.
func (f *form) swapPairs(b []byte) []byte {
	out := append([]byte(nil), b...)
	if f.order != nil {
		for i := 0; i+1 < len(out); i += 2 {
			out[i], out[i+1] = out[i+1], out[i]
		}
	}
	return out
}

// write returns the registers that hold v, or says what is wrong with it. Parts of
// registers are written by mask, see writeBits.
func (f *form) write(v drivers.Value) ([]byte, error) {
	switch f.kind {
	case text:
		s, ok := v.(string)
		if !ok || len(s) > 2*f.regs {
			return nil, fmt.Errorf("is no text of up to %d bytes", 2*f.regs)
		}
		return f.swapPairs(append([]byte(s), make([]byte, 2*f.regs-len(s))...)), nil
	case octets:
		b, ok := v.([]byte)
		if !ok || len(b) != 2*f.regs {
			return nil, fmt.Errorf("is not %d bytes", 2*f.regs)
		}
		return f.swapPairs(b), nil
	}
	bits, err := f.pack(v)
	if err != nil {
		return nil, err
	}
	n := 2 * f.regs
	out := make([]byte, n)
	var be [8]byte
	binary.BigEndian.PutUint64(be[:], bits)
	for i, b := range be[8-n:] {
		if f.order != nil {
			i = int(f.order[i])
		}
		out[i] = b
	}
	return out, nil
}

// pack returns the bits of a number or bool.
func (f *form) pack(v drivers.Value) (uint64, error) {
	switch f.kind {
	case boolean:
		on, ok := v.(bool)
		if !ok {
			return 0, fmt.Errorf("is no bool")
		}
		if on {
			return 1, nil
		}
		return 0, nil
	case float:
		x, ok := v.(float64)
		if !ok || math.IsNaN(x) || math.IsInf(x, 0) {
			return 0, fmt.Errorf("is no number")
		}
		if f.regs == 4 {
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
	if low, high := f.span(); n < low || n > high {
		return 0, fmt.Errorf("%d is not from %d to %d", n, low, high)
	}
	if f.kind == bcd {
		var out uint64
		for shift := 0; n > 0; shift += 4 {
			out |= uint64(n%10) << shift
			n /= 10
		}
		return out, nil
	}
	return uint64(n) << (64 - 16*f.regs) >> (64 - 16*f.regs), nil
}

// span returns the least and the greatest integer of the form.
func (f *form) span() (low, high int64) {
	width := uint(16 * f.regs)
	switch {
	case f.kind == bcd:
		high = 1
		for range 4 * f.regs {
			high *= 10
		}
		return 0, high - 1
	case f.kind == signed:
		return -1 << (width - 1), 1<<(width-1) - 1
	case f.bits > 0:
		width = f.bits
	}
	if width >= 63 {
		return 0, math.MaxInt64
	}
	return 0, 1<<width - 1
}

// writeBits returns the masks of function 22 that put v into its part of one
// register: and has the bits that stay, or those that v sets. Only forms of one
// register have them.
func (f *form) writeBits(v drivers.Value) (and, or uint16, err error) {
	var n int64
	if f.flag {
		on, ok := v.(bool)
		if !ok {
			return 0, 0, fmt.Errorf("is no bool")
		}
		if on {
			n = 1
		}
	} else {
		var ok bool
		if n, ok = v.(int64); !ok {
			return 0, 0, fmt.Errorf("is no integer")
		}
		if low, high := f.span(); n < low || n > high {
			return 0, 0, fmt.Errorf("%d is not from %d to %d", n, low, high)
		}
	}
	part := uint16(1<<f.bits-1) << f.bit
	and, or = ^part, uint16(n)<<f.bit
	if f.order != nil { // the two bytes are exchanged on the wire
		and, or = and<<8|and>>8, or<<8|or>>8
	}
	return and, or, nil
}
