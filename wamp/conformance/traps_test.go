package conformance

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/wamptest"
)

// traps are rules that routers in the field have been seen to break.
var traps = []item{
	{name: "t1_reasons_arrive", run: reasonsArrive},
	{name: "t2_integers_of_any_width", run: integersOfAnyWidth},
	{name: "t3_undecodable_ends", run: undecodableEnds},
	{name: "t4_result_over_the_limit", run: resultOverTheLimit},
	{name: "t5_unannounced_progressive_call", run: unannouncedProgressiveCall},
	{name: "t6_progress_without_canceling", run: progressWithoutCanceling},
}

// together sends documents in as few packets as there are.
func together(p *wamptest.Peer, docs ...string) {
	batch := &recorder{Conn: p.Conn}
	p.Conn = batch
	p.Send(docs...)
	p.Conn = batch.Conn
	p.SendBytes(batch.written)
}

// reasonsArrive: a connection that is closed with something unread is reset, and
// a reset destroys what is on its way. Whoever is refused must see why all the
// same.
func reasonsArrive(t *testing.T) {
	over(t, wamptest.NetworkLinks(), config{}, func(w *world) {
		for range 300 {
			p := w.connect()
			together(p, `[1, "realm2", {"roles": {"caller": {}}}]`, `[16, 1, {}, "a.b", [1]]`, `[16, 2, {}, "a.b", [2]]`)
			p.ExpectAbort(wamp.ErrURINoSuchRealm)
			p.Close()
		}
		pub := w.peer()
		for range 15 {
			p := w.peer()
			subscribe(p, "sub", `{}`, "a.b")
			pub.Send(`[16, "+", {}, "a.b"]`)
			pub.Fence()
			together(p, `[6, {}, "wamp.close.close_realm"]`, `[16, 8, {}, "a.b", [1]]`, `[1, "realm1", {"roles": {"caller": {}}}]`)
			p.Expect(`[36, "$sub", "*", {}]`, `[6, {}, "wamp.close.goodbye_and_out"]`)
			p.ExpectClosed()
			p.Close()
			p = w.peer()
			together(p, `[16, 1, {}]`, `[16, 8, {}, "a.b", [1]]`)
			p.ExpectAbort(wamp.ErrURIProtocolViolation)
			p.Close()
		}
	})
}

// wide writes n in size octets behind a head.
func wide(head byte, size int, n uint64) string {
	b := binary.BigEndian.AppendUint64(nil, n)
	return string([]byte{head}) + string(b[8-size:])
}

func integersOfAnyWidth(t *testing.T) {
	heads := map[wamp.Format][]struct {
		head byte
		size int
	}{
		wamp.MsgPack: {{0xCC, 1}, {0xCD, 2}, {0xCE, 4}, {0xCF, 8}, {0xD0, 1}, {0xD1, 2}, {0xD2, 4}, {0xD3, 8}},
		wamp.CBOR:    {{0x18, 1}, {0x19, 2}, {0x1A, 4}, {0x1B, 8}},
	}
	open := map[wamp.Format]string{wamp.MsgPack: "\x94%s%s\x80\xa3a.b", wamp.CBOR: "\x84%s%s\xa0\x63a.b"}
	for _, tr := range []string{"websocket", "rawsocket"} {
		for f, widths := range heads {
			l := wamptest.Link{Transport: tr, Format: f}
			t.Run(l.String(), func(t *testing.T) {
				t.Parallel()
				w := start(t, l, config{})
				p := w.peer()
				id := uint64(0)
				for _, kind := range widths {
					for _, request := range widths {
						id++
						raw := fmt.Sprintf(open[f], wide(kind.head, kind.size, 32), wide(request.head, request.size, id))
						p.SendPayload([]byte(raw))
						p.Expect(fmt.Sprintf(`[33, %d, "*"]`, id))
					}
				}
			})
		}
	}
}

func undecodableEnds(t *testing.T) {
	over(t, wamptest.NetworkLinks(), config{}, func(w *world) {
		bystander := w.peer()
		for _, joined := range []bool{false, true} {
			for _, junk := range []string{"", "\x00", "\xff", "\xff\xff\xff\xff", "[32", "{}", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x81", 500), strings.Repeat("[", 500), "\xdd\xff\xff\xff\xff", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff"} {
				p := w.connect()
				if joined {
					p.Join(realm)
				}
				p.SendPayload([]byte(junk))
				p.ExpectAbort(wamp.ErrURIProtocolViolation)
			}
		}
		bystander.Fence()
	})
}

func resultOverTheLimit(t *testing.T) {
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			w := start(t, raw(f), config{})
			small, big := wamptest.OverLimited(t, w.dial(), raw(f), 1024), w.peer()
			small.Join(realm)
			long := strings.Repeat("long.", 190) + "name"
			register(big, "reg", `{}`, long)
			register(big, "other", `{}`, "p.other")
			small.Set("reg", big.Var("reg"))
			refused(small, wamp.ErrURIPayloadSizeExceeded, "wamp.registration.get", `, ["$reg"]`)
			calls(big, "wamp.registration.get", `, ["$reg"]`, `, [{"uri": "`+long+`", "...": 0}]`)
			// A progressive result that does not fit ends the call, and the callee is told.
			small.Send(`[48, "+", {"receive_progress": true}, "p.other"]`)
			big.Expect(`[68, 1, "$other", {"receive_progress": true}]`)
			big.Send(`[70, 1, {"progress": true}, ["`+long+long+`"]]`, `[70, 1, {}, []]`)
			small.Expect(`[8, 48, "=", {}, "wamp.error.payload_size_exceeded", "..."]`)
			big.Expect(`[69, 1, {"mode": "killnowait", "...": 0}]`)
			// The text of an error may be what does not fit.
			small.Send(`[48, "+", {}, "` + strings.Repeat("x.", 20) + long + `"]`)
			small.Expect(`[8, 48, "=", {}, "wamp.error.no_such_procedure"]`)
			fences(small, big)
			tiny := wamptest.OverLimited(t, w.dial(), raw(f), 512) // less than WELCOME has
			tiny.Send(`[1, "realm1", {"roles": {"caller": {}}}]`)
			tiny.ExpectAbort(wamp.ErrURIPayloadSizeExceeded)
		})
	}
}

func unannouncedProgressiveCall(t *testing.T) {
	everywhere(t, func(w *world) {
		callee := w.peer()
		register(callee, "reg", `{}`, "p.a")
		p := w.plainPeer()
		p.Send(`[48, 1, {"progress": true}, "p.a", [1]]`)
		p.ExpectAbort(wamp.ErrURIProtocolViolation)
		p = w.plainPeer()
		p.Send(`[48, 1, {}, "p.a", [1]]`)
		callee.Expect(`[68, 1, "$reg", {}, [1]]`)
		p.Send(`[48, 1, {}, "p.a", [2]]`) // a second one with the ID of the first
		p.ExpectAbort(wamp.ErrURIProtocolViolation)
		callee.Expect(`[69, 1, {"mode": "killnowait", "...": 0}]`)
		callee.Fence()
	})
}

func progressWithoutCanceling(t *testing.T) {
	everywhere(t, func(w *world) {
		callee, caller := w.connect(), w.peer()
		callee.Send(`[1, "realm1", {"roles": {"callee": {"features": {"progressive_call_results": true}}, "subscriber": {}}}]`)
		callee.Expect(`[2, "*", {"...": 0}]`)
		register(callee, "reg", `{}`, "p.a")
		caller.Send(`[48, "+", {"receive_progress": true}, "p.a"]`)
		callee.Expect(`[68, 1, "$reg", {"receive_progress": true}]`)
		callee.Send(`[70, 1, {"progress": true}, [1]]`, `[70, 1, {}, [2]]`)
		caller.Expect(`[50, "=", {"progress": true}, [1]]`, `[50, "=", {}, [2]]`)
		caller.Send(`[48, "+", {"receive_progress": true}, "p.a"]`)
		callee.Expect(`[68, 2, "$reg", {"receive_progress": true}]`)
		caller.Close()
		callee.Send(`[70, 2, {"progress": true}, [1]]`, `[70, 2, {}, [2]]`)
		callee.Fence() // there is no INTERRUPT for it, and it is not punished
	})
}
