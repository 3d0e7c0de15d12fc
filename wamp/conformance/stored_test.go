package conformance

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
	"gantry/wamp/wamptest"
)

var stored = []item{
	{name: "47_event_history", run: eventHistory},
	{name: "48_testaments", run: testaments},
}

// call sends a CALL; args is what follows the procedure, with its comma.
func call(p *wamptest.Peer, procedure, args string) {
	p.Send(fmt.Sprintf(`[48, "+", {}, %q%s]`, procedure, args))
}

// calls is call that expects a result: what follows its details, with a comma.
func calls(p *wamptest.Peer, procedure, args, result string) {
	call(p, procedure, args)
	p.Expect(`[50, "=", {}` + result + `]`)
}

// refused is call that expects an error.
func refused(p *wamptest.Peer, uri wamp.URI, procedure, args string) {
	call(p, procedure, args)
	p.Expect(fmt.Sprintf(`[8, 48, "=", {}, %q, "..."]`, uri))
}

// nextMillisecond waits until what happens has another time than what happened.
func nextMillisecond() {
	for before := time.Now().UnixMilli(); time.Now().UnixMilli() == before; {
		runtime.Gosched()
	}
}

// history asks for events and returns the first argument and the time of each.
func (w *world) history(p *wamptest.Peer, subscription, kwargs string) (args string, times []string) {
	w.t.Helper()
	call(p, "wamp.subscription.get_events", `, ["`+subscription+`"], `+kwargs)
	m := p.Recv()
	if m[0] != any(int64(50)) {
		w.t.Fatalf("get_events %s was answered by %v", kwargs, m)
	}
	var all []string
	for _, ev := range m[3].(wamp.List)[0].(wamp.List) {
		ev := ev.(wamp.Dict)
		all = append(all, fmt.Sprint(ev["args"].(wamp.List)[0]))
		times = append(times, ev["timestamp"].(string))
	}
	return strings.Join(all, " "), times
}

func eventHistory(t *testing.T) {
	cfg := config{realm: router.RealmConfig{
		History: []router.HistoryRule{{Topic: "log", Match: wamp.MatchPrefix}, {Topic: "log.b"}, {Topic: "log.secret"}, {Topic: "log..x", Match: wamp.MatchWildcard}},
		Authorize: func(_ router.Identity, a router.Action, uri wamp.URI, _ wamp.Match) (bool, error) {
			return a != router.ActionSubscribe || uri != "log.secret", nil
		},
	}}
	over(t, wamptest.Links(), cfg, func(w *world) {
		pub, p := w.peer(), w.peer()
		calls(p, "wamp.subscription.lookup", `, ["log", {"match": "prefix"}]`, `, ["$log"]`)
		calls(p, "wamp.subscription.lookup", `, ["log.b"]`, `, ["$b"]`)
		calls(p, "wamp.subscription.lookup", `, ["log.secret"]`, `, ["$secret"]`)
		calls(p, "wamp.subscription.lookup", `, ["log..x", {"match": "wildcard"}]`, `, ["$wild"]`)
		publish := func(i int, options, topic string) {
			pub.Send(fmt.Sprintf(`[16, "+", {"acknowledge": true%s}, %q, [%d], {"k": "v"}]`, options, topic, i))
			pub.Expect(fmt.Sprintf(`[17, "=", "$pub%d"]`, i))
			p.Set(fmt.Sprintf("pub%d", i), pub.Var(fmt.Sprintf("pub%d", i)))
			nextMillisecond()
		}
		for i, topic := range []string{"log.a", "log.b", "log.b", "log.a", "log.b.x", "else.where"} {
			publish(i, "", topic)
		}
		// Session IDs mean nothing later; authids and roles do.
		publish(6, `, "exclude": [1]`, "log.a")
		publish(7, `, "eligible": [1, 2]`, "log.a")
		publish(8, `, "exclude": []`, "log.a")
		publish(9, `, "eligible_authid": ["nobody"]`, "log.a")
		publish(10, `, "exclude_authrole": ["nobody"]`, "log.a")
		all, times := w.history(p, "$log", `{}`)
		if all != "0 1 2 3 4 10" {
			w.t.Fatalf("the history holds %s", all)
		}
		for _, c := range [][2]string{
			{`{"limit": 2}`, "0 1"}, {`{"limit": 2, "reverse": true}`, "10 4"}, {`{"reverse": true}`, "10 4 3 2 1 0"}, {`{"topic": "log.b"}`, "1 2"}, {`{"topic": "log"}`, ""},
			{`{"from_publication": "$pub3"}`, "3 4 10"}, {`{"after_publication": "$pub3"}`, "4 10"}, {`{"before_publication": "$pub2"}`, "0 1"}, {`{"until_publication": "$pub2"}`, "0 1 2"},
			{`{"after_publication": "$pub0", "until_publication": "$pub3", "topic": "log.b"}`, "1 2"}, {`{"before_publication": "$pub3", "reverse": true, "limit": 2}`, "2 1"},
			{`{"from_time": "T1"}`, "1 2 3 4 10"}, {`{"after_time": "T1"}`, "2 3 4 10"}, {`{"before_time": "T1"}`, "0"}, {`{"until_time": "T1"}`, "0 1"},
			{`{"after_time": "T1", "until_time": "T3"}`, "2 3"}, {`{"from_time": "T1", "before_time": "T3", "reverse": true}`, "2 1"}, {`{"from_time": "2099-01-01T00:00:00+01:00"}`, ""},
			{`{"_after_record": 0, "limit": 2}`, "0 1"}, {`{"_after_record": 2, "limit": 2}`, "2 3"}, {`{"_after_record": 3, "reverse": true}`, "10 4 3"},
			{`{"from_time": "T1", "after_publication": "$pub1", "topic": "log.b", "limit": 5}`, "2"},
			{`{"reverse": null, "limit": null, "topic": null, "from_time": null, "from_publication": null}`, all},
		} {
			kwargs := strings.NewReplacer("T1", times[1], "T3", times[3]).Replace(c[0])
			if got, _ := w.history(p, "$log", kwargs); got != c[1] {
				w.t.Errorf("%s holds %q, expected %q", kwargs, got, c[1])
			}
		}
		if got, _ := w.history(p, "$wild", `{}`); got != "4" {
			w.t.Errorf("the history of a wildcard holds %q", got)
		}
		calls(p, "wamp.subscription.get_events", `, ["$log"], {"limit": 1}`,
			`, [[{"timestamp": "*", "subscription": "$log", "publication": "$pub0", "details": {"topic": "log.a"}, "args": [0], "kwargs": {"k": "v"}}]]`)
		for _, kwargs := range []string{`{"limit": 0}`, `{"limit": -1}`, `{"limit": "1"}`, `{"reverse": 1}`, `{"from_time": "yesterday"}`, `{"until_publication": 0}`, `{"topic": 1}`, `{"_after_record": -1}`} {
			refused(p, wamp.ErrURIInvalidArgument, "wamp.subscription.get_events", `, ["$log"], `+kwargs)
		}
		refused(p, wamp.ErrURINoSuchSubscription, "wamp.subscription.get_events", `, [4711]`)
		refused(p, wamp.ErrURINotAuthorized, "wamp.subscription.get_events", `, ["$secret"]`)

		// It belongs to the topic, not to those who subscribe.
		late := w.peer()
		late.Set("b", p.Var("b"))
		subscribe(late, "b", `{}`, "log.b")
		late.Send(`[34, "+", "$b"]`)
		late.Expect(`[35, "="]`)
		publish(11, "", "log.b")
		late.Close()
		if got, _ := w.history(w.again(p, "b"), "$b", `{}`); got != "1 2 11" {
			w.t.Errorf("after the last unsubscribe the history holds %q", got)
		}
		subscribe(p, "plain", `{}`, "not.kept")
		calls(p, "wamp.subscription.get_events", `, ["$plain"]`, `, [[]]`)
	})
}

// again brings another peer that knows some variables of p.
func (w *world) again(p *wamptest.Peer, vars ...string) *wamptest.Peer {
	w.t.Helper()
	q := w.peer()
	for _, v := range vars {
		q.Set(v, p.Var(v))
	}
	return q
}

func testaments(t *testing.T) {
	const add, flush = "wamp.session.add_testament", "wamp.session.flush_testaments"
	everywhere(t, func(w *world) {
		s, killer := w.peer(), w.peer()
		subscribe(s, "sub", `{"match": "prefix"}`, "will")
		leave := []func(p *wamptest.Peer, id wamp.ID){
			func(p *wamptest.Peer, _ wamp.ID) { p.Send(`[6, {}, "wamp.close.close_realm"]`) },
			func(_ *wamptest.Peer, id wamp.ID) { calls(killer, "wamp.session.kill", fmt.Sprintf(`, [%d]`, id), ``) },
			func(p *wamptest.Peer, _ wamp.ID) { p.Close() },
			func(p *wamptest.Peer, _ wamp.ID) { p.Send(`[8, 32, 1, {}, "no.such"]`) }, // it breaks the protocol
		}
		for _, end := range leave {
			p := w.connect()
			id := p.Join(realm)
			calls(p, add, `, ["will.a", ["destroyed 1"], {"k": true}], {"scope": "destroyed"}`, ``)
			calls(p, add, `, ["will.b", ["destroyed 2"], {}]`, ``) // the default
			calls(p, add, `, ["will.a", ["detached 1"], {}], {"scope": "detached"}`, ``)
			calls(p, add, `, ["will.c", [], {}], {"scope": "detached", "publish_options": {"acknowledge": true, "exclude_authid": ["nobody"]}}`, ``)
			calls(p, add, `, ["will.a", ["hidden"], {}], {"publish_options": {"eligible": []}}`, ``)
			s.Fence() // as long as it lives nothing is published
			end(p, id)
			s.Expect(`[36, "$sub", "*", {"topic": "will.a"}, ["detached 1"]]`, `[36, "$sub", "*", {"topic": "will.c"}]`,
				`[36, "$sub", "*", {"topic": "will.a"}, ["destroyed 1"], {"k": true}]`, `[36, "$sub", "*", {"topic": "will.b"}, ["destroyed 2"]]`)
		}
		for _, c := range []struct{ flush, left string }{
			{`, [], {"scope": "detached"}`, "destroyed"}, {`, [], {"scope": "destroyed"}`, "detached"}, {``, "detached"},
		} {
			p := w.peer()
			calls(p, add, `, ["will.a", ["destroyed"], {}]`, ``)
			calls(p, add, `, ["will.a", ["detached"], {}], {"scope": "detached"}`, ``)
			calls(p, flush, c.flush, ``)
			p.Send(`[6, {}, "wamp.close.close_realm"]`)
			s.Expect(`[36, "$sub", "*", {"topic": "will.a"}, ["` + c.left + `"]]`)
			p.Expect(`[6, {}, "wamp.close.goodbye_and_out"]`)
			s.Fence()
		}
		p := w.peer()
		for _, args := range []string{``, `, [1, [], {}]`, `, ["will.a", {}, {}]`, `, ["will.a", [], []]`, `, ["will.a", [], {}], {"scope": "whenever"}`} {
			refused(p, wamp.ErrURIInvalidArgument, add, args)
		}
		refused(p, wamp.ErrURIInvalidArgument, flush, `, [], {"scope": 1}`)
		for _, topic := range []string{"wamp.session.on_join", "not a topic", ""} {
			refused(p, wamp.ErrURIInvalidURI, add, fmt.Sprintf(`, [%q, [], {}]`, topic))
		}
		calls(p, add, `, ["kept.a", ["last word"], {}], {"publish_options": {"retain": true}}`, ``)
		p.Send(`[6, {}, "wamp.close.close_realm"]`)
		p.Expect(`[6, {}, "wamp.close.goodbye_and_out"]`)
		subscribe(s, "kept", `{"get_retained": true}`, "kept.a")
		s.Expect(`[36, "$kept", "*", {"retained": true}, ["last word"]]`)
		s.Fence()
	})
}
