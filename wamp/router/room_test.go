package router_test

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"gantry/wamp"
	"gantry/wamp/router"
)

// limited counts the refusals for a limit among what a session has heard.
func limited(p *scripted) (n int) {
	for _, m := range p.heard() {
		if e, ok := m.(*wamp.ErrorReply); ok && e.URI == wamp.ErrURILimit {
			n++
		}
	}
	return n
}

// stranger joins from outside the process.
func (w *world) stranger() *scripted {
	w.t.Helper()
	p := w.connectBy("websocket")
	p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles}})
	if _, ok := p.heard()[0].(*wamp.Welcome); !ok {
		w.t.Fatal("not welcome")
	}
	return p
}

func TestManySessionsTogetherHoldWhatTheRealmAllows(t *testing.T) {
	t.Parallel()
	long := wamp.URI(strings.Repeat(".x", 30))
	const each = 100
	body := strings.Repeat("x", 2000)
	for name, ask := range map[string]func(p *scripted, who, i int){
		"subscriptions": func(p *scripted, who, i int) {
			p.say(&wamp.Subscribe{Request: wamp.ID(i), Topic: wamp.URI(fmt.Sprintf("s%d.n%d", who, i))})
		},
		"node keys": func(p *scripted, _, i int) {
			p.say(&wamp.Subscribe{Request: wamp.ID(i), Topic: wamp.URI(fmt.Sprintf("n%d", i)), Options: wamp.SubscribeOptions{NKey: body}})
		},
		"patterns": func(p *scripted, who, i int) {
			p.say(&wamp.Subscribe{Request: wamp.ID(i), Topic: wamp.URI(fmt.Sprintf("s%d.n%d.", who, i)) + long, Options: wamp.SubscribeOptions{Match: wamp.MatchWildcard}})
		},
		"registrations": func(p *scripted, who, i int) {
			p.say(&wamp.Register{Request: wamp.ID(i), Procedure: wamp.URI(fmt.Sprintf("s%d.n%d", who, i))})
		},
		"calls": func(p *scripted, _, i int) {
			p.say(&wamp.Call{Request: wamp.ID(i), Procedure: "silent"})
		},
		"testaments": func(p *scripted, _, i int) {
			p.say(&wamp.Call{Request: wamp.ID(i), Procedure: "wamp.session.add_testament", Payload: wamp.Args("a.b", wamp.List{body}, wamp.Dict{})})
		},
		"descriptions": func(p *scripted, who, i int) {
			p.say(&wamp.Call{Request: wamp.ID(i), Procedure: "wamp.reflect.define", Payload: wamp.Args(fmt.Sprintf("s%d.n%d", who, i), wamp.Dict{"x": body})})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within(t, router.RealmConfig{
				MaxTableBytes: 50_000, MaxCallBytes: 20_000, MaxTestamentBytes: 50_000, MaxDefinitionBytes: 50_000,
			}, func(w *world) {
				callee, _ := w.join("callee")
				callee.say(&wamp.Register{Request: 1, Procedure: "silent"})
				callee.heard()
				round := func() (granted int) {
					var all []*scripted
					for who := range 4 {
						p := w.stranger()
						all = append(all, p)
						for i := range each {
							ask(p, who, i+1)
						}
						granted += each - limited(p)
					}
					for _, p := range all {
						close(p.in)
					}
					return granted
				}
				first := round()
				// Whoever has nothing yet is not kept from a little.
				p, late := w.stranger(), w.stranger()
				for i := range 2 * each {
					ask(p, 1, i+1)
				}
				ask(late, 2, 1)
				if limited(p) == 0 || limited(late) != 0 {
					t.Error("a session that asks for little is refused, or one that asks for all is not")
				}
				if n := w.Stats("realm1").Refused[wamp.ErrURILimit]; n == 0 {
					t.Error("refusals are not counted")
				}
				close(p.in)
				close(late.in)
				if first == 0 || first == 4*each {
					t.Fatalf("%d of %d were granted", first, 4*each)
				}
				if second := round(); second != first {
					t.Errorf("%d were granted, and %d once those had gone", first, second)
				}
			})
		})
	}
}

func TestTheShareOfASessionIsConfigured(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", 2000)
	for share, want := range map[int]int{1000: 0, 3000: 1, 8000: 3} {
		within(t, router.RealmConfig{MaxTestamentBytes: 1, SessionBytes: share}, func(w *world) {
			p := w.stranger()
			for i := range 10 {
				p.say(&wamp.Call{Request: wamp.ID(i + 1), Procedure: "wamp.session.add_testament", Payload: wamp.Args("a.b", wamp.List{body}, wamp.Dict{})})
			}
			if got := 10 - limited(p); got != want {
				t.Errorf("a share of %d bytes holds %d testaments, expected %d", share, got, want)
			}
		})
	}
}

// A node key is lent by the message, whose memory is used again.
func TestNodeKeysAreKept(t *testing.T) {
	t.Parallel()
	within(t, router.RealmConfig{}, func(w *world) {
		key := []byte("node-1")
		a, _ := w.join("a")
		a.say(&wamp.Subscribe{Request: 1, Topic: "x", Options: wamp.SubscribeOptions{NKey: unsafe.String(&key[0], len(key))}})
		a.heard()
		copy(key, "node-2")
		b, _ := w.join("b")
		b.say(&wamp.Subscribe{Request: 1, Topic: "x", Options: wamp.SubscribeOptions{NKey: "node-1"}})
		b.heard()
		p, _ := w.join("p")
		for i := range 8 {
			p.say(&wamp.Publish{Request: wamp.ID(i + 1), Topic: "x", Options: wamp.PublishOptions{RKey: fmt.Sprint("r", i)}})
		}
		if n, m := len(a.heard()), len(b.heard()); n != 8 || m != 8 {
			t.Errorf("%d and %d events, expected 8 for each: they have the same node key", n, m)
		}
	})
}

// Guessers come side by side: all are challenged before the first is refused, and
// yet only one guess is looked at.
func TestGuessesSideBySideAreOneGuess(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	secured(t, k, nil, func(w *world) {
		info := wamp.PeerInfo{Transport: "websocket", Remote: "192.0.2.1:1"}
		var guessers []*scripted
		for range 5 {
			p := w.connect()
			p.info = info
			p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles, "authid": "ann", "authmethods": wamp.List{"wampcra"}}})
			if _, ok := p.heard()[0].(*wamp.Challenge); !ok {
				t.Fatal("no challenge")
			}
			guessers = append(guessers, p)
		}
		for i, p := range guessers {
			p.say(&wamp.Authenticate{Signature: "wrong"})
			got := p.heard()
			abort, ok := got[0].(*wamp.Abort)
			if !ok || abort.Reason != wamp.ErrURIAuthenticationFailed {
				t.Fatalf("a wrong guess is answered by %+v", got)
			}
			text, _ := abort.Details["message"].(string)
			if late := strings.Contains(text, "too many wrong attempts"); late != (i > 0) {
				t.Errorf("guess %d is answered by %q", i, text)
			}
		}
		if n := w.LoginsRefused()[wamp.ErrURIAuthenticationFailed]; n != 5 {
			t.Errorf("%d refusals are counted", n)
		}
	})
}

func TestRefusalsAreCountedByReason(t *testing.T) {
	t.Parallel()
	cfg := router.Config{
		Realms: []router.RealmConfig{{Name: "realm1"}},
		OnDemand: func(name wamp.URI) (router.RealmConfig, bool) {
			return router.RealmConfig{Name: name}, name == "tenant"
		},
	}
	synctestRouter(t, cfg, func(w *world) {
		p, _ := w.join("p")
		p.say(&wamp.Call{Request: 1, Procedure: "nobody"}, publish(2, "bad topic"), &wamp.Unsubscribe{Request: 3, Subscription: 9},
			&wamp.Call{Request: 4, Procedure: "wamp.session.get"})
		p.heard()
		tenant := w.connect()
		tenant.say(&wamp.Hello{Realm: "tenant", Details: wamp.Dict{"roles": allRoles}}, &wamp.Call{Request: 1, Procedure: "nobody"})
		close(tenant.in)
		tenant.heard()
		nowhere := w.connect()
		nowhere.say(&wamp.Hello{Realm: "nowhere", Details: wamp.Dict{"roles": allRoles}})
		nowhere.heard()
		for uri, want := range map[wamp.URI]uint64{
			wamp.ErrURINoSuchProcedure: 2, wamp.ErrURIInvalidURI: 1, wamp.ErrURINoSuchSubscription: 1, wamp.ErrURIInvalidArgument: 1,
		} {
			if got := w.Total().Refused[uri]; got != want {
				t.Errorf("%d refusals with %s are counted, expected %d", got, uri, want)
			}
		}
		if got := w.LoginsRefused(); len(got) != 1 || got[wamp.ErrURINoSuchRealm] != 1 {
			t.Errorf("refused logins are %v", got)
		}
		if st := w.Total(); st.Joined != 2 || st.Sessions != 1 {
			t.Errorf("%+v", st)
		}
	})
}
