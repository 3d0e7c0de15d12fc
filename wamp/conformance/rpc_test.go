package conformance

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"gantry/wamp"
	"gantry/wamp/wamptest"
)

var rpc = []item{
	{name: "49_best_match", run: bestMatch},
	{name: "50_policies_are_separate", run: policiesAreSeparate},
	{name: "51_second_registration", run: secondRegistration},
	{name: "52_shared_registrations", run: sharedRegistrations},
	{name: "53_order_of_calls", run: orderOfCalls},
	{name: "54_answers_of_strangers", run: answersOfStrangers},
	{name: "55_callee_lost", run: calleeLost},
	{name: "56_caller_lost", run: callerLost},
	{name: "57_cancel_modes", run: cancelModes},
	{name: "58_cancel_too_late", run: cancelTooLate},
	{name: "59_call_timeout", run: callTimeout},
	{name: "60_progressive_results", run: progressiveResults},
	{name: "61_progressive_calls", run: progressiveCalls},
	{name: "62_callee_with_full_queue", run: calleeWithFullQueue},
}

func bestMatch(t *testing.T) {
	everywhere(t, func(w *world) {
		callee, caller := w.peer(), w.peer()
		for _, r := range [][2]string{
			{"exact", "a1.b2.c3.d4.e55"}, {"prefix", "a1.b2.c3"}, {"prefix", "a1.b2.c3.d4"},
			{"wildcard", "a1.b2..d4.e5"}, {"wildcard", "a1.b2.d33..e5"}, {"wildcard", "a1.b2..d4.e5..g7"}, {"wildcard", "a1.b2..d4..f6.g7"},
		} {
			register(callee, r[1], fmt.Sprintf(`{"match": %q}`, r[0]), r[1])
		}
		// The examples of the protocol's own text, apart from one whose prefix, being
		// one of texts and not of components, would cover more than it says.
		for i, c := range [][2]string{
			{"a1.b2.c3.d4.e55", "a1.b2.c3.d4.e55"}, {"a1.b2.c3.d98.e74", "a1.b2.c3"}, {"a1.b2.c3.d4.e325", "a1.b2.c3.d4"},
			{"a1.b2.c55.d4.e5", "a1.b2..d4.e5"}, {"a1.b2.d33.d4.e5", "a1.b2.d33..e5"}, {"a1.b2.c88.d4.e5.f6.g7", "a1.b2..d4.e5..g7"},
		} {
			caller.Send(fmt.Sprintf(`[48, "+", {}, %q]`, c[0]))
			details := fmt.Sprintf(`{"procedure": %q}`, c[0])
			if c[0] == c[1] {
				details = `{}`
			}
			callee.Expect(fmt.Sprintf(`[68, %d, "$%s", %s]`, i+1, c[1], details))
			callee.Send(fmt.Sprintf(`[70, %d, {}]`, i+1))
			caller.Expect(`[50, "=", {}]`)
		}
		caller.Send(`[48, "+", {}, "a2.b2.c2.d2.e2"]`)
		caller.Expect(`[8, 48, "=", {}, "wamp.error.no_such_procedure", "..."]`)
	})
}

func policiesAreSeparate(t *testing.T) {
	everywhere(t, func(w *world) {
		callee, caller := w.peer(), w.peer()
		register(callee, "exact", `{}`, "a.b")
		register(callee, "prefix", `{"match": "prefix"}`, "a.b")
		register(callee, "wild", `{"match": "wildcard"}`, "a.b")
		if x, y, z := callee.Var("exact"), callee.Var("prefix"), callee.Var("wild"); x == y || x == z || y == z {
			w.t.Errorf("match policies share registration IDs: %d %d %d", x, y, z)
		}
		for i, want := range []string{`"$exact", {}`, `"$prefix", {"procedure": "a.b"}`, `"$wild", {"procedure": "a.b"}`} {
			caller.Send(`[48, "+", {}, "a.b"]`)
			callee.Expect(fmt.Sprintf(`[68, %d, %s]`, i+1, want))
			callee.Send(fmt.Sprintf(`[70, %d, {}]`, i+1))
			caller.Expect(`[50, "=", {}]`)
			callee.Send(`[66, "+", "$` + []string{"exact", "prefix", "wild"}[i] + `"]`)
			callee.Expect(`[67, "="]`)
		}
		caller.Send(`[48, "+", {}, "a.b"]`)
		caller.Expect(`[8, 48, "=", {}, "wamp.error.no_such_procedure", "..."]`)
		callee.Send(`[64, "+", {"match": "fuzzy"}, "a.b"]`)
		callee.Expect(`[8, 64, "=", {}, "wamp.error.invalid_argument", "..."]`)
		callee.Send(`[32, "+", {"match": "fuzzy"}, "a.b"]`)
		callee.Expect(`[8, 32, "=", {}, "wamp.error.invalid_argument", "..."]`)
	})
}

func secondRegistration(t *testing.T) {
	everywhere(t, func(w *world) {
		a, b := w.peer(), w.peer()
		register(a, "single", `{}`, "p.single")
		register(a, "round", `{"invoke": "roundrobin"}`, "p.round")
		for _, peer := range []*wamptest.Peer{a, b} {
			for _, r := range [][2]string{{`{}`, "p.single"}, {`{"invoke": "roundrobin"}`, "p.single"}, {`{}`, "p.round"}, {`{"invoke": "last"}`, "p.round"}} {
				peer.Send(fmt.Sprintf(`[64, "+", %s, %q]`, r[0], r[1]))
				peer.Expect(`[8, 64, "=", {}, "wamp.error.procedure_already_exists", "..."]`)
			}
		}
		a.Send(`[64, "+", {"invoke": "roundrobin"}, "p.round"]`) // one session serves it once
		a.Expect(`[8, 64, "=", {}, "wamp.error.procedure_already_exists", "..."]`)
		b.Set("round", a.Var("round"))
		register(b, "round", `{"invoke": "roundrobin"}`, "p.round")
		b.Send(`[64, "+", {"invoke": "whoever"}, "p.other"]`)
		b.Expect(`[8, 64, "=", {}, "wamp.error.invalid_argument", "..."]`)
		a.Close()
		eventually(w, b, `[64, "+", {}, "p.single"]`, 65) // free again once its callee has gone
	})
}

// serves answers one invocation.
func serves(p *wamptest.Peer) {
	p.Unset("inv", "reg")
	p.Expect(`[68, "$inv", "$reg", {"...": 0}]`)
	p.Send(`[70, "$inv", {}]`)
}

func sharedRegistrations(t *testing.T) {
	everywhere(t, func(w *world) {
		caller := w.peer()
		callees := []*wamptest.Peer{w.peer(), w.peer(), w.peer()}
		for _, policy := range []string{"roundrobin", "first", "last"} {
			for _, c := range callees {
				c.Unset(policy)
				register(c, policy, fmt.Sprintf(`{"invoke": %q}`, policy), "p."+policy)
			}
		}
		call := func(policy string, who ...int) {
			w.t.Helper()
			for _, i := range who {
				caller.Send(fmt.Sprintf(`[48, "+", {}, "p.%s"]`, policy))
				serves(callees[i])
				caller.Expect(`[50, "=", {}]`)
			}
		}
		call("roundrobin", 0, 1, 2, 0, 1)
		call("first", 0, 0)
		call("last", 2, 2)
		// The next one in turn leaves, and nobody is skipped or served twice.
		callees[2].Send(`[66, "+", "$roundrobin"]`)
		callees[2].Expect(`[67, "="]`)
		call("roundrobin", 0, 1, 0)
		callees[0].Send(`[66, "+", "$roundrobin"]`, `[66, "+", "$first"]`)
		callees[0].Expect(`[67, "*"]`, `[67, "="]`)
		call("roundrobin", 1, 1)
		call("first", 1)
		callees[2].Send(`[66, "+", "$last"]`)
		callees[2].Expect(`[67, "="]`)
		call("last", 1)
	})
}

func orderOfCalls(t *testing.T) {
	everywhere(t, func(w *world) {
		callee, caller := w.peer(), w.peer()
		const n = 200
		sent := make(chan struct{})
		callee.Send(`[64, "+", {}, "p.one"]`)
		callee.Expect(`[65, "=", "$one"]`)
		register(callee, "two", `{}`, "p.two")
		go func() {
			defer close(sent)
			for i := range n {
				caller.Send(fmt.Sprintf(`[48, "+", {}, "p.%s", [%d]]`, []string{"one", "two"}[i%2], i))
			}
		}()
		for i := range n {
			callee.Expect(fmt.Sprintf(`[68, %d, "$%s", {}, [%d]]`, i+1, []string{"one", "two"}[i%2], i))
		}
		<-sent
		for i := range n {
			callee.Send(fmt.Sprintf(`[70, %d, {}, [%d]]`, i+1, i))
			caller.Expect(fmt.Sprintf(`[50, %d, {}, [%d]]`, i+1, i))
		}
	})
	t.Run("registered first", func(t *testing.T) {
		everywhere(t, func(w *world) {
			callee, caller := w.peer(), w.peer()
			stop := meanwhile(func() {
				caller.Send(`[48, "+", {}, "p.one"]`)
				caller.Recv() // a result, or nobody was there
			})
			for range 5 {
				callee.Unset("reg")
				register(callee, "reg", `{}`, "p.one")
				serves(callee)
				callee.Send(`[66, "+", "$reg"]`)
				for m := callee.Recv(); m[0] != any(int64(67)); m = callee.Recv() {
					callee.Set("inv", wamp.ID(m[1].(int64)))
					callee.Send(`[70, "$inv", {}]`)
				}
			}
			stop()
		})
	})
}

func answersOfStrangers(t *testing.T) {
	everywhere(t, func(w *world) {
		a, b, caller := w.peer(), w.peer(), w.peer()
		register(a, "reg", `{}`, "p.a")
		b.Set("reg", a.Var("reg"))
		b.Send(`[66, "+", "$reg"]`)
		b.Expect(`[8, 66, "=", {}, "wamp.error.no_such_registration", "..."]`)
		b.Send(`[66, "+", 4711]`)
		b.Expect(`[8, 66, "=", {}, "wamp.error.no_such_registration", "..."]`)
		caller.Send(`[48, "+", {}, "p.a"]`)
		a.Expect(`[68, 1, "$reg", {}]`)
		for _, doc := range []string{`[70, 1, {}, ["forged"]]`, `[8, 68, 1, {}, "forged.error"]`} {
			p := w.peer()
			p.Send(doc) // an invocation that was never made at this session
			p.ExpectAbort(wamp.ErrURIProtocolViolation)
		}
		a.Send(`[70, 1, {}, ["true"]]`)
		caller.Expect(`[50, "=", {}, ["true"]]`)
	})
}

func calleeLost(t *testing.T) {
	everywhere(t, func(w *world) {
		for _, leave := range []func(*wamptest.Peer){
			func(p *wamptest.Peer) { p.Close() },
			func(p *wamptest.Peer) { p.Send(`[6, {}, "wamp.close.close_realm"]`) },
			func(p *wamptest.Peer) { p.Send(`[3, {}, "wamp.error.protocol_violation"]`) },
		} {
			callee, caller := w.peer(), w.peer()
			register(callee, "reg", `{}`, "p.a")
			caller.Send(`[48, "+", {}, "p.a"]`, `[48, "+", {"receive_progress": true}, "p.a"]`)
			callee.Expect(`[68, 1, "$reg", {}]`, `[68, 2, "$reg", {"receive_progress": true}]`)
			callee.Send(`[70, 2, {"progress": true}, [1]]`)
			caller.Expect(`[50, 2, {"progress": true}, [1]]`)
			leave(callee)
			caller.ExpectAny(`[8, 48, 1, {}, "wamp.error.canceled", "..."]`, `[8, 48, 2, {}, "wamp.error.canceled", "..."]`)
			caller.Send(`[48, "+", {}, "p.a"]`)
			caller.Expect(`[8, 48, "=", {}, "wamp.error.no_such_procedure", "..."]`)
			caller.Fence()
		}
	})
}

func callerLost(t *testing.T) {
	everywhere(t, func(w *world) {
		for i, leave := range []func(*wamptest.Peer){
			func(p *wamptest.Peer) { p.Close() },
			func(p *wamptest.Peer) { p.Send(`[6, {}, "wamp.close.close_realm"]`) },
		} {
			able, plain, caller := w.peer(), w.plainPeer(), w.peer()
			register(able, "reg", `{}`, fmt.Sprintf("p.able%d", i))
			register(plain, "reg", `{}`, fmt.Sprintf("p.plain%d", i))
			caller.Send(fmt.Sprintf(`[48, "+", {}, "p.able%d"]`, i), fmt.Sprintf(`[48, "+", {}, "p.plain%d"]`, i))
			able.Expect(`[68, 1, "$reg", {}]`)
			plain.Expect(`[68, 1, "$reg", {}]`)
			leave(caller)
			able.Expect(`[69, 1, {"mode": "killnowait", "...": 0}]`)
			able.Send(`[8, 68, 1, {}, "wamp.error.canceled"]`)
			plain.Send(`[70, 1, {}, ["nobody waits"]]`)
			fences(able, plain) // neither is punished, and only one was told
		}
	})
}

func cancelModes(t *testing.T) {
	everywhere(t, func(w *world) {
		able, plain, caller := w.peer(), w.plainPeer(), w.peer()
		register(able, "reg", `{}`, "p.able")
		register(plain, "reg", `{}`, "p.plain")
		const canceled = `[8, 48, "=", {}, "wamp.error.canceled", "..."]`
		call := func(callee *wamptest.Peer, procedure string) {
			callee.Unset("inv")
			caller.Send(`[48, "+", {}, "` + procedure + `"]`)
			callee.Expect(`[68, "$inv", "$reg", {}]`)
		}
		call(able, "p.able")
		caller.Send(`[49, "=", {"mode": "skip"}]`)
		caller.Expect(canceled)
		able.Fence()
		able.Send(`[70, "$inv", {}, ["late"]]`)

		for _, options := range []string{`{"mode": "killnowait"}`, `{}`} { // killnowait is the default
			call(able, "p.able")
			caller.Send(`[49, "=", ` + options + `]`)
			caller.Expect(canceled)
			able.Expect(`[69, "$inv", {"mode": "killnowait", "...": 0}]`)
			able.Send(`[8, 68, "$inv", {}, "wamp.error.canceled"]`)
		}

		call(able, "p.able")
		caller.Send(`[49, "=", {"mode": "kill"}]`)
		able.Expect(`[69, "$inv", {"mode": "kill", "...": 0}]`)
		caller.Fence() // waits for the callee
		caller.Set("call", caller.LastRequest()-1)
		able.Send(`[8, 68, "$inv", {}, "wamp.error.canceled", ["cleaned up"]]`)
		caller.Expect(`[8, 48, "$call", {}, "wamp.error.canceled", ["cleaned up"]]`)

		call(able, "p.able") // a callee may finish all the same
		caller.Send(`[49, "=", {"mode": "kill"}]`)
		able.Expect(`[69, "$inv", {"mode": "kill", "...": 0}]`)
		able.Send(`[70, "$inv", {}, ["just made it"]]`)
		caller.Expect(`[50, "=", {}, ["just made it"]]`)

		for _, mode := range []string{"skip", "kill", "killnowait"} { // without the feature all are skip
			call(plain, "p.plain")
			caller.Send(`[49, "=", {"mode": "` + mode + `"}]`)
			caller.Expect(canceled)
			plain.Fence()
			plain.Send(`[70, "$inv", {}]`)
		}
		fences(caller, able, plain)

		bad := w.peer()
		bad.Send(`[48, "+", {}, "p.able"]`)
		able.Unset("inv")
		able.Expect(`[68, "$inv", "$reg", {}]`)
		bad.Send(`[49, "=", {"mode": "gently"}]`)
		bad.ExpectAbort(wamp.ErrURIProtocolViolation)
	})
}

func cancelTooLate(t *testing.T) {
	everywhere(t, func(w *world) {
		callee, caller, other := w.peer(), w.peer(), w.peer()
		register(callee, "reg", `{}`, "p.a")
		caller.Send(`[48, 1, {}, "p.a"]`)
		serves(callee)
		caller.Expect(`[50, 1, {}]`)
		caller.Send(`[49, 1, {"mode": "kill"}]`, `[49, 1, {}]`, `[49, 4711, {"mode": "skip"}]`)
		callee.Unset("inv")
		caller.Send(`[48, 2, {}, "p.a"]`)
		callee.Expect(`[68, "$inv", "$reg", {}]`)
		other.Send(`[49, 2, {"mode": "kill"}]`) // not its own
		other.Fence()
		caller.Send(`[49, 2, {"mode": "kill"}]`, `[49, 2, {"mode": "kill"}]`, `[49, 2, {"mode": "skip"}]`)
		callee.Expect(`[69, "$inv", {"mode": "kill", "...": 0}]`)
		caller.Send(`[34, 3, 4711]`)
		caller.Expect(`[8, 34, 3, {}, "wamp.error.no_such_subscription", "..."]`)
		callee.Fence() // one INTERRUPT
		callee.Send(`[8, 68, "$inv", {}, "wamp.error.canceled"]`)
		caller.Expect(`[8, 48, 2, {}, "wamp.error.canceled"]`)
		caller.Send(`[34, 4, 4711]`)
		caller.Expect(`[8, 34, 4, {}, "wamp.error.no_such_subscription", "..."]`)
	})
	t.Run("one final answer", func(t *testing.T) {
		everywhere(t, oneFinalAnswer)
	})
}

// oneFinalAnswer races results against cancellations.
func oneFinalAnswer(w *world) {
	callee, caller := w.peer(), w.peer()
	register(callee, "reg", `{}`, "p.a")
	const n = 150
	served := make(chan struct{})
	go func() {
		defer close(served)
		for range n {
			m := callee.Recv()
			for m[0] == any(int64(69)) { // INTERRUPT
				m = callee.Recv()
			}
			callee.Set("inv", wamp.ID(m[1].(int64)))
			callee.Send(`[70, "$inv", {}]`)
		}
	}()
	answers := map[any]int{}
	for i := 1; i <= n; i++ {
		caller.Send(fmt.Sprintf(`[48, %d, {}, "p.a"]`, i))
		if rand.IntN(3) > 0 {
			caller.Send(fmt.Sprintf(`[49, %d, {"mode": %q}]`, i, []string{"skip", "kill", "killnowait"}[rand.IntN(3)]))
		}
	}
	for range n {
		m := caller.Recv()
		request := m[1]
		if m[0] == any(int64(8)) {
			request = m[2]
		}
		answers[request]++
	}
	<-served
	caller.Send(`[34, 4711, 4711]`)
	caller.Expect(`[8, 34, 4711, {}, "*", "..."]`)
	if len(answers) != n {
		w.t.Errorf("%d calls were answered, expected %d", len(answers), n)
	}
}
