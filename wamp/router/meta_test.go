package router_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/wamp"
	"gantry/wamp/router"
)

// asks calls a procedure of the meta API and returns its result; err is the URI
// of a refusal.
func (p *scripted) asks(procedure wamp.URI, args wamp.List, kwargs wamp.Dict) (result any, err wamp.URI) {
	p.t.Helper()
	p.request++
	p.say(&wamp.Call{Request: 1000 + p.request, Procedure: procedure, Payload: wamp.Values(args, kwargs)})
	got := p.heard()
	if len(got) == 0 {
		p.t.Fatalf("%s is not answered", procedure)
	}
	switch m := got[len(got)-1].(type) {
	case *wamp.Result:
		list, _ := m.Payload.GoValues()
		if len(list) == 0 {
			return nil, ""
		}
		return list[0], ""
	case *wamp.ErrorReply:
		return nil, m.URI
	}
	p.t.Fatalf("%s is answered by %+v", procedure, got)
	return nil, ""
}

// expects is asks with the result that must come.
func (p *scripted) expects(want any, procedure wamp.URI, args ...any) {
	p.t.Helper()
	got, err := p.asks(procedure, args, nil)
	if diff := cmp.Diff(want, got); diff != "" || err != "" {
		p.t.Errorf("%s %v: %s, %s", procedure, args, err, diff)
	}
}

func (p *scripted) refused(want wamp.URI, procedure wamp.URI, args wamp.List, kwargs wamp.Dict) {
	p.t.Helper()
	if got, err := p.asks(procedure, args, kwargs); err != want {
		p.t.Errorf("%s %v: %v, %q, want %q", procedure, args, got, err, want)
	}
}

// told returns the meta events since the last look: topic and arguments.
func (p *scripted) told() [][]any {
	var out [][]any
	for _, m := range p.heard() {
		if ev, ok := m.(*wamp.Event); ok {
			args, _ := ev.Payload.GoValues()
			for i, a := range args {
				if d, ok := a.(wamp.Dict); ok {
					args[i] = wamp.Dict{"id": d["id"], "uri": d["uri"], "match": d["match"], "session": d["session"]}
				}
			}
			out = append(out, append([]any{string(ev.Details.Topic)}, args...))
		}
	}
	return out
}

func TestSessionMetaAPI(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		a, idA := w.join("a")
		b, idB := w.join("b")
		watcher, _ := w.join("watcher")
		watcher.say(&wamp.Subscribe{Request: 1, Topic: "wamp.session.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}})
		watcher.heard()
		a.expects(3, "wamp.session.count")
		a.expects(3, "wamp.session.count", wamp.List{"trusted", "x"})
		a.expects(0, "wamp.session.count", wamp.List{"x"})
		if got, err := a.asks("wamp.session.list", nil, nil); err != "" || len(got.(wamp.List)) != 3 {
			t.Errorf("list: %v, %s", got, err)
		}
		a.expects(wamp.Dict{"session": idB, "authid": "b", "authrole": "trusted", "authmethod": "internal", "authprovider": "static",
			"transport": wamp.Dict{"type": "pipe", "serializer": "values", "peer": "test", "encrypted": false},
			"traffic": wamp.Dict{"received": uint64(0), "sent": uint64(1), "dropped": uint64(0),
				"received_bytes": uint64(0), "sent_bytes": uint64(0)}}, "wamp.session.get", int64(idB))
		for _, args := range []wamp.List{nil, {"x"}, {int64(0)}, {-1}} {
			a.refused(wamp.ErrURIInvalidArgument, "wamp.session.get", args, nil)
		}
		a.refused(wamp.ErrURINoSuchSession, "wamp.session.get", wamp.List{int64(idB) ^ 1}, nil)
		a.refused(wamp.ErrURINoSuchSession, "wamp.session.kill", wamp.List{int64(idA)}, nil)
		a.refused(wamp.ErrURIInvalidURI, "wamp.session.kill", wamp.List{int64(idB)}, wamp.Dict{"reason": "not a uri"})
		a.refused(wamp.ErrURIInvalidURI, "wamp.session.kill_all", nil, wamp.Dict{"reason": ""})
		a.refused(wamp.ErrURINoSuchProcedure, "wamp.session.nonsense", nil, nil)

		if _, err := a.asks("wamp.session.kill", wamp.List{int64(idB)}, wamp.Dict{"reason": "my.reason", "message": "go"}); err != "" {
			t.Errorf("kill: %s", err)
		}
		if got := b.heard(); len(got) != 1 || !cmp.Equal(got[0], &wamp.Goodbye{Reason: "my.reason", Details: wamp.Dict{"message": "go"}}) || !b.isClosed() {
			t.Errorf("the killed session heard %v", got)
		}
		a.expects(2, "wamp.session.count")
		if diff := cmp.Diff([][]any{{"wamp.session.on_leave", idB, "b", "trusted"}}, watcher.told()); diff != "" {
			t.Error(diff)
		}
		everything, _ := w.join("everything")
		everything.say(&wamp.Subscribe{Request: 1, Topic: "", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}})
		everything.heard()
		watcher.told()
		c, idC := w.join("c")
		everything.hears()
		if diff := cmp.Diff([][]any{
			{"wamp.session.on_join", wamp.Dict{"id": nil, "uri": nil, "match": nil, "session": idC}},
		}, watcher.told()); diff != "" {
			t.Error(diff)
		}
		c.say(&wamp.Goodbye{Reason: wamp.CloseURINormal})
		if diff := cmp.Diff([][]any{{"wamp.session.on_leave", idC, "c", "trusted"}}, watcher.told()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMetaEventsOfTablesComeInOrder(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		watcher, _ := w.join("watcher")
		watcher.say(&wamp.Subscribe{Request: 1, Topic: "other"},
			&wamp.Subscribe{Request: 2, Topic: "wamp.subscription.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}},
			&wamp.Subscribe{Request: 3, Topic: "wamp.registration.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}})
		watcher.heard()
		a, idA := w.join("a")
		b, idB := w.join("b")
		a.say(&wamp.Subscribe{Request: 1, Topic: "x"}, &wamp.Register{Request: 2, Procedure: "p", Options: wamp.RegisterOptions{Invoke: wamp.InvokeRandom}})
		b.say(&wamp.Subscribe{Request: 1, Topic: "x"}, &wamp.Register{Request: 2, Procedure: "p", Options: wamp.RegisterOptions{Invoke: wamp.InvokeRandom}})
		a.say(&wamp.Subscribe{Request: 3, Topic: "x"}, &wamp.Unsubscribe{Request: 4, Subscription: 4})
		close(b.in) // the connection drops
		sub := wamp.Dict{"id": wamp.ID(4), "uri": "x", "match": "exact", "session": nil}
		reg := wamp.Dict{"id": wamp.ID(1), "uri": "p", "match": "exact", "session": nil}
		if diff := cmp.Diff([][]any{
			{"wamp.subscription.on_create", idA, sub},
			{"wamp.subscription.on_subscribe", idA, wamp.ID(4)},
			{"wamp.registration.on_create", idA, reg},
			{"wamp.registration.on_register", idA, wamp.ID(1)},
			{"wamp.subscription.on_subscribe", idB, wamp.ID(4)},
			{"wamp.registration.on_register", idB, wamp.ID(1)},
			{"wamp.subscription.on_unsubscribe", idA, wamp.ID(4)},
			{"wamp.registration.on_unregister", idB, wamp.ID(1)},
			{"wamp.subscription.on_unsubscribe", idB, wamp.ID(4)},
			{"wamp.subscription.on_delete", idB, wamp.ID(4)},
		}, watcher.told()); diff != "" {
			t.Error(diff)
		}
		a.say(&wamp.Unregister{Request: 5, Registration: 1})
		if diff := cmp.Diff([][]any{
			{"wamp.registration.on_unregister", idA, wamp.ID(1)},
			{"wamp.registration.on_delete", idA, wamp.ID(1)},
		}, watcher.told()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTablesMetaAPI(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		a, idA := w.join("a")
		b, idB := w.join("b")
		created := stampOf(time.Now())
		prefix, wild := wamp.SubscribeOptions{Match: wamp.MatchPrefix}, wamp.SubscribeOptions{Match: wamp.MatchWildcard}
		a.say(&wamp.Subscribe{Request: 1, Topic: "a.b"}, &wamp.Subscribe{Request: 2, Topic: "a", Options: prefix}, &wamp.Subscribe{Request: 3, Topic: "a.", Options: wild},
			&wamp.Register{Request: 4, Procedure: "a.b"}, &wamp.Register{Request: 5, Procedure: "a", Options: wamp.RegisterOptions{Match: wamp.MatchPrefix}})
		b.say(&wamp.Subscribe{Request: 1, Topic: "a.b"})
		a.heard()
		b.heard()
		b.expects(wamp.Dict{"exact": wamp.List{wamp.ID(1)}, "prefix": wamp.List{wamp.ID(2)}, "wildcard": wamp.List{wamp.ID(3)}}, "wamp.subscription.list")
		b.expects(wamp.Dict{"exact": wamp.List{wamp.ID(1)}, "prefix": wamp.List{wamp.ID(2)}, "wildcard": wamp.List{}}, "wamp.registration.list")
		b.expects(wamp.ID(1), "wamp.subscription.lookup", "a.b")
		b.expects(wamp.ID(2), "wamp.subscription.lookup", "a", wamp.Dict{"match": "prefix"})
		b.expects(nil, "wamp.subscription.lookup", "a")
		b.expects(nil, "wamp.registration.lookup", "a")
		b.expects(wamp.ID(2), "wamp.registration.lookup", "a", wamp.Dict{"match": "prefix"})
		b.expects(wamp.List{wamp.ID(1), wamp.ID(2), wamp.ID(3)}, "wamp.subscription.match", "a.b")
		b.expects(nil, "wamp.subscription.match", "z")
		// A component of this process need not know the types of decoded values.
		b.expects(wamp.ID(2), "wamp.subscription.lookup", wamp.URI("a"), map[string]wamp.URI{"match": "prefix"})
		b.expects(2, "wamp.subscription.count_subscribers", wamp.ID(1))
		b.refused(wamp.ErrURIInvalidArgument, "wamp.subscription.lookup", wamp.List{func() {}}, nil)
		b.expects(wamp.ID(1), "wamp.registration.match", "a.b")
		b.expects(wamp.ID(2), "wamp.registration.match", "a.c")
		b.expects(nil, "wamp.registration.match", "z")
		b.expects(wamp.Dict{"id": wamp.ID(3), "created": created, "uri": "a.", "match": "wildcard"}, "wamp.subscription.get", int64(3))
		b.expects(wamp.Dict{"id": wamp.ID(2), "created": created, "uri": "a", "match": "prefix", "invoke": "single"}, "wamp.registration.get", int64(2))
		b.expects(2, "wamp.subscription.count_subscribers", int64(1))
		b.expects(wamp.List{idA, idB}, "wamp.subscription.list_subscribers", int64(1))
		b.expects(1, "wamp.registration.count_callees", int64(1))
		b.expects(wamp.List{idA}, "wamp.registration.list_callees", int64(1))
		for _, procedure := range []wamp.URI{"get", "list_subscribers", "count_subscribers"} {
			b.refused(wamp.ErrURINoSuchSubscription, "wamp.subscription."+procedure, wamp.List{int64(99)}, nil)
		}
		for _, procedure := range []wamp.URI{"get", "list_callees", "count_callees"} {
			b.refused(wamp.ErrURINoSuchRegistration, "wamp.registration."+procedure, wamp.List{int64(99)}, nil)
		}
		b.refused(wamp.ErrURIInvalidArgument, "wamp.subscription.lookup", wamp.List{"a", wamp.Dict{"match": "x"}}, nil)

		// Revocation.
		b.refused(wamp.ErrURINoSuchSubscription, "wamp.subscription.remove_subscriber", wamp.List{int64(2), int64(idB)}, nil)
		b.refused(wamp.ErrURINoSuchRegistration, "wamp.registration.remove_callee", wamp.List{int64(2), int64(idB)}, nil)
		b.expects(nil, "wamp.subscription.remove_subscriber", int64(2), int64(idA))
		if _, err := b.asks("wamp.registration.remove_callee", wamp.List{int64(2), int64(idA)}, wamp.Dict{"reason": "my.reason"}); err != "" {
			t.Error(err)
		}
		a.hears(&wamp.Unsubscribed{Subscription: 2, Reason: wamp.CloseURINormal}, &wamp.Unregistered{Registration: 2, Reason: "my.reason"})
		b.expects(nil, "wamp.registration.match", "a.c")
	})
}

func stampOf(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func TestTestaments(t *testing.T) {
	for name, end := range map[string]func(p *scripted){
		"goodbye": func(p *scripted) { p.say(&wamp.Goodbye{Reason: "x"}) },
		"lost":    func(p *scripted) { close(p.in) },
		"broken":  func(p *scripted) { p.say(&wamp.Welcome{}) },
	} {
		t.Run(name, func(t *testing.T) {
			within(t, router.RealmConfig{MaxTestaments: 4}, func(w *world) {
				heir, _ := w.join("heir")
				heir.say(&wamp.Subscribe{Request: 1, Topic: "will", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}})
				heir.heard()
				p, _ := w.join("p")
				p.expects(nil, "wamp.session.add_testament", "will.1", wamp.List{"d1"}, wamp.Dict{"k": 1})
				for i, kwargs := range []wamp.Dict{{"scope": "detached"}, {"publish_options": wamp.Dict{"eligible_authid": wamp.List{}}}, {"scope": "destroyed", "publish_options": wamp.Dict{"retain": true}}} {
					if _, err := p.asks("wamp.session.add_testament", wamp.List{"will." + string(rune('2'+i)), wamp.List{i}, wamp.Dict{}}, kwargs); err != "" {
						t.Error(err)
					}
				}
				p.refused(wamp.ErrURILimit, "wamp.session.add_testament", wamp.List{"will.5"}, nil)
				p.refused(wamp.ErrURIInvalidURI, "wamp.session.add_testament", wamp.List{"wamp.x"}, nil)
				p.refused(wamp.ErrURIInvalidArgument, "wamp.session.add_testament", wamp.List{"x", "y"}, nil)
				p.refused(wamp.ErrURIInvalidArgument, "wamp.session.add_testament", wamp.List{"x"}, wamp.Dict{"scope": "z"})
				heir.hears()
				end(p)
				event := func(topic wamp.URI, args wamp.List, kwargs wamp.Dict) *wamp.Event {
					return &wamp.Event{Subscription: 1, Details: wamp.EventDetails{Topic: topic}, Payload: wamp.Values(args, kwargs)}
				}
				heir.hears(event("will.2", wamp.List{int64(0)}, nil), event("will.1", wamp.List{"d1"}, wamp.Dict{"k": int64(1)}), event("will.4", wamp.List{int64(2)}, nil))
				late, _ := w.join("late")
				late.say(&wamp.Subscribe{Request: 1, Topic: "will.4", Options: wamp.SubscribeOptions{GetRetained: true}})
				if got := late.heard(); len(got) != 2 {
					t.Errorf("the retained testament: %v", got)
				}
			})
		})
	}
	within(t, router.RealmConfig{}, func(w *world) {
		heir, _ := w.join("heir")
		heir.say(&wamp.Subscribe{Request: 1, Topic: "will", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}})
		heir.heard()
		p, _ := w.join("p")
		p.expects(nil, "wamp.session.add_testament", "will.1")
		if _, err := p.asks("wamp.session.add_testament", wamp.List{"will.2"}, wamp.Dict{"scope": "detached"}); err != "" {
			t.Error(err)
		}
		p.expects(nil, "wamp.session.flush_testaments")
		close(p.in)
		heir.hears(&wamp.Event{Subscription: 1, Details: wamp.EventDetails{Topic: "will.2"}})
	})
}

func TestReflection(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		a, _ := w.join("a")
		b, _ := w.join("b")
		a.say(&wamp.Register{Request: 1, Procedure: "p.registered"})
		b.say(&wamp.Subscribe{Request: 1, Topic: "wamp.reflect.on_", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}})
		a.heard()
		b.heard()
		d := wamp.Dict{"unit": "Cel"}
		a.expects(nil, "wamp.reflect.define", "p.described", d)
		for _, kind := range []string{"topic", "error"} {
			if _, err := a.asks("wamp.reflect.define", wamp.List{"t." + kind, d}, wamp.Dict{"kind": kind}); err != "" {
				t.Error(err)
			}
		}
		if diff := cmp.Diff([][]any{
			{"wamp.reflect.on_define", "procedure", "p.described"}, {"wamp.reflect.on_define", "topic", "t.topic"}, {"wamp.reflect.on_define", "error", "t.error"},
		}, b.told()); diff != "" {
			t.Error(diff)
		}
		b.expects(wamp.List{"p.described", "p.registered"}, "wamp.reflection.procedure.list")
		b.expects(wamp.List{"t.topic"}, "wamp.reflection.topic.list")
		b.expects(wamp.List{"t.error"}, "wamp.reflection.error.list")
		b.expects(d, "wamp.reflection.procedure.describe", "p.described")
		b.expects(nil, "wamp.reflection.topic.describe", "p.described")
		b.expects(d, "wamp.reflect.describe", "t.topic")
		b.expects(nil, "wamp.reflect.describe", "nobody")
		b.refused(wamp.ErrURIProcedureAlreadyExists, "wamp.reflect.define", wamp.List{"p.described", d}, nil)
		b.refused(wamp.ErrURIInvalidURI, "wamp.reflect.define", wamp.List{"wamp.x", d}, nil)
		b.refused(wamp.ErrURIInvalidArgument, "wamp.reflect.define", wamp.List{"p"}, nil)
		b.refused(wamp.ErrURIInvalidArgument, "wamp.reflect.define", wamp.List{"p", d}, wamp.Dict{"kind": "z"})
		b.expects(nil, "wamp.reflect.undefine", "p.described") // not its own
		a.expects(nil, "wamp.reflect.undefine", "p.described")
		close(a.in)
		if diff := cmp.Diff([][]any{
			{"wamp.reflect.on_undefine", "p.described"}, {"wamp.reflect.on_undefine", "t.error"}, {"wamp.reflect.on_undefine", "t.topic"},
		}, b.told()); diff != "" {
			t.Error(diff)
		}
		b.expects(wamp.List{}, "wamp.reflection.topic.list")
	})
}
