package router_test

import (
	"testing"

	"gantry/wamp"
	"gantry/wamp/router"
)

func TestInvocationIDsWrapBehindTheLastOne(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		callee, id := w.join("callee")
		callee.say(&wamp.Register{Request: 1, Procedure: "p"})
		callee.heard()
		w.SetLastInvocation("realm1", id, wamp.MaxID-1)
		caller, _ := w.join("caller")
		caller.say(&wamp.Call{Request: 1, Procedure: "p"}, &wamp.Call{Request: 2, Procedure: "p"}, &wamp.Call{Request: 3, Procedure: "p"})
		callee.hears(invocation(wamp.MaxID, 1), invocation(1, 1), invocation(2, 1))
		caller.say(&wamp.Cancel{Request: 1, Mode: wamp.CancelSkip})
		caller.hears(refusal(wamp.TypeCall, 1, wamp.ErrURICanceled))
		// An answer that is late by a wrap is as good as any that is late.
		callee.say(&wamp.Yield{Request: wamp.MaxID}, &wamp.Yield{Request: 2}, &wamp.Yield{Request: 1})
		caller.hears(&wamp.Result{Request: 3}, &wamp.Result{Request: 2})
		callee.hears()
		if callee.isClosed() {
			t.Error("a callee was punished for a late answer")
		}
	})
}

func TestKilledCallIsNotRouted(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		rr := wamp.RegisterOptions{Invoke: wamp.InvokeRoundRobin}
		a, b := w.serving(rr, "p"), w.serving(rr, "p")
		caller, _ := w.join("caller")
		caller.say(&wamp.Call{Request: 1, Procedure: "p"})
		a.hears(invocation(1, 1))
		caller.say(&wamp.Cancel{Request: 1, Mode: wamp.CancelKill})
		a.hears(&wamp.Interrupt{Request: 1, Mode: wamp.CancelKill, Reason: wamp.ErrURICanceled})
		a.say(&wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: 1, URI: wamp.ErrURIUnavailable})
		caller.hears(refusal(wamp.TypeCall, 1, wamp.ErrURIUnavailable))
		b.hears()
	})
}

func TestChunksOfARefusedCallAreDropped(t *testing.T) {
	within(t, router.RealmConfig{StrictRequestIDs: true}, func(w *world) {
		caller, _ := w.join("caller")
		chunk := func(more bool, procedure wamp.URI) *wamp.Call {
			return &wamp.Call{Request: caller.request, Procedure: procedure, Options: wamp.CallOptions{Progress: more}}
		}
		for _, procedure := range []wamp.URI{"nobody", "not valid", "wamp.session.nothing"} {
			caller.request++
			caller.say(chunk(true, procedure), chunk(true, procedure), chunk(false, procedure))
			if got := caller.heard(); len(got) != 1 || got[0].Type() != wamp.TypeError {
				t.Errorf("%s: three chunks are answered by %v", procedure, got)
			}
		}
		if caller.isClosed() {
			t.Error("a caller was punished for what it could not know")
		}
	})
}
