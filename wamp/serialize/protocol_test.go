package serialize_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// decodeAs decodes a message written in JSON, by way of format f.
func decodeAs(t *testing.T, f wamp.Format, doc string) (wamp.Message, error) {
	t.Helper()
	b, err := serialize.Transcode(nil, f, []byte(doc), wamp.JSON)
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return serialize.NewDecoder(f, serialize.Limits{}).Decode(b)
}

func TestWhatIsNoMessage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		doc  string
		want string // part of the error's text
	}{
		{`{}`, "message is not a list"},
		{`"[1]"`, "message is not a list"},
		{`[]`, "message is empty"},
		{`[1,2,3,4,5,6,7,8]`, "message has too many fields"},
		{`["1"]`, "message type"},
		{`[true]`, "message type"},
		{`[null]`, "message type"},
		{`[1.0,"gantry",{}]`, "message type"},
		{`[1e0,"gantry",{}]`, "message type"},
		{`[-1,"gantry",{}]`, "message type"},
		{`[0]`, "message type"},
		{`[7]`, "unknown message type 7"},
		{`[337,1]`, "unknown message type 337"},
		{`[65536]`, "message type"},
		{`[1]`, "HELLO has 1 fields"},
		{`[1,"gantry"]`, "HELLO has 2 fields"},
		{`[1,"gantry",{},1]`, "HELLO has 4 fields"},
		{`[1,null,{}]`, "HELLO.Realm is not text"},
		{`[1,"gantry",[]]`, "HELLO.Details is not a dict"},
		{`[1,"gantry",null]`, "HELLO.Details is not a dict"},
		{`[2,0,{}]`, "WELCOME.Session is not an integer from 1 to 2^53"},
		{`[3,{},"a",[],{},1]`, "ABORT has 6 fields"},
		{`[5,"sig",""]`, "AUTHENTICATE.Extra is not a dict"},
		{`[8,"48",1,{},"a.b"]`, "ERROR.REQUEST.Type is not a message type number"},
		{`[8,0,1,{},"a.b"]`, "ERROR.REQUEST.Type is not a message type number"},
		{`[8,48,1,{},7]`, "ERROR.Error is not text"},
		{`[16,1,{},"a.b",null]`, "PUBLISH.Arguments is not a list"},
		{`[16,1,{},"a.b",{}]`, "PUBLISH.Arguments is not a list"},
		{`[16,1,{},"a.b","\u0000aGk="]`, "PUBLISH.Arguments is not a list"},
		{`[16,1,{},"a.b",[],null]`, "PUBLISH.ArgumentsKw is not a dict"},
		{`[16,1,{},"a.b",[],[]]`, "PUBLISH.ArgumentsKw is not a dict"},
		{`[16,1,{},"a.b",[],{},{}]`, "PUBLISH has 7 fields"},
		{`[16,1,[],"a.b"]`, "PUBLISH.Options is not a dict"},
		{`[16,1,"a.b",{}]`, "PUBLISH.Options is not a dict"},
		{`[16,1,{},"\u0000aGk="]`, "PUBLISH.Topic is not text"},
		{`[17,1]`, "PUBLISHED has 2 fields"},
		{`[17,1,0]`, "PUBLISHED.Publication is not an integer"},
		{`[35,0]`, "UNSUBSCRIBED.UNSUBSCRIBE.Request is not an answer"},
		{`[35,0,{}]`, "subscription that is revoked"},
		{`[35,0,{"subscription":0}]`, "UNSUBSCRIBED.Details.subscription is not an integer"},
		{`[67,0,{"reason":"a.b"}]`, "registration that is revoked"},
		{`[67,1,[]]`, "UNREGISTERED.Details is not a dict"},
	}
	for _, tt := range tests {
		for _, f := range formats {
			m, err := decodeAs(t, f, tt.doc)
			var e *wamp.ProtocolError
			if !errors.As(err, &e) || !strings.Contains(e.Text, tt.want) || m != nil {
				t.Errorf("%s %s: %v %v, want %q", f, tt.doc, m, err, tt.want)
			}
		}
	}
}

func TestIDsAreIntegersInRange(t *testing.T) {
	t.Parallel()
	good := map[string]wamp.ID{
		"1": 1, "127": 127, "128": 128, "65536": 65536, "4294967296": 1 << 32, "9007199254740992": 1 << 53,
	}
	bad := []string{
		"0", "-1", "9007199254740993", "9223372036854775808", "18446744073709551615", "18446744073709551616",
		"1.5", "-1.0", "0.0", "1e300", `"1"`, "true", "null", "[1]", `{}`, `"\u0000AQ=="`,
	}
	for _, f := range formats {
		for doc, want := range good {
			m, err := decodeAs(t, f, fmt.Sprintf(`[33,%s,%s]`, doc, doc))
			if s, ok := m.(*wamp.Subscribed); !ok || s.Request != want || s.Subscription != want {
				t.Errorf("%s %s: %v %v", f, doc, m, err)
			}
		}
		for _, doc := range bad {
			for _, form := range []string{
				`[16,%s,{},"a"]`, `[36,1,%s,{}]`, `[70,%s,{}]`, `[8,48,%s,{},"a.b"]`, `[34,1,%s]`,
				`[16,1,{"exclude":[1,%s]},"a"]`, `[16,1,{"eligible":[%s]},"a"]`,
			} {
				if m, err := decodeAs(t, f, fmt.Sprintf(form, doc)); err == nil {
					t.Errorf("%s %s: %+v", f, fmt.Sprintf(form, doc), m)
				}
			}
			if doc == "null" {
				continue // stands for absent
			}
			for _, form := range []string{
				`[36,1,1,{"publisher":%s}]`, `[50,1,{"callee":%s}]`, `[68,1,1,{"caller":%s}]`,
			} {
				if m, err := decodeAs(t, f, fmt.Sprintf(form, doc)); err == nil {
					t.Errorf("%s %s: %+v", f, fmt.Sprintf(form, doc), m)
				}
			}
		}
	}
	// Any width is an integer, and so is a positive one in a signed form.
	for _, tt := range []struct {
		f    wamp.Format
		wire string
		want bool
	}{
		{wamp.MsgPack, "93 cc21 d005 ce00000007", true},
		{wamp.MsgPack, "93 cf0000000000000021 d30000000000000005 d10007", true},
		{wamp.MsgPack, "93 d200000021 cd0005 d20000 0007", true},
		{wamp.MsgPack, "93 21 d0fb 07", false},
		{wamp.MsgPack, "93 21 05 cf8000000000000007", false},
		// So is a whole float in a binary format: JavaScript has no other numbers.
		{wamp.MsgPack, "93 21 05 ca40e00000", true},
		{wamp.MsgPack, "93 21 cb4014000000000000 07", true},
		{wamp.MsgPack, "93 21 05 ca40e80000", false},
		{wamp.MsgPack, "93 21 05 cb4340000000000001", false},
		{wamp.MsgPack, "93 21 05 cb7ff8000000000000", false},
		{wamp.MsgPack, "dd00000003 21 05 07", true},
		{wamp.CBOR, "83 1821 1805 190007", true},
		{wamp.CBOR, "83 1b0000000000000021 1a00000005 1b0000000000000007", true},
		{wamp.CBOR, "83 1821 24 07", false},
		{wamp.CBOR, "83 1821 05 f94700", true},
		{wamp.CBOR, "83 1821 05 fb401c000000000000", true},
		{wamp.CBOR, "83 1821 05 f94780", false},
		{wamp.CBOR, "83 1821 05 c24107", true},
		{wamp.CBOR, "83 1821 05 c34107", false},
		{wamp.CBOR, "83 1821 05 f97e00", false},
		{wamp.CBOR, "9f 1821 05 07 ff", true},
		{wamp.CBOR, "d9d9f7 83 c01821 c005 c007", true},
		{wamp.CBOR, "9b0000000000000003 1821 05 07", true},
	} {
		m, err := serialize.NewDecoder(tt.f, serialize.Limits{}).Decode(unhex(t, tt.wire))
		if s, ok := m.(*wamp.Subscribed); ok != tt.want || ok && (s.Request != 5 || s.Subscription != 7) {
			t.Errorf("%s %s: %v %v", tt.f, tt.wire, m, err)
		}
	}
}

func TestOptionsOfTheWrongType(t *testing.T) {
	t.Parallel()
	const (
		boolean = `1 0 "true" [] {} 1.0`
		text    = `1 true [] {} 1.5 "\u0000aGk="`
		callers = `5 {} "a" [5] [{}] [{"session":0}] [{"session":"1"}] [{"session":1,"authid":7}] [{"session":1,"authrole":[]}] [{"session":1},null] ` +
			`[{"session":1},{"session":1},{"session":1},{"session":1},{"session":1},{"session":1},{"session":1},{"session":1},{"session":1},` +
			`{"session":1},{"session":1},{"session":1},{"session":1},{"session":1},{"session":1},{"session":1},{"session":1}]`
		number = `-1 1.0 1e3 "1" true [] {} 18446744073709551616`
		ids    = `1 "1" {} true ["1"] [0] [null] [1.5] [[1]]`
		texts  = `1 "a" {} true [1] [null] [["a"]] ["\u0000aGk="]`
	)
	tests := []struct{ form, keys, values string }{
		{`[16,1,{"%s":%s},"a"]`, "acknowledge exclude_me disclose_me retain _unretain", boolean},
		{`[16,1,{"%s":%s},"a"]`, "rkey ppt_scheme ppt_serializer ppt_cipher ppt_keyid", text},
		{`[16,1,{"%s":%s},"a"]`, "exclude eligible", ids},
		{`[16,1,{"%s":%s},"a"]`, "exclude_authid eligible_authid exclude_authrole eligible_authrole", texts},
		{`[16,1,{"%s":%s},"a"]`, "_once", `1 "a" {} [] ["s"] ["s",1] ["s",1,2,3] [1,1,1] ["s",-1,1] ["s",1,1.0]`},
		{`[32,1,{"%s":%s},"a"]`, "get_retained", boolean},
		{`[32,1,{"%s":%s},"a"]`, "match nkey", text},
		{`[36,1,1,{"%s":%s}]`, "retained", boolean},
		{`[36,1,1,{"%s":%s}]`, "publisher_authid publisher_authrole topic ppt_scheme", text},
		{`[36,1,1,{"%s":%s}]`, "trustlevel", number + " 4294967296"},
		{`[48,1,{"%s":%s},"a"]`, "receive_progress progress disclose_me", boolean},
		{`[48,1,{"%s":%s},"a"]`, "rkey runmode ppt_cipher", text},
		{`[48,1,{"%s":%s},"a"]`, "timeout", number},
		{`[48,1,{"%s":%s},"a"]`, "forward_for", callers},
		{`[68,1,1,{"%s":%s}]`, "forward_for", callers},
		{`[49,1,{"%s":%s}]`, "mode", text},
		{`[50,1,{"%s":%s}]`, "progress", boolean},
		{`[50,1,{"%s":%s}]`, "callee_authid callee_authrole ppt_keyid", text},
		{`[64,1,{"%s":%s},"a"]`, "disclose_caller force_reregister forward_timeout", boolean},
		{`[64,1,{"%s":%s},"a"]`, "match invoke", text},
		{`[64,1,{"%s":%s},"a"]`, "concurrency", number + " 4294967296"},
		{`[67,0,{"registration":1,"%s":%s}]`, "reason", text},
		{`[68,1,1,{"%s":%s}]`, "receive_progress progress", boolean},
		{`[68,1,1,{"%s":%s}]`, "caller_authid caller_authrole procedure ppt_scheme", text},
		{`[68,1,1,{"%s":%s}]`, "timeout", number},
		{`[68,1,1,{"%s":%s}]`, "trustlevel", number + " 4294967296"},
		{`[69,1,{"%s":%s}]`, "mode reason", text},
		{`[70,1,{"%s":%s}]`, "progress", boolean},
		{`[70,1,{"%s":%s}]`, "ppt_serializer", text},
	}
	for _, tt := range tests {
		for key := range strings.FieldsSeq(tt.keys) {
			for _, f := range formats {
				for value := range strings.FieldsSeq(tt.values) {
					doc := fmt.Sprintf(tt.form, key, value)
					var e *wamp.ProtocolError
					if m, err := decodeAs(t, f, doc); !errors.As(err, &e) || !strings.Contains(e.Text, "."+key) {
						t.Errorf("%s %s: %+v %v", f, doc, m, err)
					}
				}
				doc := fmt.Sprintf(tt.form, key, "null")
				without := fmt.Sprintf(tt.form, "unknown", "null")
				got, err := decodeAs(t, f, doc)
				want, _ := decodeAs(t, f, without)
				if d := diff(want, got); err != nil || d != "" {
					t.Errorf("%s %s: %v %s", f, doc, err, d)
				}
			}
		}
	}
}

func TestUnknownAttributesAreIgnored(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		m, err := decodeAs(t, f, `[16,1,{"x_a":{"acknowledge":true,"acknowledge":[1]},"retain":true,"":1,"ppt_more":7,"y":[[[]]],"\u0000":0},"a"]`)
		want := &wamp.Publish{Request: 1, Topic: "a", Options: wamp.PublishOptions{Retain: true}}
		if d := diff(wamp.Message(want), m); err != nil || d != "" {
			t.Error(f, err, d)
		}
	}
}

func TestAnAttributeThatComesTwiceIsRefused(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{
		`[16,1,{"retain":true,"retain":false},"a"]`,
		`[16,1,{"retain":null,"x":1,"retain":true},"a"]`,
		`[36,1,1,{"x":1,"x":1}]`,
		`[1,"gantry",{"roles":{},"roles":{}}]`,
		`[1,"gantry",{"roles":{"caller":{},"caller":{}}}]`,
		`[8,48,1,{"a":1,"a":2},"a.b"]`,
		`[6,{"a":[{"b":1,"b":1}]},"a.b"]`,
	} {
		for _, f := range formats {
			if m, err := decodeAs(t, f, doc); err == nil {
				t.Errorf("%s %s: %+v", f, doc, m)
			}
		}
	}
	d := serialize.NewDecoder(wamp.JSON, serialize.Limits{})
	if m, err := d.Decode([]byte(`[16,1,{"retain":true,"ret\u0061in":false},"a"]`)); err == nil {
		t.Errorf("written in two ways: %+v", m)
	}
	cbor := serialize.NewDecoder(wamp.CBOR, serialize.Limits{})
	if m, err := cbor.Decode(unhex(t, "84 10 01 a2 6178 f6 7f6178ff f6 6161")); err == nil {
		t.Errorf("written in two ways: %+v", m)
	}
}

func TestOptionsHaveALimit(t *testing.T) {
	t.Parallel()
	for _, n := range []int{128, 129} {
		var b strings.Builder
		b.WriteString(`[70,1,{`)
		for i := range n {
			fmt.Fprintf(&b, `"k%d":null,`, i)
		}
		doc := strings.TrimSuffix(b.String(), ",") + `}]`
		if _, err := decodeAs(t, wamp.JSON, doc); (err == nil) != (n == 128) {
			t.Error(n, err)
		}
	}
}

func TestUnknownPoliciesAreKeptForTheRouter(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		m, err := decodeAs(t, f, `[64,1,{"match":"regex","invoke":"all"},"a"]`)
		r, ok := m.(*wamp.Register)
		if !ok || r.Options.Match != wamp.MatchInvalid || r.Options.Invoke != wamp.InvokeInvalid {
			t.Error(f, m, err)
		}
		m, err = decodeAs(t, f, `[49,1,{"mode":"abort"}]`)
		if c, ok := m.(*wamp.Cancel); !ok || c.Mode != wamp.CancelInvalid {
			t.Error(f, m, err)
		}
		m, err = decodeAs(t, f, `[32,1,{"match":"Prefix"},"a"]`)
		if s, ok := m.(*wamp.Subscribe); !ok || s.Options.Match != wamp.MatchInvalid {
			t.Error(f, m, err)
		}
	}
}

func TestEmptyArgumentsAreAcceptedAndDropped(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		for in, want := range map[string]string{
			`[36,1,1,{}]`:              `[36,1,1,{}]`,
			`[36,1,1,{},[]]`:           `[36,1,1,{}]`,
			`[36,1,1,{},[],{}]`:        `[36,1,1,{}]`,
			`[36,1,1,{},[1],{}]`:       `[36,1,1,{},[1]]`,
			`[36,1,1,{},[],{"a":1}]`:   `[36,1,1,{},[],{"a":1}]`,
			`[36,1,1,{},[[]],{"a":1}]`: `[36,1,1,{},[[]],{"a":1}]`,
		} {
			m, err := decodeAs(t, f, in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := serialize.Append(nil, wamp.JSON, m)
			if err != nil || string(got) != want {
				t.Errorf("%s: %s became %s, %v", f, in, got, err)
			}
		}
	}
	p := wamp.RawPayload(wamp.JSON, nil, []byte(`{"a":1}`))
	for _, f := range formats {
		b, err := serialize.Append(nil, f, &wamp.Yield{Request: 1, Payload: p})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := serialize.Transcode(nil, wamp.JSON, b, f); string(got) != `[70,1,{},[],{"a":1}]` {
			t.Error(string(got), err)
		}
	}
}

func TestTextsThatAreNotWrittenPlainly(t *testing.T) {
	t.Parallel()
	tests := []struct {
		f    wamp.Format
		wire string
	}{
		{wamp.JSON, ` [ 16 , 1 , { "\u0072key" : "k\n\u00e9" , "ppt_scheme":"\u0078_s" } , "a\u002eb" , [ 1 ] ] `},
		{wamp.MsgPack, "95 10 01 82 d904726b6579 da00046b0ac3a9 aa7070745f736368656d65 db00000003785f73 a3612e62 9101"},
		{wamp.CBOR, "9f 10 01 bf 7f62726b626579ff 7f616b610a62c3a9ff 6a7070745f736368656d65 c063785f73 ff 7f61616061 2e6162ff 9f01ff ff"},
	}
	want := &wamp.Publish{
		Request: 1, Topic: "a.b",
		Options: wamp.PublishOptions{RKey: "k\né", Passthru: &wamp.Passthru{Scheme: "x_s"}},
		Payload: wamp.Args(int64(1)),
	}
	for _, tt := range tests {
		d := serialize.NewDecoder(tt.f, serialize.Limits{})
		for range 3 { // memory of the decoder is used again
			m, err := d.Decode(input(t, tt.f, tt.wire))
			if err != nil {
				t.Fatal(tt.f, err)
			}
			if d := diff(wamp.Message(want), values(t, m)); d != "" {
				t.Error(tt.f, d)
			}
		}
	}
}

func TestACloneOutlivesTheNextDecode(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		d := serialize.NewDecoder(f, serialize.Limits{})
		cases := wireCases(t)
		got := map[string]wamp.Message{}
		for name := range wireMessages {
			wire := cases[name][f]
			m, err := d.Decode(wire)
			if err != nil {
				t.Fatal(name, err)
			}
			got[name] = wamp.Clone(m)
			for i := range wire {
				wire[i] = 'X'
			}
		}
		for name, want := range wireMessages {
			if d := diff(want, values(t, got[name])); d != "" {
				t.Error(name, f, d)
			}
		}
	}
}

// TestForwardFor reads and writes for whom is called.
func TestForwardFor(t *testing.T) {
	t.Parallel()
	users := []wamp.Forwarded{{Session: 7, AuthID: "ann", AuthRole: "operator"}, {Session: wamp.MaxID}}
	for _, want := range []wamp.Message{
		&wamp.Call{Request: 1, Procedure: "a", Options: wamp.CallOptions{RKey: "r", ForwardFor: users}},
		&wamp.Invocation{Request: 1, Registration: 1, Details: wamp.InvocationDetails{Caller: 5, ForwardFor: users}},
	} {
		for _, f := range formats {
			b, err := serialize.Append(nil, f, want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := serialize.NewDecoder(f, serialize.Limits{}).Decode(b)
			if d := diff(want, got); err != nil || d != "" {
				t.Errorf("%s %x: %v %s", f, b, err, d)
			}
		}
	}
	// As Autobahn writes it.
	got, err := decodeAs(t, wamp.MsgPack, `[48,1,{"forward_for":[{"session":7,"authid":null,"authrole":"operator","x":1}]},"a"]`)
	want := wamp.Message(&wamp.Call{Request: 1, Procedure: "a", Options: wamp.CallOptions{ForwardFor: []wamp.Forwarded{{Session: 7, AuthRole: "operator"}}}})
	if d := diff(want, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
}
