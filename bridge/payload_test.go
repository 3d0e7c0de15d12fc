package bridge_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gantry/bridge"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

func TestPayloadFromMQTT(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	for in, want := range map[string]wamp.List{
		"":                       nil,
		"21.5":                   {21.5},
		"-3":                     {int64(-3)},
		"true":                   {true},
		"null":                   {nil},
		`{"t":21}`:               {wamp.Dict{"t": int64(21)}},
		"[1,2]":                  {wamp.List{int64(1), int64(2)}},
		"[]":                     {wamp.List{}},
		`"text"`:                 {`"text"`},
		"ON":                     {"ON"},
		" 21":                    {" 21"},
		"21\n":                   {"21\n"},
		"021":                    {"021"},
		"1e400":                  {"1e400"},
		"1e3":                    {1000.0},
		"[1e400]":                {"[1e400]"},
		"1,2":                    {"1,2"},
		"[1],[2]":                {"[1],[2]"},
		"{},{}":                  {"{},{}"},
		"]":                      {"]"},
		"1]":                     {"1]"},
		"NaN":                    {"NaN"},
		"ü":                      {"ü"},
		"\x00abc":                {[]byte("\x00abc")},
		"\xff":                   {[]byte("\xff")},
		"{\"a\":\"\xff\"}":       {[]byte("{\"a\":\"\xff\"}")},
		`["\u0000AQID"]`:         {wamp.List{[]byte{1, 2, 3}}},
		`["\u0000A"]`:            {`["\u0000A"]`},
		`["\ud800"]`:             {`["\ud800"]`},
		"a\x00b":                 {"a\x00b"},
		deep:                     {deep},
		strings.Repeat("9", 400): {strings.Repeat("9", 400)},
	} {
		p := bridge.PayloadFromMQTT([]byte(in))
		got, kwargs, err := serialize.Values(p)
		if err != nil || kwargs != nil {
			t.Errorf("%q: %v, %v", in, kwargs, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", in, d)
		}
	}
}

func TestAppendMQTT(t *testing.T) {
	t.Parallel()
	raw := func(args, kwargs string) wamp.Payload {
		var a, k []byte
		if args != "" {
			a = []byte(args)
		}
		if kwargs != "" {
			k = []byte(kwargs)
		}
		return wamp.RawPayload(wamp.JSON, a, k)
	}
	for _, c := range []struct {
		name string
		p    wamp.Payload
		want string
	}{
		{"nothing", wamp.Payload{}, ""},
		{"an empty list", raw(" [ ] ", ""), ""},
		{"empty list and dict", raw("[]", "{}"), ""},
		{"text", wamp.Args("on"), "on"},
		{"binary", wamp.Args([]byte{0, 255}), "\x00\xff"},
		{"number", wamp.Args(21.5), "21.5"},
		{"nil", wamp.Args(nil), "null"},
		{"dict", wamp.Args(wamp.Dict{"a": true}), `{"a":true}`},
		{"raw text with escapes", raw(`["a\"\u00e4\\"]`, ""), `a"ä\`},
		{"raw binary", raw(`["\u0000AP8="]`, ""), "\x00\xff"},
		{"raw value with space", raw(` [ {"a" : [1,2]} ] `, "{}"), `{"a" : [1,2]}`},
		{"commas inside a text", raw(`["a,b"]`, ""), "a,b"},
		{"two arguments", raw("[1,2]", ""), `{"args":[1,2],"kwargs":{}}`},
		{"a reading", raw("[21.5]", `{"q":"good"}`), `{"args":[21.5],"kwargs":{"q":"good"}}`},
		{"keyword arguments alone", wamp.Values(nil, wamp.Dict{"a": 1}), `{"args":[],"kwargs":{"a":1}}`},
		{"MsgPack", wamp.RawPayload(wamp.MsgPack, []byte{0x91, 0xa2, 'o', 'n'}, nil), "on"},
		{"CBOR binary", wamp.RawPayload(wamp.CBOR, []byte{0x81, 0x42, 0, 255}, nil), "\x00\xff"},
	} {
		got, err := bridge.AppendMQTT([]byte("x"), c.p)
		if err != nil || string(got) != "x"+c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, "x"+c.want)
		}
	}
	if got, err := bridge.AppendMQTT([]byte("x"), wamp.Args(math.NaN())); err == nil || string(got) != "x" {
		t.Errorf("NaN: %q, %v", got, err)
	}
}

// FuzzPayload proves that MQTT to MQTT is byte exact, whatever serializer lies
// between, and that every payload can be carried by all of them.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{"", "21.5", `{"a":[1,"x"]}`, "1e400", "\x00", "\xff", `"q"`, "[1,2]", `["\u0000AQ=="]`, "-0", "1E5"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := bridge.PayloadFromMQTT(b)
		got, err := bridge.AppendMQTT(nil, p)
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%q -> %q, %v", b, got, err)
		}
		for _, format := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
			there, err := serialize.Encode(format, p)
			if err != nil {
				t.Fatalf("%q as %s: %v", b, format, err)
			}
			args, _, err := serialize.Values(there)
			if err != nil {
				t.Fatalf("%q as %s: %v", b, format, err)
			}
			if len(args) != 1 && len(b) > 0 {
				t.Fatalf("%q as %s has %d arguments", b, format, len(args))
			}
			back, err := bridge.AppendMQTT(nil, there)
			if err != nil {
				t.Fatalf("%q through %s: %v", b, format, err)
			}
			// A text or binary survives any serializer; JSON its own.
			if scalar(p) && !bytes.Equal(back, b) || format == wamp.JSON && !bytes.Equal(back, b) {
				t.Fatalf("%q through %s: %q", b, format, back)
			}
		}
	})
}

func scalar(p wamp.Payload) bool { return p.Format() == wamp.NoFormat }
