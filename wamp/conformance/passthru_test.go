package conformance

import (
	"testing"

	"gantry/wamp"
	"gantry/wamp/wamptest"
)

var passthru = []item{{name: "63_payload_passthru", run: payloadPassthru}}

func payloadPassthru(t *testing.T) {
	// What is inside concerns nobody on the way: bytes that are no payload, empty
	// ones, and what an MQTT message was.
	cases := []struct{ attributes, argument string }{
		{`"ppt_scheme": "mqtt", "ppt_serializer": "mqtt"`, `"\u0000AP8Q"`},
		{`"ppt_scheme": "mqtt", "ppt_serializer": "json"`, `"\u0000eyJhIjoxfQ=="`},
		{`"ppt_scheme": "x_own"`, `"\u0000"`},
		{`"ppt_scheme": "wamp.eth", "ppt_serializer": "cbor", "ppt_cipher": "xsalsa20poly1305", "ppt_keyid": "GTtQ37XGJO2O4R8Dvx4AUo8pe61D9evIWpKGQAPdOh0="`, `"\u0000yv66vg=="`},
	}
	carries := func(a, b *wamptest.Peer) {
		register(a, "reg", `{}`, "proc.a")
		subscribe(a, "sub", `{}`, "topic.a")
		for _, c := range cases {
			b.Send(`[16, "+", {`+c.attributes+`}, "topic.a", [`+c.argument+`]]`, `[48, "+", {`+c.attributes+`, "receive_progress": true}, "proc.a", [`+c.argument+`]]`)
			a.Unset("inv")
			a.Expect(`[36, "$sub", "*", {`+c.attributes+`}, [`+c.argument+`]]`, `[68, "$inv", "$reg", {`+c.attributes+`, "receive_progress": true}, [`+c.argument+`]]`)
			a.Send(`[70, "$inv", {`+c.attributes+`, "progress": true}, [`+c.argument+`]]`, `[70, "$inv", {`+c.attributes+`}, [`+c.argument+`]]`)
			b.Expect(`[50, "=", {`+c.attributes+`, "progress": true}, [`+c.argument+`]]`, `[50, "=", {`+c.attributes+`}, [`+c.argument+`]]`)
			b.Send(`[48, "+", {}, "proc.a"]`)
			a.Unset("inv")
			a.Expect(`[68, "$inv", "$reg", {}]`)
			a.Send(`[8, 68, "$inv", {` + c.attributes + `, "x_other": 1}, "my.error", [` + c.argument + `]]`)
			b.Expect(`[8, 48, "=", {` + c.attributes + `}, "my.error", [` + c.argument + `]]`)
		}
	}
	crossing(t, func(w *world, from, to wamptest.Link) { carries(w.peerBy(from), w.peerBy(to)) })
	t.Run("within", func(t *testing.T) {
		everywhere(t, func(w *world) { carries(w.peer(), w.peer()) })
	})
	t.Run("announced", func(t *testing.T) {
		everywhere(t, func(w *world) {
			able, plain, caller := w.peer(), w.plainPeer(), w.peer()
			register(able, "reg", `{}`, "p.able")
			register(plain, "reg", `{}`, "p.plain")
			caller.Send(`[48, "+", {"ppt_scheme": "mqtt"}, "p.plain", ["\u0000"]]`)
			caller.Expect(`[8, 48, "=", {}, "wamp.error.feature_not_supported", "..."]`)
			plain.Send(`[48, "+", {}, "p.able"]`)
			able.Expect(`[68, "$inv", "$reg", {}]`)
			able.Send(`[70, "$inv", {"ppt_scheme": "mqtt"}, ["\u0000"]]`)
			plain.Expect(`[8, 48, "=", {}, "wamp.error.feature_not_supported", "..."]`)
			fences(able, plain, caller)
			for _, doc := range []string{`[16, 1, {"ppt_scheme": "mqtt"}, "a.b", ["\u0000"]]`, `[48, 1, {"ppt_scheme": "mqtt"}, "p.able", ["\u0000"]]`} {
				p := w.plainPeer()
				p.Send(doc)
				p.ExpectAbort(wamp.ErrURIProtocolViolation)
			}
			caller.Send(`[48, "+", {}, "p.plain"]`)
			plain.Expect(`[68, "$inv", "$reg", {}]`)
			plain.Send(`[70, "$inv", {"ppt_scheme": "mqtt"}, ["\u0000"]]`)
			plain.ExpectAbort(wamp.ErrURIProtocolViolation)
			caller.Expect(`[8, 48, "=", {}, "wamp.error.canceled", "..."]`)
			// Without a scheme it is an option like others that mean nothing.
			p := w.plainPeer()
			p.Send(`[16, "+", {"ppt_serializer": "cbor", "acknowledge": true}, "a.b", [1]]`)
			p.Expect(`[17, "=", "*"]`)
		})
	})
}
