package router_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

func TestRealmsComeAndGoOnDemand(t *testing.T) {
	synctestRouter(t, router.Config{
		Realms:    []router.RealmConfig{{Name: "realm1"}},
		MaxRealms: 2,
		OnDemand: func(name wamp.URI) (router.RealmConfig, bool) {
			return router.RealmConfig{MaxSubscriptions: 1}, wamp.URI("tenant.").Matches(wamp.MatchPrefix, name)
		},
	}, func(w *world) {
		join := func(realm wamp.URI) *scripted {
			p := w.connect()
			p.say(&wamp.Hello{Realm: realm, Details: wamp.Dict{"roles": allRoles}})
			return p
		}
		refused := func(realm, want wamp.URI) {
			t.Helper()
			p := join(realm)
			p.hears(&wamp.Abort{Reason: want})
		}
		refused("other", wamp.ErrURINoSuchRealm)
		refused("tenant.", wamp.ErrURINoSuchRealm)
		refused("tenant. x", wamp.ErrURINoSuchRealm)
		a, b, other := join("tenant.a"), join("tenant.a"), join("tenant.b")
		for _, p := range []*scripted{a, b, other} {
			if got := p.heard(); len(got) != 1 || got[0].Type() != wamp.TypeWelcome {
				t.Fatalf("heard %v", got)
			}
		}
		refused("tenant.c", wamp.ErrURILimit)
		a.say(&wamp.Subscribe{Request: 1, Topic: "t"}, &wamp.Subscribe{Request: 2, Topic: "u"})
		if got := a.heard(); len(got) != 2 || got[1].(*wamp.ErrorReply).URI != wamp.ErrURILimit {
			t.Errorf("beyond the limit of the realm: %v", got)
		}
		other.say(&wamp.Publish{Request: 1, Topic: "t"})
		a.hears()
		b.say(&wamp.Publish{Request: 1, Topic: "t", Options: wamp.PublishOptions{Retain: true}})
		a.hears(event(1))
		if n := w.Stats("tenant.a").Sessions; n != 2 {
			t.Errorf("%d sessions", n)
		}
		close(a.in)
		b.say(&wamp.Goodbye{Reason: wamp.CloseURINormal})
		synctest.Wait()
		// With the last session everything is gone, and there is room for another.
		c := join("tenant.c")
		c.heard()
		close(other.in)
		synctest.Wait()
		again := join("tenant.a")
		again.heard()
		again.say(&wamp.Subscribe{Request: 1, Topic: "t", Options: wamp.SubscribeOptions{GetRetained: true}})
		again.hears(&wamp.Subscribed{Request: 1, Subscription: 1})
	})
}

// The last session of a realm leaves while another is about to log in.
func TestARealmThatGoesDuringALoginIsMadeAgain(t *testing.T) {
	t.Parallel()
	var asked, answer chan struct{} // made inside the bubble
	synctestRouter(t, router.Config{
		Realms:   []router.RealmConfig{{Name: "realm1"}},
		OnDemand: func(name wamp.URI) (router.RealmConfig, bool) { return router.RealmConfig{Name: name}, true },
		Authenticate: func(_ context.Context, l *router.Login) (router.Identity, *wamp.Error) {
			if l.Hello.Details["authid"] == "slow" {
				close(asked)
				<-answer
			}
			return router.Identity{}, nil
		},
	}, func(w *world) {
		hello := func(authid string) wamp.Message {
			return &wamp.Hello{Realm: "tenant", Details: wamp.Dict{"roles": allRoles, "authid": authid}}
		}
		first := w.connect()
		first.say(hello("quick"))
		second := w.connect()
		second.in <- hello("slow")
		<-asked
		close(first.in)
		for w.Stats("tenant").Joined > 0 {
			time.Sleep(time.Millisecond)
		}
		close(answer)
		if got := second.heard(); len(got) != 1 || got[0].Type() != wamp.TypeWelcome {
			t.Errorf("the second heard %v", got)
		}
	}, func(*router.Config) { asked, answer = make(chan struct{}), make(chan struct{}) })
}
