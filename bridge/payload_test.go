package bridge_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

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

		"\xa1\x61t\x18\x15":                 {wamp.Dict{"t": int64(21)}},
		"\xbf\x61t\x82\xf9\x3c\x00\xf6\xff": {wamp.Dict{"t": wamp.List{1.0, nil}}},
		"\x81\x05":                          {[]byte("\x81\x05")}, // more likely two bytes than an array
		"\x82\xf9\x3c\x00\xf6":              {[]byte("\x82\xf9\x3c\x00\xf6")},
		"\x9f\x01\xff":                      {[]byte("\x9f\x01\xff")},
		"\xd9\xd9\xf7\x82\xf9\x3c\x00\xf6":  {wamp.List{1.0, nil}},
		"\xd9\xd9\xf7\x9f\x01\xff":          {wamp.List{int64(1)}},
		"\xd9\xd9\xf7\x05":                  {int64(5)},
		"\xd9\xd9\xf7\x62on":                {"on"},
		"\xd9\xd9\xf7\xa0":                  {wamp.Dict{}},
		"\xd9\xd9\xf7":                      {[]byte("\xd9\xd9\xf7")},
		"\xd9\xd9\xf7\x05\x05":              {[]byte("\xd9\xd9\xf7\x05\x05")},
		"\xd9\xd9\xf7\x81\x42\x00\xff":      {wamp.List{[]byte{0, 255}}},
		"\x80":                              {[]byte("\x80")}, // more likely a byte than an empty array
		"\xa0":                              {[]byte("\xa0")},
		"\x81\x01\x02":                      {[]byte("\x81\x01\x02")},
		"\x82\x01":                          {[]byte("\x82\x01")},
		"\xd9\xd9\xf7\x81\x01\x02":          {[]byte("\xd9\xd9\xf7\x81\x01\x02")},
		"\xd9\xd9\xf7\x82\x01":              {[]byte("\xd9\xd9\xf7\x82\x01")},
		"\xa1\x01\x02":                      {[]byte("\xa1\x01\x02")},          // its key is no text
		"\xa1\x61t\xf9\x7e\x00":             {[]byte("\xa1\x61t\xf9\x7e\x00")}, // not a number
		"\xa1\x61t\x1b\xff\xff\xff\xff\xff\xff\xff\xff":        {wamp.Dict{"t": uint64(math.MaxUint64)}},
		"\xa1\x61t\x62\x00A":                                   {[]byte("\xa1\x61t\x62\x00A")}, // a text that would be binary
		"\xd9\xd9\xf7\x81\xf9\x7e\x00":                         {[]byte("\xd9\xd9\xf7\x81\xf9\x7e\x00")},
		"\xd9\xd9\xf7\x81\x1b\xff\xff\xff\xff\xff\xff\xff\xff": {wamp.List{uint64(math.MaxUint64)}},
		"\xd9\xd9\xf7\x81\x62\x00A":                            {[]byte("\xd9\xd9\xf7\x81\x62\x00A")},
		"\xfb\x40\x35\x80\x00\x00\x00\x00\x00":                 {[]byte("\xfb\x40\x35\x80\x00\x00\x00\x00\x00")},
		"\xd9\xd9\xf7" + strings.Repeat("\x81", 40) + "\x01":   {[]byte("\xd9\xd9\xf7" + strings.Repeat("\x81", 40) + "\x01")},
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

// TestCBORMessages takes messages to the realm and back: they are as they were sent, also
// when a session of another serializer has had them.
func TestCBORMessages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, kind, message string
		want                any
		cbor                bool
	}{
		{"a map", "", "\xa1\x61t\xfa\x41\xac\x00\x00", wamp.Dict{"t": 21.5}, true},
		{"a map of its type", "application/cbor", "\xa1\x61t\x18\x1c", wamp.Dict{"t": int64(28)}, true},
		{"a marked array", "", "\xd9\xd9\xf7\x81\x05", wamp.List{int64(5)}, true},
		{"an array of its type", "application/cbor", "\x81\x05", wamp.List{int64(5)}, true},
		{"two bytes", "", "\x81\x05", []byte{0x81, 5}, false},
		{"a number of its type", "application/cbor", "\x18\x1c", int64(28), true},
		{"a text of its type", "application/cbor", "\x62on", "on", true},
		{"bytes of its type", "application/cbor", "\x42\x00\xff", []byte{0, 255}, true},
		{"an empty array of its type", "application/cbor", "\x80", wamp.List{}, true},
		{"none in spite of its type", "application/cbor", "on", "on", false},
		{"a map of another type", "application/octet-stream", "\xa1\x61t\x18\x15", []byte("\xa1\x61t\x18\x15"), false},
		{"binary", "", "\xff", []byte{255}, false},
		{"JSON", "", "[21]", wamp.List{int64(21)}, false},
	} {
		p, ppt := bridge.Publication([]byte(c.message), &bridge.Properties{ContentType: c.kind})
		if _, binary := c.want.([]byte); (ppt != nil) != (binary && !c.cbor) {
			t.Errorf("%s: passthru %+v", c.name, ppt)
		}
		for _, f := range []wamp.Format{wamp.NoFormat, wamp.JSON, wamp.MsgPack, wamp.CBOR} {
			there := p
			if f != wamp.NoFormat {
				var err error
				if there, err = serialize.Encode(f, p); err != nil {
					t.Fatal(c.name, err)
				}
			}
			args, _, err := serialize.Values(there)
			if err != nil || cmp.Diff(wamp.List{c.want}, args) != "" {
				t.Errorf("%s as %s: %v, %v", c.name, f, args, err)
			}
			cut, props := bridge.CutProperties(there)
			if got := props != nil && props.CBOR; got != c.cbor || props != nil && props.ContentType != c.kind {
				t.Errorf("%s as %s: properties %+v", c.name, f, props)
			}
			back, err := props.AppendMQTT(nil, cut)
			// A float may be of another size when others have written it, and the mark is gone.
			if own := f == wamp.NoFormat || f == wamp.CBOR || c.name != "a map" && c.name != "a marked array"; err != nil || own && string(back) != c.message {
				t.Errorf("%s through %s: %q, %v", c.name, f, back, err)
			}
		}
	}
	asked := wamp.Values(wamp.List{wamp.Dict{"t": 21}}, wamp.Dict{"mqtt": wamp.Dict{"cbor": true}})
	if b, _, err := bridge.PlainMessage(asked, time.Now()); string(b) != "\xa1\x61t\x15" || err != nil {
		t.Errorf("what a session wants to be CBOR is %q, %v", b, err)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	list := wamp.List{wamp.Dict{"args": wamp.List{int64(1)}, "x": true}}
	for in, want := range map[string]wamp.Payload{
		`{"args":[1]}`:                     wamp.Args(int64(1)),
		`{"kwargs":{"a":1}}`:               wamp.Values(nil, wamp.Dict{"a": int64(1)}),
		`{"args":[1],"x":true}`:            wamp.Values(list, nil),
		"\xa1\x64args\x81\x01":             wamp.Args(int64(1)),
		"\xa1\x66kwargs\xa1\x61a\x01":      wamp.Values(nil, wamp.Dict{"a": int64(1)}),
		"\xa2\x64args\x81\x01\x61x\xf5":    wamp.Values(list, nil),
		"\xa1\x64args\x81\x42\x00\xff":     wamp.Args([]byte{0, 255}),
		"\xd9\xd9\xf7\xa1\x64args\x81\x01": wamp.Args(int64(1)),
		"\xd9\xd9\xf7\x05":                 wamp.Args(int64(5)),
		"on":                               wamp.Args("on"),
		"":                                 {},
	} {
		args, kwargs, err := serialize.Values(bridge.Arguments(bridge.PayloadFromMQTT([]byte(in))))
		wantArgs, wantKwargs := want.GoValues()
		if err != nil || len(args) != len(wantArgs) || len(kwargs) != len(wantKwargs) ||
			len(args) > 0 && cmp.Diff(wantArgs, args) != "" || len(kwargs) > 0 && cmp.Diff(wantKwargs, kwargs) != "" {
			t.Errorf("%q: %v %v %v", in, args, kwargs, err)
		}
	}
}

// FuzzPayload proves that MQTT to MQTT is byte exact, whatever serializer lies
// between, and that every payload can be carried by all of them.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{"", "21.5", `{"a":[1,"x"]}`, "1e400", "\x00", "\xff", `"q"`, "[1,2]", `["\u0000AQ=="]`, "-0", "1E5",
		"\xa1at\x18\x15", "\x9f\xf9\x3c\x00\xff", "\xd9\xd9\xf7\x81\xc0\x61\x00", "\xbf\x7f\x61a\xff\x01\xff", "\x82\xf7\xf6", "\x81\xc2\x41\x01", "\xd9\xd9\xf7\x82\xf7\xf6", "\xd9\xd9\xf7\x81\xc2\x41\x01", "\xd9\xd9\xf7\x62on"} {
		for kind := range uint8(3) {
			f.Add([]byte(s), kind)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, kind uint8) {
		p := bridge.PayloadFromMQTT(b)
		if got, err := bridge.AppendMQTT(nil, p); err != nil || p.Format() != wamp.CBOR && !bytes.Equal(got, b) {
			t.Fatalf("%q -> %q, %v", b, got, err)
		}
		p, _ = bridge.Publication(b, &bridge.Properties{ContentType: []string{"", "application/cbor", "text/plain"}[kind%3]})
		got, _, err := bridge.PlainMessage(p, time.Now())
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%q -> %q, %v", b, got, err)
		}
		_, props := bridge.CutProperties(p)
		text := props == nil || !props.CBOR
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
			back, _, err := bridge.PlainMessage(there, time.Now())
			if err != nil {
				t.Fatalf("%q through %s: %v", b, format, err)
			}
			// A text or binary survives any serializer; JSON and CBOR their own.
			if (text && (scalar(bridge.PayloadFromMQTT(b)) || format == wamp.JSON) || format == p.Format()) && !bytes.Equal(back, b) {
				t.Fatalf("%q through %s: %q", b, format, back)
			}
		}
	})
}

func scalar(p wamp.Payload) bool { return p.Format() == wamp.NoFormat }
