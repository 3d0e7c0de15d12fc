package serialize_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tinylib/msgp/msgp"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// deep lets everything through that the package handles at all.
var deep = serialize.Limits{Bytes: 1 << 20, Depth: 64, Elements: 1 << 20}

// seed adds the bytes of each message in testdata, and of each argument.
func seed(f *testing.F, format wamp.Format) {
	for _, forms := range wireCases(f) {
		f.Add(forms[format])
		m, err := serialize.NewDecoder(format, serialize.Limits{}).Decode(forms[format])
		if err != nil {
			f.Fatal(err)
		}
		if p := payloadOf(m); p != nil {
			if args, _ := p.Raw(); args != nil {
				f.Add(args)
			}
		}
	}
}

// FuzzJSONAgainstJSONText: the package and jsontext accept the same texts.
func FuzzJSONAgainstJSONText(f *testing.F) {
	seed(f, wamp.JSON)
	for _, s := range []string{
		`[1,"\ud83d\ude00",-0.5e+10]`, `[ ]`, `[{"a":[]},{}]`, `["\u0000aGk="]`, `["é\n"]`, "[\"\xff\"]",
		`[01]`, `[1.]`, `["\ud800"]`, `{"a":1,"a":2}`, `1e400`, `-`, "\t[\r\n]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if jsonDepth(in) > 64 {
			return
		}
		err := serialize.Valid(wamp.JSON, in, deep)
		if want := jsontext.Value(in).IsValid(jsontext.AllowDuplicateNames(true)); (err == nil) != want {
			t.Fatalf("%v, jsontext %v: %q", err, want, in)
		}
		consistent(t, wamp.JSON, in)
	})
}

// jsonDepth returns how deep brackets nest.
func jsonDepth(b []byte) (most int) {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
			most = max(most, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return most
}

// FuzzMsgPackAgainstMsgp: what the package accepts two readers of msgp accept, with
// the same end.
func FuzzMsgPackAgainstMsgp(f *testing.F) {
	seed(f, wamp.MsgPack)
	f.Add([]byte{0xc7, 1, 2, 3})
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0x81, 0xa1, 'a', 0xdc, 0, 1, 0xca, 1, 2, 3, 4})
	f.Add([]byte{0x93, 0x30, 0xd4, 0xff, 0x30, 0x30})
	f.Add([]byte{0xc7, 1, 3, 0x30})
	f.Fuzz(func(t *testing.T, in []byte) {
		if serialize.Valid(wamp.MsgPack, in, deep) == nil {
			if rest, err := msgp.Skip(in); err != nil || len(rest) > 0 {
				t.Fatalf("msgp: %v, %d left: %x", err, len(rest), in)
			}
			if _, _, err := msgp.ReadIntfBytes(in); err != nil && !maybeOwn(in) {
				t.Fatalf("msgp: %v: %x", err, in)
			}
		}
		consistent(t, wamp.MsgPack, in)
	})
}

// maybeOwn reports whether in may have an extension of a type that means something
// to msgp (times, complex numbers): it wants those in lengths of its own, where
// others see an extension like any.
func maybeOwn(in []byte) bool {
	typeAt := map[byte]int{0xd4: 1, 0xd5: 1, 0xd6: 1, 0xd7: 1, 0xd8: 1, 0xc7: 2, 0xc8: 3, 0xc9: 5}
	own := []byte{msgp.Complex64Extension, msgp.Complex128Extension, msgp.TimeExtension, 0xff}
	for i, c := range in {
		if n := typeAt[c]; n > 0 && i+n < len(in) && bytes.IndexByte(own, in[i+n]) >= 0 {
			return true
		}
	}
	return false
}

// FuzzCBORAgainstFxamacker: what the package accepts is well formed for
// fxamacker, and what that decodes with text keys the package accepts, apart from
// what it refuses by rule (tags are left out: one may hide a bignum or a key).
func FuzzCBORAgainstFxamacker(f *testing.F) {
	seed(f, wamp.CBOR)
	for _, s := range []string{
		"\x9f\x01\xbf\x61a\x01\xff\xff", "\x7f\x61a\xff", "\xc0\x61a", "\xf8\x18", "\xf9\x7e\x00", "\xf7",
		"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", "\xc2\x41\x01",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		err := serialize.Valid(wamp.CBOR, in, deep)
		if err == nil {
			if err := cborOracle.Wellformed(in); err != nil {
				t.Fatalf("fxamacker: %v: %x", err, in)
			}
		} else if e := err.(*serialize.SyntaxError); !refusedByRule[e.Text] && !slices.ContainsFunc(in, isTag) {
			var v any
			if cborOracle.Unmarshal(in, &v) == nil && onlyTextKeys(v) {
				t.Fatalf("%v, fxamacker %v: %x", err, v, in)
			}
		}
		consistent(t, wamp.CBOR, in)
	})
}

var refusedByRule = map[string]bool{
	"nested too deep": true, "too many elements": true, "simple value without meaning": true,
	"integer below the range of 64 bits": true, "map key is not text": true,
}

// isTag reports whether c may be the first byte of a tag.
func isTag(c byte) bool { return c >= 0xc0 && c <= 0xdb }

func onlyTextKeys(v any) bool {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if !onlyTextKeys(item) {
				return false
			}
		}
	case map[any]any:
		return false
	case map[string]any:
		for _, item := range v {
			if !onlyTextKeys(item) {
				return false
			}
		}
	}
	return true
}

// consistent checks that all ways to read in agree, and that what is converted
// from it keeps its value.
func consistent(t *testing.T, from wamp.Format, in []byte) {
	valid := serialize.Valid(from, in, deep) == nil
	value, err := serialize.ParseValue(from, in, deep)
	if err == nil && !valid {
		t.Fatalf("parsed but not valid: %x", in)
	}
	forms := map[wamp.Format][]byte{}
	for _, to := range formats {
		b, err := serialize.Transcode(nil, to, in, from)
		if err != nil {
			continue
		}
		if !valid {
			t.Fatalf("made into %s but not valid: %x", to, in)
		}
		if err := serialize.Valid(to, b, deep); err != nil {
			t.Fatalf("made into bad %s: %v: %x", to, err, b)
		}
		forms[to] = b
	}
	if !valid || err != nil {
		return
	}
	// From here on the value has a form in both binary formats.
	msgpack, cbor := forms[wamp.MsgPack], forms[wamp.CBOR]
	if from != wamp.CBOR { // those may be written in many ways
		crossed, err := serialize.Transcode(nil, wamp.CBOR, msgpack, wamp.MsgPack)
		if err != nil || !bytes.Equal(crossed, cbor) && from == wamp.JSON {
			t.Fatalf("by way of MsgPack %x, direct %x: %v: %x", crossed, cbor, err, in)
		}
	}
	for to, b := range forms {
		again, err := serialize.ParseValue(to, b, deep)
		if err != nil {
			t.Fatalf("%s: %v: %x", to, err, b)
		}
		if !sameValue(value, again) {
			t.Fatalf("%s: %v, want %v: %x", to, again, value, in)
		}
	}
	if j, ok := forms[wamp.JSON]; ok {
		back, err := serialize.Transcode(nil, wamp.CBOR, j, wamp.JSON)
		if err != nil {
			t.Fatalf("%v: %s", err, j)
		}
		if again, err := serialize.ParseValue(wamp.CBOR, back, deep); err != nil || !sameValue(value, again) {
			t.Fatalf("%v by way of %s: %v %v", value, j, again, err)
		}
	}
}

// sameValue compares values; NaN is NaN, and a float32 that went through JSON is
// the nearest float64 of its shortest digits.
func sameValue(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && (a == b || a != a && b != b || float32(a) == float32(b) && float64(float32(a)) == a)
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameValue(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k := range a {
			if v, ok := b[k]; !ok || !sameValue(a[k], v) {
				return false
			}
		}
		return true
	case []byte:
		b, ok := b.([]byte)
		return ok && bytes.Equal(a, b)
	}
	return a == b
}

// FuzzDecode: a message that is decoded is encoded again in every format, and
// reads there as the same message.
func FuzzDecode(f *testing.F) {
	for _, format := range formats {
		for _, forms := range wireCases(f) {
			f.Add(uint8(format), forms[format])
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, in []byte) {
		format := formats[int(n)%len(formats)]
		d := serialize.NewDecoder(format, serialize.Limits{})
		m, err := d.Decode(in)
		if err != nil {
			if _, ok := err.(*wamp.ProtocolError); !ok {
				t.Fatal(err)
			}
			return
		}
		own := wamp.Clone(m)
		if err := serialize.Valid(format, in, deep); err != nil {
			t.Fatalf("%v: %x", err, in)
		}
		for _, to := range formats {
			b, err := serialize.Append(nil, to, own)
			if err != nil {
				continue // NaN and the like
			}
			again, err := serialize.NewDecoder(to, deep).Decode(b)
			if err != nil {
				t.Fatalf("%s: %v\n%x\nfrom %s %x", to, err, b, format, in)
			}
			if again.Type() != own.Type() {
				t.Fatal(again.Type())
			}
			// Written once more it must be the same: heads have one form only.
			b2, err := serialize.Append(nil, to, again)
			if err != nil || !bytes.Equal(b, b2) {
				t.Fatalf("%s: %v\n%x\n%x\nfrom %s %x", to, err, b, b2, format, in)
			}
		}
	})
}
