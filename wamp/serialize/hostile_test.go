package serialize_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// nested returns n times open around inner, with as many times end behind.
func nested(open string, n int, inner, end string) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
}

// TestMalformedValues has what some library or other lets through, and the rest
// of what the formats forbid.
func TestMalformedValues(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		f    wamp.Format
		in   string
		want string // part of the fault
	}{
		{"nothing", wamp.JSON, ``, "ends too early"},
		{"white space only", wamp.JSON, " \n", "ends too early"},
		{"invalid UTF-8", wamp.JSON, "[\"\xff\"]", "UTF-8"},
		{"overlong UTF-8", wamp.JSON, "[\"\xc0\xaf\"]", "UTF-8"},
		{"a surrogate in UTF-8", wamp.JSON, "[\"\xed\xa0\x80\"]", "UTF-8"},
		{"cut UTF-8", wamp.JSON, "[\"abcdefg\xc3\"]", "UTF-8"},
		{"a lone high surrogate", wamp.JSON, `["\ud800"]`, "surrogate"},
		{"a lone low surrogate", wamp.JSON, `["\udc00"]`, "surrogate"},
		{"two high surrogates", wamp.JSON, `["\ud800\ud800"]`, "surrogate"},
		{"a high surrogate before another escape", wamp.JSON, `["\ud800\n1234"]`, "surrogate"},
		{"a lone surrogate in a key", wamp.JSON, `{"\ud800":1}`, "surrogate"},
		{"trailing bytes", wamp.JSON, `[1]x`, "behind the end"},
		{"two values", wamp.JSON, `1 2`, "behind the end"},
		{"NUL behind the end", wamp.JSON, "[1]\x00", "behind the end"},
		{"a raw control character", wamp.JSON, "[\"a\x01b\"]", "control character"},
		{"a raw line feed in text", wamp.JSON, "\"a\n\"", "control character"},
		{"a leading zero", wamp.JSON, `[01]`, "number"},
		{"minus and a leading zero", wamp.JSON, `-01`, "number"},
		{"no digits behind the point", wamp.JSON, `[1.]`, "number"},
		{"no digits before the point", wamp.JSON, `[.5]`, "unexpected"},
		{"a plus sign", wamp.JSON, `[+1]`, "unexpected"},
		{"minus alone", wamp.JSON, `-`, "number"},
		{"an empty exponent", wamp.JSON, `1e`, "number"},
		{"an empty signed exponent", wamp.JSON, `1e+`, "number"},
		{"a hexadecimal number", wamp.JSON, `0x10`, "behind the end"},
		{"NaN", wamp.JSON, `[NaN]`, "unexpected"},
		{"Infinity", wamp.JSON, `[Infinity]`, "unexpected"},
		{"a word cut short", wamp.JSON, `[tru]`, "unexpected"},
		{"a word in capitals", wamp.JSON, `[True]`, "unexpected"},
		{"a trailing comma", wamp.JSON, `[1,]`, "unexpected"},
		{"a trailing comma in an object", wamp.JSON, `{"a":1,}`, "key"},
		{"a leading comma", wamp.JSON, `[,1]`, "unexpected"},
		{"no comma", wamp.JSON, `[1 2]`, "unexpected"},
		{"no colon", wamp.JSON, `{"a" 1}`, "unexpected"},
		{"no value", wamp.JSON, `{"a":}`, "unexpected"},
		{"a key without quotes", wamp.JSON, `{a:1}`, "key"},
		{"a number as a key", wamp.JSON, `{1:1}`, "key"},
		{"single quotes", wamp.JSON, `['a']`, "unexpected"},
		{"a bad escape", wamp.JSON, `["\x41"]`, "escape"},
		{"a cut escape", wamp.JSON, `"\`, "too early"},
		{"bad hexadecimal digits", wamp.JSON, `"\u00g0"`, "escape"},
		{"cut hexadecimal digits", wamp.JSON, `"\u00`, "escape"},
		{"brackets that do not fit", wamp.JSON, `[1}`, "unexpected"},
		{"brackets of the other kind", wamp.JSON, `{"a":1]`, "unexpected"},
		{"a bracket too many", wamp.JSON, `[1]]`, "behind the end"},
		{"an open bracket", wamp.JSON, `[1`, "too early"},
		{"an open text", wamp.JSON, `["a`, "too early"},
		{"a comment", wamp.JSON, `[1 /**/]`, "unexpected"},
		{"a byte order mark", wamp.JSON, "\xef\xbb\xbf[1]", "unexpected"},
		{"a vertical tab as white space", wamp.JSON, "[\v1]", "unexpected"},
		{"5,000 levels", wamp.JSON, nested("[", 5000, "", "]"), "deep"},
		{"400,000 levels", wamp.JSON, nested("[", 400000, "", "]"), "deep"},
		{"levels of objects", wamp.JSON, nested(`{"a":`, 33, "1", "}"), "deep"},
		{"a level too many, empty", wamp.JSON, nested("[", 33, "", "]"), "deep"},

		{"nothing", wamp.MsgPack, ``, "too early"},
		{"invalid UTF-8", wamp.MsgPack, `91 a2 fffe`, "UTF-8"},
		{"invalid UTF-8 in a key", wamp.MsgPack, `81 a1 ff 01`, "UTF-8"},
		{"trailing bytes", wamp.MsgPack, `91 01 c0`, "behind the end"},
		{"a list cut short", wamp.MsgPack, `92 01`, "larger"},
		{"a map cut short", wamp.MsgPack, `81 a161`, "too early"},
		{"a number cut short", wamp.MsgPack, `ce 000000`, "too early"},
		{"a length cut short", wamp.MsgPack, `dd 0000`, "too early"},
		{"a text cut short", wamp.MsgPack, `a3 6161`, "larger"},
		{"bytes cut short", wamp.MsgPack, `c4 02 61`, "larger"},
		{"the byte that is no type", wamp.MsgPack, `91 c1`, "0xc1"},
		{"50,000 levels", wamp.MsgPack, nested("91", 50000, "01", ""), "deep"},
		{"a level too many, empty", wamp.MsgPack, nested("91", 32, "90", ""), "deep"},
		{"a list of 4 billion", wamp.MsgPack, `dd ffffffff 01`, "larger"},
		{"a map of a billion", wamp.MsgPack, `91 df 3fffffff a161 01`, "larger"},
		{"bytes of a gigabyte", wamp.MsgPack, `91 c6 3fffffff 01`, "larger"},
		{"text of a gigabyte", wamp.MsgPack, `91 db 3fffffff 01`, "larger"},
		{"an integer as a key", wamp.MsgPack, `91 81 01 01`, "key"},
		{"a map as a key", wamp.MsgPack, `91 81 80 01`, "key"},
		{"bytes as a key", wamp.MsgPack, `91 81 c40161 01`, "key"},
		{"null as a key", wamp.MsgPack, `81 c0 01`, "key"},
		{"an extension type that is cut off", wamp.MsgPack, `91 d5 05 00`, "larger"},
		{"an extension type that promises more", wamp.MsgPack, `c9 ffffffff 02 03`, "larger"},
		{"a thousand lists of 16 million", wamp.MsgPack, strings.Repeat("dd00ffffff", 1000), "larger"},

		{"nothing", wamp.CBOR, ``, "too early"},
		{"invalid UTF-8", wamp.CBOR, `81 62 fffe`, "UTF-8"},
		{"trailing bytes", wamp.CBOR, `81 01 ff`, "behind the end"},
		{"a list cut short", wamp.CBOR, `82 01`, "larger"},
		{"50,000 levels", wamp.CBOR, nested("81", 50000, "01", ""), "deep"},
		{"50,000 levels of indefinite length", wamp.CBOR, strings.Repeat("9f", 50000), "deep"},
		{"50,000 tags", wamp.CBOR, nested("c1", 50000, "01", ""), "deep"},
		{"a level too many, empty", wamp.CBOR, nested("81", 32, "80", ""), "deep"},
		{"a list of 2^60", wamp.CBOR, `9b 1000000000000000 01`, "larger"},
		{"a list of 2^64-1", wamp.CBOR, `9b ffffffffffffffff 01`, "larger"},
		{"bytes of 2^64-1", wamp.CBOR, `5b ffffffffffffffff 01 ff`, "larger"},
		{"a list of 2^31", wamp.CBOR, `9a 7fffffff 01`, "larger"},
		{"a map of 2^63", wamp.CBOR, `bb 8000000000000000 6161 01`, "larger"},
		{"a map of 2^30", wamp.CBOR, `81 ba 3fffffff 6161 01`, "larger"},
		{"bytes of 2^30", wamp.CBOR, `81 5a 3fffffff 01`, "larger"},
		{"text of 2^63", wamp.CBOR, `7b 8000000000000000 01`, "larger"},
		{"an integer as a key", wamp.CBOR, `81 a1 01 01`, "key"},
		{"a tagged key", wamp.CBOR, `a1 c0 6161 01`, "key"},
		{"bytes as a key", wamp.CBOR, `a1 4161 01`, "key"},
		{"an integer as a key, indefinite", wamp.CBOR, `bf 01 01 ff`, "key"},
		{"a bignum of text", wamp.CBOR, `81 c2 6101`, "bignum"},
		{"a bignum of unknown length", wamp.CBOR, `c3 5f 4101 ff`, "bignum"},
		{"a bignum that is cut off", wamp.CBOR, `c2 49 0100`, "too early"},
		{"an unassigned simple value", wamp.CBOR, `81 f8 20`, "simple"},
		{"a small unassigned simple value", wamp.CBOR, `f3`, "simple"},
		{"a simple value in the wrong form", wamp.CBOR, `81 f8 18`, "simple"},
		{"false in two bytes", wamp.CBOR, `f8 14`, "simple"},
		{"reserved head", wamp.CBOR, `1c`, "reserved"},
		{"reserved head of a list", wamp.CBOR, `9e`, "reserved"},
		{"an integer of indefinite length", wamp.CBOR, `1f`, "reserved"},
		{"a tag of indefinite length", wamp.CBOR, `df 01`, "reserved"},
		{"a tag without content", wamp.CBOR, `c1`, "larger"},
		{"a tag before a break", wamp.CBOR, `9f c1 ff`, "break"},
		{"break alone", wamp.CBOR, `ff`, "break"},
		{"break in a definite list", wamp.CBOR, `82 01 ff`, "break"},
		{"break in the place of a value", wamp.CBOR, `bf 6161 ff`, "break"},
		{"a list without its break", wamp.CBOR, `9f 01`, "too early"},
		{"a text chunk among bytes", wamp.CBOR, `5f 6161 ff`, "chunk"},
		{"an indefinite chunk", wamp.CBOR, `7f 7f 6161 ff ff`, "chunk"},
		{"a chunk that is too long", wamp.CBOR, `7f 6361 ff`, "larger"},
		{"chunks without their break", wamp.CBOR, `7f 6161`, "too early"},
		{"a character cut by chunks", wamp.CBOR, `7f 61c3 61a9 ff`, "UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.f.String()+" "+tt.name, func(t *testing.T) {
			t.Parallel()
			in := input(t, tt.f, tt.in)
			err := serialize.Valid(tt.f, in, serialize.Limits{})
			var e *serialize.SyntaxError
			if !errors.As(err, &e) || e.Format != tt.f || e.Offset > len(in) {
				t.Fatalf("accepted: %v", err)
			}
			if !strings.Contains(e.Text, tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			for _, to := range formats {
				// Transcode goes deeper than the default.
				if _, err := serialize.Transcode(nil, to, in, tt.f); err == nil && tt.want != "deep" {
					t.Errorf("made into %s", to)
				}
			}
			if _, err := serialize.ParseValue(tt.f, in, serialize.Limits{}); err == nil {
				t.Error("parsed")
			}
			for _, m := range embed(tt.f, in) {
				var e *wamp.ProtocolError
				if _, err := serialize.NewDecoder(tt.f, serialize.Limits{}).Decode(m); !errors.As(err, &e) {
					t.Errorf("decoded as part of %.60s: %v", show(tt.f, m), err)
				}
			}
		})
	}
}

// embed returns messages that have the bytes in as options, in the options, and
// as an argument.
func embed(f wamp.Format, in []byte) [][]byte {
	forms := map[wamp.Format][3][2]string{
		wamp.JSON:    {{`[16,1,`, `,"a"]`}, {`[16,1,{"x":`, `},"a"]`}, {`[16,1,{},"a",[0,`, `]]`}},
		wamp.MsgPack: {{"\x94\x10\x01", "\xa1a"}, {"\x94\x10\x01\x81\xa1x", "\xa1a"}, {"\x95\x10\x01\x80\xa1a\x91", ""}},
		wamp.CBOR:    {{"\x84\x10\x01", "\x61a"}, {"\x84\x10\x01\xa1\x61x", "\x61a"}, {"\x85\x10\x01\xa0\x61a\x81", ""}},
	}[f]
	var out [][]byte
	for _, form := range forms {
		out = append(out, slices.Concat([]byte(form[0]), in, []byte(form[1])))
	}
	return out
}

func TestDepthCountsFromTheElements(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		for depth := 1; depth <= 64; depth++ {
			lim := serialize.Limits{Depth: depth}
			for n := depth; n <= depth+1; n++ {
				doc := nested("[", n, "", "]")
				b, err := serialize.Transcode(nil, f, []byte(doc), wamp.JSON)
				if err != nil {
					if n > 64 {
						continue
					}
					t.Fatal(err)
				}
				if err := serialize.Valid(f, b, lim); (err == nil) != (n == depth) {
					t.Errorf("%s: %d levels of %d: %v", f, n, depth, err)
				}
				m := slices.Concat(map[wamp.Format][]byte{
					wamp.JSON: []byte(`[70,1,{},`), wamp.MsgPack: []byte("\x94\x46\x01\x80"), wamp.CBOR: []byte("\x84\x18\x46\x01\xa0"),
				}[f], b)
				if f == wamp.JSON {
					m = append(m, ']')
				}
				if _, err := serialize.NewDecoder(f, lim).Decode(m); (err == nil) != (n == depth) {
					t.Errorf("%s: %d levels of %d in a message: %v", f, n, depth, err)
				}
			}
		}
		// 64 is as deep as it goes.
		if err := serialize.Valid(wamp.JSON, []byte(nested("[", 65, "", "]")), serialize.Limits{Depth: 1000}); err == nil {
			t.Error("65 levels")
		}
	}
	// Tags are levels, whether they hold containers or not.
	if err := serialize.Valid(wamp.CBOR, unhex(t, nested("c181", 16, "01", "")), serialize.Limits{}); err != nil {
		t.Error(err)
	}
	if err := serialize.Valid(wamp.CBOR, unhex(t, nested("c181", 16, "c101", "")), serialize.Limits{}); err == nil {
		t.Error("33 levels with tags")
	}
}

func TestElementsAreCountedInAMessageTogether(t *testing.T) {
	t.Parallel()
	const doc = `[70,1,{"a":[1,2]},[1,[2,3]],{"b":{"c":1},"d":[]}]` // 3 + 4 + 3
	forms := map[wamp.Format][]byte{}
	for _, f := range formats {
		b, err := serialize.Transcode(nil, f, []byte(doc), wamp.JSON)
		if err != nil {
			t.Fatal(err)
		}
		forms[f] = b
	}
	check := func(f wamp.Format, b []byte) {
		t.Helper()
		for _, n := range []int{9, 10} {
			_, err := serialize.NewDecoder(f, serialize.Limits{Elements: n}).Decode(b)
			if (err == nil) != (n == 10) {
				t.Errorf("%s: limit %d: %v", f, n, err)
			}
		}
	}
	for _, f := range formats {
		check(f, forms[f])
	}
	check(wamp.CBOR, unhex(t, "9f 1846 01 bf 6161 9f0102ff ff 9f 01 9f0203ff ff bf 6162 bf616301ff 6164 9fff ff ff"))

	for f, b := range map[wamp.Format][]byte{
		wamp.JSON:    []byte("[" + strings.Repeat("0,", 65536) + "0]"),
		wamp.MsgPack: append([]byte{0xdd, 0, 1, 0, 1}, make([]byte, 65537)...),
		wamp.CBOR:    append([]byte{0x9a, 0, 1, 0, 1}, make([]byte, 65537)...),
	} {
		if err := serialize.Valid(f, b, serialize.Limits{}); err == nil {
			t.Errorf("%s: 65537 elements", f)
		}
		if err := serialize.Valid(f, b, serialize.Limits{Elements: 65537}); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestSizeLimit(t *testing.T) {
	t.Parallel()
	m := []byte(`[67,1]`)
	for n, want := range map[int]bool{len(m): true, len(m) - 1: false} {
		_, err := serialize.NewDecoder(wamp.JSON, serialize.Limits{Bytes: n}).Decode(m)
		if (err == nil) != want {
			t.Error(n, err)
		}
		if err := serialize.Valid(wamp.JSON, m, serialize.Limits{Bytes: n}); (err == nil) != want {
			t.Error(n, err)
		}
		if _, err := serialize.ParseValue(wamp.JSON, m, serialize.Limits{Bytes: n}); (err == nil) != want {
			t.Error(n, err)
		}
	}
}

// Bombs claim or nest far more than they bring. None may cost memory that is not
// in proportion to its own size.
func TestBombsCostNoMemory(t *testing.T) { // not parallel: it measures
	u32 := func(code byte, n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{code}, n) }
	bombs := []struct {
		name string
		f    wamp.Format
		b    []byte
	}{
		{"brackets", wamp.JSON, []byte(strings.Repeat("[", 1<<20))},
		{"objects", wamp.JSON, []byte(strings.Repeat(`{"":`, 1<<18))},
		{"closed brackets", wamp.JSON, []byte(nested("[", 1<<19, "", "]"))},
		{"empty lists", wamp.JSON, []byte("[" + strings.Repeat("[],", 1<<18) + "[]]")},
		{"lists of 4 billion", wamp.MsgPack, bytes.Repeat(u32(0xdd, 1<<32-1), 1<<17)},
		{"maps of 2 billion", wamp.MsgPack, bytes.Repeat(u32(0xdf, 1<<31-1), 1<<17)},
		{"lists that claim all that is left", wamp.MsgPack, claims(0xdd)},
		{"text of 4 billion", wamp.MsgPack, bytes.Repeat(u32(0xdb, 1<<32-1), 1<<17)},
		{"small lists in each other", wamp.MsgPack, bytes.Repeat([]byte{0x91}, 1<<20)},
		{"lists that claim all that is left", wamp.CBOR, claims(0x9a)},
		{"lists of 2^32-1", wamp.CBOR, bytes.Repeat(u32(0x9a, 1<<32-1), 1<<17)},
		{"indefinite lists", wamp.CBOR, bytes.Repeat([]byte{0x9f}, 1<<20)},
		{"indefinite texts", wamp.CBOR, bytes.Repeat([]byte{0x7f}, 1<<20)},
		{"tags", wamp.CBOR, bytes.Repeat([]byte{0xc1}, 1<<20)},
		{"indefinite and empty", wamp.CBOR, bytes.Repeat([]byte{0x9f, 0xff}, 1<<19)},
	}
	for _, bomb := range bombs {
		for _, b := range append(embed(bomb.f, bomb.b[:len(bomb.b)-64]), bomb.b) {
			cost(t, bomb.f.String()+" "+bomb.name+" decoded", func() error {
				_, err := serialize.NewDecoder(bomb.f, serialize.Limits{}).Decode(b)
				return err
			})
			cost(t, bomb.f.String()+" "+bomb.name+" parsed", func() error {
				_, err := serialize.ParseValue(bomb.f, b, serialize.Limits{})
				return err
			})
			for _, to := range formats {
				cost(t, bomb.f.String()+" "+bomb.name+" to "+to.String(), func() error {
					_, err := serialize.Transcode(nil, to, b, bomb.f)
					if strings.Contains(bomb.name, "empty") {
						return io.EOF // has no limit of elements
					}
					return err
				})
			}
		}
	}
}

// cost fails when op, which must fail, has allocated more than 8 MiB, all
// allocations together.
func cost(t *testing.T, name string, op func() error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := op()
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Errorf("%s: no error", name)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("%s: %d KiB", name, n>>10)
	}
}

// claims returns lists in each other, 5 bytes each, that all claim as many items
// as there are bytes behind them.
func claims(code byte) []byte {
	b := make([]byte, 0, 1<<20)
	for i := range cap(b) / 5 {
		b = binary.BigEndian.AppendUint32(append(b, code), uint32(cap(b)-5*i-5))
	}
	return b
}

func TestWhatIsWrittenIsWithinTheDefaultLimits(t *testing.T) {
	t.Parallel()
	m := &wamp.Yield{Request: 1, Payload: wamp.Values(
		wamp.List{deepList(31), map[string][]any{"a": {deepList(29)}}}, wamp.Dict{"a": deepList(31)})}
	for _, f := range formats {
		b, err := serialize.Append(nil, f, m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := serialize.NewDecoder(f, serialize.Limits{}).Decode(b); err != nil {
			t.Error(err)
		}
	}
}
