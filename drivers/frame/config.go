package frame

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/checksum"
	"gantry/drivers/internal/value"
	"gantry/drivers/serialport"
)

// Config is the driver's part of a device's table. Exactly one of Port and TCP is set.
type Config struct {
	Port     serialport.Config        `toml:"port"`
	TCP      string                   `toml:"tcp"` // "host:port" of a device, or of a serial server that passes bytes on
	Line     serialport.LineConfig    `toml:"line"`
	Settle   drivers.Duration         `toml:"settle"` // wait after opening, for boards that start anew then; at most 1m
	Order    string                   `toml:"order"`  // of length, checksum and values: "big" (default) or "little"
	Echo     bool                     `toml:"echo"`   // what is sent comes back first, as on RS-485 with two wires
	Frame    ShapeConfig              `toml:"frame"`
	Checksum *ChecksumConfig          `toml:"checksum"`
	Messages map[string]MessageConfig `toml:"message"` // absent: one message, which all frames are
	Points   map[string]PointConfig   `toml:"point"`
	Actions  map[string]ActionConfig  `toml:"action"`
}

// Bytes are bytes that configuration writes in hexadecimal: "FF 01".
type Bytes []byte

// UnmarshalText parses pairs of hexadecimal digits, with or without spaces.
func (b *Bytes) UnmarshalText(text []byte) error {
	v, err := hex.DecodeString(strings.ReplaceAll(string(text), " ", ""))
	if err != nil {
		return fmt.Errorf("%.40q are no bytes; allowed: pairs of hexadecimal digits, such as \"FF 01\"", text)
	}
	*b = v
	return nil
}

// ShapeConfig says how frames are found in the stream of bytes. Places in a frame
// count from its first byte, start marker included; negative ones count from its
// end. The end marker does not belong to the frame.
type ShapeConfig struct {
	Kind   string            `toml:"kind"`   // fixed, length, delimiter, silence
	Start  Bytes             `toml:"start"`  // marker that frames begin with; up to 8 bytes
	End    Bytes             `toml:"end"`    // marker behind them; required with delimiter
	Size   uint32            `toml:"size"`   // fixed: bytes of a frame, markers included
	Length *LengthConfig     `toml:"length"` // length: where it is
	Escape *EscapeConfig     `toml:"escape"` // delimiter: how markers are kept out of frames
	Max    uint32            `toml:"max"`    // bytes of the longest frame, markers included; 4 to 65536, default 1024
	Idle   *drivers.Duration `toml:"idle"`   // pause that gives an unfinished frame up, and ends one of kind silence; default 500ms, for silence 50ms
}

// LengthConfig says where a frame has its length.
type LengthConfig struct {
	At   uint32 `toml:"at"`   // place of its first byte
	Size uint32 `toml:"size"` // its bytes: 1 (default) or 2
	Add  int32  `toml:"add"`  // what it does not count: length + add = bytes of the frame, markers included
}

// EscapeConfig is byte stuffing: what follows an escape byte stands for another.
type EscapeConfig struct {
	Byte Bytes            `toml:"byte"` // the escape; one byte
	XOR  uint8            `toml:"xor"`  // the byte behind it is that exclusive or this; 0: it is itself
	Map  map[string]Bytes `toml:"map"`  // instead of xor: { DC = "C0" }, the byte behind it and what it stands for
}

// ChecksumConfig says which checksum frames carry, and where.
type ChecksumConfig struct {
	Kind   string `toml:"kind"`   // see checksum.Names, or "crc" with the parameters below
	From   int32  `toml:"from"`   // first byte that it covers; default 0
	To     *int32 `toml:"to"`     // first byte that it does not cover any more; default: where the checksum is
	At     *int32 `toml:"at"`     // its place; default: the frame's last bytes
	Order  string `toml:"order"`  // big, little; default: the device's
	Hex    bool   `toml:"hex"`    // it is written in hexadecimal digits, two for a byte
	Width  uint8  `toml:"width"`  // of a crc: 8, 16, 32
	Poly   uint32 `toml:"poly"`   // without the highest bit
	Init   uint32 `toml:"init"`   // start value
	RefIn  bool   `toml:"refin"`  // bytes are reflected
	RefOut bool   `toml:"refout"` // the result is reflected
	XorOut uint32 `toml:"xorout"` // exclusive or with the result
}

// MessageConfig is one kind of frame.
type MessageConfig struct {
	Match   map[string]Bytes  `toml:"match"`   // place = bytes that are there: { 1 = "86" }; absent: any
	Request string            `toml:"request"` // template of what asks for it; absent: it comes by itself
	Plain   bool              `toml:"plain"`   // the request is sent as it stands, without end marker and escapes
	Timeout *drivers.Duration `toml:"timeout"` // for request and answer together; default 1s
	Retries uint8             `toml:"retries"` // how often it is asked again; up to 10, default 0
}

// PointConfig is the driver's part of a point's table.
type PointConfig struct {
	Message string       `toml:"message"` // the message that holds it; may be absent if there is one only
	At      *int32       `toml:"at"`      // place of its first byte; absent: the point is only written
	Type    string       `toml:"type"`    // u8 (default) u16 u24 u32 u64 i8 ... i64 f32 f64 bcd8 ... bcd64 bool text bytes number
	Length  uint32       `toml:"length"`  // bytes of text, bytes and number; default: up to the checksum, or the end
	Order   string       `toml:"order"`   // big, little, or the bytes as they come, "a" most significant: "cdab"
	Bit     *uint8       `toml:"bit"`     // lowest bit of a part of an unsigned
	Bits    uint8        `toml:"bits"`    // its width; 1 (default with bit) makes a bool
	Absent  *int64       `toml:"absent"`  // bits that stand for no value
	Write   *WriteConfig `toml:"write"`   // how it is written; absent: it is not
}

// WriteConfig says what is sent and what comes back.
type WriteConfig struct {
	Template string            `toml:"template"` // bytes in hexadecimal; {value}, {length} and {checksum} are filled in
	Plain    bool              `toml:"plain"`    // as in MessageConfig
	Answer   string            `toml:"answer"`   // message that acknowledges it; if it holds the point, its value is read back
	Refusal  string            `toml:"refusal"`  // message that refuses it; only with answer
	Timeout  *drivers.Duration `toml:"timeout"`  // for sending and answer together; default 1s
}

// ActionConfig describes an action: a command that is more than setting a point.
type ActionConfig struct {
	Description string               `toml:"description"`
	Template    string               `toml:"template"` // as in WriteConfig; {name} stands for an argument
	Plain       bool                 `toml:"plain"`
	Answer      string               `toml:"answer"` // as in WriteConfig; the values of its points are the result
	Refusal     string               `toml:"refusal"`
	Timeout     *drivers.Duration    `toml:"timeout"`
	Args        map[string]ArgConfig `toml:"args"`
}

// ArgConfig describes an argument of an action. All arguments must be given.
type ArgConfig struct {
	Type        string   `toml:"type"`   // as of a point, but for number
	Length      uint32   `toml:"length"` // bytes of text and bytes
	Order       string   `toml:"order"`
	Unit        string   `toml:"unit"`
	Description string   `toml:"description"`
	Min         *float64 `toml:"min"`
	Max         *float64 `toml:"max"`
}

const (
	defaultTimeout = time.Second
	maxTimeout     = time.Minute
	maxSettle      = time.Minute
	defaultMax     = 1024
	minMax         = 4
	maxMax         = 65536
	maxMarker      = 8
	maxRetries     = 10
	defaultIdle    = 500 * time.Millisecond
	// Longer than the 16 ms for which USB adapters hold bytes back.
	defaultSilence = 50 * time.Millisecond
)

func bad(key, allowed, format string, args ...any) error {
	return &drivers.ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}

// isLittle parses an order that is big or little; def is that of "".
func isLittle(key, order string, def bool) (bool, error) {
	switch order {
	case "":
		return def, nil
	case "big", "little":
		return order == "little", nil
	}
	return false, bad(key, "big, little", "%.20q is unknown", order)
}

// newShape checks how frames are found.
func newShape(cfg *Config) (*shape, error) {
	c := &cfg.Frame
	s := &shape{start: c.Start, end: c.End, max: int(c.Max), idle: defaultIdle}
	little, err := isLittle("order", cfg.Order, false)
	if err != nil {
		return nil, err
	}
	s.little = little
	if s.max == 0 {
		s.max = defaultMax
	}
	switch {
	case s.max < minMax || s.max > maxMax:
		return nil, bad("frame.max", fmt.Sprintf("%d to %d bytes", minMax, maxMax), "%d is out of range", s.max)
	case len(c.Start) > maxMarker:
		return nil, bad("frame.start", fmt.Sprintf("up to %d bytes", maxMarker), "is too long")
	case len(c.End) > maxMarker:
		return nil, bad("frame.end", fmt.Sprintf("up to %d bytes", maxMarker), "is too long")
	case !slices.Contains([]string{kindFixed, kindLength, kindDelimiter, kindSilence}, c.Kind):
		return nil, bad("frame.kind", "fixed, length, delimiter, silence", "%.20q is unknown", c.Kind)
	case c.Size != 0 && c.Kind != kindFixed:
		return nil, bad("frame.size", `only with kind = "fixed"`, "does not apply")
	case c.Length != nil && c.Kind != kindLength:
		return nil, bad("frame.length", `only with kind = "length"`, "does not apply")
	case c.Escape != nil && c.Kind != kindDelimiter:
		return nil, bad("frame.escape", `only with kind = "delimiter"`, "does not apply")
	}
	if err := s.setKind(c); err != nil {
		return nil, err
	}
	if c.Idle != nil {
		s.idle = c.Idle.Std()
	}
	if s.idle <= 0 || s.idle > maxTimeout {
		return nil, bad("frame.idle", "more than 0s, up to "+maxTimeout.String(), "%v is out of range", s.idle)
	}
	if cfg.Checksum != nil {
		if s.sum, err = newSum(cfg.Checksum, little); err != nil {
			return nil, err
		}
	}
	if (s.kind == kindFixed || s.kind == kindLength) && len(s.start) == 0 && s.sum == nil {
		return nil, bad("frame.start", "a start marker, a [checksum], or both", "is missing: nobody could tell where a frame begins")
	}
	return s, nil
}

// setKind checks what belongs to one kind.
func (s *shape) setKind(c *ShapeConfig) error {
	s.kind = c.Kind
	switch c.Kind {
	case kindFixed:
		if s.size = int(c.Size); s.size <= len(s.start)+len(s.end) || s.size > s.max {
			return bad("frame.size", fmt.Sprintf("%d to %d bytes, markers included", len(s.start)+len(s.end)+1, s.max), "%d is out of range", c.Size)
		}
	case kindLength:
		l := c.Length
		if l == nil {
			return bad("frame.length", "{ at = 2, size = 1, add = 3 }", "is missing")
		}
		if s.lenSize = max(1, int(l.Size)); s.lenSize > 2 {
			return bad("frame.length.size", "1 or 2 bytes", "is %d", l.Size)
		}
		s.lenAt, s.lenAdd = int(l.At), int(l.Add)
		if l.At < uint32(len(s.start)) || int64(l.At)+int64(s.lenSize) > int64(s.max) {
			return bad("frame.length.at", fmt.Sprintf("%d to %d, behind the start marker", len(s.start), s.max-s.lenSize), "%d is out of range", l.At)
		}
	case kindDelimiter:
		if len(s.end) == 0 {
			return bad("frame.end", `the bytes that end a frame: "0D 0A"`, "is missing")
		}
		return s.setEscape(c.Escape)
	case kindSilence:
		s.idle = defaultSilence
	}
	return nil
}

func (s *shape) setEscape(c *EscapeConfig) error {
	if c == nil {
		return nil
	}
	if len(c.Byte) != 1 {
		return bad("frame.escape.byte", `one byte: "7D"`, "has %d bytes", len(c.Byte))
	}
	if c.XOR != 0 && len(c.Map) > 0 {
		return bad("frame.escape.map", "xor or map", "stands beside xor")
	}
	e := &escape{mark: c.Byte[0], xor: c.XOR}
	if len(c.Map) > 0 {
		e.from, e.to = map[byte]byte{}, map[byte]byte{}
	}
	for k, v := range c.Map {
		var from Bytes
		if err := from.UnmarshalText([]byte(k)); err != nil || len(from) != 1 || len(v) != 1 {
			return bad("frame.escape.map."+k, `one byte for one byte: { DC = "C0" }`, "is no pair of bytes")
		}
		e.from[from[0]], e.to[v[0]] = v[0], from[0]
	}
	s.escape = e
	return nil
}

func newSum(c *ChecksumConfig, little bool) (*sum, error) {
	s := &sum{from: int(c.From), hex: c.Hex}
	var ok bool
	if c.Kind == "crc" {
		if c.Width != 8 && c.Width != 16 && c.Width != 32 {
			return nil, bad("checksum.width", "8, 16, 32", "is %d", c.Width)
		}
		if most := uint32(1)<<c.Width - 1; c.Poly == 0 || c.Poly > most || c.Init > most || c.XorOut > most {
			return nil, bad("checksum.poly", fmt.Sprintf("poly 1 to %#X, init and xorout 0 to %#X", most, most), "or init or xorout does not fit the width")
		}
		s.f = checksum.CRC{Width: int(c.Width), Poly: c.Poly, Init: c.Init, RefIn: c.RefIn, RefOut: c.RefOut, XorOut: c.XorOut}.Func()
	} else if s.f, ok = checksum.Named(c.Kind); !ok {
		return nil, bad("checksum.kind", checksum.Names+", or crc with width, poly, init, refin, refout, xorout", "%.30q is unknown", c.Kind)
	} else if c.Width != 0 || c.Poly != 0 || c.Init != 0 || c.RefIn || c.RefOut || c.XorOut != 0 {
		return nil, bad("checksum.width", `width, poly, init, refin, refout and xorout only with kind = "crc"`, "does not apply to %s", c.Kind)
	}
	var err error
	if s.little, err = isLittle("checksum.order", c.Order, little); err != nil {
		return nil, err
	}
	if s.at = -s.size(); c.At != nil {
		s.at = int(*c.At)
	}
	if s.at < 0 && s.at > -s.size() {
		return nil, bad("checksum.at", fmt.Sprintf("0 and more, or %d and less", -s.size()), "%d leaves no room for %d bytes", s.at, s.size())
	}
	if s.to = s.at; c.To != nil {
		s.to = int(*c.To)
	}
	if (s.from < 0) == (s.to < 0) && s.from >= s.to {
		return nil, bad("checksum.to", "a place behind from", "the checksum covers nothing")
	}
	return s, nil
}

// newForm checks the type of a value. number is true for decimal digits in ASCII,
// which have no form.
func newForm(key, name string, length uint32, order string, little bool) (f value.Form, number bool, err error) {
	if name == "" {
		name = "u8"
	}
	if name == "number" {
		f, _ = value.Named("text")
	} else {
		var ok bool
		if f, ok = value.Named(name); !ok {
			return f, false, bad(key+".type", "u8 u16 u24 u32 u64 i8 i16 i24 i32 i64 f32 f64 bcd8 bcd16 bcd32 bcd64 bool text bytes number", "%.20q is unknown", name)
		}
	}
	if f.Kind == value.Bool {
		f.Size = 1
	}
	if f.Size == 0 {
		if length > maxMax {
			return f, false, bad(key+".length", fmt.Sprintf("up to %d bytes", maxMax), "%d is out of range", length)
		}
		if order != "" {
			return f, false, bad(key+".order", "only with numbers", "does not apply to %s", name)
		}
		f.Size = int(length)
		return f, name == "number", nil
	}
	if length != 0 {
		return f, false, bad(key+".length", "only with text, bytes and number", "does not apply to %s", name)
	}
	if order == "" && little || order == "little" {
		order = reversed[8-f.Size:]
	} else if order == "big" {
		order = ""
	}
	var ok bool
	if f.Order, ok = value.ParseOrder(order, f.Size); !ok {
		return f, false, bad(key+".order", "big, little, or the letters "+letters[:f.Size]+" in the order in which the bytes come", "%.20q is no order of %d bytes", order, f.Size)
	}
	return f, false, nil
}

const letters, reversed = "abcdefgh", "hgfedcba"

// timeoutOf checks a timeout.
func timeoutOf(key string, d *drivers.Duration) (time.Duration, error) {
	t := defaultTimeout
	if d != nil {
		t = d.Std()
	}
	if t <= 0 || t > maxTimeout {
		return 0, bad(key+".timeout", "more than 0s, up to "+maxTimeout.String(), "%v is out of range", t)
	}
	return t, nil
}

// place parses the place of a match.
func place(key, text string) (int, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n > maxMax || n < -maxMax {
		return 0, bad(key, "a place: 0 is the first byte, -1 the last one", "%.20q is no place", text)
	}
	return int(n), nil
}
