package router_test

import (
	"bytes"
	"context"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

// byHello believes what HELLO says of authid and role.
func byHello(_ context.Context, l *router.Login) (router.Identity, *wamp.Error) {
	text := func(key string) string { s, _ := l.Hello.Details[key].(string); return s }
	id := router.Identity{AuthID: text("authid"), AuthRole: text("role"), AuthMethod: "ticket"}
	if id.AuthRole == router.RoleTrusted {
		id.AuthMethod = text("method")
	}
	return id, nil
}

// withPolicy runs f with a router whose sessions have the role that they name.
func withPolicy(t *testing.T, cfg router.PolicyConfig, f func(w *world)) {
	t.Helper()
	p, err := router.NewPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	synctestRouter(t, router.Config{Authenticate: byHello, Realms: []router.RealmConfig{{Name: "realm1", Policy: p}}}, f)
}

// as joins with a role. The session ID is returned, too.
func (w *world) as(role, authid string) (*scripted, wamp.ID) {
	w.t.Helper()
	p := w.connect()
	p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles, "authid": authid, "role": role, "method": "internal"}})
	got := p.heard()
	welcome, ok := got[0].(*wamp.Welcome)
	if !ok || len(got) != 1 || welcome.Details["authrole"] != role {
		w.t.Fatalf("HELLO was answered by %+v", got[0])
	}
	return p, welcome.Session
}

func acked(request wamp.ID, topic wamp.URI) *wamp.Publish {
	return &wamp.Publish{Request: request, Topic: topic, Options: wamp.PublishOptions{Acknowledge: true}}
}

func kept(request wamp.ID, topic wamp.URI) *wamp.Publish {
	m := acked(request, topic)
	m.Options.Retain = true
	return m
}

func retained(request wamp.ID, topic wamp.URI, m wamp.Match) *wamp.Subscribe {
	return &wamp.Subscribe{Request: request, Topic: topic, Options: wamp.SubscribeOptions{Match: m, GetRetained: true}}
}

func TestRolesThatDoNotExistAreRefused(t *testing.T) {
	withPolicy(t, router.PolicyConfig{Roles: exampleRoles(), Ask: neverAsk}, func(w *world) {
		for _, details := range []wamp.Dict{
			{"role": "guest"}, {"role": ""}, {"role": "Viewer"}, {},
			{"role": "trusted", "method": "ticket"}, {"role": "trusted", "method": "anonymous"},
		} {
			details["roles"] = allRoles
			p := w.connect()
			p.say(&wamp.Hello{Realm: "realm1", Details: details})
			p.hears(&wamp.Abort{Reason: wamp.ErrURINoSuchRole})
			if !p.isClosed() {
				t.Errorf("%v: the peer is still connected", details)
			}
		}
		w.as("viewer", "x")
		w.as("trusted", "hub")
		if st := w.Stats("realm1"); st.Joined != 2 || st.Sessions != 2 {
			t.Errorf("%+v", st)
		}
	})
}

func TestDeniedPublicationIsSilentUnlessAcknowledged(t *testing.T) {
	withPolicy(t, router.PolicyConfig{Roles: exampleRoles(), Ask: neverAsk}, func(w *world) {
		hub, _ := w.as("trusted", "hub")
		hub.say(retained(1, "", wamp.MatchPrefix))
		hub.hears(&wamp.Subscribed{Request: 1, Subscription: 1})
		d, _ := w.as("device", "node1")

		silent := publish(1, "gantry.gw.point.node2.t")
		silent.Options.Retain = true
		d.say(silent, publish(2, "gantry.gw.sys.config"))
		d.hears()
		hub.hears()
		st := w.Stats("realm1")
		if st.Denied != 2 || st.Published != 0 || st.Retained != 0 || st.Violations != 0 {
			t.Errorf("after two denied publications: %+v", st)
		}
		d.say(kept(3, "gantry.gw.point.node2.t"), acked(4, "gantry.gw.point.node1.serial"))
		d.hears(refusal(wamp.TypePublish, 3, wamp.ErrURINotAuthorized), refusal(wamp.TypePublish, 4, wamp.ErrURINotAuthorized))
		hub.hears()
		// What is denied neither replaces nor removes the last value.
		hub.say(kept(2, "gantry.gw.point.node2.t"))
		hub.hears(&wamp.Published{Request: 2})
		gone := publish(5, "gantry.gw.point.node2.t")
		gone.Options.Unretain = true
		d.say(gone, kept(6, "gantry.gw.point.node1.t"))
		d.hears(&wamp.Published{Request: 6})
		hub.hears(&wamp.Event{Subscription: 1, Details: wamp.EventDetails{Topic: "gantry.gw.point.node1.t"}})
		if st := w.Stats("realm1"); st.Denied != 5 || st.Published != 2 || st.Retained != 2 {
			t.Errorf("at the end: %+v", st)
		}
	})
}

func TestRetainedValuesDoNotLeak(t *testing.T) {
	withPolicy(t, router.PolicyConfig{Roles: exampleRoles(), Ask: neverAsk}, func(w *world) {
		hub, _ := w.as("trusted", "hub")
		for i, topic := range []wamp.URI{"gantry.gw.point.node.t", "gantry.gw.point.node.secret", "gantry.gw.alarm.node.fire", "a.b.c"} {
			hub.say(kept(wamp.ID(i+1), topic))
			hub.heard()
		}
		viewer, _ := w.as("viewer", "x")
		viewer.say(retained(1, "gantry.gw.alarm.node.fire", wamp.MatchExact), retained(2, "", wamp.MatchPrefix),
			retained(3, "gantry.gw.", wamp.MatchPrefix), retained(4, "gantry.gw...", wamp.MatchWildcard), retained(5, "gantry.gw.alarm..", wamp.MatchWildcard))
		for i, m := range viewer.heard() {
			if e, ok := m.(*wamp.ErrorReply); !ok || e.Request != wamp.ID(i+1) || e.URI != wamp.ErrURINotAuthorized {
				t.Errorf("subscription %d is answered by %+v", i+1, m)
			}
		}
		operator, _ := w.as("operator", "x")
		operator.say(retained(1, "gantry.gw.", wamp.MatchPrefix), retained(2, "gantry.gw.point..", wamp.MatchWildcard),
			retained(3, "gantry.gw.point.node.secret", wamp.MatchExact), retained(4, "gantry.gw.point..t", wamp.MatchWildcard))
		operator.hears(refusal(wamp.TypeSubscribe, 1, wamp.ErrURINotAuthorized), refusal(wamp.TypeSubscribe, 2, wamp.ErrURINotAuthorized),
			refusal(wamp.TypeSubscribe, 3, wamp.ErrURINotAuthorized), &wamp.Subscribed{Request: 4, Subscription: 1},
			&wamp.Event{Subscription: 1, Details: wamp.EventDetails{Topic: "gantry.gw.point.node.t", Retained: true}})
		// Nor do live events.
		hub.say(kept(5, "gantry.gw.point.node.secret"), kept(6, "gantry.gw.alarm.node.fire"))
		viewer.hears()
		operator.hears()
	})
}

func TestDeviceStaysInItsBox(t *testing.T) {
	withPolicy(t, router.PolicyConfig{Roles: exampleRoles(), Ask: neverAsk}, func(w *world) {
		n1, id1 := w.as("device", "node1")
		n2, _ := w.as("device", "node2")
		op, _ := w.as("operator", "ann")
		wildcard := wamp.RegisterOptions{Match: wamp.MatchWildcard}
		n1.say(&wamp.Register{Request: 1, Procedure: "gantry.gw.set.node1.", Options: wildcard},
			&wamp.Register{Request: 2, Procedure: "gantry.gw.set..", Options: wildcard},
			&wamp.Register{Request: 3, Procedure: "gantry.gw.set.node2.led"},
			&wamp.Register{Request: 4, Procedure: "gantry.gw.set.node2.led", Options: wamp.RegisterOptions{ForceReregister: true}})
		n1.hears(&wamp.Registered{Request: 1, Registration: 1}, refusal(wamp.TypeRegister, 2, wamp.ErrURINotAuthorized),
			refusal(wamp.TypeRegister, 3, wamp.ErrURINotAuthorized), refusal(wamp.TypeRegister, 4, wamp.ErrURINotAuthorized))
		n2.say(&wamp.Call{Request: 1, Procedure: "gantry.gw.set.node1.led"})
		n2.hears(refusal(wamp.TypeCall, 1, wamp.ErrURINotAuthorized))
		n1.hears()
		op.say(&wamp.Call{Request: 1, Procedure: "gantry.gw.set.node1.led"}, &wamp.Call{Request: 2, Procedure: "gantry.gw.sys.config.get"})
		op.hears(refusal(wamp.TypeCall, 2, wamp.ErrURINotAuthorized))
		n1.hears(&wamp.Invocation{Request: 1, Registration: 1, Details: wamp.InvocationDetails{Procedure: "gantry.gw.set.node1.led"}})

		// The meta API is no way around: nothing of it is allowed to devices.
		for i, c := range []*wamp.Call{
			{Procedure: "wamp.session.kill", Payload: wamp.Args(id1)},
			{Procedure: "wamp.session.add_testament", Payload: wamp.Args("gantry.gw.point.node1.t", wamp.List{}, wamp.Dict{})},
			{Procedure: "wamp.registration.remove_callee", Payload: wamp.Args(1, id1)},
			{Procedure: "wamp.reflect.define", Payload: wamp.Args("gantry.gw.set.node1.x", wamp.Dict{})},
			{Procedure: "wamp.subscription.get_events", Payload: wamp.Args(1)},
		} {
			c.Request = wamp.ID(i + 2)
			n2.say(c)
			n2.hears(refusal(wamp.TypeCall, c.Request, wamp.ErrURINotAuthorized))
		}
	})
}

func TestTestamentsAreUnderTheSameRules(t *testing.T) {
	c := rules("+call prefix wamp.session.", "+publish prefix mine.", "+publish prefix named.")
	c.Rules[1].Disclose, c.Rules[2].Disclose = router.DiscloseNever, router.DiscloseAlways
	withPolicy(t, router.PolicyConfig{Roles: map[string]router.RoleConfig{"r": c}}, func(w *world) {
		hub, _ := w.as("trusted", "hub")
		hub.say(retained(1, "", wamp.MatchPrefix))
		hub.heard()
		p, id := w.as("r", "ann")
		will := func(request wamp.ID, topic string, options wamp.Dict) *wamp.Call {
			return &wamp.Call{Request: request, Procedure: "wamp.session.add_testament",
				Payload: wamp.Values(wamp.List{topic, wamp.List{}, wamp.Dict{}}, wamp.Dict{"publish_options": options})}
		}
		p.say(will(1, "other.x", nil), will(2, "mine.x", wamp.Dict{"disclose_me": true}), will(3, "mine.x", nil), will(4, "named.x", nil))
		p.hears(refusal(wamp.TypeCall, 1, wamp.ErrURINotAuthorized), refusal(wamp.TypeCall, 2, wamp.ErrURIOptionDisallowedDisclose),
			&wamp.Result{Request: 3}, &wamp.Result{Request: 4})
		p.say(&wamp.Goodbye{Reason: wamp.CloseURINormal})
		hub.hears(&wamp.Event{Subscription: 1, Details: wamp.EventDetails{Topic: "mine.x"}},
			&wamp.Event{Subscription: 1, Details: wamp.EventDetails{Topic: "named.x", Publisher: id, PublisherAuthID: "ann", PublisherAuthRole: "r"}})
	})
}

func TestDisclosureFollowsThePolicy(t *testing.T) {
	c := rules("+publish,call prefix never.", "+publish,call prefix always.", "+publish,call prefix asked.")
	c.Rules[0].Disclose, c.Rules[1].Disclose = router.DiscloseNever, router.DiscloseAlways
	withPolicy(t, router.PolicyConfig{Roles: map[string]router.RoleConfig{"r": c}}, func(w *world) {
		hub, _ := w.as("trusted", "hub")
		prefix := wamp.RegisterOptions{Match: wamp.MatchPrefix}
		hub.say(&wamp.Subscribe{Request: 1, Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}}, &wamp.Register{Request: 2, Options: prefix})
		hub.heard()
		p, id := w.as("r", "ann")
		request := wamp.ID(0)
		for _, try := range []struct {
			uri                     wamp.URI
			ask, disclosed, refused bool
		}{
			{"never.x", false, false, false}, {"never.x", true, false, true},
			{"always.x", false, true, false}, {"always.x", true, true, false},
			{"asked.x", false, false, false}, {"asked.x", true, true, false},
		} {
			request++
			event := &wamp.Event{Subscription: 1, Details: wamp.EventDetails{Topic: try.uri}}
			inv := &wamp.Invocation{Registration: 1, Details: wamp.InvocationDetails{Procedure: try.uri}}
			if try.disclosed {
				event.Details.Publisher, event.Details.PublisherAuthID, event.Details.PublisherAuthRole = id, "ann", "r"
				inv.Details.Caller, inv.Details.CallerAuthID, inv.Details.CallerAuthRole = id, "ann", "r"
			}
			pub := acked(request, try.uri)
			pub.Options.DiscloseMe = try.ask
			p.say(pub)
			if try.refused {
				p.hears(refusal(wamp.TypePublish, request, wamp.ErrURIOptionDisallowedDisclose))
				hub.hears()
			} else {
				p.hears(&wamp.Published{Request: request})
				hub.hears(event)
			}
			request++
			p.say(&wamp.Call{Request: request, Procedure: try.uri, Options: wamp.CallOptions{DiscloseMe: try.ask}})
			if try.refused {
				p.hears(refusal(wamp.TypeCall, request, wamp.ErrURIOptionDisallowedDisclose))
				hub.hears()
				continue
			}
			got := hub.heard()
			if len(got) != 1 || got[0].Type() != wamp.TypeInvocation {
				t.Fatalf("%+v: %v", try, got)
			}
			inv.Request = got[0].(*wamp.Invocation).Request
			if d := got[0].(*wamp.Invocation).Details; !reflect.DeepEqual(d, inv.Details) {
				t.Errorf("%+v: %+v, want %+v", try, d, inv.Details)
			}
		}
		// Without acknowledge the refusal is silent, but counted.
		before := w.Stats("realm1").Denied
		quiet := publish(100, "never.x")
		quiet.Options.DiscloseMe = true
		p.say(quiet)
		p.hears()
		hub.hears()
		if st := w.Stats("realm1"); st.Denied != before+1 {
			t.Errorf("denied: %d, want %d", st.Denied, before+1)
		}
	})
}

func TestFailingAuthorizerAllowsNothing(t *testing.T) {
	for name, j := range map[string]*judge{"error": {err: errAway}, "too late": {delay: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			cfg := router.PolicyConfig{Roles: map[string]router.RoleConfig{"asked": askedRole()}, Ask: j.ask}
			withPolicy(t, cfg, func(w *world) {
				hub, _ := w.as("trusted", "hub")
				hub.say(retained(1, "", wamp.MatchPrefix), kept(2, "a.value"), &wamp.Register{Request: 3, Procedure: "a.proc"})
				hub.heard()
				p, _ := w.as("asked", "ann")
				for _, c := range []struct {
					m    wamp.Message
					want wamp.Message
				}{
					{publish(1, "a.x"), nil},
					{kept(2, "a.value"), refusal(wamp.TypePublish, 2, wamp.ErrURIAuthorizationFailed)},
					{retained(3, "a.value", wamp.MatchExact), refusal(wamp.TypeSubscribe, 3, wamp.ErrURIAuthorizationFailed)},
					{retained(4, "a.", wamp.MatchPrefix), refusal(wamp.TypeSubscribe, 4, wamp.ErrURIAuthorizationFailed)},
					{&wamp.Register{Request: 5, Procedure: "a.mine"}, refusal(wamp.TypeRegister, 5, wamp.ErrURIAuthorizationFailed)},
					{&wamp.Call{Request: 6, Procedure: "a.proc"}, refusal(wamp.TypeCall, 6, wamp.ErrURIAuthorizationFailed)},
					{&wamp.Call{Request: 7, Procedure: "wamp.session.list"}, refusal(wamp.TypeCall, 7, wamp.ErrURIAuthorizationFailed)},
					// Rules are decided without it.
					{acked(8, "a.denied"), refusal(wamp.TypePublish, 8, wamp.ErrURINotAuthorized)},
					{acked(9, "a.ruled"), &wamp.Published{Request: 9}},
				} {
					p.say(c.m)
					time.Sleep(3 * time.Second)
					if c.want == nil {
						p.hears()
					} else {
						p.hears(c.want)
					}
				}
				hub.hears(&wamp.Event{Subscription: 1, Details: wamp.EventDetails{Topic: "a.ruled"}})
				if st := w.Stats("realm1"); st.Undecided != 7 || st.Denied != 1 || st.Violations != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// TestWaitingForAnAuthorizerHoldsNobodyElse has one session wait while others
// work, and the router stop.
func TestWaitingForAnAuthorizerHoldsNobodyElse(t *testing.T) {
	j := &judge{delay: time.Hour}
	roles := map[string]router.RoleConfig{"asked": askedRole(), "free": rules("+" + everything + " prefix ")}
	withPolicy(t, router.PolicyConfig{Roles: roles, Ask: j.ask}, func(w *world) {
		a, _ := w.as("free", "a")
		b, _ := w.as("free", "b")
		b.say(&wamp.Subscribe{Request: 1, Topic: "t"}, &wamp.Register{Request: 2, Procedure: "p"})
		b.heard()
		for i, m := range []wamp.Message{acked(1, "x"), retained(1, "x", wamp.MatchExact), &wamp.Register{Request: 1, Procedure: "x"}, &wamp.Call{Request: 1, Procedure: "p"}} {
			stuck, _ := w.as("asked", "ann")
			stuck.say(m)
			stuck.hears()
			a.say(acked(wamp.ID(2*i+1), "t"), &wamp.Call{Request: wamp.ID(2*i + 2), Procedure: "p"})
			a.hears(&wamp.Published{Request: wamp.ID(2*i + 1)})
			if got := b.heard(); len(got) != 2 {
				t.Errorf("%s: others got %d messages", m.Type(), len(got))
			}
		}
		start := time.Now()
		synctest.Wait()
		if len(j.asked) != 4 {
			t.Errorf("asked %d times", len(j.asked))
		}
		w.t.Cleanup(func() {
			if waited := time.Since(start); waited > 2*time.Second {
				t.Errorf("the router stopped after %s", waited)
			}
		})
	})
}

// TestWhoIsJudgedServesNoAuthorizer would leave a session waiting for itself
// otherwise: it is not read while its request is decided on.
func TestWhoIsJudgedServesNoAuthorizer(t *testing.T) {
	roles := map[string]router.RoleConfig{"asked": askedRole(), "judge": rules("+register exact auth.decide")}
	withPolicy(t, router.PolicyConfig{Roles: roles, Ask: (&judge{answer: router.Answer{Allow: true}}).ask}, func(w *world) {
		p, _ := w.as("asked", "ann")
		p.say(&wamp.Register{Request: 1, Procedure: "auth.decide"}, &wamp.Register{Request: 2, Options: wamp.RegisterOptions{Match: wamp.MatchPrefix}},
			&wamp.Register{Request: 3, Procedure: "auth.other"})
		p.hears(refusal(wamp.TypeRegister, 1, wamp.ErrURINotAuthorized), refusal(wamp.TypeRegister, 2, wamp.ErrURINotAuthorized),
			&wamp.Registered{Request: 3, Registration: 1})
		q, _ := w.as("judge", "bob")
		q.say(&wamp.Register{Request: 1, Procedure: "auth.decide"})
		q.hears(&wamp.Registered{Request: 1, Registration: 2})
	})
}

func TestRefusalsAreLoggedOnceASecond(t *testing.T) {
	p := examplePolicy(t)
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r, err := router.New(router.Config{Authenticate: byHello, Realms: []router.RealmConfig{{Name: "realm1", Policy: p}}}, slog.New(slog.NewTextHandler(&out, nil)))
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, Router: r}
		s, _ := w.as("device", "node1")
		for i := range 1000 {
			s.say(publish(wamp.ID(i+1), "gantry.gw.point.node2.t"))
		}
		time.Sleep(time.Second)
		s.say(publish(1001, "gantry.gw.point.node2.t"))
		s.say(&wamp.Goodbye{Reason: wamp.CloseURINormal})
		w.accepted.Wait()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "msg=denied") || strings.Contains(lines[0], "unlogged") || !strings.Contains(lines[1], "unlogged=999") ||
			!strings.Contains(lines[1], "uri=gantry.gw.point.node2.t") || !strings.Contains(lines[1], "authid=node1") {
			t.Errorf("logged %d lines:\n%.2000s", len(lines), out.String())
		}
	})
}
