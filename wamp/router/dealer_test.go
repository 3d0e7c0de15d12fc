package router_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

func invocation(request, registration wamp.ID, args ...any) *wamp.Invocation {
	return &wamp.Invocation{Request: request, Registration: registration, Payload: wamp.Args(args...)}
}

// serving returns a callee that has registered procedures 1, 2, ... with opts.
func (w *world) serving(opts wamp.RegisterOptions, procedures ...wamp.URI) *scripted {
	w.t.Helper()
	p, _ := w.join("callee")
	for i, name := range procedures {
		p.say(&wamp.Register{Request: wamp.ID(i + 1), Procedure: name, Options: opts})
	}
	for _, m := range p.heard() {
		if m.Type() != wamp.TypeRegistered {
			w.t.Fatalf("REGISTER was answered by %+v", m)
		}
	}
	return p
}

func TestCallReachesCalleeAndResultReturns(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		callee := w.serving(wamp.RegisterOptions{}, "sum")
		caller, _ := w.join("caller")
		caller.say(&wamp.Call{Request: 1, Procedure: "sum", Payload: wamp.Args(1, 2)})
		callee.hears(invocation(1, 1, 1, 2))
		callee.say(&wamp.Yield{Request: 1, Payload: wamp.Values(wamp.List{3}, wamp.Dict{"k": "v"})})
		caller.hears(&wamp.Result{Request: 1, Payload: wamp.Values(wamp.List{3}, wamp.Dict{"k": "v"})})
		caller.say(&wamp.Call{Request: 2, Procedure: "sum"})
		callee.hears(invocation(2, 1))
		callee.say(&wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: 2, URI: "my.error", Payload: wamp.Args("why")})
		caller.hears(&wamp.ErrorReply{RequestType: wamp.TypeCall, Request: 2, URI: "my.error", Payload: wamp.Args("why")})
		caller.say(&wamp.Call{Request: 3, Procedure: "nobody"}, &wamp.Call{Request: 4, Procedure: "bad uri"})
		caller.hears(refusal(wamp.TypeCall, 3, wamp.ErrURINoSuchProcedure), refusal(wamp.TypeCall, 4, wamp.ErrURIInvalidURI))
	})
}

func TestCallerIsDisclosedOnRequestOfEitherSide(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		open := w.serving(wamp.RegisterOptions{DiscloseCaller: true}, "open")
		shy := w.serving(wamp.RegisterOptions{}, "shy")
		caller, id := w.join("me")
		caller.say(&wamp.Call{Request: 1, Procedure: "open"}, &wamp.Call{Request: 2, Procedure: "shy"},
			&wamp.Call{Request: 3, Procedure: "shy", Options: wamp.CallOptions{DiscloseMe: true}})
		who := wamp.InvocationDetails{Caller: id, CallerAuthID: "me", CallerAuthRole: "trusted"}
		first, third := invocation(1, 1), invocation(2, 2)
		first.Details, third.Details = who, who
		open.hears(first)
		shy.hears(invocation(1, 2), third)
	})
}

func TestRegistrationRules(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		a, _ := w.join("a")
		b, _ := w.join("b")
		rr := wamp.RegisterOptions{Invoke: wamp.InvokeRoundRobin}
		prefix := wamp.RegisterOptions{Match: wamp.MatchPrefix}
		a.say(&wamp.Register{Request: 1, Procedure: "p"}, &wamp.Register{Request: 2, Procedure: "p"},
			&wamp.Register{Request: 3, Procedure: "p", Options: prefix}, &wamp.Register{Request: 4, Procedure: "wamp.x"},
			&wamp.Register{Request: 5, Procedure: "shared", Options: rr}, &wamp.Register{Request: 6, Procedure: "x", Options: wamp.RegisterOptions{Match: wamp.MatchInvalid}},
			&wamp.Register{Request: 7, Procedure: "x", Options: wamp.RegisterOptions{Invoke: wamp.InvokeInvalid}})
		a.hears(&wamp.Registered{Request: 1, Registration: 1}, refusal(wamp.TypeRegister, 2, wamp.ErrURIProcedureAlreadyExists),
			&wamp.Registered{Request: 3, Registration: 2}, refusal(wamp.TypeRegister, 4, wamp.ErrURIInvalidURI),
			&wamp.Registered{Request: 5, Registration: 3}, refusal(wamp.TypeRegister, 6, wamp.ErrURIInvalidArgument),
			refusal(wamp.TypeRegister, 7, wamp.ErrURIInvalidArgument))
		b.say(&wamp.Register{Request: 1, Procedure: "p"}, &wamp.Register{Request: 2, Procedure: "shared"},
			&wamp.Register{Request: 3, Procedure: "shared", Options: rr}, &wamp.Unregister{Request: 4, Registration: 1},
			&wamp.Register{Request: 5, Procedure: "p", Options: wamp.RegisterOptions{ForceReregister: true}})
		b.hears(refusal(wamp.TypeRegister, 1, wamp.ErrURIProcedureAlreadyExists), refusal(wamp.TypeRegister, 2, wamp.ErrURIProcedureAlreadyExists),
			&wamp.Registered{Request: 3, Registration: 3}, refusal(wamp.TypeUnregister, 4, wamp.ErrURINoSuchRegistration),
			&wamp.Registered{Request: 5, Registration: 4})
		a.hears(&wamp.Unregistered{Registration: 1, Reason: wamp.ErrURINoSuchRegistration})
		a.say(&wamp.Unregister{Request: 8, Registration: 2}, &wamp.Unregister{Request: 9, Registration: 2})
		a.hears(&wamp.Unregistered{Request: 8}, refusal(wamp.TypeUnregister, 9, wamp.ErrURINoSuchRegistration))
	})
}

func TestPatternRegistrationPrecedence(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		callee, _ := w.join("callee")
		for i, r := range []struct {
			uri wamp.URI
			m   wamp.Match
		}{
			{"a1.b2.c3.d4.e55", wamp.MatchExact}, {"a1.b2.c3", wamp.MatchPrefix}, {"a1.b2.c3.d4", wamp.MatchPrefix},
			{"a1.b2..d4.e5", wamp.MatchWildcard}, {"a1.b2.x33..e5", wamp.MatchWildcard},
			{"a1.b2..d4.e5..g7", wamp.MatchWildcard}, {"a1.b2..d4..f6.g7", wamp.MatchWildcard},
		} {
			callee.say(&wamp.Register{Request: wamp.ID(i + 1), Procedure: r.uri, Options: wamp.RegisterOptions{Match: r.m}})
		}
		callee.heard()
		caller, _ := w.join("caller")
		// The specification's own examples (AP "Pattern-based Registrations"), but for
		// x33: its c33 would be covered by the prefix a1.b2.c3, which goes first.
		for i, c := range []struct {
			call wamp.URI
			want wamp.ID
		}{
			{"a1.b2.c3.d4.e55", 1}, {"a1.b2.c3.d98.e74", 2}, {"a1.b2.c3.d4.e325", 3}, {"a1.b2.c55.d4.e5", 4},
			{"a1.b2.x33.d4.e5", 5}, {"a1.b2.c88.d4.e5.f6.g7", 6}, {"a2.b2.c2.d2.e2", 0},
		} {
			caller.say(&wamp.Call{Request: wamp.ID(i + 1), Procedure: c.call})
			got := callee.heard()
			if c.want == 0 {
				caller.hears(refusal(wamp.TypeCall, wamp.ID(i+1), wamp.ErrURINoSuchProcedure))
				continue
			}
			inv := got[0].(*wamp.Invocation)
			if inv.Registration != c.want || (c.want != 1) != (inv.Details.Procedure == c.call) {
				t.Errorf("%s went to registration %d (details %q), want %d", c.call, inv.Registration, inv.Details.Procedure, c.want)
			}
		}
	})
}

func TestSharedRegistrations(t *testing.T) {
	for _, c := range []struct {
		invoke wamp.Invoke
		want   string
	}{{wamp.InvokeRoundRobin, "012012"}, {wamp.InvokeFirst, "000000"}, {wamp.InvokeLast, "222222"}} {
		t.Run(c.invoke.String(), func(t *testing.T) {
			within(t, router.RealmConfig{}, func(w *world) {
				var callees []*scripted
				for range 3 {
					callees = append(callees, w.serving(wamp.RegisterOptions{Invoke: c.invoke}, "p"))
				}
				caller, _ := w.join("caller")
				got := ""
				for i := range 6 {
					caller.say(&wamp.Call{Request: wamp.ID(i + 1), Procedure: "p"})
					for j, p := range callees {
						if len(p.heard()) == 1 {
							got += string(rune('0' + j))
						}
					}
				}
				if got != c.want {
					t.Errorf("went to %s, want %s", got, c.want)
				}
			})
		})
	}
}

// The second and the fourth of five callees cannot do what the call needs. Those who
// can take turns as if they were alone, and plain calls go to all.
func TestCallsGoToThoseWhoAreAble(t *testing.T) {
	callee := func(features wamp.Dict) wamp.Dict {
		return wamp.Dict{"callee": wamp.Dict{"features": features}, "caller": wamp.Dict{"features": wamp.Dict{"progressive_call_invocations": true, "payload_passthru_mode": true}}}
	}
	for name, need := range map[string]struct {
		able, unable wamp.Dict
		options      wamp.CallOptions
	}{
		"progressive call": {
			callee(wamp.Dict{"progressive_call_invocations": true, "call_canceling": true}), callee(wamp.Dict{"progressive_call_invocations": true}),
			wamp.CallOptions{Progress: true},
		},
		"payload passthru": {
			callee(wamp.Dict{"payload_passthru_mode": true}), callee(nil), wamp.CallOptions{Passthru: &wamp.Passthru{Scheme: "x_y"}},
		},
	} {
		for _, invoke := range []wamp.Invoke{wamp.InvokeRoundRobin, wamp.InvokeFirst, wamp.InvokeLast, wamp.InvokeRandom} {
			t.Run(name+" "+invoke.String(), func(t *testing.T) {
				t.Parallel()
				within(t, router.RealmConfig{}, func(w *world) {
					join := func(roles wamp.Dict) *scripted {
						p := w.connect()
						p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": roles}})
						p.heard()
						return p
					}
					var callees []*scripted
					for i := range 5 {
						p := join([]wamp.Dict{need.able, need.unable}[i%2])
						p.say(&wamp.Register{Request: 1, Procedure: "p", Options: wamp.RegisterOptions{Invoke: invoke}})
						p.heard()
						callees = append(callees, p)
					}
					caller := join(need.able)
					request := wamp.ID(0)
					calls := func(o wamp.CallOptions, n int) (got [5]int) {
						for range n {
							request++
							caller.say(&wamp.Call{Request: request, Procedure: "p", Options: o})
							for i, p := range callees {
								got[i] += len(p.heard())
							}
						}
						return got
					}
					// Who passes from the unable to the next ones has the last called 120 times.
					const n, slack = 600, 50
					w.SetRandom("realm1", rand.New(rand.NewPCG(1, 1)).IntN)
					got := calls(need.options, n)
					want := map[wamp.Invoke][5]int{wamp.InvokeRoundRobin: {200, 0, 200, 0, 200}, wamp.InvokeFirst: {n}, wamp.InvokeLast: {4: n}}[invoke]
					if invoke == wamp.InvokeRandom {
						for i := range got {
							want[i] = got[i]
							if even := i%2 == 0; got[i] > 0 != even || even && (got[i] < n/3-slack || got[i] > n/3+slack) {
								t.Errorf("%v calls", got)
							}
						}
					}
					if got != want {
						t.Errorf("%v calls, expected %v", got, want)
					}
					if got := calls(wamp.CallOptions{}, 5); invoke == wamp.InvokeRoundRobin && got != [5]int{1, 1, 1, 1, 1} {
						t.Errorf("%v plain calls", got)
					}
					for _, i := range []int{0, 2, 4} {
						close(callees[i].in)
					}
					caller.heard()
					request++
					caller.say(&wamp.Call{Request: request, Procedure: "p", Options: need.options})
					caller.hears(refusal(wamp.TypeCall, request, wamp.ErrURIFeatureNotSupported))
				})
			})
		}
	}
}

// What is too large for one callee, or has no form in its serializer, goes to another.
func TestCallsGoToThoseWhoTakeThePayload(t *testing.T) {
	t.Parallel()
	within(t, router.RealmConfig{}, func(w *world) {
		opts := wamp.RegisterOptions{Invoke: wamp.InvokeFirst}
		small, large := w.serving(opts, "p"), w.serving(opts, "p")
		unfit := error(wamp.ErrTooLarge)
		small.mu.Lock()
		small.fail = func(wamp.Message) error { return unfit }
		small.mu.Unlock()
		caller, _ := w.join("caller")
		caller.say(&wamp.Call{Request: 1, Procedure: "p"})
		large.hears(invocation(1, 1))
		unfit = &wamp.PayloadError{Format: wamp.JSON, Text: "NaN"}
		caller.say(&wamp.Call{Request: 2, Procedure: "p"})
		large.hears(invocation(2, 1))
		close(large.in)
		caller.heard()
		caller.say(&wamp.Call{Request: 3, Procedure: "p"})
		caller.hears(refusal(wamp.TypeCall, 3, wamp.ErrURIInvalidArgument))
	})
}

func TestConcurrencyLimitMovesToTheNextCallee(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		opts := wamp.RegisterOptions{Invoke: wamp.InvokeFirst, Concurrency: 1}
		a, b := w.serving(opts, "p"), w.serving(opts, "p")
		caller, _ := w.join("caller")
		call := func(id wamp.ID) { caller.say(&wamp.Call{Request: id, Procedure: "p"}) }
		call(1)
		call(2)
		call(3)
		a.hears(invocation(1, 1))
		b.hears(invocation(1, 1))
		caller.hears(refusal(wamp.TypeCall, 3, wamp.ErrURINoAvailableCallee))
		a.say(&wamp.Yield{Request: 1})
		call(4)
		a.hears(invocation(2, 1))
	})
}

func TestCalleeWithFullQueueIsToldToTheCallerAtOnce(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		callee := w.serving(wamp.RegisterOptions{}, "p", "q")
		caller, _ := w.join("caller")
		for i, c := range []struct {
			err  error
			want wamp.URI
		}{
			{wamp.ErrQueueFull, wamp.ErrURINoAvailableCallee},
			{wamp.ErrTooLarge, wamp.ErrURIPayloadSizeExceeded},
			{&wamp.PayloadError{Format: wamp.JSON, Text: "NaN"}, wamp.ErrURIInvalidArgument},
		} {
			callee.fail = func(wamp.Message) error { return c.err }
			caller.say(&wamp.Call{Request: wamp.ID(i + 1), Procedure: "p"})
			caller.hears(refusal(wamp.TypeCall, wamp.ID(i+1), c.want))
			callee.fail = nil
		}
		caller.say(&wamp.Call{Request: 9, Procedure: "q"})
		callee.hears(invocation(1, 2)) // the failed attempts used no invocation ID
	})
}

func TestResultThatDoesNotFitTheCallerBecomesAnError(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		callee := w.serving(wamp.RegisterOptions{}, "p")
		caller, _ := w.join("caller")
		caller.fail = func(m wamp.Message) error {
			if m.Type() == wamp.TypeResult {
				return wamp.ErrTooLarge
			}
			return nil
		}
		caller.say(&wamp.Call{Request: 1, Procedure: "p"})
		callee.say(&wamp.Yield{Request: 1})
		caller.hears(refusal(wamp.TypeCall, 1, wamp.ErrURIPayloadSizeExceeded))
	})
}

func TestCancelModes(t *testing.T) {
	for _, c := range []struct {
		mode      wamp.CancelMode
		interrupt bool
		atOnce    bool
	}{{wamp.CancelSkip, false, true}, {wamp.CancelKillNoWait, true, true}, {wamp.CancelKill, true, false}} {
		t.Run(c.mode.String(), func(t *testing.T) {
			within(t, router.RealmConfig{}, func(w *world) {
				callee := w.serving(wamp.RegisterOptions{}, "p")
				caller, _ := w.join("caller")
				caller.say(&wamp.Call{Request: 1, Procedure: "p"})
				callee.heard()
				caller.say(&wamp.Cancel{Request: 1, Mode: c.mode}, &wamp.Cancel{Request: 1, Mode: c.mode})
				if c.interrupt {
					callee.hears(&wamp.Interrupt{Request: 1, Mode: c.mode, Reason: wamp.ErrURICanceled})
				}
				callee.hears()
				canceled := refusal(wamp.TypeCall, 1, wamp.ErrURICanceled)
				if c.atOnce {
					caller.hears(canceled)
				}
				caller.hears()
				callee.say(&wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: 1, URI: wamp.ErrURICanceled})
				if !c.atOnce {
					caller.hears(canceled)
				}
				caller.say(&wamp.Cancel{Request: 1, Mode: c.mode})
				caller.hears()
				if callee.isClosed() {
					t.Error("the late answer of a cancelled call was punished")
				}
			})
		})
	}
}

func TestCancelOfACalleeWithoutTheFeatureIsSkip(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		callee := w.connect()
		callee.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": wamp.Dict{"callee": wamp.Dict{}}}},
			&wamp.Register{Request: 1, Procedure: "p"})
		callee.heard()
		caller, _ := w.join("caller")
		caller.say(&wamp.Call{Request: 1, Procedure: "p"}, &wamp.Cancel{Request: 1, Mode: wamp.CancelKill})
		caller.hears(refusal(wamp.TypeCall, 1, wamp.ErrURICanceled))
		callee.hears(invocation(1, 1))
	})
}

func TestProgressiveResults(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		callee := w.serving(wamp.RegisterOptions{}, "p")
		caller, _ := w.join("caller")
		caller.say(&wamp.Call{Request: 1, Procedure: "p", Options: wamp.CallOptions{ReceiveProgress: true}},
			&wamp.Call{Request: 2, Procedure: "p"})
		first := invocation(1, 1)
		first.Details.ReceiveProgress = true
		callee.hears(first, invocation(2, 1))
		more := wamp.YieldOptions{Progress: true}
		callee.say(&wamp.Yield{Request: 1, Options: more, Payload: wamp.Args(1)}, &wamp.Yield{Request: 2, Options: more},
			&wamp.Yield{Request: 1, Payload: wamp.Args("end")}, &wamp.Yield{Request: 1, Options: more}, &wamp.Yield{Request: 2})
		caller.hears(&wamp.Result{Request: 1, Details: wamp.ResultDetails{Progress: true}, Payload: wamp.Args(1)},
			&wamp.Result{Request: 1, Payload: wamp.Args("end")}, &wamp.Result{Request: 2})
	})
}

func TestProgressiveInvocationKeepsItsCallee(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		opts := wamp.RegisterOptions{Invoke: wamp.InvokeRoundRobin}
		a, b := w.serving(opts, "p"), w.serving(opts, "p")
		caller, _ := w.join("caller")
		chunk := func(more bool) *wamp.Call {
			return &wamp.Call{Request: 1, Procedure: "p", Options: wamp.CallOptions{Progress: more}}
		}
		caller.say(chunk(true), chunk(true), chunk(false))
		open, last := invocation(1, 1), invocation(1, 1)
		open.Details.Progress = true
		a.hears(open, open, last)
		b.hears()
		caller.say(chunk(false))
		if !caller.isClosed() {
			t.Error("a chunk behind the last was taken")
		}
	})
}

func TestCallTimeout(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		callee := w.serving(wamp.RegisterOptions{}, "p")
		own := w.serving(wamp.RegisterOptions{ForwardTimeout: true}, "own")
		caller, _ := w.join("caller")
		opts := wamp.CallOptions{Timeout: 100, ReceiveProgress: true}
		caller.say(&wamp.Call{Request: 1, Procedure: "p", Options: opts}, &wamp.Call{Request: 2, Procedure: "own", Options: opts},
			&wamp.Call{Request: 3, Procedure: "p"})
		time.Sleep(99 * time.Millisecond)
		callee.say(&wamp.Yield{Request: 1, Options: wamp.YieldOptions{Progress: true}})
		caller.hears(&wamp.Result{Request: 1, Details: wamp.ResultDetails{Progress: true}})
		time.Sleep(99 * time.Millisecond) // the progressive result has restarted the timer
		caller.hears()
		callee.heard()
		time.Sleep(time.Millisecond)
		caller.hears(refusal(wamp.TypeCall, 1, wamp.ErrURITimeout))
		callee.hears(&wamp.Interrupt{Request: 1, Reason: wamp.ErrURITimeout})
		if inv := own.heard()[0].(*wamp.Invocation); inv.Details.Timeout != 100 {
			t.Errorf("forwarded timeout %d", inv.Details.Timeout)
		}
		callee.say(&wamp.Yield{Request: 1}, &wamp.Yield{Request: 2})
		caller.hears(&wamp.Result{Request: 3})
	})
}

func TestCalleeLeavesAndCallersAreToldOnce(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		callee := w.serving(wamp.RegisterOptions{}, "p")
		caller, _ := w.join("caller")
		caller.say(&wamp.Call{Request: 1, Procedure: "p"}, &wamp.Call{Request: 2, Procedure: "p"})
		callee.heard()
		close(callee.in) // the connection is lost
		got := caller.heard()
		if len(got) != 2 {
			t.Fatalf("the caller heard %v", got)
		}
		for _, m := range got {
			if e := m.(*wamp.ErrorReply); e.URI != wamp.ErrURICanceled {
				t.Errorf("answered by %s", e.URI)
			}
		}
		caller.say(&wamp.Call{Request: 3, Procedure: "p"})
		caller.hears(refusal(wamp.TypeCall, 3, wamp.ErrURINoSuchProcedure))
	})
}

func TestCallerLeavesAndCalleeIsInterrupted(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		callee := w.serving(wamp.RegisterOptions{}, "p")
		caller, _ := w.join("caller")
		caller.say(&wamp.Call{Request: 1, Procedure: "p"})
		callee.heard()
		close(caller.in)
		callee.hears(&wamp.Interrupt{Request: 1, Reason: wamp.ErrURICanceled})
		callee.say(&wamp.Yield{Request: 1})
		if callee.isClosed() {
			t.Error("the late answer was punished")
		}
	})
}

func TestAnswersOfAnotherSessionsInvocationAreViolations(t *testing.T) {
	for _, m := range []wamp.Message{
		&wamp.Yield{Request: 1}, &wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: 1, URI: "e.e"},
		&wamp.ErrorReply{RequestType: wamp.TypeCall, Request: 1, URI: "e.e"},
	} {
		within(t, router.RealmConfig{}, func(w *world) {
			callee := w.serving(wamp.RegisterOptions{}, "p")
			caller, _ := w.join("caller")
			stranger, _ := w.join("stranger")
			caller.say(&wamp.Call{Request: 1, Procedure: "p"})
			stranger.say(m)
			stranger.hears(&wamp.Abort{Reason: wamp.ErrURIProtocolViolation})
			if !stranger.isClosed() {
				t.Error("the session is still there")
			}
			callee.say(&wamp.Yield{Request: 1})
			caller.hears(&wamp.Result{Request: 1})
		})
	}
}

// TestEveryCallGetsOneFinalAnswer plays random orders of calls, answers, cancels,
// timeouts and losses against the invariant.
func TestEveryCallGetsOneFinalAnswer(t *testing.T) {
	for seed := range uint64(200) {
		within(t, router.RealmConfig{}, func(w *world) { randomCalls(w, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func randomCalls(w *world, random *rand.Rand) {
	rr := wamp.RegisterOptions{Invoke: wamp.InvokeRoundRobin}
	callees := []*scripted{w.serving(rr, "p"), w.serving(rr, "p"), w.serving(rr, "p")}
	caller, _ := w.join("caller")
	open := map[*scripted][]wamp.ID{} // invocations that a callee may answer
	finals := map[wamp.ID]int{}
	made := wamp.ID(0)
	look := func() {
		for _, p := range callees {
			for _, m := range p.heard() {
				if inv, ok := m.(*wamp.Invocation); ok {
					open[p] = append(open[p], inv.Request)
				}
			}
		}
		for _, m := range caller.heard() {
			switch m := m.(type) {
			case *wamp.Result:
				if !m.Details.Progress {
					finals[m.Request]++
				} else if finals[m.Request] > 0 {
					w.t.Errorf("call %d: progress behind the final answer", m.Request)
				}
			case *wamp.ErrorReply:
				finals[m.Request]++
			}
		}
	}
	for range 60 {
		p := callees[random.IntN(len(callees))]
		switch random.IntN(8) {
		case 0, 1, 2:
			made++
			caller.say(&wamp.Call{Request: made, Procedure: "p", Options: wamp.CallOptions{
				Timeout: uint64(random.IntN(3)) * 10, ReceiveProgress: random.IntN(2) == 0}})
		case 3, 4:
			if ids := open[p]; len(ids) > 0 && !p.isClosed() {
				id := ids[random.IntN(len(ids))]
				switch random.IntN(3) {
				case 0:
					p.say(&wamp.Yield{Request: id, Options: wamp.YieldOptions{Progress: true}})
				case 1:
					p.say(&wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: id, URI: "e.e"})
				default:
					p.say(&wamp.Yield{Request: id})
				}
			}
		case 5:
			if made > 0 {
				caller.say(&wamp.Cancel{Request: 1 + wamp.ID(random.IntN(int(made))), Mode: wamp.CancelMode(random.IntN(3))})
			}
		case 6:
			time.Sleep(time.Duration(random.IntN(15)) * time.Millisecond)
		case 7:
			if random.IntN(6) == 0 && !p.isClosed() {
				close(p.in)
				synctest.Wait()
			}
		}
		look()
	}
	for _, p := range callees {
		if !p.isClosed() {
			close(p.in)
		}
	}
	look()
	for id := wamp.ID(1); id <= made; id++ {
		if finals[id] != 1 {
			w.t.Errorf("call %d got %d final answers", id, finals[id])
		}
	}
}
