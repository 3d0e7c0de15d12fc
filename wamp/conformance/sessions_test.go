package conformance

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

var sessions = []item{
	{name: "10_hello_first_and_once", run: helloFirstAndOnce},
	{name: "11_roles_of_hello", run: rolesOfHello},
	{name: "12_late_hello_and_realm", run: lateHelloAndRealm},
	{name: "13_goodbye_answered_once", run: goodbyeAnsweredOnce},
	{name: "14_abort_never_answered", run: abortNeverAnswered},
	{name: "15_goodbye_ends_transport", run: goodbyeEndsTransport},
	{name: "16_malformed_messages", run: malformedMessages},
	{name: "17_unexpected_answers", run: unexpectedAnswers},
	{name: "18_unknown_and_null_options", run: unknownAndNullOptions},
	{name: "19_empty_arguments", run: emptyArguments},
	{name: "20_frame_type_of_subprotocol", run: frameType},
	{name: "21_subprotocol_choice", run: subprotocolChoice},
}

func helloFirstAndOnce(t *testing.T) {
	everywhere(t, func(w *world) {
		for _, first := range []string{
			`[32, 1, {}, "a.b"]`, `[16, 1, {"acknowledge": true}, "a.b"]`, `[2, 1, {}]`, `[6, {}, "wamp.close.normal"]`, `[5, "x", {}]`,
		} {
			p := w.connect()
			p.Send(first)
			p.ExpectAbort(wamp.ErrURIProtocolViolation)
		}
		p, q := w.peer(), w.peer()
		register(p, "reg", `{}`, "proc.a")
		p.Send(`[1, "realm1", {"roles": {"caller": {}}}]`)
		p.ExpectAbort(wamp.ErrURIProtocolViolation)
		// The violator's session has left everything.
		eventually(w, q, `[64, "+", {}, "proc.a"]`, 65)
		if n := w.Stats(realm).Violations; n != 1 {
			w.t.Errorf("%d violations are counted", n)
		}
	})
	t.Run("later bytes are ignored", func(t *testing.T) {
		over(t, wamptest.NetworkLinks(), config{}, func(w *world) {
			p, q := w.peer(), w.peer()
			subscribe(q, "sub", `{}`, "topic.late")
			batch := &recorder{Conn: p.Conn}
			p.Conn = batch
			p.Send(`[1, "realm1", {"roles": {"caller": {}}}]`, `[16, 1, {}, "topic.late", [1]]`, `[16, 2, {}, "topic.late", [2]]`)
			p.Conn = batch.Conn
			p.SendBytes(batch.written)
			p.ExpectAbort(wamp.ErrURIProtocolViolation)
			q.Fence()
		})
	})
}

// recorder keeps what is written.
type recorder struct {
	net.Conn
	written []byte
}

func (r *recorder) Write(b []byte) (int, error) {
	r.written = append(r.written, b...)
	return len(b), nil
}

// eventually repeats a request until it is answered by a message of type code: a
// session that has been told its end may still be leaving.
func eventually(w *world, p *wamptest.Peer, doc string, code int64) {
	w.t.Helper()
	for deadline := time.Now().Add(wamptest.Deadline); time.Now().Before(deadline); {
		p.Send(doc)
		if p.Recv()[0] == any(code) {
			return
		}
	}
	w.t.Fatalf("%s was not answered by %d", doc, code)
}

func rolesOfHello(t *testing.T) {
	over(t, wamptest.Links(), config{}, func(w *world) {
		for _, details := range []string{`{}`, `{"roles": {}}`, `{"roles": {"wizard": {}}}`, `{"roles": null}`, `{"roles": []}`, `{"roles": "caller"}`, `{"roles": {"broker": {}, "dealer": {}}}`} {
			p := w.connect()
			p.Send(`[1, "realm1", ` + details + `]`)
			p.ExpectAbort(wamp.ErrURIProtocolViolation)
		}
		for _, details := range []string{
			`{"roles": {"caller": {}}}`,
			`{"roles": {"subscriber": {"features": {"teleportation": true, "x_number": 7}}, "wizard": {"hat": true}}, "unknown": [1, {"a": null}]}`,
			`{"roles": {"publisher": {"features": null}}}`,
		} {
			p := w.connect()
			p.Send(`[1, "realm1", ` + details + `]`)
			p.Expect(`[2, "*", {"roles": {"broker": {"features": {"...": 0}}, "dealer": {"features": {"...": 0}}}, "realm": "realm1", "authid": "*", "authrole": "*", "authmethod": "*", "...": 0}]`)
		}
	})
}

func lateHelloAndRealm(t *testing.T) {
	everywhere(t, func(w *world) {
		p := w.peer()
		for _, name := range []string{"realm2", "", "not a realm", "wamp"} {
			q := w.connect()
			q.Send(`[1, "` + name + `", {"roles": {"caller": {}}}]`)
			q.ExpectAbort(wamp.ErrURINoSuchRealm)
		}
		p.Fence()
	})
	t.Run("late", func(t *testing.T) {
		over(t, wamptest.Links(), config{hello: 30 * time.Millisecond}, func(w *world) {
			w.connect().ExpectAbort(wamp.ErrURIProtocolViolation)
		})
	})
}

func goodbyeAnsweredOnce(t *testing.T) {
	everywhere(t, func(w *world) {
		p, pub := w.peer(), w.peer()
		subscribe(p, "sub", `{}`, "a.b")
		p.Send(`[6, {"message": "done"}, "wamp.close.close_realm"]`)
		p.Expect(`[6, {}, "wamp.close.goodbye_and_out"]`)
		pub.Send(`[16, "+", {}, "a.b", [1]]`)
		pub.Fence()
		p.ExpectClosed()
	})
	t.Run("crossing", func(t *testing.T) {
		everywhere(t, func(w *world) {
			p := w.peer()
			w.stopRouter()
			p.Expect(`[6, {"...": 0}, "wamp.close.system_shutdown"]`)
			sendIfOpen(p, `[6, {}, "wamp.close.close_realm"]`)
			p.ExpectClosed() // and no answer to it
		})
	})
	t.Run("nothing behind the answer", func(t *testing.T) {
		over(t, wamptest.NetworkLinks(), config{}, func(w *world) {
			for range 2 {
				p, pub := w.peer(), w.peer()
				subscribe(p, "sub", `{}`, "a.b")
				stop := meanwhile(func() {
					pub.Send(`[16, "+", {}, "a.b", [1]]`)
				})
				p.Expect(`[36, "$sub", "*", {}, [1]]`)
				p.Send(`[6, {}, "wamp.close.close_realm"]`)
				for p.Recv()[0] != any(int64(6)) {
				}
				p.ExpectClosed()
				stop()
			}
		})
	})
}

// sendIfOpen sends a document to a router that may have closed already.
func sendIfOpen(p *wamptest.Peer, doc string) {
	if p.Conn == nil {
		return // the pipe's other end is closed at once
	}
	batch := &recorder{Conn: p.Conn}
	p.Conn = batch
	p.Send(doc)
	p.Conn = batch.Conn
	_, _ = p.Conn.Write(batch.written)
}

func abortNeverAnswered(t *testing.T) {
	everywhere(t, func(w *world) {
		p := w.connect()
		p.Send(`[3, {}, "wamp.error.authentication_failed"]`)
		p.ExpectClosed()
		p = w.peer()
		p.Send(`[3, {"message": "enough"}, "wamp.error.protocol_violation"]`)
		p.ExpectClosed()
	})
}

func goodbyeEndsTransport(t *testing.T) {
	// Of the two ways that the protocol allows, this router ends the transport.
	over(t, wamptest.NetworkLinks(), config{}, func(w *world) {
		p := w.peer()
		batch := &recorder{Conn: p.Conn}
		p.Conn = batch
		p.Send(`[6, {}, "wamp.close.close_realm"]`, `[1, "realm1", {"roles": {"caller": {}}}]`)
		p.Conn = batch.Conn
		p.SendBytes(batch.written)
		p.Expect(`[6, {}, "wamp.close.goodbye_and_out"]`)
		p.ExpectClosed()
	})
}

func malformedMessages(t *testing.T) {
	docs := []string{
		`[]`, `{}`, `"text"`, `7`, `null`, `true`, `[null]`, `["32"]`, `[32.5]`, `[-1]`, `[0]`, `[7]`, `[15]`, `[999]`, `[99999999999999]`, `[[32]]`,
		`[32]`, `[32, 1]`, `[32, 1, {}]`, `[32, 1, {}, "a.b", []]`, `[32, 1, [], "a.b"]`, `[32, 1, {}, 7]`, `[32, 1, {}, null]`, `[32, 1, {}, ["a.b"]]`,
		`[16, 1, {}, "a.b", {}]`, `[16, 1, {}, "a.b", [], []]`, `[16, 1, {}, "a.b", [], {}, 1]`, `[16, 1, {}, "a.b", "args"]`, `[16, 1, {}, "a.b", null]`,
		`[48, 1, {}, "a.b", [], null]`, `[34, 1, "2"]`, `[70, 1]`, `[8, 68, 1, {}]`, `[8, "68", 1, {}, "a.b"]`, `[6, {}]`, `[6, "wamp.close.normal", {}]`,
		`[36, 1, 2, {}]`, `[33, 1, 2]`, `[17, 1, 2]`, `[50, 1, {}]`, `[65, 1, 2]`, `[68, 1, 2, {}]`, `[2, 1, {}]`, `[4, "ticket", {}]`, `[5, "signature", {}]`, `[69, 1, {}]`,
	}
	over(t, wamptest.NetworkLinks(), config{}, func(w *world) {
		bystander := w.peer()
		for _, doc := range docs {
			p := w.peer()
			p.Send(doc)
			p.Expect(`[3, {"...": 0}, "wamp.error.protocol_violation", "..."]`)
			p.ExpectClosed()
		}
		bystander.Fence()
		if n := w.Stats(realm).Violations; n != uint64(len(docs)) {
			w.t.Errorf("%d violations are counted, expected %d", n, len(docs))
		}
	})
}

func unexpectedAnswers(t *testing.T) {
	everywhere(t, func(w *world) {
		for _, doc := range []string{
			`[8, 48, 1, {}, "a.b"]`, `[8, 32, 1, {}, "a.b"]`, `[8, 16, 1, {}, "a.b"]`, `[8, 64, 1, {}, "a.b"]`, `[8, 70, 1, {}, "a.b"]`,
			`[8, 68, 1, {}, "a.b"]`, `[70, 1, {}]`, `[70, 9007199254740992, {}]`,
		} {
			p := w.peer()
			p.Send(doc)
			p.ExpectAbort(wamp.ErrURIProtocolViolation)
		}
		for _, late := range []string{`[70, 1, {}, [1]]`, `[70, 1, {"progress": true}, [1]]`, `[8, 68, 1, {}, "a.late"]`} {
			callee, caller := w.peer(), w.peer()
			register(callee, "reg", `{}`, "proc.a")
			caller.Send(`[48, "+", {}, "proc.a"]`)
			callee.Expect(`[68, 1, "$reg", {}]`)
			caller.Send(`[49, "=", {"mode": "skip"}]`)
			caller.Expect(`[8, 48, "=", {}, "wamp.error.canceled", "..."]`)
			callee.Send(late, `[66, "+", "$reg"]`)
			callee.Expect(`[67, "="]`) // it is not punished
			caller.Fence()
		}
	})
}

func unknownAndNullOptions(t *testing.T) {
	everywhere(t, func(w *world) {
		p := w.peer()
		subscribe(p, "sub", `{"match": null, "get_retained": null, "x_future": {"a": [1, 2]}, "": 1}`, "a.b")
		p.Send(`[16, "+", {"acknowledge": null, "exclude_me": null, "eligible": null, "retain": null, "x_future": 1.5}, "a.b"]`)
		p.Fence() // not acknowledged, and not delivered to itself
		register(p, "reg", `{"match": null, "invoke": null, "unheard": true}`, "proc.a")
		p.Send(`[48, "+", {"timeout": null, "receive_progress": null, "strange": []}, "proc.a"]`)
		p.Expect(`[68, 1, "$reg", {}]`)
		p.Send(`[70, 1, {"progress": null, "more": 1}]`)
		p.Expect(`[50, "=", {}]`)
	})
	t.Run("booleans are booleans", func(t *testing.T) {
		over(t, wamptest.NetworkLinks(), config{}, func(w *world) {
			for _, doc := range []string{
				`[16, 1, {"acknowledge": 1}, "a.b"]`, `[16, 1, {"exclude_me": "false"}, "a.b"]`, `[16, 1, {"retain": []}, "a.b"]`,
				`[32, 1, {"get_retained": 0}, "a.b"]`, `[48, 1, {"receive_progress": "yes"}, "a.b"]`, `[48, 1, {"timeout": "10"}, "a.b"]`,
				`[48, 1, {"timeout": -1}, "a.b"]`, `[32, 1, {"match": 1}, "a.b"]`, `[16, 1, {"exclude": 7}, "a.b"]`, `[16, 1, {"eligible": ["x"]}, "a.b"]`,
			} {
				p := w.peer()
				p.Send(doc)
				p.ExpectAbort(wamp.ErrURIProtocolViolation)
			}
		})
	})
}

func emptyArguments(t *testing.T) {
	everywhere(t, func(w *world) {
		s, p := w.peer(), w.peer()
		subscribe(s, "sub", `{}`, "a.b")
		register(s, "reg", `{}`, "proc.a")
		for _, c := range [][2]string{
			{``, ``}, {`, []`, ``}, {`, [], {}`, ``}, {`, [1], {}`, `, [1]`}, {`, [], {"a": 1}`, `, [], {"a": 1}`}, {`, [[]], {"a": {}}`, `, [[]], {"a": {}}`},
		} {
			p.Send(`[16, "+", {}, "a.b"` + c[0] + `]`)
			s.Expect(`[36, "$sub", "*", {}` + c[1] + `]`)
			p.Send(`[48, "+", {}, "proc.a"` + c[0] + `]`)
			s.Expect(`[68, "$inv", "$reg", {}` + c[1] + `]`)
			s.Send(`[70, "$inv", {}` + c[0] + `]`)
			p.Expect(`[50, "=", {}` + c[1] + `]`)
			s.Unset("inv")
			p.Send(`[48, "+", {}, "proc.a"]`)
			s.Expect(`[68, "$inv", "$reg", {}]`)
			s.Send(`[8, 68, "$inv", {}, "my.error"` + c[0] + `]`)
			p.Expect(`[8, 48, "=", {}, "my.error"` + c[1] + `]`)
			s.Unset("inv")
		}
	})
	t.Run("client", func(t *testing.T) {
		w := start(t, wamptest.Link{Transport: "websocket", Format: wamp.JSON}, config{})
		s := w.peer()
		subscribe(s, "sub", `{}`, "a.b")
		p, err := transport.Dial(t.Context(), "ws://"+w.addr, transport.DialConfig{Options: patient})
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.Join(t.Context(), p, client.SessionConfig{Realm: realm})
		if err != nil {
			t.Fatal(err)
		}
		for _, pl := range []wamp.Payload{{}, wamp.Values(wamp.List{}, wamp.Dict{}), wamp.Values(nil, wamp.Dict{"a": 1})} {
			if err := c.Publish(t.Context(), "a.b", wamp.PublishOptions{}, pl); err != nil {
				t.Fatal(err)
			}
		}
		s.Expect(`[36, "$sub", "*", {}]`, `[36, "$sub", "*", {}]`, `[36, "$sub", "*", {}, [], {"a": 1}]`)
		_ = c.Leave(context.Background())
	})
}

func frameType(t *testing.T) {
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			w := start(t, wamptest.Link{Transport: "websocket", Format: f}, config{})
			p := w.peer()
			wrong := byte(wamptest.Text)
			if f == wamp.JSON {
				wrong = wamptest.Binary
			}
			p.SendFrame(wamptest.Frame{Kind: wrong, Payload: []byte(`[34, 1, 2]`)})
			p.Expect(`[3, {"...": 0}, "wamp.error.protocol_violation"]`)
			p.ExpectClosed()
			if p.CloseCode != 1003 {
				t.Errorf("close code is %d, expected 1003", p.CloseCode)
			}
		})
	}
}

func subprotocolChoice(t *testing.T) {
	w := start(t, wamptest.Link{}, config{})
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		ranOver(t, wamptest.Link{Transport: "websocket", Format: f})
	}
	for offer, want := range map[string]string{
		"wamp.2.json, wamp.2.cbor":                "wamp.2.json",
		"wamp.2.cbor, wamp.2.json":                "wamp.2.cbor",
		"wamp.2.future, mqtt, wamp.2.msgpack":     "wamp.2.msgpack",
		"wamp.2.ubjson":                           "",
		"wamp.2.json.batched":                     "",
		"wamp.2.flatbuffers, wamp.1.json, binary": "",
	} {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(wamptest.Deadline))
		if _, err := c.Write(wamptest.Upgrade("/ws", offer)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		status := http.StatusSwitchingProtocols
		if want == "" {
			status = http.StatusBadRequest
		}
		if got := resp.Header.Get("Sec-Websocket-Protocol"); resp.StatusCode != status || got != want {
			t.Errorf("%s: answered %s with %q, expected %d with %q", offer, resp.Status, got, status, want)
		}
		_ = c.Close()
	}
}
