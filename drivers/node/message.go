package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"gantry/drivers"
)

// version is the version of the protocol that this package speaks.
const version = 1

// kind is the first byte of a body. Source: docs/node-protocol.md, "Messages".
type kind byte

const (
	hello    kind = 0x01 // host: who are you?
	ping     kind = 0x02 // host: are you there?
	set      kind = 0x03 // host: set a point
	do       kind = 0x04 // host: run an action
	announce kind = 0x81 // node: who I am, and how much follows
	point    kind = 0x82 // node: one point
	action   kind = 0x83 // node: one action
	argument kind = 0x84 // node: one argument of an action
	reading  kind = 0x90 // node: the value of a point
	batch    kind = 0x91 // node: values of several points, of one moment
	result   kind = 0xA0 // node: answer to set, do and ping
	refusal  kind = 0xA1 // node: the same, it will not
	logLine  kind = 0xA3 // node: a line for people
)

// headBytes are kind and request.
const headBytes = 2

// Limits of what a node announces. Source: docs/node-protocol.md, "Limits".
const (
	maxPoints  = 64
	maxActions = 32
	maxArgs    = 8
	maxID      = 32
	maxName    = 32 // serial number, model, firmware
	maxUnit    = 16
	maxAbout   = 64
	maxEnum    = 16
	maxWord    = 16  // of an enum
	maxText    = 128 // of a value
)

// Flags of points and arguments.
const (
	flagReadable = 1 << iota
	flagWritable
	flagMin
	flagMax
)

// tagNone is the tag of a value that is not there; the others are the types.
const tagNone = 0xFF

var errShort = errors.New("message is too short")

// cursor reads a body from front to back. After an error it yields zeros.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err, c.b = err, nil
	}
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.fail(errShort)
		return nil
	}
	p := c.b[:n]
	c.b = c.b[n:]
	return p
}

func (c *cursor) byte() byte {
	if p := c.take(1); p != nil {
		return p[0]
	}
	return 0
}

// text reads a length and so many bytes of UTF-8.
func (c *cursor) text(what string, most int) string {
	p := c.take(int(c.byte()))
	if len(p) > most {
		c.fail(fmt.Errorf("%s has %d bytes, allowed: up to %d", what, len(p), most))
	}
	if !utf8.Valid(p) {
		c.fail(fmt.Errorf("%s is no UTF-8", what))
	}
	if c.err != nil {
		return ""
	}
	return string(p)
}

// value reads a tag and what it says; nil for none.
func (c *cursor) value() drivers.Value {
	switch tag := c.byte(); {
	case c.err != nil, tag == tagNone:
		return nil
	case tag == byte(drivers.Float):
		p := c.take(5)
		if p == nil {
			return nil
		}
		return decimal(int32(binary.LittleEndian.Uint32(p)), int8(p[4]))
	case tag == byte(drivers.Int):
		p := c.take(4)
		if p == nil {
			return nil
		}
		return int64(int32(binary.LittleEndian.Uint32(p)))
	case tag == byte(drivers.Bool):
		b := c.byte()
		if b > 1 {
			c.fail(fmt.Errorf("a bool is %d, allowed: 0, 1", b))
		}
		return b == 1
	case tag == byte(drivers.Text):
		return c.text("a text", maxText)
	case tag == byte(drivers.Bytes):
		p := c.take(int(c.byte()))
		if len(p) > maxText {
			c.fail(fmt.Errorf("a value has %d bytes, allowed: up to %d", len(p), maxText))
		}
		return append([]byte{}, p...)
	default:
		c.fail(fmt.Errorf("there is no type %d", tag))
	}
	return nil
}

// end returns the first error, or that something is left.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		return fmt.Errorf("%d bytes are left behind the message", len(c.b))
	}
	return c.err
}

// decimal returns mantissa times ten to the exponent, the float64 next to it.
func decimal(mantissa int32, exponent int8) float64 {
	// Digits, e and an exponent of up to 127 always parse.
	f, _ := strconv.ParseFloat(strconv.Itoa(int(mantissa))+"e"+strconv.Itoa(int(exponent)), 64)
	return f
}

// appendValue appends a value; the error says why it cannot be expressed.
func appendValue(out []byte, v drivers.Value) ([]byte, error) {
	switch v := v.(type) {
	case float64:
		mantissa, exponent, ok := split(v)
		if !ok {
			return out, fmt.Errorf("%g cannot be expressed: %w", v, drivers.ErrRefused)
		}
		out = append(out, byte(drivers.Float))
		out = binary.LittleEndian.AppendUint32(out, uint32(mantissa))
		return append(out, byte(exponent)), nil
	case int64:
		if v < math.MinInt32 || v > math.MaxInt32 {
			return out, fmt.Errorf("%d cannot be expressed, allowed: 32 bits: %w", v, drivers.ErrRefused)
		}
		return binary.LittleEndian.AppendUint32(append(out, byte(drivers.Int)), uint32(int32(v))), nil
	case bool:
		if v {
			return append(out, byte(drivers.Bool), 1), nil
		}
		return append(out, byte(drivers.Bool), 0), nil
	case string:
		return appendBytes(append(out, byte(drivers.Text)), []byte(v))
	case []byte:
		return appendBytes(append(out, byte(drivers.Bytes)), v)
	}
	return out, fmt.Errorf("%T is no value: %w", v, drivers.ErrRefused)
}

func appendBytes(out, b []byte) ([]byte, error) {
	if len(b) > maxText {
		return out, fmt.Errorf("%d bytes are too long, allowed: up to %d: %w", len(b), maxText, drivers.ErrRefused)
	}
	return append(append(out, byte(len(b))), b...), nil
}

// split returns the decimal next to f that has nine digits at most, so that the
// mantissa has 32 bits.
func split(f float64) (mantissa int32, exponent int8, ok bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, 0, false
	}
	var m int64
	var e int
	// One digit, a point, eight digits, e and the exponent.
	s := strconv.FormatFloat(f, 'e', 8, 64)
	at := len(s) - 1
	for s[at] != 'e' {
		at--
	}
	e, _ = strconv.Atoi(s[at+1:])
	for _, r := range s[:at] {
		if r >= '0' && r <= '9' {
			m = m*10 + int64(r-'0')
		}
	}
	if s[0] == '-' {
		m = -m
	}
	for e -= 8; m != 0 && m%10 == 0; e++ {
		m /= 10
	}
	switch {
	case m == 0:
		e = 0
	case e < -128:
		return 0, 0, true // closer to nothing than can be told
	case e > 127:
		return 0, 0, false
	}
	return int32(m), int8(e), true
}
