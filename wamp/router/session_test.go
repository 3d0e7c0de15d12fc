package router_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

func TestRefusedHandshakes(t *testing.T) {
	roles := wamp.Dict{"roles": wamp.Dict{"caller": wamp.Dict{}}}
	for name, c := range map[string]struct {
		first  wamp.Message
		reason wamp.URI
	}{
		"first message is not HELLO": {&wamp.Subscribe{Request: 1, Topic: "x"}, wamp.ErrURIProtocolViolation},
		"not WAMP at all":            {&violation{text: "an empty list"}, wamp.ErrURIProtocolViolation},
		"unknown realm":              {&wamp.Hello{Realm: "other", Details: roles}, wamp.ErrURINoSuchRealm},
		"no role":                    {&wamp.Hello{Realm: "realm1"}, wamp.ErrURIProtocolViolation},
		"unknown role only":          {&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": wamp.Dict{"cook": wamp.Dict{}}}}, wamp.ErrURIProtocolViolation},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, router.RealmConfig{}, func(w *world) {
				p := w.connect()
				p.say(c.first)
				p.hears(&wamp.Abort{Reason: c.reason})
				if !p.isClosed() {
					t.Error("the peer is still open")
				}
			})
		})
	}
}

func TestSilentPeerIsClosed(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		p := w.connect()
		time.Sleep(5 * time.Second)
		p.hears(&wamp.Abort{Reason: wamp.ErrURIProtocolViolation})
		if !p.isClosed() {
			t.Error("the peer is still open")
		}
	})
}

func TestAnonymousComesFromThisMachineOnly(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		p := w.connect()
		p.info = wamp.PeerInfo{Transport: "websocket", Remote: "192.0.2.7:1"}
		p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles}})
		p.hears(&wamp.Abort{Reason: wamp.ErrURINoMatchingAuthMethod})
	})
}

func TestViolationsEndTheSession(t *testing.T) {
	for name, m := range map[string]wamp.Message{
		"second HELLO":         &wamp.Hello{Realm: "realm1"},
		"router's own message": &wamp.Welcome{Session: 1},
		"EVENT from a client":  &wamp.Event{Subscription: 1, Publication: 1},
		"undecodable bytes":    &violation{text: "an empty list"},
		"unknown cancel mode":  &wamp.Cancel{Request: 1, Mode: wamp.CancelInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, router.RealmConfig{}, func(w *world) {
				p, _ := w.join("a")
				p.say(m)
				p.hears(&wamp.Abort{Reason: wamp.ErrURIProtocolViolation})
				if !p.isClosed() {
					t.Error("the session goes on")
				}
				if st := w.Stats("realm1"); st.Violations != 1 || st.Sessions != 0 {
					t.Errorf("stats %+v", st)
				}
			})
		})
	}
}

func TestAbortIsNeverAnswered(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		p, _ := w.join("a")
		p.say(&wamp.Abort{Reason: "my.reason"})
		p.hears()
		if !p.isClosed() {
			t.Error("the session goes on")
		}
		early := w.connect()
		early.say(&wamp.Abort{Reason: "my.reason"})
		early.hears()
	})
}

func TestGoodbyeIsAnsweredOnceAndNothingFollows(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		a, _ := w.join("a")
		b, _ := w.join("b")
		a.say(&wamp.Subscribe{Request: 1, Topic: "x"})
		a.heard()
		a.say(&wamp.Goodbye{Reason: wamp.CloseURICloseRealm})
		b.say(publish(1, "x"))
		a.hears(&wamp.Goodbye{Reason: wamp.CloseURIGoodbyeAndOut})
		if !a.isClosed() {
			t.Error("the transport is still open")
		}
	})
}

func TestRequestIDsMustRunInSequenceWhenStrict(t *testing.T) {
	for _, strict := range []bool{true, false} {
		within(t, router.RealmConfig{StrictRequestIDs: strict}, func(w *world) {
			p, _ := w.join("a")
			p.say(&wamp.Subscribe{Request: 1, Topic: "x"}, publish(2, "x"), &wamp.Subscribe{Request: 9, Topic: "y"})
			if p.isClosed() != strict {
				t.Errorf("strict %v: closed %v", strict, p.isClosed())
			}
		})
	}
}

func TestSessionIDsAreRandom(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		seen := map[wamp.ID]bool{}
		high := false
		for range 64 {
			_, id := w.join("a")
			seen[id] = true
			high = high || id > wamp.MaxID/2
		}
		if len(seen) != 64 || !high {
			t.Errorf("%d different IDs, upper half used: %v", len(seen), high)
		}
	})
}

func TestStoppingRouterSaysGoodbyeAndTakesNobodyIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1"}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, Router: r}
		p, _ := w.join("a")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Run(ctx); err != nil {
			t.Fatal(err)
		}
		p.hears(&wamp.Goodbye{Reason: wamp.ErrURISystemShutdown})
		late := w.connect()
		late.hears(&wamp.Abort{Reason: wamp.ErrURISystemShutdown})
		if !late.isClosed() {
			t.Error("a late peer is still open")
		}
		w.accepted.Wait()
	})
}

func TestDismissLeavesThoseInTheProcess(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		hello := &wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles}}
		far, half := w.connectBy("websocket"), w.connectBy("rawsocket")
		far.say(hello)
		far.heard()
		near, _ := w.join("near")
		w.Dismiss()
		far.hears(&wamp.Goodbye{Reason: wamp.ErrURISystemShutdown})
		half.say(hello)
		if got := half.heard(); len(got) != 2 || got[1].Type() != wamp.TypeGoodbye {
			t.Errorf("one who was about to join heard %v", got)
		}
		late := w.connectBy("websocket")
		late.hears(&wamp.Abort{Reason: wamp.ErrURISystemShutdown})
		for _, p := range []*scripted{far, half, late} {
			if !p.isClosed() {
				t.Error("a peer is still open")
			}
		}
		near.say(&wamp.Subscribe{Request: 1, Topic: "a.b"})
		if got := near.heard(); len(got) != 1 || got[0].Type() != wamp.TypeSubscribed {
			t.Errorf("a session in the process hears %v", got)
		}
	})
}

// TestTheDismissedAreNotAcknowledged dismisses a publisher between its message and the
// routing of it, when its subscribers have gone.
func TestTheDismissedAreNotAcknowledged(t *testing.T) {
	var dismiss func()
	cfg := router.RealmConfig{Authorize: func(_ router.Identity, action router.Action, _ wamp.URI, _ wamp.Match) (bool, error) {
		if action == router.ActionPublish {
			dismiss()
		}
		return true, nil
	}}
	within(t, cfg, func(w *world) {
		dismiss = w.Dismiss
		far := w.connectBy("websocket")
		far.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles}})
		far.heard()
		near, _ := w.join("near")
		near.say(&wamp.Subscribe{Request: 1, Topic: "a.b"})
		near.heard()
		far.say(&wamp.Publish{Request: 1, Topic: "a.b", Options: wamp.PublishOptions{Acknowledge: true, Once: &wamp.Once{Stream: "s", Epoch: 1, Seq: 1}}})
		far.hears(&wamp.Goodbye{Reason: wamp.ErrURISystemShutdown})
		if got := near.heard(); len(got) > 0 {
			t.Errorf("what will be sent again has been routed: %v", got)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	for name, cfg := range map[string]router.Config{
		"no realm":        {},
		"bad realm":       {Realms: []router.RealmConfig{{Name: "a b"}}},
		"realm twice":     {Realms: []router.RealmConfig{{Name: "a"}, {Name: "a"}}},
		"strict bad name": {Realms: []router.RealmConfig{{Name: "A-b", StrictURIs: true}}},
	} {
		if _, err := router.New(cfg, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// lossless is a peer that never refuses and asks the router to hold publishers.
type lossless struct {
	*scripted
	gate chan struct{}
}

func (l *lossless) Congested() <-chan struct{} { return l.gate }

func TestLosslessSubscriberHoldsPublishersBack(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		l := &lossless{scripted: &scripted{
			t: t, in: make(chan wamp.Message), closed: make(chan struct{}),
			info: wamp.PeerInfo{Transport: "pipe", Local: true},
		}, gate: make(chan struct{})}
		w.accepted.Go(func() { w.Accept(context.Background(), l) })
		l.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles}}, &wamp.Subscribe{Request: 1, Topic: "x"})
		l.heard()
		pub, _ := w.join("pub")
		pub.say(publish(1, "x", 1))
		select {
		case pub.in <- publish(2, "x", 2):
			t.Error("the router read on while the lossless subscriber was over its mark")
		default:
		}
		l.hears(event(1, 1))
		open := l.gate
		l.gate = nil
		close(open)
		pub.say(publish(2, "x", 2))
		l.hears(event(1, 2))
	})
}
