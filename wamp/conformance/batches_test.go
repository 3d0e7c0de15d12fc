package conformance

import (
	"testing"

	"gantry/wamp"
	"gantry/wamp/wamptest"
)

func batches(t *testing.T) {
	server := patient
	server.Batched = true
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		l := wamptest.Link{Transport: "websocket", Format: f, Batched: true}
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			w := start(t, l, config{server: server})
			p, q := w.peer(), wamptest.Pipe(t, w.Accept)
			q.Join(realm)
			p.SendBatch(`[32, "+", {}, "a.b"]`, `[16, "+", {"exclude_me": false, "acknowledge": true}, "a.b", [1]]`, `[34, "+", 4711]`)
			p.Expect(`[33, 1, "$sub"]`, `[36, "$sub", "*", {}, [1]]`, `[17, 2, "*"]`, `[8, 34, 3, {}, "wamp.error.no_such_subscription", "..."]`)
			q.Send(`[16, "+", {}, "a.b", [2]]`)
			p.Expect(`[36, "$sub", "*", {}, [2]]`)
			subscribe(q, "sub", `{}`, "a.b")
			for _, bad := range badBatches[f] {
				p := w.peer()
				kind := byte(wamptest.Binary)
				if f == wamp.JSON {
					kind = wamptest.Text
				}
				p.SendFrame(wamptest.Frame{Kind: kind, Payload: []byte(bad)})
				p.ExpectAbort(wamp.ErrURIProtocolViolation)
			}
			q.Fence() // not even the good part of a bad batch counts
			if f == wamp.JSON {
				p.SendFrame(wamptest.Frame{Kind: wamptest.Text, Payload: []byte("[34, 9, 4711]\x18[34, 10, 4711]\x18")})
				p.Expect(`[8, 34, 9, {}, "wamp.error.no_such_subscription", "..."]`, `[8, 34, 10, {}, "wamp.error.no_such_subscription", "..."]`)
			}
		})
	}
}

// badBatches are frames that are no batches. What looks like a message in them is
// [16, 1, {}, "a.b"].
var badBatches = map[wamp.Format][]string{
	wamp.JSON: {
		"", "\x1e", `[16,1,{},"a.b"]`, `[16,1,{},"a.b"]` + "\x1e" + `[16,`, `[16,1,{},"a.b"]` + "\x1e\x1e", "\x1e" + `[16,1,{},"a.b"]` + "\x1e",
		`[16,1,{},"a.b"` + "\x1e",
	},
	wamp.MsgPack: {
		"", "\x00", "\x00\x00\x00\x00", "\x00\x00\x00", "\x00\x00\x00\x08\x94\x10\x01\x80\xa3a.", "\x00\x00\x00\x08\x94\x10\x01\x80\xa3a.b\x00\x00",
		"\x00\x00\x00\x08\x94\x10\x01\x80\xa3a.b\x00\x00\x00\x00", "\xff\xff\xff\xff\x94\x10\x01\x80\xa3a.b", "\x94\x10\x01\x80\xa3a.b",
	},
	wamp.CBOR: {
		"", "\x00", "\x00\x00\x00\x00", "\x00\x00\x00", "\x00\x00\x00\x08\x84\x10\x01\xa0\x63a.", "\x00\x00\x00\x08\x84\x10\x01\xa0\x63a.b\x00\x00",
		"\x00\x00\x00\x08\x84\x10\x01\xa0\x63a.b\x00\x00\x00\x00", "\xff\xff\xff\xff\x84\x10\x01\xa0\x63a.b", "\x84\x10\x01\xa0\x63a.b",
	},
}
