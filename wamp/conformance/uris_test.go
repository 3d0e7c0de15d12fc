package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/router"
	"gantry/wamp/wamptest"
)

var uris = []item{
	{name: "01_loose_uris", run: looseURIs},
	{name: "02_strict_uris", run: strictURIs},
	{name: "03_empty_parts", run: emptyParts},
	{name: "04_invalid_uri_error", run: invalidURIError},
	{name: "05_reserved_uris", run: reservedURIs},
	{name: "06_ids_in_range", run: idsInRange},
	{name: "07_random_global_ids", run: randomIDs},
	{name: "08_client_request_ids", run: clientRequestIDs},
	{name: "09_invocation_ids", run: invocationIDs},
}

// requests are the requests that name a URI, with their type codes.
var requests = []struct {
	code int
	doc  string // with a verb for the URI
}{
	{32, `[32, "+", {}, %q]`},
	{64, `[64, "+", {}, %q]`},
	{48, `[48, "+", {}, %q]`},
	{16, `[16, "+", {"acknowledge": true}, %q]`},
}

func refusesURIs(p *wamptest.Peer, uris ...string) {
	for _, u := range uris {
		for _, r := range requests {
			p.Send(fmt.Sprintf(r.doc, u))
			p.Expect(fmt.Sprintf(`[8, %d, "=", {}, "wamp.error.invalid_uri", "..."]`, r.code))
		}
	}
}

func acceptsURIs(p *wamptest.Peer, uris ...string) {
	for _, u := range uris {
		p.Send(fmt.Sprintf(`[32, "+", {}, %q]`, u))
		p.Expect(`[33, "=", "*"]`)
		p.Send(fmt.Sprintf(`[48, "+", {}, %q]`, u))
		p.Expect(`[8, 48, "=", {}, "wamp.error.no_such_procedure", "..."]`)
		p.Send(fmt.Sprintf(`[64, "+", {}, %q]`, u))
		p.Expect(`[65, "=", "*"]`)
		p.Send(fmt.Sprintf(`[16, "+", {"acknowledge": true}, %q]`, u))
		p.Expect(`[17, "=", "*"]`)
	}
}

func looseURIs(t *testing.T) {
	everywhere(t, func(w *world) {
		p := w.peer()
		refusesURIs(p, "", ".", "..", "a..b", ".a", "a.", "a b", "a.b ", "a\tb", "a\nb", "a\u00a0b", "a\u2003b", "a#b", "#")
		acceptsURIs(p, "a", "com.Example.Topic", "with-hyphen.1", "gerät.ü", "日本.語", "A", "_", "com.example.$weird!(x)")
	})
}

func strictURIs(t *testing.T) {
	over(t, wamptest.Links(), config{realm: router.RealmConfig{StrictURIs: true}}, func(w *world) {
		p := w.peer()
		refusesURIs(p, "", ".", "a..b", ".a", "a.", "com.Example", "with-hyphen", "gerät", "a b", "a#b")
		acceptsURIs(p, "a", "a.b", "z9.0._", "com.my_app.topic1")
	})
}

func emptyParts(t *testing.T) {
	everywhere(t, func(w *world) {
		pub := w.peer()
		for _, u := range []string{".a", "a.", "a..b", "..", ".", ""} {
			s := w.peer()
			s.Send(fmt.Sprintf(`[32, "+", {"match": "wildcard"}, %q]`, u))
			s.Expect(`[33, "=", "*"]`)
			s = w.peer() // which receives no events of the pattern
			s.Send(fmt.Sprintf(`[64, "+", {"match": "wildcard"}, %q]`, u))
			s.Expect(`[65, "=", "*"]`)
		}
		s := w.peer()
		for _, u := range []string{".a", "a..b", ".."} {
			for _, code := range []int{32, 64} {
				s.Send(fmt.Sprintf(`[%d, "+", {"match": "prefix"}, %q]`, code, u))
				s.Expect(fmt.Sprintf(`[8, %d, "=", {}, "wamp.error.invalid_uri", "..."]`, code))
			}
		}
		all := w.peer()
		subscribe(all, "sub", `{"match": "prefix"}`, "")
		for _, topic := range []string{"x", "com.example.topic"} {
			pub.Send(fmt.Sprintf(`[16, "+", {}, %q, [1]]`, topic))
			for got := ""; got != topic; {
				details, _ := all.Recv()[3].(wamp.Dict)
				if got, _ = details["topic"].(string); got != topic && !strings.HasPrefix(got, "wamp.") {
					w.t.Fatalf("an event of %q came", got)
				}
			}
		}
	})
}

func invalidURIError(t *testing.T) {
	everywhere(t, func(w *world) {
		p := w.peer()
		refusesURIs(p, "not valid")
		p.Send(`[16, "+", {}, "not valid", [1]]`, `[16, "+", {"acknowledge": false}, "", [1]]`)
		p.Fence() // nothing came for the two
	})
}

func reservedURIs(t *testing.T) {
	everywhere(t, func(w *world) {
		p := w.peer()
		for _, u := range []string{"wamp.my.topic", "wamp.session.on_join", "wamp"} {
			p.Send(fmt.Sprintf(`[64, "+", {}, %q]`, u))
			p.Expect(`[8, 64, "=", {}, "wamp.error.invalid_uri", "..."]`)
			p.Send(fmt.Sprintf(`[16, "+", {"acknowledge": true}, %q]`, u))
			p.Expect(`[8, 16, "=", {}, "wamp.error.invalid_uri", "..."]`)
			p.Send(fmt.Sprintf(`[32, "+", {}, %q]`, u))
			p.Expect(`[33, "=", "*"]`)
		}
		acceptsURIs(p, "wampx.topic", "wamp2.topic", "com.wamp.topic")
	})
}

func idsInRange(t *testing.T) {
	bad := []string{"0", "-1", "-9007199254740992", "9007199254740993", "18446744073709551615", "1.5", "1e300", `"1"`, "true", "null", "[]", "{}"}
	messages := []string{`[32, %s, {}, "a.b"]`, `[34, 1, %s]`, `[48, %s, {}, "a.b"]`, `[16, %s, {}, "a.b"]`, `[70, %s, {}]`, `[8, 68, %s, {}, "a.b"]`, `[49, %s, {}]`}
	over(t, wamptest.NetworkLinks(), config{}, func(w *world) {
		for i, id := range bad {
			p := w.peer()
			p.Send(fmt.Sprintf(messages[i%len(messages)], id))
			p.ExpectAbort(wamp.ErrURIProtocolViolation)
		}
		for _, m := range messages {
			p := w.peer()
			p.Send(fmt.Sprintf(m, "-1"))
			p.ExpectAbort(wamp.ErrURIProtocolViolation)
		}
		p := w.peer()
		p.Send(`[32, 9007199254740992, {}, "a.b"]`)
		p.Expect(`[33, 9007199254740992, "*"]`)
	})
}

func randomIDs(t *testing.T) {
	everywhere(t, func(w *world) {
		const n = 20
		var sessions, publications []wamp.ID
		for range n {
			sessions = append(sessions, w.connect().Join(realm))
		}
		p := w.peer()
		for range n {
			p.Send(`[16, "+", {"acknowledge": true}, "a.b"]`)
			p.Expect(`[17, "=", "$pub"]`)
			publications = append(publications, p.Var("pub"))
			p.Unset("pub")
		}
		other := start(w.t, w.link, config{})
		sessions = append(sessions, other.connect().Join(realm))
		for what, ids := range map[string][]wamp.ID{"session": sessions, "publication": publications} {
			if slices.IsSorted(ids) {
				w.t.Errorf("%s IDs ascend: %v", what, ids)
			}
			// Twenty draws below 2^48, one 32nd of the range: once in 2^100.
			if slices.Max(ids) < 1<<48 {
				w.t.Errorf("%s IDs use a small part of the range: %v", what, ids)
			}
			slices.Sort(ids)
			if len(slices.Compact(ids)) != len(ids) {
				w.t.Errorf("%s IDs repeat: %v", what, ids)
			}
		}
	})
}

func clientRequestIDs(t *testing.T) {
	t.Run("strict", func(t *testing.T) {
		over(t, wamptest.Links(), config{realm: router.RealmConfig{StrictRequestIDs: true}}, func(w *world) {
			for _, second := range []string{"3", "1", "9007199254740992"} {
				p := w.peer()
				p.Send(`[32, 1, {}, "a.b"]`)
				p.Expect(`[33, 1, "*"]`)
				p.Send(`[32, ` + second + `, {}, "a.c"]`)
				p.ExpectAbort(wamp.ErrURIProtocolViolation)
			}
			p := w.peer()
			p.Send(`[32, 2, {}, "a.b"]`)
			p.ExpectAbort(wamp.ErrURIProtocolViolation)
			p = w.peer() // all kinds of requests count together
			p.Send(`[32, "+", {}, "a.b"]`, `[64, "+", {}, "a.b"]`, `[16, "+", {}, "a.x"]`, `[34, "+", 7]`, `[66, "+", 7]`, `[48, "+", {}, "a.none"]`)
			p.Expect(`[33, 1, "*"]`, `[65, 2, "*"]`, `[8, 34, 4, {}, "*", "..."]`, `[8, 66, 5, {}, "*", "..."]`, `[8, 48, 6, {}, "*", "..."]`)
		})
	})
	t.Run("tolerant", func(t *testing.T) {
		everywhere(t, func(w *world) {
			p := w.peer()
			for _, id := range []string{"4711", "5", "9007199254740992", "1", "2"} {
				p.Send(`[32, ` + id + `, {}, "a.b"]`)
				p.Expect(`[33, ` + id + `, "*"]`)
			}
		})
	})
}

func invocationIDs(t *testing.T) {
	everywhere(t, func(w *world) {
		a, b, caller := w.peer(), w.peer(), w.peer()
		register(a, "reg", `{}`, "proc.a")
		register(b, "reg", `{}`, "proc.b")
		for i := 1; i <= 5; i++ {
			for _, callee := range []*wamptest.Peer{a, b} {
				proc := "proc.a"
				if callee == b {
					proc = "proc.b"
				}
				caller.Send(fmt.Sprintf(`[48, "+", {}, %q]`, proc))
				callee.Expect(fmt.Sprintf(`[68, %d, "$reg", {}]`, i))
				callee.Send(fmt.Sprintf(`[70, %d, {}]`, i))
				caller.Expect(`[50, "=", {}]`)
			}
		}
	})
}
