package serialize_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// TestValueRules is the table of what becomes of a value between formats.
// Binary formats are in hexadecimal.
func TestValueRules(t *testing.T) {
	t.Parallel()
	const refused = "refused"
	tests := []struct {
		name    string
		from    wamp.Format
		in      string
		json    string
		msgpack string
		cbor    string
	}{
		{"null", wamp.JSON, `null`, `null`, `c0`, `f6`},
		{"undefined is null", wamp.CBOR, `f7`, `null`, `c0`, `f7`},
		{"booleans", wamp.MsgPack, `92c2c3`, `[false,true]`, `92c2c3`, `82f4f5`},

		{"bytes", wamp.MsgPack, `c40300fffe`, `"\u0000AP/+"`, `c40300fffe`, `4300fffe`},
		{"bytes that need padding", wamp.CBOR, `41ff`, `"\u0000/w=="`, `c401ff`, `41ff`},
		{"no bytes", wamp.JSON, `"\u0000"`, `"\u0000"`, `c400`, `40`},
		{"bytes at any depth", wamp.JSON, `[{"a":["\u0000aGk="]}]`, `[{"a":["\u0000aGk="]}]`,
			`9181a16191c4026869`, `81a1616181426869`},
		{"base64 with escapes", wamp.JSON, `"\u0000\/\u0077=="`, `"\u0000\/\u0077=="`, `c401ff`, `41ff`},
		{"NUL and text that is not base64", wamp.JSON, `"\u0000hi!"`, `"\u0000hi!"`, refused, refused},
		{"base64 without padding", wamp.JSON, `"\u0000/w"`, `"\u0000/w"`, refused, refused},
		{"base64 with stray bits", wamp.JSON, `"\u0000/x=="`, `"\u0000/x=="`, refused, refused},
		{"base64 of the URL alphabet", wamp.JSON, `"\u0000_w=="`, `"\u0000_w=="`, refused, refused},
		{"base64 with a line break", wamp.JSON, `"\u0000aGk=\n"`, `"\u0000aGk=\n"`, refused, refused},
		{"keys are never bytes", wamp.JSON, `{"\u0000aGk=":1}`, `{"\u0000aGk=":1}`,
			`81a50061476b3d01`, `a1650061476b3d01`},
		{"text that begins with NUL", wamp.MsgPack, `a20061`, refused, `a20061`, `620061`},
		{"a key that begins with NUL", wamp.CBOR, `a162006101`, `{"\u0000a":1}`, `81a2006101`, `a162006101`},
		{"NUL further on", wamp.MsgPack, `a26100`, `"a\u0000"`, `a26100`, `626100`},

		{"the largest small integer", wamp.JSON, `127`, `127`, `7f`, `187f`},
		{"minus nothing", wamp.JSON, `-0`, `-0`, `00`, `00`},
		{"2^53+1", wamp.JSON, `9007199254740993`, `9007199254740993`, `cf0020000000000001`, `1b0020000000000001`},
		{"the largest int64", wamp.CBOR, `1b7fffffffffffffff`, `9223372036854775807`, `cf7fffffffffffffff`, `1b7fffffffffffffff`},
		{"the least int64", wamp.JSON, `-9223372036854775808`, `-9223372036854775808`, `d38000000000000000`, `3b7fffffffffffffff`},
		{"the largest uint64", wamp.MsgPack, `cfffffffffffffffff`, `18446744073709551615`, `cfffffffffffffffff`, `1bffffffffffffffff`},
		{"an integer above uint64 becomes a float", wamp.JSON, `18446744073709551616`, `18446744073709551616`,
			`cb43f0000000000000`, `fb43f0000000000000`},
		{"an integer below int64 becomes a float", wamp.JSON, `-9223372036854775809`, `-9223372036854775809`,
			`cbc3e0000000000000`, `fbc3e0000000000000`},
		{"an integer below 64 bits in CBOR", wamp.CBOR, `3b8000000000000000`, refused, refused, `3b8000000000000000`},
		{"a bignum within 64 bits", wamp.CBOR, `82c24720000000000002d80342ffff`, `[9007199254740994,-65536]`, `92cf0020000000000002d2ffff0000`, `82c24720000000000002d80342ffff`},
		{"a bignum with zeros in front", wamp.CBOR, `c24a00000000000000000005`, `5`, `05`, `c24a00000000000000000005`},
		{"a bignum beyond 64 bits", wamp.CBOR, `c249010000000000000000`, refused, refused, `c249010000000000000000`},
		{"a negative bignum beyond 64 bits", wamp.CBOR, `c3488000000000000000`, refused, refused, `c3488000000000000000`},
		{"undefined as msgpackr writes it", wamp.MsgPack, `91d40000`, `[null]`, `91d40000`, `81f6`},
		{"a time stamp in MsgPack", wamp.MsgPack, `d6ff00000000`, refused, `d6ff00000000`, refused},
		{"an extension type with a length", wamp.MsgPack, `91c7010203`, refused, `91c7010203`, refused},
		{"wider than needed becomes shortest", wamp.MsgPack, `94cf0000000000000001d30000000000000001cd0001d0ff`,
			`[1,1,1,-1]`, `94cf0000000000000001d30000000000000001cd0001d0ff`, `8401010120`},

		{"a float without fraction stays one", wamp.JSON, `23.0`, `23.0`, `cb4037000000000000`, `fb4037000000000000`},
		{"and back", wamp.MsgPack, `cb4037000000000000`, `23.0`, `cb4037000000000000`, `fb4037000000000000`},
		{"an exponent makes a float", wamp.JSON, `1e2`, `1e2`, `cb4059000000000000`, `fb4059000000000000`},
		{"large floats have an exponent", wamp.CBOR, `fb444b1ae4d6e2ef50`, `1e+21`, `cb444b1ae4d6e2ef50`, `fb444b1ae4d6e2ef50`},
		{"small floats have an exponent", wamp.CBOR, `fb3e7ad7f29abcaf48`, `1e-07`, `cb3e7ad7f29abcaf48`, `fb3e7ad7f29abcaf48`},
		{"shortest digits", wamp.CBOR, `fb3fb999999999999a`, `0.1`, `cb3fb999999999999a`, `fb3fb999999999999a`},
		{"negative zero", wamp.MsgPack, `cb8000000000000000`, `-0.0`, `cb8000000000000000`, `fb8000000000000000`},
		{"float32 stays float32", wamp.MsgPack, `ca3dcccccd`, `0.10000000149011612`, `ca3dcccccd`, `fa3dcccccd`},
		{"float16 becomes float32", wamp.CBOR, `f93e00`, `1.5`, `ca3fc00000`, `f93e00`},
		{"the least float16", wamp.CBOR, `f90001`, `5.960464477539063e-08`, `ca33800000`, `f90001`},
		{"the largest float16", wamp.CBOR, `f9fbff`, `-65504.0`, `cac77fe000`, `f9fbff`},
		{"NaN has no form in JSON", wamp.CBOR, `fb7ff8000000000000`, refused, `cb7ff8000000000000`, `fb7ff8000000000000`},
		{"NaN in half precision", wamp.CBOR, `f97e00`, refused, `ca7fc00000`, `f97e00`},
		{"infinity has no form in JSON", wamp.MsgPack, `caff800000`, refused, `caff800000`, `faff800000`},
		{"minus infinity in half precision", wamp.CBOR, `f9fc00`, refused, `caff800000`, `f9fc00`},
		{"a number beyond float64", wamp.JSON, `1e400`, `1e400`, refused, refused},
		{"a number too small is zero", wamp.JSON, `1e-400`, `1e-400`, `cb0000000000000000`, `fb0000000000000000`},

		{"escapes become characters", wamp.JSON, `"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"`,
			`"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"`,
			`ae225c2f080c0a0d09c3a9f09f9880`, `6e225c2f080c0a0d09c3a9f09f9880`},
		{"and what must be is escaped", wamp.CBOR, `6c225c2f080c0a0d097fc3a91f`, `"\"\\/\u0008\u000c\n\r\t` + "\x7fé" + `\u001f"`,
			`ac225c2f080c0a0d097fc3a91f`, `6c225c2f080c0a0d097fc3a91f`},
		{"tags vanish", wamp.CBOR, `c11a514b67b0`, `1363896240`, `ce514b67b0`, `c11a514b67b0`},
		{"tags in tags and containers", wamp.CBOR, `d9d9f782c0613181c101`, `["1",[1]]`, `92a1319101`, `d9d9f782c0613181c101`},
		{"an indefinite list", wamp.CBOR, `9f0102ff`, `[1,2]`, `920102`, `9f0102ff`},
		{"an empty indefinite list", wamp.CBOR, `9fff`, `[]`, `90`, `9fff`},
		{"indefinite containers in each other", wamp.CBOR, `bf61619f01bfffff616281f6ff`, `{"a":[1,{}],"b":[null]}`,
			`82a161920180a16291c0`, `bf61619f01bfffff616281f6ff`},
		{"indefinite text and bytes", wamp.CBOR, `827f616162c3a9ff5f4101420203ff`, `["aé","\u0000AQID"]`,
			`92a361c3a9c403010203`, `827f616162c3a9ff5f4101420203ff`},
		{"an indefinite text as a key", wamp.CBOR, `a17f61616162ff01`, `{"ab":1}`, `81a2616201`, `a17f61616162ff01`},
		{"white space vanishes", wamp.JSON, " [ 1 ,\t{ \"a\" :\n[ ] } ]\r\n", " [ 1 ,\t{ \"a\" :\n[ ] } ]\r\n", `920181a16190`, `8201a1616180`},
		{"a list of 16", wamp.JSON, `[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]`, `[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]`,
			`dc0010000102030405060708090a0b0c0d0e0f`, `90000102030405060708090a0b0c0d0e0f`},
		{"a key twice is allowed in payloads", wamp.JSON, `{"a":1,"a":2}`, `{"a":1,"a":2}`, `82a16101a16102`, `a2616101616102`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			src := input(t, tt.from, tt.in)
			for to, want := range map[wamp.Format]string{
				wamp.JSON: tt.json, wamp.MsgPack: tt.msgpack, wamp.CBOR: tt.cbor,
			} {
				got, err := serialize.Transcode([]byte("dst"), to, src, tt.from)
				if want == refused {
					if err == nil || string(got) != "dst" {
						t.Errorf("to %s: %s", to, show(to, got))
					}
					continue
				}
				if err != nil {
					t.Errorf("to %s: %v", to, err)
					continue
				}
				if got := show(to, got[3:]); got != want {
					t.Errorf("to %s: %s\nwant %s", to, got, want)
				}
				if err := serialize.Valid(to, got[3:], serialize.Limits{}); err != nil {
					t.Errorf("to %s: %s: %v", to, show(to, got), err)
				}
			}
		})
	}
}

func TestAnImpossiblePayloadLeavesTheDestinationAlone(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		to   wamp.Format
		p    wamp.Payload
	}{
		{"NaN to JSON", wamp.JSON, wamp.Args(math.NaN())},
		{"infinity in a float32 to JSON", wamp.JSON, wamp.Args(float32(math.Inf(1)))},
		{"raw NaN to JSON", wamp.JSON, wamp.RawPayload(wamp.CBOR, []byte{0x81, 0xf9, 0x7e, 0}, nil)},
		{"text with NUL first to JSON", wamp.JSON, wamp.Args("\x00abc")},
		{"a channel", wamp.CBOR, wamp.Args(make(chan int))},
		{"a function in a map", wamp.MsgPack, wamp.Values(nil, wamp.Dict{"f": func() {}})},
		{"text that is not UTF-8", wamp.MsgPack, wamp.Args("\xff")},
		{"text that is not UTF-8 in a struct", wamp.JSON, wamp.Args(struct{ A string }{"\xff"})},
		{"a key that is not UTF-8", wamp.CBOR, wamp.Values(nil, wamp.Dict{"\xff": 1})},
		{"a list of texts that are not UTF-8", wamp.CBOR, wamp.Args([]string{"a", "\xff"})},
		{"a map with integers as keys", wamp.CBOR, wamp.Args(map[int]string{1: "a"})},
		{"nested deeper than receivers take", wamp.JSON, wamp.Args(deepList(32))},
		{"the same by way of another type", wamp.MsgPack, wamp.Args(deepList(31).([]any), map[string][]any{"a": {deepList(30)}})},
		{"malformed raw bytes", wamp.JSON, wamp.RawPayload(wamp.MsgPack, []byte{0x92, 1}, nil)},
		{"raw bytes that are no base64", wamp.CBOR, wamp.RawPayload(wamp.JSON, []byte(`["\u0000?"]`), nil)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, m := range []wamp.Message{
				&wamp.Publish{Request: 1, Topic: "a", Payload: tt.p},
				&wamp.Yield{Request: 1, Payload: tt.p},
			} {
				got, err := serialize.Append([]byte("before"), tt.to, m)
				var e *wamp.PayloadError
				if !errors.As(err, &e) || e.Format != tt.to || e.Text == "" {
					t.Errorf("%s: %v", m.Type(), err)
				}
				if string(got) != "before" {
					t.Errorf("%s: %q", m.Type(), got)
				}
			}
		})
	}
}

func deepList(n int) any {
	var v any = 1
	for range n {
		v = []any{v}
	}
	return v
}

func TestAValueThatContainsItselfIsRefused(t *testing.T) {
	t.Parallel()
	list := []any{nil}
	list[0] = list
	dict := map[string]any{}
	dict["me"] = dict
	for _, v := range []any{list, dict} {
		if _, err := serialize.AppendValue(nil, wamp.JSON, v); err == nil {
			t.Error("it was written")
		}
	}
}

func TestAppendRefusesWhatIsNoFormat(t *testing.T) {
	t.Parallel()
	for _, f := range []wamp.Format{wamp.NoFormat, wamp.FormatCount, 255} {
		if _, err := serialize.Append(nil, f, &wamp.Yield{}); err == nil {
			t.Error(f, "is a format")
		}
		if _, err := serialize.AppendValue(nil, f, 1); err == nil {
			t.Error(f, "is a format")
		}
		if _, err := serialize.NewDecoder(f, serialize.Limits{}).Decode([]byte("[1]")); err == nil {
			t.Error(f, "is a format")
		}
		if serialize.Valid(f, []byte("1"), serialize.Limits{}) == nil {
			t.Error(f, "is a format")
		}
		if _, err := serialize.Transcode(nil, wamp.JSON, []byte("1"), f); err == nil {
			t.Error(f, "is a format")
		}
	}
	if _, err := serialize.Append(nil, wamp.JSON, nil); err == nil {
		t.Error("nil is a message")
	}
}

type mode int

func (m mode) MarshalText() ([]byte, error) { return []byte([]string{"off", "on"}[m]), nil }

func TestGoValues(t *testing.T) {
	t.Parallel()
	type inner struct {
		Unit string `cbor:"u" json:"unit"`
	}
	type outer struct {
		Name   string  `json:"name"`
		Value  float64 `json:"value"`
		Small  float32 `json:"small,omitempty"`
		Hidden int     `json:"-"`
		In     *inner  `json:"in"`
	}
	tests := []struct {
		name string
		v    any
		want string
	}{
		{"integers", []any{int(-1), int8(-2), int16(3), int32(4), int64(5), uint(6), uint8(7), uint16(8), uint32(9), uint64(math.MaxUint64)},
			`[-1,-2,3,4,5,6,7,8,9,18446744073709551615]`},
		{"floats keep their kind", []any{1.0, float32(0.5)}, `[1.0,0.5]`},
		{"the vocabulary's own types", []any{wamp.URI("a.b"), wamp.ID(7), wamp.List{}, wamp.Dict{}}, `["a.b",7,[],{}]`},
		{"bytes", []byte{1}, `"\u0000AQ=="`},
		{"nil containers", []any{nil, []byte(nil), (*inner)(nil)}, `[null,null,null]`},
		{"a struct by its tags", outer{Name: "t", Value: 23, In: &inner{"Cel"}}, `{"name":"t","value":23.0,"in":{"u":"Cel"}}`},
		{"slices of other types", []any{[]string{"a"}, []float64{1, 2.5}, []int{}, [2]bool{true}}, `[["a"],[1.0,2.5],[],[true,false]]`},
		{"maps of other types", map[string]int{"b": 2, "a": 1}, `{"a":1,"b":2}`},
		{"keys in order", wamp.Dict{"b": wamp.Dict{"z": 1, "y": 2}, "a": 3, "c": nil}, `{"a":3,"b":{"y":2,"z":1},"c":null}`},
		{"named types", []any{time.Duration(5), mode(1)}, `[5,"on"]`},
		{"time", time.Date(2026, 11, 5, 4, 3, 2, 1000, time.UTC), `"2026-11-05T04:03:02.000001Z"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := serialize.AppendValue(nil, wamp.JSON, tt.v)
			if err != nil || !sameJSON(t, string(got), tt.want) {
				t.Fatalf("%s %v\nwant %s", got, err, tt.want)
			}
			for _, f := range formats[1:] {
				b, err := serialize.AppendValue(nil, f, tt.v)
				if err != nil {
					t.Fatal(f, err)
				}
				if back, err := serialize.Transcode(nil, wamp.JSON, b, f); err != nil || !bytes.Equal(back, got) {
					t.Errorf("%s: %s %v", f, back, err)
				}
			}
		})
	}
}

// sameJSON compares values, not the order of a struct's fields.
func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	if a == b {
		return true
	}
	if strings.Contains(a, ".0") != strings.Contains(b, ".0") {
		return false
	}
	x, err := serialize.ParseValue(wamp.JSON, []byte(a), serialize.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	y, err := serialize.ParseValue(wamp.JSON, []byte(b), serialize.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return diff(x, y) == ""
}

func TestParseValue(t *testing.T) {
	t.Parallel()
	const doc = `[null,true,false,1,-1,9223372036854775808,1.5,18446744073709551616,"a","\u0000AQ==",[],{"k":{"l":"\u00e9"}}]`
	want := wamp.List{
		nil, true, false, int64(1), int64(-1), uint64(1 << 63), 1.5, 18446744073709551616.0,
		"a", []byte{1}, wamp.List{}, wamp.Dict{"k": wamp.Dict{"l": "é"}},
	}
	for _, f := range formats {
		b, err := serialize.Transcode(nil, f, []byte(doc), wamp.JSON)
		if err != nil {
			t.Fatal(err)
		}
		got, err := serialize.ParseValue(f, b, serialize.Limits{})
		if err != nil {
			t.Fatal(f, err)
		}
		clear(b) // the values share nothing with it
		if d := diff(any(want), got); d != "" {
			t.Error(f, d)
		}
	}
	if v, err := serialize.ParseValue(wamp.CBOR, []byte{0xfa, 0x3d, 0xcc, 0xcc, 0xcd}, serialize.Limits{}); v != float64(float32(0.1)) {
		t.Error(v, err)
	}
	var e *serialize.SyntaxError
	_, err := serialize.ParseValue(wamp.JSON, []byte(`[1,]`), serialize.Limits{})
	if !errors.As(err, &e) || e.Offset != 3 || err.Error() != "json at byte 3: unexpected character" {
		t.Error(err)
	}
	if _, err = serialize.ParseValue(wamp.JSON, []byte(`["\u0000?"]`), serialize.Limits{}); err == nil {
		t.Error("NUL without base64 is a value")
	}
}

func TestValuesOfAPayload(t *testing.T) {
	t.Parallel()
	args, kwargs, err := serialize.Values(wamp.RawPayload(wamp.JSON, []byte(`[1]`), []byte(`{"a":[]}`)))
	if err != nil || diff(wamp.List{int64(1)}, args) != "" || diff(wamp.Dict{"a": wamp.List{}}, kwargs) != "" {
		t.Error(args, kwargs, err)
	}
	if args, kwargs, err = serialize.Values(wamp.Payload{}); args != nil || kwargs != nil || err != nil {
		t.Error(args, kwargs, err)
	}
	for _, p := range []wamp.Payload{
		wamp.RawPayload(wamp.JSON, []byte(`{}`), nil),
		wamp.RawPayload(wamp.JSON, nil, []byte(`[]`)),
		wamp.RawPayload(wamp.JSON, []byte(`[1`), nil),
		wamp.RawPayload(wamp.JSON, []byte(`["\u0000?"]`), nil),
		wamp.RawPayload(wamp.MsgPack, append([]byte{0xdd, 0, 0x20, 0, 0}, make([]byte, 0x200000)...), nil),
	} {
		if _, _, err := serialize.Values(p); err == nil {
			t.Errorf("%.40v", p)
		}
	}
}

func TestEncodePayload(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]wamp.Payload{
		"values": wamp.Values(wamp.List{1.0, []byte{1}}, wamp.Dict{"a": nil}),
		"raw":    wamp.RawPayload(wamp.MsgPack, unhex(t, "92cb3ff0000000000000c40101"), unhex(t, "81a161c0")),
	} {
		for _, f := range formats {
			got, err := serialize.Encode(f, p)
			if err != nil || got.Format() != f {
				t.Fatal(name, f, err)
			}
			args, kwargs, err := serialize.Values(got)
			if err != nil || diff(wamp.List{1.0, []byte{1}}, args) != "" || diff(wamp.Dict{"a": nil}, kwargs) != "" {
				t.Error(name, f, args, kwargs, err)
			}
		}
	}
	for _, p := range []wamp.Payload{{}, wamp.Args(), wamp.Values(wamp.List{}, wamp.Dict{})} {
		if got, err := serialize.Encode(wamp.CBOR, p); err != nil || !got.Empty() {
			t.Error("empty arguments became something", err)
		}
	}
	if _, err := serialize.Encode(wamp.JSON, wamp.Args(math.NaN())); err == nil {
		t.Error("NaN in JSON")
	}
}
