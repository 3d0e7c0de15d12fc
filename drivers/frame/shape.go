package frame

import (
	"bytes"
	"encoding/hex"
	"time"

	"gantry/drivers/internal/checksum"
)

// The kinds of frames.
const (
	kindFixed     = "fixed"
	kindLength    = "length"
	kindDelimiter = "delimiter"
	kindSilence   = "silence"
)

// Reasons for garbage.
const (
	whyStart      = "no_start"   // bytes where a frame should begin
	whyEnd        = "no_end"     // the end marker is not where it should be
	whyLength     = "bad_length" // shorter than possible, or longer than allowed
	whyLong       = "too_long"
	whyUnfinished = "unfinished" // nothing came any more
	whyEscape     = "bad_escape"
	whyChecksum   = "checksum"
	whyShort      = "too_short" // for its checksum, or for the values of its message
	whyMatch      = "no_match"  // no message
)

// shape says how frames look.
type shape struct {
	kind       string
	start, end []byte
	size       int // fixed
	lenAt      int // length
	lenSize    int
	lenAdd     int
	little     bool
	escape     *escape // nil for none
	sum        *sum    // nil for none
	max        int
	idle       time.Duration
}

// escape is byte stuffing.
type escape struct {
	mark     byte
	xor      byte
	from, to map[byte]byte // what follows the mark to what it stands for, and back; nil: by xor
}

// undo appends b without escapes to out.
func (e *escape) undo(out, b []byte) ([]byte, bool) {
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == e.mark {
			if i++; i == len(b) {
				return out, false
			}
			c = b[i] ^ e.xor
			if e.from != nil {
				var ok bool
				if c, ok = e.from[b[i]]; !ok {
					return out, false
				}
			}
		}
		out = append(out, c)
	}
	return out, true
}

// do appends b to out with everything escaped that must not be in a frame: the mark,
// and the bytes of the markers given.
func (e *escape) do(out, b []byte, markers ...[]byte) []byte {
	for _, c := range b {
		code, special := e.to[c]
		if e.from == nil {
			code, special = c^e.xor, c == e.mark
			// By itself behind the mark, a byte of a marker would still look like one.
			if e.xor != 0 {
				for _, m := range markers {
					special = special || bytes.IndexByte(m, c) >= 0
				}
			}
		}
		if special {
			out = append(out, e.mark, code)
		} else {
			out = append(out, c)
		}
	}
	return out
}

// sum is a checksum in a frame.
type sum struct {
	f        checksum.Func
	from, to int // what it covers; negative: from the end
	at       int
	little   bool
	hex      bool
}

// size returns how many bytes of the frame it takes.
func (s *sum) size() int {
	if s.hex {
		return 2 * s.f.Size
	}
	return s.f.Size
}

// inFrame returns the place at of a frame of n bytes; ok is false if it has none.
func inFrame(at, n int) (int, bool) {
	if at < 0 {
		at += n
	}
	return at, at >= 0 && at <= n
}

// of returns the checksum of a frame as it is on the wire; ok is false if the frame
// is too short.
func (s *sum) of(frame []byte) (wire []byte, at int, ok bool) {
	n := len(frame)
	from, ok1 := inFrame(s.from, n)
	to, ok2 := inFrame(s.to, n)
	at, ok3 := inFrame(s.at, n)
	if !ok1 || !ok2 || !ok3 || from >= to || at+s.size() > n {
		return nil, 0, false
	}
	v := s.f.Sum(frame[from:to])
	wire = make([]byte, s.f.Size)
	for i := range wire {
		shift := 8 * (s.f.Size - 1 - i)
		if s.little {
			shift = 8 * i
		}
		wire[i] = byte(v >> shift)
	}
	if s.hex {
		wire = bytes.ToUpper(hex.AppendEncode(nil, wire))
	}
	return wire, at, true
}

// check returns why the frame is not intact.
func (s *sum) check(frame []byte) string {
	if s == nil {
		return ""
	}
	wire, at, ok := s.of(frame)
	if !ok {
		return whyShort
	}
	there := frame[at : at+len(wire)]
	if s.hex {
		there = bytes.ToUpper(there)
	}
	if !bytes.Equal(there, wire) {
		return whyChecksum
	}
	return ""
}

// cutter finds frames in what has come so far. It is pure: the reader keeps the
// bytes.
type cutter struct {
	*shape
	skipping bool   // what comes before the next end is no frame
	plain    []byte // the frame without escapes
}

// cut looks at the beginning of b. n is how many bytes are done with: a frame, or,
// with a reason, garbage; frame nil without a reason is neither. n 0 means that more
// bytes are needed. over says that no more came for a while. The frame is without
// its end marker and valid until the next call.
func (c *cutter) cut(b []byte, over bool) (frame []byte, n int, why string) {
	if len(b) == 0 {
		if over && c.kind == kindSilence {
			c.skipping = false
		}
		return nil, 0, ""
	}
	if n := c.toStart(b, over); n > 0 {
		return nil, n, whyStart
	}
	if len(b) < len(c.start) {
		return nil, 0, ""
	}
	switch c.kind {
	case kindSilence:
		return c.cutSilence(b, over)
	case kindDelimiter:
		return c.cutDelimiter(b, over)
	}
	size := c.size
	if c.kind == kindLength {
		if len(b) < c.lenAt+c.lenSize {
			return c.more(over)
		}
		if size = c.length(b); size < c.lenAt+c.lenSize+len(c.end) || size > c.max {
			return nil, 1, whyLength
		}
	}
	if len(b) < size {
		return c.more(over)
	}
	body := size - len(c.end)
	if !bytes.Equal(b[body:size], c.end) {
		return nil, 1, whyEnd
	}
	if why := c.sum.check(b[:body]); why != "" {
		return nil, 1, why
	}
	return b[:body], size, ""
}

// toStart returns how many bytes precede what may be a start marker.
func (c *cutter) toStart(b []byte, over bool) int {
	if len(c.start) == 0 || c.kind == kindSilence {
		return 0
	}
	if i := bytes.Index(b, c.start); i >= 0 {
		return i
	}
	for n := min(len(c.start)-1, len(b)); n > 0 && !over; n-- {
		if bytes.HasSuffix(b, c.start[:n]) {
			return len(b) - n
		}
	}
	return len(b)
}

// more waits for the rest of a frame, unless there is none.
func (c *cutter) more(over bool) ([]byte, int, string) {
	if over {
		return nil, 1, whyUnfinished
	}
	return nil, 0, ""
}

// length returns the size that a frame says that it has.
func (c *cutter) length(b []byte) int {
	v := int(b[c.lenAt])
	if c.lenSize == 2 {
		next := int(b[c.lenAt+1])
		if c.little {
			v |= next << 8
		} else {
			v = v<<8 | next
		}
	}
	return v + c.lenAdd
}

func (c *cutter) cutSilence(b []byte, over bool) (frame []byte, n int, why string) {
	switch {
	case c.skipping || len(b) > c.max:
		first := !c.skipping
		c.skipping = !over
		if first {
			return nil, len(b), whyLong
		}
		return nil, len(b), ""
	case !over:
		return nil, 0, ""
	case !bytes.HasPrefix(b, c.start):
		return nil, len(b), whyStart
	case !bytes.HasSuffix(b, c.end) || len(b) < len(c.start)+len(c.end):
		return nil, len(b), whyEnd
	}
	frame = b[:len(b)-len(c.end)]
	if why := c.sum.check(frame); why != "" {
		return nil, len(b), why
	}
	return frame, len(b), ""
}

func (c *cutter) cutDelimiter(b []byte, over bool) (frame []byte, n int, why string) {
	at := c.findEnd(b)
	whole := at >= 0
	if !whole {
		at = len(b)
	}
	if c.skipping {
		return c.skip(b, at, whole)
	}
	shared := len(c.start) > 0 && bytes.Equal(c.start, c.end)
	switch {
	case at > c.max || !whole && len(b)-len(c.end) >= c.max:
		return c.drop(len(b), at, whole, whyLong)
	case !whole && over && shared && len(b) == len(c.start):
		return nil, len(b), "" // the end of the frame before, left for this one
	case !whole && over:
		return c.drop(len(b), at, whole, whyUnfinished)
	case !whole:
		return nil, 0, ""
	}
	n = at + len(c.end)
	if shared {
		n = at // it may be the start of the next one
	}
	if at == len(c.start) {
		return nil, n, "" // empty
	}
	frame = b[:at]
	if c.escape != nil {
		var ok bool
		c.plain, ok = c.escape.undo(append(c.plain[:0], c.start...), b[len(c.start):at])
		if !ok {
			return c.drop(len(b), at, whole, whyEscape)
		}
		frame = c.plain
	}
	if why := c.sum.check(frame); why != "" {
		return c.drop(len(b), at, whole, why)
	}
	return frame, n, ""
}

// findEnd returns where the end marker begins, or -1.
func (c *cutter) findEnd(b []byte) int {
	if c.escape == nil {
		if i := bytes.Index(b[len(c.start):], c.end); i >= 0 {
			return len(c.start) + i
		}
		return -1
	}
	for i := len(c.start); i+len(c.end) <= len(b); i++ {
		if bytes.HasPrefix(b[i:], c.end) {
			return i
		}
		if b[i] == c.escape.mark {
			i++
		}
	}
	return -1
}

// skip passes over what comes before an end.
func (c *cutter) skip(b []byte, at int, whole bool) (frame []byte, n int, why string) {
	if whole {
		c.skipping = false
		return nil, at + len(c.end), ""
	}
	return nil, max(0, len(b)-len(c.end)+1), ""
}

// drop passes over a frame that is none. Where frames have a start, one may begin
// within it; else it reaches to its end.
func (c *cutter) drop(have, at int, whole bool, why string) ([]byte, int, string) {
	switch {
	case len(c.start) > 0 && bytes.Equal(c.start, c.end) && whole:
		return nil, at, why
	case len(c.start) > 0:
		return nil, 1, why
	case whole:
		return nil, at + len(c.end), why
	}
	c.skipping = true
	return nil, max(1, have-len(c.end)+1), why
}
