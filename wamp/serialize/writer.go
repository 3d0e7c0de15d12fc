package serialize

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gantry/wamp"
)

const (
	errNUL       = fault("text that begins with NUL would be taken for binary")
	errNotFinite = fault("NaN and infinities have no form")
)

// writer appends items in one format. In JSON each value is followed by a comma,
// which closing the container around it takes back.
type writer struct {
	format wamp.Format
	b      []byte
}

// finish takes back the comma behind the last value.
func (w *writer) finish() []byte {
	if w.format == wamp.JSON {
		return w.b[:len(w.b)-1]
	}
	return w.b
}

// put appends a scalar, or the head of a container that close ends.
func (w *writer) put(t *token) error {
	switch t.kind {
	case kindNull, kindFalse, kindTrue:
		w.word(t.kind)
	case kindUint, kindInt:
		w.integer(t.kind, t.n)
	case kindFloat32, kindFloat64:
		return w.float(t.kind, t.n)
	case kindText:
		return w.text(t.text())
	case kindBytes:
		w.bytes(t.raw)
	default:
		w.open(t.kind, t.n)
	}
	return nil
}

var words = [wamp.FormatCount][3]string{
	wamp.JSON:    {kindNull: "null,", kindFalse: "false,", kindTrue: "true,"},
	wamp.MsgPack: {kindNull: "\xc0", kindFalse: "\xc2", kindTrue: "\xc3"},
	wamp.CBOR:    {kindNull: "\xf6", kindFalse: "\xf4", kindTrue: "\xf5"},
}

func (w *writer) word(k kind) { w.b = append(w.b, words[w.format][k]...) }

func (w *writer) bool(v bool) {
	if v {
		w.word(kindTrue)
	} else {
		w.word(kindFalse)
	}
}

func (w *writer) uint(u uint64) { w.integer(kindUint, u) }

func (w *writer) int(v int64) {
	if v < 0 {
		w.integer(kindInt, uint64(v))
	} else {
		w.integer(kindUint, uint64(v))
	}
}

func (w *writer) integer(k kind, n uint64) {
	switch w.format {
	case wamp.JSON:
		if k == kindInt {
			w.b = strconv.AppendInt(w.b, int64(n), 10)
		} else {
			w.b = strconv.AppendUint(w.b, n, 10)
		}
		w.b = append(w.b, ',')
	case wamp.MsgPack:
		w.b = appendMsgPackHead(w.b, k, n)
	default:
		w.b = appendCBORHead(w.b, k, n)
	}
}

// float appends IEEE 754 bits. JSON gets the shortest digits that give the same
// bits again, with a fraction or an exponent, so that 23.0 stays a float.
func (w *writer) float(k kind, n uint64) error {
	switch w.format {
	case wamp.MsgPack:
		w.b = appendFloat(w.b, 0xca, 0xcb, k, n)
		return nil
	case wamp.CBOR:
		w.b = appendFloat(w.b, 0xfa, 0xfb, k, n)
		return nil
	}
	v := math.Float64frombits(n)
	if k == kindFloat32 {
		// With all its digits: receivers of JSON read it as a double.
		v = float64(math.Float32frombits(uint32(n)))
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return errNotFinite
	}
	form := byte('f')
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		form = 'e'
	}
	start := len(w.b)
	w.b = strconv.AppendFloat(w.b, v, form, -1, 64)
	if form == 'f' && !slices.Contains(w.b[start:], '.') {
		w.b = append(w.b, ".0"...)
	}
	w.b = append(w.b, ',')
	return nil
}

// text appends a text, which is valid UTF-8.
func (w *writer) text(s string) error {
	if w.format == wamp.JSON {
		if strings.HasPrefix(s, "\x00") {
			return errNUL
		}
		w.b = append(appendQuoted(w.b, s), ',')
		return nil
	}
	w.blob(kindText, len(s))
	w.b = append(w.b, s...)
	return nil
}

// goKey is key for a string that may not be valid UTF-8.
func (w *writer) goKey(s string) error {
	if !utf8.ValidString(s) {
		return errUTF8
	}
	w.key(s)
	return nil
}

// goText is text for a string that may not be valid UTF-8.
func (w *writer) goText(s string) error {
	if !utf8.ValidString(s) {
		return errUTF8
	}
	return w.text(s)
}

func (w *writer) bytes(b []byte) {
	if w.format == wamp.JSON {
		w.b = append(w.b, `"\u0000`...)
		w.b = base64.StdEncoding.AppendEncode(w.b, b)
		w.b = append(w.b, `",`...)
		return
	}
	w.blob(kindBytes, len(b))
	w.b = append(w.b, b...)
}

func (w *writer) blob(k kind, n int) {
	if w.format == wamp.MsgPack {
		w.b = appendMsgPackHead(w.b, k, uint64(n))
	} else {
		w.b = appendCBORHead(w.b, k, uint64(n))
	}
}

// key appends a map's key, which is valid UTF-8. In JSON it may begin with NUL:
// keys are never binary.
func (w *writer) key(s string) {
	if w.format == wamp.JSON {
		w.b = append(appendQuoted(w.b, s), ':')
		return
	}
	w.blob(kindText, len(s))
	w.b = append(w.b, s...)
}

// open begins a list of n items or a dict of n pairs.
func (w *writer) open(k kind, n uint64) {
	switch {
	case w.format == wamp.MsgPack:
		w.b = appendMsgPackHead(w.b, k, n)
	case w.format == wamp.CBOR:
		w.b = appendCBORHead(w.b, k, n)
	case k == kindList:
		w.b = append(w.b, '[')
	default:
		w.b = append(w.b, '{')
	}
}

// close ends what open began.
func (w *writer) close(k kind) {
	if w.format != wamp.JSON {
		return
	}
	end := byte(']')
	if k == kindDict {
		end = '}'
	}
	if last := len(w.b) - 1; w.b[last] == ',' {
		w.b[last] = end
	} else {
		w.b = append(w.b, end)
	}
	w.b = append(w.b, ',')
}

// raw appends a value that is in the writer's format already.
func (w *writer) raw(b []byte) {
	w.b = append(w.b, b...)
	if w.format == wamp.JSON {
		w.b = append(w.b, ',')
	}
}
