package conformance

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/wamptest"
)

var serializers = []item{
	{name: "22_binary_in_json", run: binaryInJSON},
	{name: "23_binary_survives_crossing", run: binaryCrossing},
	{name: "24_numbers_survive_crossing", run: numberCrossing},
	{name: "25_msgpack_forms", run: msgpackForms},
	{name: "26_cbor_forms_and_limits", run: cborFormsAndLimits},
	{name: "27_batches", run: batches},
}

var json, msgpack = wamptest.Link{Transport: "websocket", Format: wamp.JSON}, wamptest.Link{Transport: "rawsocket", Format: wamp.MsgPack}

// byTransport runs f for each transport, whose links in the formats via returns.
func byTransport(t *testing.T, f func(t *testing.T, via func(wamp.Format) wamptest.Link)) {
	for _, name := range []string{"websocket", "rawsocket"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, func(format wamp.Format) wamptest.Link { return wamptest.Link{Transport: name, Format: format} })
		})
	}
}

func binaryInJSON(t *testing.T) { byTransport(t, binaryInJSONOver) }

func binaryInJSONOver(t *testing.T, via func(wamp.Format) wamptest.Link) {
	json, msgpack := via(wamp.JSON), via(wamp.MsgPack)
	// 0x00 0xFF 0x10 is "AP8Q" in base64.
	const text, wire = `{"a": [{"b": "\u0000AP8Q"}], "\u0000AP8Q": "plain", "empty": "\u0000"}`, `\u0000AP8Q`
	w := start(t, json, config{})
	j, m := w.peerBy(json), w.peerBy(msgpack)
	subscribe(j, "sub", `{}`, "a.b")
	subscribe(m, "sub", `{}`, "a.b")
	m.Send(`[16, "+", {}, "a.b", [` + text + `]]`)
	f := j.RecvFrame()
	if !bytes.Contains(f.Payload, []byte(wire)) {
		t.Errorf("the JSON on the wire is %s", f.Payload)
	}
	j.Send(`[16, "+", {}, "a.b", [` + text + `], {"k": "\u0000AP8Q"}]`)
	f = m.RecvFrame()
	for _, part := range []string{
		"\xa1b\xc4\x03\x00\xff\x10", // a value deep inside
		"\xa5\x00AP8Q\xa5plain",     // keys are text
		"\xa5empty\xc4\x00",
		"\xa1k\xc4\x03\x00\xff\x10",
	} {
		if !bytes.Contains(f.Payload, []byte(part)) {
			t.Errorf("MsgPack on the wire has no %q: %q", part, f.Payload)
		}
	}
	// What only looks like binary has no form elsewhere; JSON itself carries it.
	for i, bad := range []string{`"\u0000AP8"`, `"\u0000!"`, `"\u0000AP8Q "`} {
		p := w.peerBy(json)
		p.SendPayload([]byte(`[16, 1, {}, "a.b", [` + bad + `]]`))
		if f := j.RecvFrame(); !bytes.Contains(f.Payload, []byte(bad)) {
			t.Errorf("%s became %s", bad, f.Payload)
		}
		m.Fence()
		if n := w.Stats(realm).Dropped; n != uint64(i+1) {
			t.Errorf("%d events are counted as dropped, expected %d", n, i+1)
		}
	}
}

func binaryCrossing(t *testing.T) {
	crossing(t, func(w *world, from, to wamptest.Link) {
		a, b := w.peerBy(from), w.peerBy(to)
		subscribe(b, "sub", `{}`, "there")
		subscribe(a, "sub", `{}`, "back")
		for _, args := range []string{
			`["\u0000", "\u0000AA==", "\u0000AP8Q", "text\u0000", ""]`,
			`[[[["\u0000AQIDBAUGBwgJ"]]], {"x": {"y": "\u0000//79"}}, "\u0000` + strings.Repeat("QUJD", 500) + `"]`,
		} {
			a.Send(`[16, "+", {}, "there", ` + args + `]`)
			b.Expect(`[36, "$sub", "*", {}, ` + args + `]`)
			b.Send(`[16, "+", {}, "back", ` + args + `, {"b": "\u0000AP8Q"}]`)
			a.Expect(`[36, "$sub", "*", {}, ` + args + `, {"b": "\u0000AP8Q"}]`)
		}
	})
}

func numberCrossing(t *testing.T) {
	const numbers = `[0, -1, 23, 24, 255, 256, 65535, 65536, 4294967295, 4294967296, 9007199254740993, 9223372036854775807,
		-9223372036854775808, 18446744073709551615, 1.0, -0.5, 0.1, 1e300, 5e-324, 100.0, 1.7976931348623157e308]`
	crossing(t, func(w *world, from, to wamptest.Link) {
		a, b := w.peerBy(from), w.peerBy(to)
		subscribe(b, "sub", `{}`, "there")
		a.Send(`[16, "+", {}, "there", ` + numbers + `]`)
		b.Expect(`[36, "$sub", "*", {}, ` + numbers + `]`)
	})
	t.Run("nan", func(t *testing.T) {
		t.Parallel()
		w := start(t, json, config{})
		j, other, m := w.peerBy(json), w.peerBy(wamptest.Link{Transport: "rawsocket", Format: wamp.CBOR}), w.peerBy(msgpack)
		subscribe(j, "sub", `{}`, "there")
		subscribe(other, "sub", `{}`, "there")
		register(j, "reg", `{}`, "proc.json")
		register(m, "reg", `{}`, "proc.msgpack")
		// The same in MsgPack: [16, 1, {}, "there", [NaN]] and the like.
		for i, float := range []string{"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", "\xca\xff\x80\x00\x00"} {
			id := byte(100 + i)
			m.SendPayload([]byte("\x95\x10" + string(id) + "\x80\xa5there\x91" + float))
			other.Expect(`[36, "$sub", "*", {}, ["*"]]`)
			m.SendPayload([]byte("\x95\x30" + string(id) + "\x80\xa9proc.json\x91" + float))
			m.Expect(`[8, 48, "*", {}, "wamp.error.invalid_argument", "..."]`)
			j.Send(`[48, "+", {}, "proc.msgpack"]`)
			m.Expect(`[68, "$inv", "$reg", {}]`)
			inv := m.Var("inv")
			m.Unset("inv")
			m.SendPayload([]byte("\x94\x46" + string(byte(inv)) + "\x80\x91" + float))
			j.Expect(`[8, 48, "=", {}, "wamp.error.invalid_argument", "..."]`)
		}
		j.Fence() // the events that JSON cannot express never came
		if n := w.Stats(realm).Dropped; n != 3 {
			t.Errorf("%d events are counted as dropped, expected 3", n)
		}
	})
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func msgpackForms(t *testing.T) { byTransport(t, msgpackFormsOver) }

func msgpackFormsOver(t *testing.T, via func(wamp.Format) wamptest.Link) {
	w := start(t, via(wamp.MsgPack), config{})
	j := w.peerBy(via(wamp.JSON))
	subscribe(j, "sub", `{}`, "t")
	for _, c := range []struct{ name, hex, event string }{
		// [16, 1, {}, "t", [...]]
		{"text and binary", "95 10 01 80 a1 74 92 a2 4142 c4 02 4142", `["AB", "\u0000QUI="]`},
		{"the long forms", "dd 00000005 cd 0010 cf 0000000000000001 df 00000000 db 00000001 74 dc 0002 d9 01 41 c6 00000001 42", `["A", "\u0000Qg=="]`},
		{"small floats", "95 10 01 80 a1 74 91 ca 3fc00000", `[1.5]`},
	} {
		p := w.peer()
		p.SendPayload(unhex(t, c.hex))
		j.Expect(`[36, "$sub", "*", {}, ` + c.event + `]`)
		p.Fence()
	}
	// What only MsgPack can express reaches whoever speaks MsgPack, and nobody else.
	same := w.peer()
	subscribe(same, "same", `{}`, "t")
	for _, hex := range []string{"95 10 01 80 a1 74 91 d4 05 00", "95 10 01 80 a1 74 91 d6 ff 00000000"} {
		p := w.peer()
		p.SendPayload(unhex(t, hex))
		p.Fence()
		want := unhex(t, hex)[6:]
		if f := same.RecvFrame(); !bytes.HasSuffix(f.Payload, want) {
			t.Errorf("%s arrived as %x", hex, f.Payload)
		}
	}
	for _, c := range []struct{ name, hex string }{
		{"integer as key", "95 10 01 80 a1 74 91 81 01 02"},
		{"binary as key", "95 10 01 80 a1 74 91 81 c4 01 41 02"},
		{"null as key", "95 10 01 80 a1 74 91 81 c0 02"},
		{"extension type cut short", "95 10 01 80 a1 74 91 d6 05 00"},
		{"never used code", "95 10 01 80 a1 74 91 c1"},
		{"option twice", "94 20 01 82 a1 61 01 a1 61 02 a1 74"},
		{"text that is no UTF-8", "95 10 01 80 a1 74 91 a1 ff"},
		{"binary as topic", "94 20 01 80 c4 01 74"},
		{"list cut short", "95 10 01 80 a1 74 92 01"},
		{"bytes behind the end", "94 20 01 80 a1 74 00"},
	} {
		p := w.peer()
		p.SendPayload(unhex(t, c.hex))
		if m := p.Recv(); m[0] != any(int64(3)) {
			t.Errorf("%s was answered by %v, expected ABORT", c.name, m)
		}
		p.ExpectClosed()
	}
	j.Fence()
}

// deep is a PUBLISH to topic t whose arguments are n lists in each other.
func deep(f wamp.Format, n int) []byte {
	switch f {
	case wamp.JSON:
		return []byte(`[16,1,{},"t",` + strings.Repeat("[", n) + strings.Repeat("]", n) + `]`)
	case wamp.MsgPack:
		return []byte("\x95\x10\x01\x80\xa1t" + strings.Repeat("\x91", n-1) + "\x90")
	}
	return []byte("\x85\x10\x01\xa0\x61t" + strings.Repeat("\x81", n-1) + "\x80")
}

func cborForms(t *testing.T, via func(wamp.Format) wamptest.Link) {
	w := start(t, via(wamp.CBOR), config{})
	j := w.peerBy(via(wamp.JSON))
	subscribe(j, "sub", `{}`, "t")
	for _, c := range []struct{ name, hex, event string }{
		{"indefinite lengths", "9f 10 01 bf ff 7f 61 74 ff 9f 7f 61 41 61 42 ff 5f 41 43 41 44 ff ff bf 61 6b 9f 01 ff ff ff", `["AB", "\u0000Q0Q="], {"k": [1]}`},
		{"tags", "85 10 01 a0 61 74 82 c0 74 323032302d30312d30315430303a30303a30305a c1 1a 00000001", `["2020-01-01T00:00:00Z", 1]`},
		{"self-described", "d9 d9f7 85 10 01 a0 61 74 81 01", `[1]`},
		{"half floats", "85 10 01 a0 61 74 81 f9 3e00", `[1.5]`},
		{"integers that are longer than needed", "85 18 10 1b 0000000000000001 a0 61 74 81 1a 00000007", `[7]`},
	} {
		p := w.peer()
		p.SendPayload(unhex(t, c.hex))
		p.Fence()
		j.Expect(`[36, "$sub", "*", {}, ` + c.event + `]`)
	}
}

func cborFormsAndLimits(t *testing.T) {
	byTransport(t, cborForms)
	t.Run("limits", func(t *testing.T) {
		over(t, wamptest.NetworkLinks(), config{}, func(w *world) {
			p := w.peer()
			nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
			many := func(n int) string { return "[" + strings.Repeat("1,", n-1) + "1]" }
			subscribe(p, "sub", `{}`, "t")
			pub := w.peer()
			pub.SendPayload(deep(w.link.Format, 32))
			p.Expect(`[36, "$sub", "*", {}, ` + nested(32) + `]`)
			for _, n := range []int{33, 1000, 100_000} {
				pub = w.peer()
				pub.SendPayload(deep(w.link.Format, n))
				pub.ExpectAbort(wamp.ErrURIProtocolViolation)
			}
			for _, args := range []string{`[` + many(70_000) + `]`, `[{"a": ` + many(66_000) + `}]`} {
				pub = w.peer()
				pub.Send(`[16, "+", {}, "t", ` + args + `]`)
				pub.ExpectAbort(wamp.ErrURIProtocolViolation)
			}
			p = w.peer()
			p.Send(`[16, "+", {"acknowledge": true}, "t", [` + many(60_000) + `]]`)
			p.Expect(`[17, "=", "*"]`)
		})
	})
}
