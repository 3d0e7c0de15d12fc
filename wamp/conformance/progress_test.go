package conformance

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
	"gantry/wamp/wamptest"
)

func callTimeout(t *testing.T) {
	everywhere(t, func(w *world) {
		callee, caller := w.peer(), w.peer()
		register(callee, "reg", `{}`, "p.a")
		caller.Send(`[48, 1, {"timeout": 0}, "p.a"]`, `[48, 2, {"timeout": 20}, "p.a"]`)
		callee.Expect(`[68, 1, "$reg", {}]`, `[68, 2, "$reg", {}]`) // the router watches, the callee is not told
		caller.Expect(`[8, 48, 2, {}, "wamp.error.timeout", "..."]`)
		callee.Expect(`[69, 2, {"mode": "killnowait", "...": 0}]`)
		callee.Send(`[70, 2, {}, ["late"]]`, `[70, 1, {}, ["whenever"]]`)
		caller.Expect(`[50, 1, {}, ["whenever"]]`)
		caller.Send(`[48, 3, {"timeout": 1000000000000000}, "p.a"]`) // longer than any clock
		callee.Expect(`[68, 3, "$reg", {}]`)
		callee.Send(`[70, 3, {}]`)
		caller.Expect(`[50, 3, {}]`)
		register(callee, "forward", `{"forward_timeout": true}`, "p.forward")
		caller.Send(`[48, 4, {"timeout": 20}, "p.forward"]`)
		callee.Expect(`[68, 4, "$forward", {"timeout": 20}]`)
		callee.Send(`[8, 68, 4, {}, "wamp.error.timeout", ["by the callee"]]`)
		caller.Expect(`[8, 48, 4, {}, "wamp.error.timeout", ["by the callee"]]`)
		fences(callee)
	})
	t.Run("progress restarts it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: realm}}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ran := make(chan error, 1)
			go func() { ran <- r.Run(ctx) }()
			callee, caller := wamptest.Pipe(t, r.Accept), wamptest.Pipe(t, r.Accept)
			callee.Join(realm)
			caller.Join(realm)
			register(callee, "reg", `{}`, "p.a")
			caller.Send(`[48, 1, {"timeout": 1000, "receive_progress": true}, "p.a"]`)
			callee.Expect(`[68, 1, "$reg", {"receive_progress": true}]`)
			for i := range 5 {
				time.Sleep(900 * time.Millisecond) // of the bubble's clock
				callee.Send(fmt.Sprintf(`[70, 1, {"progress": true}, [%d]]`, i))
				caller.Expect(fmt.Sprintf(`[50, 1, {"progress": true}, [%d]]`, i))
			}
			last := time.Now()
			caller.Expect(`[8, 48, 1, {}, "wamp.error.timeout", "..."]`)
			if d := time.Since(last); d != time.Second {
				t.Errorf("timed out %v after the last result", d)
			}
			callee.Expect(`[69, 1, {"mode": "killnowait", "...": 0}]`)
			cancel()
			<-ran
		})
	})
}

func progressiveResults(t *testing.T) {
	everywhere(t, func(w *world) {
		callee, caller := w.peer(), w.peer()
		register(callee, "reg", `{}`, "p.a")
		caller.Send(`[48, "+", {}, "p.a"]`)
		callee.Expect(`[68, 1, "$reg", {}]`)
		callee.Send(`[70, 1, {"progress": true}, ["unasked"]]`, `[70, 1, {}, ["final"]]`, `[70, 1, {"progress": true}, ["after"]]`, `[70, 1, {}, ["again"]]`)
		caller.Expect(`[50, "=", {}, ["final"]]`)
		callee.Fence()
		caller.Fence()
		for _, end := range [][2]string{
			{`[70, "$inv", {}, ["end"]]`, `[50, "=", {}, ["end"]]`},
			{`[70, "$inv", {"progress": false}]`, `[50, "=", {}]`},
			{`[8, 68, "$inv", {}, "my.error", [1]]`, `[8, 48, "=", {}, "my.error", [1]]`},
		} {
			callee.Unset("inv")
			caller.Send(`[48, "+", {"receive_progress": true}, "p.a"]`)
			callee.Expect(`[68, "$inv", "$reg", {"receive_progress": true}]`)
			for i := range 10 {
				callee.Send(fmt.Sprintf(`[70, "$inv", {"progress": true}, [%d], {"n": %d}]`, i, i))
			}
			callee.Send(end[0], `[70, "$inv", {"progress": true}, ["after"]]`)
			for i := range 10 {
				caller.Expect(fmt.Sprintf(`[50, "=", {"progress": true}, [%d], {"n": %d}]`, i, i))
			}
			caller.Expect(end[1])
			callee.Fence()
			caller.Fence()
		}
	})
}

func progressiveCalls(t *testing.T) {
	everywhere(t, func(w *world) {
		a, b, caller := w.peer(), w.peer(), w.peer()
		register(a, "reg", `{"invoke": "roundrobin"}`, "p.a")
		b.Set("reg", a.Var("reg"))
		register(b, "reg", `{"invoke": "roundrobin"}`, "p.a")
		caller.Send(`[48, 1, {"progress": true, "receive_progress": true}, "p.a", [1]]`)
		a.Expect(`[68, 1, "$reg", {"progress": true, "receive_progress": true}, [1]]`)
		// Further chunks go to the same callee; what they say of other options does not count.
		caller.Send(`[48, 1, {"progress": true, "receive_progress": false}, "p.a", [2]]`, `[48, 1, {"progress": true}, "p.a", [3]]`)
		a.Expect(`[68, 1, "$reg", {"progress": true, "receive_progress": true}, [2]]`, `[68, 1, "$reg", {"progress": true, "receive_progress": true}, [3]]`)
		a.Send(`[70, 1, {"progress": true}, ["so far"]]`)
		caller.Expect(`[50, 1, {"progress": true}, ["so far"]]`)
		caller.Send(`[48, 1, {}, "p.a", [4]]`)
		a.Expect(`[68, 1, "$reg", {"receive_progress": true}, [4]]`)
		a.Send(`[70, 1, {}, ["sum"]]`)
		caller.Expect(`[50, 1, {}, ["sum"]]`)
		b.Fence()
		// A chunk that comes after the call has ended is dropped: the caller cannot have known.
		caller.Send(`[48, 2, {"progress": true}, "p.a", [1]]`)
		b.Expect(`[68, 1, "$reg", {"progress": true}, [1]]`)
		b.Send(`[8, 68, 1, {}, "my.enough"]`)
		caller.Expect(`[8, 48, 2, {}, "my.enough"]`)
		caller.Send(`[48, 2, {"progress": true}, "p.a", [2]]`, `[48, 2, {}, "p.a", [3]]`)
		fences(caller, a, b)
		caller = w.peer()
		lateChunks(caller)
		// Whatever a chunk says besides its ID and payload was said by the first.
		a.Unset("inv", "reg")
		register(a, "reg", `{}`, "p.single")
		caller.Send(`[48, "+", {"progress": true}, "p.single"]`, `[48, "=", {"progress": true}, "not valid", [2]]`, `[48, "=", {}, "wamp.session.count", [3]]`)
		a.Expect(`[68, "$inv", "$reg", {"progress": true}]`, `[68, "$inv", "$reg", {"progress": true}, [2]]`, `[68, "$inv", "$reg", {}, [3]]`)
		a.Send(`[70, "$inv", {}]`)
		caller.Expect(`[50, "=", {}]`)
	})
	t.Run("strict", func(t *testing.T) {
		over(t, wamptest.Links(), config{realm: router.RealmConfig{StrictRequestIDs: true}}, func(w *world) {
			callee, caller := w.peer(), w.peer()
			register(callee, "reg", `{}`, "p.a")
			caller.Send(`[48, "+", {"progress": true}, "p.a"]`, `[48, "+", {}, "p.a"]`, `[48, 1, {}, "p.a"]`)
			callee.Expect(`[68, 1, "$reg", {"progress": true}]`, `[68, 2, "$reg", {}]`, `[68, 1, "$reg", {}]`)
			lateChunks(caller)
			caller.Send(`[48, 99, {"progress": true}, "p.a"]`) // above the last ID plus one
			caller.ExpectAbort(wamp.ErrURIProtocolViolation)
		})
	})
}

// lateChunks: a call that is refused is answered once, although its caller goes on
// until it has got to know.
func lateChunks(caller *wamptest.Peer) {
	for _, procedure := range []string{"p.none", "not valid", "wamp.session.none"} {
		caller.Send(fmt.Sprintf(`[48, "+", {"progress": true}, %q]`, procedure), fmt.Sprintf(`[48, "=", {"progress": true}, %q]`, procedure), fmt.Sprintf(`[48, "=", {}, %q]`, procedure))
		caller.Expect(`[8, 48, "=", {}, "*", "..."]`)
		caller.Fence()
	}
}

func calleeWithFullQueue(t *testing.T) {
	small := config{}
	small.server = patient
	small.server.Queue, small.server.WriteTimeout = 16<<10, time.Minute
	over(t, wamptest.Links(), small, func(w *world) {
		callee, other, caller := w.peer(), w.peer(), w.peer()
		register(callee, "reg", `{}`, "p.slow")
		register(other, "reg", `{}`, "p.quick")
		filler := make([]byte, 2000)
		for i := range filler {
			filler[i] = 'x'
		}
		for i := 0; ; i++ {
			if i == 10_000 {
				w.t.Fatal("a callee that does not read takes call after call")
			}
			// The quick call shows that nothing waits for the slow callee, and that the
			// slow call has been dealt with.
			caller.Send(fmt.Sprintf(`[48, "+", {}, "p.slow", [%q]]`, filler))
			slow := caller.LastRequest()
			caller.Send(`[48, "+", {}, "p.quick"]`)
			serves(other)
			if first := caller.Recv(); first[0] == any(int64(8)) {
				if first[2] != any(int64(slow)) || first[4] != any("wamp.error.no_available_callee") {
					w.t.Errorf("received %v", first)
				}
				caller.Expect(`[50, "=", {}]`)
				break
			}
		}
		caller.Send(`[48, "+", {}, "p.quick"]`)
		serves(other)
		caller.Expect(`[50, "=", {}]`)
		callee.Close()
	})
}
