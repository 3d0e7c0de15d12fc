package router_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

func TestEventsWithAResourceKeyGoToOneNode(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		nodes := map[string]*scripted{}
		for _, key := range []string{"n1", "n2", "n3", ""} {
			p, _ := w.join("node" + key)
			p.say(&wamp.Subscribe{Request: 1, Topic: "t", Options: wamp.SubscribeOptions{NKey: key}})
			p.heard()
			nodes[key] = p
		}
		pub, _ := w.join("pub")
		home := map[string]string{}
		send := func() (moved int) {
			for i := range 60 {
				key := fmt.Sprint("sensor", i)
				pub.say(&wamp.Publish{Request: 1, Topic: "t", Options: wamp.PublishOptions{RKey: key}})
				got := ""
				for node, p := range nodes {
					switch n := len(p.heard()); {
					case n > 0 && node == "":
					case n == 1 && got == "":
						got = node
					case n > 0 || node == "":
						t.Fatalf("%s: %d events at node %q, already at %q", key, n, node, got)
					}
				}
				if got == "" {
					t.Fatalf("%s went to no node", key)
				}
				if home[key] != "" && home[key] != got {
					moved++
				}
				home[key] = got
			}
			return moved
		}
		send()
		count := map[string]int{}
		for _, node := range home {
			count[node]++
		}
		if len(count) != 3 || count["n1"] < 8 || count["n2"] < 8 || count["n3"] < 8 {
			t.Errorf("resources per node: %v", count)
		}
		if moved := send(); moved != 0 {
			t.Errorf("%d resources moved without a reason", moved)
		}
		close(nodes["n2"].in)
		nodes["n1"].heard()
		delete(nodes, "n2")
		if moved := send(); moved != count["n2"] {
			t.Errorf("%d resources moved when a node left that had %d", moved, count["n2"])
		}
		pub.say(&wamp.Publish{Request: 1, Topic: "t"})
		for node, p := range nodes {
			if len(p.heard()) != 1 {
				t.Errorf("an event without a key did not reach %q", node)
			}
		}
	})
}

func TestPartitionedCallsKeepTheirCallee(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		callees := make([]*scripted, 3)
		for i := range callees {
			callees[i], _ = w.join(fmt.Sprint("callee", i))
			callees[i].say(&wamp.Register{Request: 1, Procedure: "p", Options: wamp.RegisterOptions{Invoke: wamp.InvokeRoundRobin}})
			callees[i].heard()
		}
		caller, _ := w.join("caller")
		request := wamp.ID(0)
		call := func(key string) int {
			request++
			caller.say(&wamp.Call{Request: request, Procedure: "p", Options: wamp.CallOptions{RunMode: "partition", RKey: key}})
			for i, c := range callees {
				if got := c.heard(); len(got) == 1 {
					c.say(&wamp.Yield{Request: got[0].(*wamp.Invocation).Request})
					return i
				}
			}
			t.Fatal("nobody was called")
			return 0
		}
		seen := map[int]bool{}
		for i := range 30 {
			key := fmt.Sprint("k", i)
			first := call(key)
			seen[first] = true
			if call(key) != first {
				t.Errorf("%s moved", key)
			}
		}
		if len(seen) != 3 {
			t.Errorf("only %d callees are used", len(seen))
		}
		caller.heard()
		caller.say(&wamp.Call{Request: 1000, Procedure: "p", Options: wamp.CallOptions{RunMode: "partition"}},
			&wamp.Call{Request: 1001, Procedure: "p", Options: wamp.CallOptions{RunMode: "all"}})
		caller.hears(refusal(wamp.TypeCall, 1000, wamp.ErrURIInvalidArgument), refusal(wamp.TypeCall, 1001, wamp.ErrURIFeatureNotSupported))
	})
}

func TestUnavailableCalleesArePassedOver(t *testing.T) {
	unavailable := func(request wamp.ID) *wamp.ErrorReply {
		return &wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: request, URI: wamp.ErrURIUnavailable}
	}
	for _, policy := range []wamp.Invoke{wamp.InvokeFirst, wamp.InvokeLast, wamp.InvokeRoundRobin, wamp.InvokeRandom} {
		t.Run(policy.String(), func(t *testing.T) {
			within(t, router.RealmConfig{}, func(w *world) {
				callees := make([]*scripted, 3)
				for i := range callees {
					callees[i], _ = w.join(fmt.Sprint("callee", i))
					callees[i].say(&wamp.Register{Request: 1, Procedure: "p", Options: wamp.RegisterOptions{Invoke: policy}})
					callees[i].heard()
				}
				caller, _ := w.join("caller")
				asked := func(want wamp.Payload) (int, wamp.ID) {
					t.Helper()
					for i, c := range callees {
						if got := c.heard(); len(got) == 1 {
							inv := got[0].(*wamp.Invocation)
							if args, _ := inv.Payload.GoValues(); len(args) != 1 || args[0] != "x" {
								t.Errorf("payload %v", args)
							}
							return i, inv.Request
						}
					}
					t.Fatal("nobody was asked")
					return 0, 0
				}
				payload := wamp.Args("x")
				caller.say(&wamp.Call{Request: 1, Procedure: "p", Payload: payload})
				var order []int
				for range callees {
					i, id := asked(payload)
					order = append(order, i)
					callees[i].say(unavailable(id))
				}
				caller.hears(refusal(wamp.TypeCall, 1, wamp.ErrURINoAvailableCallee))
				want := map[wamp.Invoke]string{wamp.InvokeFirst: "[0 1 2]", wamp.InvokeLast: "[2 1 0]", wamp.InvokeRoundRobin: "[0 1 2]"}[policy]
				if got := fmt.Sprint(order); want != "" && got != want || order[0] == order[1] || order[1] == order[2] || order[0] == order[2] {
					t.Errorf("asked in the order %v, want %s", order, want)
				}
				// The second one asked answers.
				caller.say(&wamp.Call{Request: 2, Procedure: "p", Payload: payload})
				i, id := asked(payload)
				callees[i].say(unavailable(id))
				i, id = asked(payload)
				callees[i].say(&wamp.Yield{Request: id, Payload: wamp.Args("y")})
				caller.hears(&wamp.Result{Request: 2, Payload: wamp.Args("y")})
			})
		})
	}
	within(t, router.RealmConfig{}, func(w *world) {
		callee := w.serving(wamp.RegisterOptions{}, "p")
		caller, _ := w.join("caller")
		caller.say(&wamp.Call{Request: 1, Procedure: "p"})
		callee.heard()
		callee.say(unavailable(1))
		caller.hears(refusal(wamp.TypeCall, 1, wamp.ErrURINoAvailableCallee))
	})
}

func TestReroutedCallKeepsItsDeadline(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		first := w.serving(wamp.RegisterOptions{Invoke: wamp.InvokeFirst}, "p")
		second := w.serving(wamp.RegisterOptions{Invoke: wamp.InvokeFirst}, "p")
		caller, _ := w.join("caller")
		caller.say(&wamp.Call{Request: 1, Procedure: "p", Options: wamp.CallOptions{Timeout: 1000}})
		first.heard()
		time.Sleep(700 * time.Millisecond)
		first.say(&wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: 1, URI: wamp.ErrURIUnavailable})
		second.heard()
		time.Sleep(250 * time.Millisecond)
		caller.hears()
		time.Sleep(100 * time.Millisecond)
		caller.hears(refusal(wamp.TypeCall, 1, wamp.ErrURITimeout))
	})
}

func TestProgressiveInvocationRules(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		callee := w.serving(wamp.RegisterOptions{Match: wamp.MatchPrefix, DiscloseCaller: true}, "p")
		caller, id := w.join("me")
		chunk := func(n wamp.ID, progress bool, args ...any) *wamp.Call {
			return &wamp.Call{Request: n, Procedure: "p.x", Options: wamp.CallOptions{Progress: progress}, Payload: wamp.Args(args...)}
		}
		invoked := func(n wamp.ID, progress bool, args ...any) *wamp.Invocation {
			inv := invocation(n, 1, args...)
			inv.Details = wamp.InvocationDetails{Caller: id, CallerAuthID: "me", CallerAuthRole: "trusted", Procedure: "p.x", Progress: progress, ReceiveProgress: true}
			return inv
		}
		first := chunk(1, true, 1)
		first.Options.ReceiveProgress = true
		caller.say(first, chunk(1, true, 2), chunk(1, false, 3))
		callee.hears(invoked(1, true, 1), invoked(1, true, 2), invoked(1, false, 3))
		callee.say(&wamp.Yield{Request: 1})
		caller.hears(&wamp.Result{Request: 1})

		// Answered before the end: what still comes of the call is dropped.
		first.Request = 2
		caller.say(first)
		callee.hears(invoked(2, true, 1))
		callee.say(&wamp.Yield{Request: 2})
		caller.say(chunk(2, true, 2), chunk(2, false, 3))
		callee.hears()
		caller.hears(&wamp.Result{Request: 2})

		plain := w.connect()
		plain.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": wamp.Dict{"caller": wamp.Dict{}, "callee": wamp.Dict{}}}})
		plain.heard()
		plain.say(&wamp.Register{Request: 1, Procedure: "plain"})
		plain.heard()
		caller.say(&wamp.Call{Request: 3, Procedure: "plain", Options: wamp.CallOptions{Progress: true}})
		caller.hears(refusal(wamp.TypeCall, 3, wamp.ErrURIFeatureNotSupported))
		plain.say(chunk(2, true))
		plain.hears(&wamp.Abort{Reason: wamp.ErrURIProtocolViolation})
	})
}

func TestReturningDeviceReplacesItself(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		old, _ := w.join("device")
		old.say(&wamp.Register{Request: 1, Procedure: "p"})
		old.heard()
		stranger, _ := w.join("stranger")
		stranger.say(&wamp.Register{Request: 1, Procedure: "p"})
		stranger.hears(refusal(wamp.TypeRegister, 1, wamp.ErrURIProcedureAlreadyExists))
		back, _ := w.join("device")
		back.say(&wamp.Register{Request: 1, Procedure: "p"})
		back.hears(&wamp.Registered{Request: 1, Registration: 2})
		old.hears(&wamp.Unregistered{Registration: 1, Reason: wamp.ErrURINoSuchRegistration})
		stranger.say(&wamp.Call{Request: 2, Procedure: "p"})
		back.hears(invocation(1, 2))
	})
}

func TestTrustLevelsAreTold(t *testing.T) {
	level := uint32(7)
	synctestRouter(t, router.Config{
		Realms: []router.RealmConfig{{Name: "realm1"}},
		Authenticate: func(_ context.Context, l *router.Login) (router.Identity, *wamp.Error) {
			id := router.Identity{AuthID: l.Hello.Details["authid"].(string), AuthRole: "r"}
			if id.AuthID == "trusted" {
				id.TrustLevel = &level
			}
			return id, nil
		},
	}, func(w *world) {
		callee := w.serving(wamp.RegisterOptions{}, "p")
		callee.say(&wamp.Subscribe{Request: 2, Topic: "t"})
		callee.heard()
		for _, authid := range []string{"trusted", "other"} {
			p, _ := w.join(authid)
			p.say(&wamp.Publish{Request: 1, Topic: "t"}, &wamp.Call{Request: 2, Procedure: "p"})
			got := callee.heard()
			want := map[string]*uint32{"trusted": &level}[authid]
			if ev := got[0].(*wamp.Event).Details.Trustlevel; (ev == nil) != (want == nil) || ev != nil && *ev != level {
				t.Errorf("%s: event %v", authid, ev)
			}
			if inv := got[1].(*wamp.Invocation).Details.Trustlevel; (inv == nil) != (want == nil) || inv != nil && *inv != level {
				t.Errorf("%s: invocation %v", authid, inv)
			}
		}
	})
}
