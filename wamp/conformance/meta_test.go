package conformance

import (
	"fmt"
	"testing"

	"gantry/wamp"
	"gantry/wamp/wamptest"
)

var metaAPI = []item{
	{name: "69_order_of_meta_events", run: orderOfMetaEvents},
	{name: "70_killing_sessions", run: killingSessions},
	{name: "71_nothing_is_null", run: nothingIsNull},
}

// leaves are the ways in which a session may end.
func leaves() []func(*wamptest.Peer) {
	return []func(*wamptest.Peer){
		func(p *wamptest.Peer) { p.Close() },
		func(p *wamptest.Peer) { p.Send(`[6, {}, "wamp.close.close_realm"]`) },
		func(p *wamptest.Peer) { p.Send(`[3, {}, "wamp.error.protocol_violation"]`) },
	}
}

func orderOfMetaEvents(t *testing.T) {
	everywhere(t, func(w *world) {
		watcher := w.peer()
		subscribe(watcher, "all", `{"match": "prefix"}`, "wamp.")
		subscribe(watcher, "joins", `{}`, "wamp.session.on_join")
		watcher.Fence() // subscriptions to meta events are not told of
		hears := func(topic, args string) {
			w.t.Helper()
			watcher.Expect(fmt.Sprintf(`[36, "$all", "*", {"topic": "wamp.%s"}, %s]`, topic, args))
		}
		joins := func(name string) *wamptest.Peer {
			w.t.Helper()
			p := w.peer()
			watcher.Set(name, p.Var("session"))
			join := `{"session": "$` + name + `", "authid": "*", "authrole": "*", "authmethod": "*", "authprovider": "*", "transport": "*", "...": 0}`
			watcher.ExpectAny(`[36, "$joins", "*", {}, [`+join+`]]`, `[36, "$all", "*", {"topic": "wamp.session.on_join"}, [`+join+`]]`)
			return p
		}
		for _, leave := range leaves() {
			a, b := joins("a"), joins("b")
			watcher.Unset("reg", "sub", "one")
			register(a, "reg", `{"invoke": "roundrobin"}`, "p.shared")
			hears("registration.on_create", `["$a", {"id": "$reg", "created": "*", "uri": "p.shared", "match": "exact", "invoke": "roundrobin"}]`)
			hears("registration.on_register", `["$a", "$reg"]`)
			register(b, "reg", `{"invoke": "roundrobin"}`, "p.shared")
			hears("registration.on_register", `["$b", "$reg"]`)
			subscribe(a, "sub", `{"match": "prefix"}`, "t.shared")
			hears("subscription.on_create", `["$a", {"id": "$sub", "created": "*", "uri": "t.shared", "match": "prefix"}]`)
			hears("subscription.on_subscribe", `["$a", "$sub"]`)
			subscribe(b, "sub", `{"match": "prefix"}`, "t.shared")
			hears("subscription.on_subscribe", `["$b", "$sub"]`)
			subscribe(b, "sub", `{"match": "prefix"}`, "t.shared") // nothing has changed
			a.Send(`[66, "+", "$reg"]`, `[34, "+", "$sub"]`)
			hears("registration.on_unregister", `["$a", "$reg"]`)
			hears("subscription.on_unsubscribe", `["$a", "$sub"]`)
			watcher.Fence()
			leave(b)
			hears("registration.on_unregister", `["$b", "$reg"]`)
			hears("registration.on_delete", `["$b", "$reg"]`)
			hears("subscription.on_unsubscribe", `["$b", "$sub"]`)
			hears("subscription.on_delete", `["$b", "$sub"]`)
			hears("session.on_leave", `["$b", "*", "*"]`)
			leave(a)
			hears("session.on_leave", `["$a", "*", "*"]`)
			watcher.Unset("a", "b")
			watcher.Fence()
		}
		// Whoever asks for everything means the application's topics.
		watcher.Send(`[34, "+", "$all"]`)
		watcher.Expect(`[35, "="]`)
		subscribe(watcher, "everything", `{"match": "prefix"}`, "")
		subscribe(watcher, "wild", `{"match": "wildcard"}`, "..")
		w.peer()
		watcher.Expect(`[36, "$joins", "*", {}, ["*"]]`)
		watcher.Fence()
	})
}

func killingSessions(t *testing.T) {
	everywhere(t, func(w *world) {
		killer, caller := w.peer(), w.peer()
		victim := func(register string) *wamptest.Peer {
			p := w.peer()
			killer.Set("victim", p.Var("session"))
			p.Send(fmt.Sprintf(`[64, "+", {}, %q]`, register))
			p.Expect(`[65, "=", "*"]`)
			return p
		}
		for i, c := range []struct{ kwargs, details, reason string }{
			{``, `{}`, "wamp.close.normal"},
			{`, {"reason": "my.reason"}`, `{}`, "my.reason"},
			{`, {"reason": "my.reason", "message": "go away"}`, `{"message": "go away"}`, "my.reason"},
			{`, {"reason": null, "message": null}`, `{}`, "wamp.close.normal"},
		} {
			procedure := fmt.Sprintf("p.v%d", i)
			v := victim(procedure)
			caller.Send(fmt.Sprintf(`[48, "+", {}, %q]`, procedure))
			v.Expect(`[68, 1, "*", {}]`)
			calls(killer, "wamp.session.kill", `, ["$victim"]`+c.kwargs, ``)
			v.Expect(`[6, ` + c.details + `, "` + c.reason + `"]`)
			v.ExpectClosed()
			caller.Expect(`[8, 48, "=", {}, "wamp.error.canceled", "..."]`)
			refused(caller, wamp.ErrURINoSuchProcedure, procedure, ``) // it is all gone
			refused(killer, wamp.ErrURINoSuchSession, "wamp.session.kill", `, ["$victim"]`)
			refused(killer, wamp.ErrURINoSuchSession, "wamp.session.get", `, ["$victim"]`)
		}
		refused(killer, wamp.ErrURINoSuchSession, "wamp.session.kill", `, ["$session"]`) // not itself
		refused(killer, wamp.ErrURINoSuchSession, "wamp.session.kill", `, [4711]`)
		v := victim("p.spared")
		for _, kwargs := range []string{`{"reason": "not a reason"}`, `{"reason": 7}`, `{"reason": ""}`} {
			refused(killer, wamp.ErrURIInvalidURI, "wamp.session.kill", `, ["$victim"], `+kwargs)
		}
		refused(killer, wamp.ErrURIInvalidArgument, "wamp.session.kill", `, ["x"]`)
		refused(killer, wamp.ErrURIInvalidArgument, "wamp.session.kill", ``)
		fences(killer, v)
	})
	t.Run("sweeps", func(t *testing.T) {
		over(t, wamptest.NetworkLinks(), config{}, func(w *world) {
			inside := w.peerBy(wamptest.Link{Transport: "pipe"}) // the gateway's own; no sweep is meant for it
			killer, authid := w.named("")
			for _, c := range []struct {
				procedure, arg string
				count          int
			}{
				{"wamp.session.kill_by_authrole", `"anonymous"`, 2}, {"wamp.session.kill_all", ``, 2}, {"wamp.session.kill_by_authrole", `"nobody"`, 0},
			} {
				a, b := w.peer(), w.peer()
				calls(killer, c.procedure, `, [`+c.arg+`], {"reason": "my.sweep"}`, fmt.Sprintf(`, [%d]`, c.count))
				for _, p := range []*wamptest.Peer{a, b} {
					if c.count == 0 {
						p.Fence()
						p.Close()
						continue
					}
					p.Expect(`[6, {}, "my.sweep"]`)
					p.ExpectClosed()
				}
				calls(w.settled(killer, 2), "wamp.session.count", ``, `, [2]`)
			}
			v, theirs := w.named("")
			killer.Set("victim", v.Var("session"))
			calls(killer, "wamp.session.kill_by_authid", fmt.Sprintf(`, [%q], {"reason": "my.sweep"}`, theirs), `, [["$victim"]]`)
			v.Expect(`[6, {}, "my.sweep"]`)
			v.ExpectClosed()
			calls(killer, "wamp.session.kill_by_authid", fmt.Sprintf(`, [%q]`, authid), `, [[]]`) // it is itself left out
			calls(killer, "wamp.session.kill_by_authid", `, ["nobody"]`, `, [[]]`)
			refused(killer, wamp.ErrURIInvalidArgument, "wamp.session.kill_by_authid", ``)
			refused(killer, wamp.ErrURIInvalidURI, "wamp.session.kill_all", `, [], {"reason": "not a reason"}`)
			fences(killer, inside)
		})
	})
}

// named joins and returns the authid that the session has.
func (w *world) named(authid string) (*wamptest.Peer, string) {
	w.t.Helper()
	p := w.connect()
	p.Send(`[1, "realm1", {"authid": "` + authid + `", "roles": {"caller": {}}}]`)
	m := p.Recv()
	if m[0] != any(int64(2)) {
		w.t.Fatalf("HELLO was answered by %v", m)
	}
	p.Set("session", wamp.ID(m[1].(int64)))
	name, _ := m[2].(wamp.Dict)["authid"].(string)
	return p, name
}

// settled waits until n sessions are left: some may still be leaving.
func (w *world) settled(p *wamptest.Peer, n int64) *wamptest.Peer {
	w.t.Helper()
	for range 10_000 {
		call(p, "wamp.session.count", ``)
		if p.Recv()[3].(wamp.List)[0] == any(n) {
			break
		}
	}
	return p
}

func nothingIsNull(t *testing.T) {
	everywhere(t, func(w *world) {
		p := w.peer()
		for _, procedure := range []string{"wamp.registration.lookup", "wamp.registration.match", "wamp.subscription.lookup", "wamp.subscription.match"} {
			calls(p, procedure, `, ["a.b"]`, `, [null]`)
			refused(p, wamp.ErrURIInvalidArgument, procedure, ``)
			refused(p, wamp.ErrURIInvalidArgument, procedure, `, [7]`)
		}
		for _, kind := range []string{"registration", "subscription"} {
			calls(p, "wamp."+kind+".list", ``, `, [{"exact": [], "prefix": [], "wildcard": []}]`)
			for _, procedure := range []string{".get", map[string]string{"registration": ".list_callees", "subscription": ".list_subscribers"}[kind], map[string]string{"registration": ".count_callees", "subscription": ".count_subscribers"}[kind]} {
				refused(p, wamp.URI("wamp.error.no_such_"+kind), "wamp."+kind+procedure, `, [4711]`)
				refused(p, wamp.ErrURIInvalidArgument, "wamp."+kind+procedure, `, ["x"]`)
			}
			calls(p, "wamp."+kind+".lookup", `, ["a.b", {"match": "wildcard"}]`, `, [null]`)
			refused(p, wamp.ErrURIInvalidArgument, "wamp."+kind+".lookup", `, ["a.b", {"match": "fuzzy"}]`)
		}
		for _, match := range []string{"exact", "prefix", "wildcard"} {
			register(p, "r"+match, fmt.Sprintf(`{"match": %q}`, match), "a.b")
			subscribe(p, "s"+match, fmt.Sprintf(`{"match": %q}`, match), "a.b")
			for _, kind := range []string{"registration", "subscription"} {
				id := "$" + kind[:1] + match
				calls(p, "wamp."+kind+".lookup", fmt.Sprintf(`, ["a.b", {"match": %q}]`, match), `, ["`+id+`"]`)
				invoke := ""
				if kind == "registration" {
					invoke = `, "invoke": "single"`
				}
				calls(p, "wamp."+kind+".get", `, ["`+id+`"]`, fmt.Sprintf(`, [{"id": "%s", "created": "*", "uri": "a.b", "match": %q%s}]`, id, match, invoke))
			}
		}
		calls(p, "wamp.registration.list", ``, `, [{"exact": ["$rexact"], "prefix": ["$rprefix"], "wildcard": ["$rwildcard"]}]`)
		calls(p, "wamp.subscription.list", ``, `, [{"exact": ["$sexact"], "prefix": ["$sprefix"], "wildcard": ["$swildcard"]}]`)
		calls(p, "wamp.registration.match", `, ["a.b"]`, `, ["$rexact"]`) // the one that would be called
		calls(p, "wamp.registration.match", `, ["a.b.c"]`, `, ["$rprefix"]`)
		calls(p, "wamp.subscription.match", `, ["a.b"]`, `, [["$sexact", "$sprefix", "$swildcard"]]`)
		calls(p, "wamp.subscription.match", `, ["a.b.c"]`, `, [["$sprefix"]]`)
		calls(p, "wamp.registration.list_callees", `, ["$rexact"]`, `, [["$session"]]`)
		calls(p, "wamp.registration.count_callees", `, ["$rexact"]`, `, [1]`)
		calls(p, "wamp.subscription.list_subscribers", `, ["$sexact"]`, `, [["$session"]]`)
		calls(p, "wamp.subscription.count_subscribers", `, ["$sexact"]`, `, [1]`)
		q := w.peer()
		p.Set("q", q.Var("session"))
		calls(p, "wamp.session.count", ``, `, [2]`)
		calls(p, "wamp.session.count", `, [["nobody"]]`, `, [0]`)
		calls(p, "wamp.session.list", `, [["nobody"]]`, `, [[]]`)
		calls(p, "wamp.session.get", `, ["$q"]`, `, [{"session": "$q", "authid": "*", "authrole": "*", "authmethod": "*", "authprovider": "*", "transport": {"...": 0}, "...": 0}]`)
		refused(p, wamp.ErrURIInvalidArgument, "wamp.session.get", ``)
		refused(p, wamp.ErrURINoSuchProcedure, "wamp.session.teleport", ``)
	})
}
