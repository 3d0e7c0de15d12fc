package router_test

import (
	"errors"
	"slices"
	"testing"

	"gantry/wamp"
	"gantry/wamp/router"
)

func event(sub wamp.ID, args ...any) *wamp.Event {
	return &wamp.Event{Subscription: sub, Payload: wamp.Args(args...)}
}

func publish(request wamp.ID, topic wamp.URI, args ...any) *wamp.Publish {
	return &wamp.Publish{Request: request, Topic: topic, Payload: wamp.Args(args...)}
}

func refusal(t wamp.MessageType, request wamp.ID, uri wamp.URI) *wamp.ErrorReply {
	return &wamp.ErrorReply{RequestType: t, Request: request, URI: uri}
}

func TestPublisherDoesNotGetItsOwnEventUnlessItAsks(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		a, _ := w.join("a")
		b, _ := w.join("b")
		a.say(&wamp.Subscribe{Request: 1, Topic: "x.y"})
		a.hears(&wamp.Subscribed{Request: 1, Subscription: 1})
		b.say(&wamp.Subscribe{Request: 1, Topic: "x.y"})
		b.hears(&wamp.Subscribed{Request: 1, Subscription: 1})
		a.say(publish(2, "x.y", "one"))
		a.hears()
		b.hears(event(1, "one"))
		a.say(&wamp.Publish{Request: 3, Topic: "x.y", Options: wamp.PublishOptions{IncludeMe: true}})
		a.hears(event(1))
		b.hears(event(1))
	})
}

func TestAcknowledgedPublishGetsExactlyOneAnswer(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		a, _ := w.join("a")
		ack := wamp.PublishOptions{Acknowledge: true}
		a.say(&wamp.Publish{Request: 1, Topic: "x", Options: ack}, publish(2, "x"), publish(3, "bad topic"),
			&wamp.Publish{Request: 4, Topic: "bad topic", Options: ack},
			&wamp.Publish{Request: 5, Topic: "wamp.mine", Options: ack},
			&wamp.Publish{Request: 6, Topic: "wampx.mine", Options: ack})
		a.hears(&wamp.Published{Request: 1}, refusal(wamp.TypePublish, 4, wamp.ErrURIInvalidURI),
			refusal(wamp.TypePublish, 5, wamp.ErrURIInvalidURI), &wamp.Published{Request: 6})
	})
}

func TestOneEventForEachMatchedSubscriptionWithTheSamePublication(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		a, _ := w.join("a")
		b, _ := w.join("b")
		a.say(&wamp.Subscribe{Request: 1, Topic: "x.y.z"},
			&wamp.Subscribe{Request: 2, Topic: "x.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}},
			&wamp.Subscribe{Request: 3, Topic: "x..z", Options: wamp.SubscribeOptions{Match: wamp.MatchWildcard}},
			&wamp.Subscribe{Request: 4, Topic: "x.y.z", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}},
			&wamp.Subscribe{Request: 5, Topic: "x.y.z"},
			&wamp.Subscribe{Request: 6, Topic: "x.y", Options: wamp.SubscribeOptions{Match: wamp.MatchInvalid}})
		a.hears(&wamp.Subscribed{Request: 1, Subscription: 1}, &wamp.Subscribed{Request: 2, Subscription: 2},
			&wamp.Subscribed{Request: 3, Subscription: 3}, &wamp.Subscribed{Request: 4, Subscription: 4},
			&wamp.Subscribed{Request: 5, Subscription: 1}, refusal(wamp.TypeSubscribe, 6, wamp.ErrURIInvalidArgument))
		b.say(publish(1, "x.y.z", 7))
		got := a.heard()
		if len(got) != 4 {
			t.Fatalf("%d events, want 4", len(got))
		}
		var subs []wamp.ID
		for _, m := range got {
			ev := m.(*wamp.Event)
			subs = append(subs, ev.Subscription)
			if first := got[0].(*wamp.Event).Publication; ev.Publication != first || !first.Valid() {
				t.Errorf("publication %d, want %d", ev.Publication, first)
			}
			if pattern := ev.Subscription != 1; pattern != (ev.Details.Topic == "x.y.z") {
				t.Errorf("subscription %d: topic %q in details", ev.Subscription, ev.Details.Topic)
			}
		}
		if slices.Sort(subs); !slices.Equal(subs, []wamp.ID{1, 2, 3, 4}) {
			t.Errorf("subscriptions %v", subs)
		}
	})
}

func TestUnsubscribe(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		a, _ := w.join("a")
		b, _ := w.join("b")
		a.say(&wamp.Subscribe{Request: 1, Topic: "x"})
		b.say(&wamp.Unsubscribe{Request: 1, Subscription: 1})
		b.hears(refusal(wamp.TypeUnsubscribe, 1, wamp.ErrURINoSuchSubscription))
		a.say(&wamp.Unsubscribe{Request: 2, Subscription: 1}, &wamp.Unsubscribe{Request: 3, Subscription: 1})
		a.hears(&wamp.Subscribed{Request: 1, Subscription: 1}, &wamp.Unsubscribed{Request: 2},
			refusal(wamp.TypeUnsubscribe, 3, wamp.ErrURINoSuchSubscription))
		b.say(publish(2, "x"))
		a.hears()
	})
}

func TestBlackAndWhitelistsCombineByAnd(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		pub, _ := w.join("pub")
		a, aid := w.join("a")
		b, bid := w.join("b")
		for _, p := range []*scripted{a, b} {
			p.say(&wamp.Subscribe{Request: 1, Topic: "x"})
			p.heard()
		}
		for i, c := range []struct {
			name   string
			filter wamp.PublishFilter
			toA    bool
			toB    bool
		}{
			{"no list", wamp.PublishFilter{}, true, true},
			{"eligible present but empty means nobody", wamp.PublishFilter{Eligible: []wamp.ID{}}, false, false},
			{"exclude present but empty means nobody", wamp.PublishFilter{Exclude: []wamp.ID{}}, true, true},
			{"eligible by session", wamp.PublishFilter{Eligible: []wamp.ID{aid}}, true, false},
			{"exclude by session", wamp.PublishFilter{Exclude: []wamp.ID{aid}}, false, true},
			{"exclude beats eligible", wamp.PublishFilter{Eligible: []wamp.ID{aid, bid}, Exclude: []wamp.ID{bid}}, true, false},
			{"eligible by authid", wamp.PublishFilter{EligibleAuthID: []string{"b"}}, false, true},
			{"eligible authid empty", wamp.PublishFilter{EligibleAuthID: []string{}}, false, false},
			{"exclude by authid", wamp.PublishFilter{ExcludeAuthID: []string{"b"}}, true, false},
			{"eligible by role", wamp.PublishFilter{EligibleAuthRole: []string{"trusted"}}, true, true},
			{"exclude by role", wamp.PublishFilter{ExcludeAuthRole: []string{"trusted"}}, false, false},
			{"lists combine by and", wamp.PublishFilter{EligibleAuthID: []string{"a"}, Eligible: []wamp.ID{bid}}, false, false},
		} {
			pub.say(&wamp.Publish{Request: wamp.ID(i + 1), Topic: "x", Options: wamp.PublishOptions{Filter: &c.filter}})
			if got := len(a.heard()) == 1; got != c.toA {
				t.Errorf("%s: delivered to a: %v", c.name, got)
			}
			if got := len(b.heard()) == 1; got != c.toB {
				t.Errorf("%s: delivered to b: %v", c.name, got)
			}
		}
	})
}

func TestRetainedValueComesOnRequestMarkedAndFiltered(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		pub, _ := w.join("pub")
		retain := wamp.PublishOptions{Retain: true}
		pub.say(&wamp.Publish{Request: 1, Topic: "x.a", Options: retain, Payload: wamp.Args("old")},
			&wamp.Publish{Request: 2, Topic: "x.a", Options: retain, Payload: wamp.Args("new")},
			&wamp.Publish{Request: 3, Topic: "x.b", Options: wamp.PublishOptions{Retain: true,
				Filter: &wamp.PublishFilter{ExcludeAuthID: []string{"a"}}}, Payload: wamp.Args("secret")})
		a, _ := w.join("a")
		get := wamp.SubscribeOptions{GetRetained: true}
		a.say(&wamp.Subscribe{Request: 1, Topic: "x.a"})
		a.hears(&wamp.Subscribed{Request: 1, Subscription: 1})
		want := event(1, "new")
		want.Details.Retained = true
		a.say(&wamp.Subscribe{Request: 2, Topic: "x.a", Options: get})
		a.hears(&wamp.Subscribed{Request: 2, Subscription: 1}, want)
		a.say(&wamp.Subscribe{Request: 3, Topic: "x.b", Options: get})
		a.hears(&wamp.Subscribed{Request: 3, Subscription: 2})
		b, _ := w.join("b")
		get.Match = wamp.MatchPrefix
		b.say(&wamp.Subscribe{Request: 1, Topic: "x.", Options: get})
		if got := b.heard(); len(got) != 3 || got[1].(*wamp.Event).Details.Topic == "" {
			t.Errorf("a prefix subscription got %v", got)
		}
		pub.say(&wamp.Publish{Request: 4, Topic: "x.a", Options: wamp.PublishOptions{Unretain: true}})
		a.hears(event(1))
		if st := w.Stats("realm1"); st.Retained != 1 {
			t.Errorf("%d values kept, want 1", st.Retained)
		}
	})
}

func TestRetainedValuesAreBounded(t *testing.T) {
	within(t, router.RealmConfig{MaxRetained: 2}, func(w *world) {
		pub, _ := w.join("pub")
		for i, topic := range []wamp.URI{"a", "b", "c", "a"} {
			pub.say(&wamp.Publish{Request: wamp.ID(i + 1), Topic: topic, Options: wamp.PublishOptions{Retain: true}})
		}
		if st := w.Stats("realm1"); st.Retained != 2 || st.NotRetained != 1 {
			t.Errorf("retained %d, refused %d", st.Retained, st.NotRetained)
		}
	})
}

func TestRepeatedPublicationIsRoutedOnce(t *testing.T) {
	within(t, router.RealmConfig{MaxStreams: 2}, func(w *world) {
		pub, _ := w.join("uplink")
		sub, _ := w.join("sub")
		sub.say(&wamp.Subscribe{Request: 1, Topic: "x"})
		sub.heard()
		request := wamp.ID(0)
		for _, c := range []struct {
			stream     string
			epoch, seq uint64
			routed     bool
		}{
			{"s", 1, 1, true}, {"s", 1, 2, true}, {"s", 1, 2, false}, {"s", 1, 1, false}, {"s", 1, 4, true},
			{"s", 2, 1, true}, {"s", 1, 5, false}, {"t", 1, 1, true},
			{"u", 1, 1, true}, // the third stream drops the oldest mark, that of s
			{"s", 1, 1, true},
		} {
			request++
			pub.say(&wamp.Publish{Request: request, Topic: "x", Options: wamp.PublishOptions{
				Acknowledge: true, Once: &wamp.Once{Stream: c.stream, Epoch: c.epoch, Seq: c.seq}}})
			pub.hears(&wamp.Published{Request: request})
			if got := len(sub.heard()) == 1; got != c.routed {
				t.Errorf("%+v: routed %v", c, got)
			}
		}
	})
}

func TestDisclosedPublisherIsNamed(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		pub, id := w.join("pub")
		sub, _ := w.join("sub")
		sub.say(&wamp.Subscribe{Request: 1, Topic: "x"})
		sub.heard()
		pub.say(&wamp.Publish{Request: 1, Topic: "x", Options: wamp.PublishOptions{DiscloseMe: true}})
		want := event(1)
		want.Details = wamp.EventDetails{Publisher: id, PublisherAuthID: "pub", PublisherAuthRole: "trusted"}
		sub.hears(want)
	})
}

func TestSlowSubscriberLosesEventsAloneAndVisibly(t *testing.T) {
	within(t, router.RealmConfig{Overflow: wamp.OverflowDropNewest}, func(w *world) {
		pub, _ := w.join("pub")
		slow, _ := w.join("slow")
		good, _ := w.join("good")
		for _, p := range []*scripted{slow, good} {
			p.say(&wamp.Subscribe{Request: 1, Topic: "x"})
			p.heard()
		}
		slow.fail = func(m wamp.Message) error {
			if m.Type() == wamp.TypeEvent {
				return wamp.ErrQueueFull
			}
			return nil
		}
		pub.say(publish(1, "x", 1))
		good.hears(event(1, 1))
		if slow.isClosed() {
			t.Error("a slow subscriber was disconnected for a lost event")
		}
		if st := w.Stats("realm1"); st.Dropped != 1 || st.Delivered != 1 {
			t.Errorf("dropped %d, delivered %d", st.Dropped, st.Delivered)
		}
	})
}

func TestSessionThatCannotTakeAnAnswerIsEnded(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		a, _ := w.join("a")
		a.fail = func(m wamp.Message) error {
			if m.Type() == wamp.TypeSubscribed {
				return wamp.ErrQueueFull
			}
			return nil
		}
		a.say(&wamp.Subscribe{Request: 1, Topic: "x"})
		a.hears(&wamp.Abort{Reason: "gantry.error.slow_consumer"})
		if !a.isClosed() {
			t.Error("the session is still there")
		}
	})
}

func TestSubscriptionsOfASessionAreBounded(t *testing.T) {
	within(t, router.RealmConfig{MaxSubscriptions: 1, MaxRegistrations: 1}, func(w *world) {
		a, _ := w.join("a")
		a.say(&wamp.Subscribe{Request: 1, Topic: "x"}, &wamp.Subscribe{Request: 2, Topic: "y"}, &wamp.Subscribe{Request: 3, Topic: "x"})
		got := a.heard()
		if e, ok := got[1].(*wamp.ErrorReply); !ok || e.URI != wamp.ErrURILimit {
			t.Errorf("the second subscription was answered by %+v", got[1])
		}
		if s, ok := got[2].(*wamp.Subscribed); !ok || s.Subscription != 1 {
			t.Errorf("the repeated subscription was answered by %+v", got[2])
		}
		a.say(&wamp.Register{Request: 4, Procedure: "p"}, &wamp.Register{Request: 5, Procedure: "q"})
		if e, ok := a.heard()[1].(*wamp.ErrorReply); !ok || e.URI != wamp.ErrURILimit {
			t.Error("the second registration was not refused")
		}
	})
}

func TestAuthorizerDecides(t *testing.T) {
	broken := errors.New("no database")
	realm := router.RealmConfig{Authorize: func(who router.Identity, a router.Action, uri wamp.URI, _ wamp.Match) (bool, error) {
		if uri == "broken" {
			return false, broken
		}
		return who.AuthID == "a" && string(uri) == string(a), nil
	}}
	within(t, realm, func(w *world) {
		a, _ := w.join("a")
		ack := wamp.PublishOptions{Acknowledge: true}
		a.say(&wamp.Subscribe{Request: 1, Topic: "subscribe"}, &wamp.Subscribe{Request: 2, Topic: "other"},
			&wamp.Register{Request: 3, Procedure: "register"}, &wamp.Register{Request: 4, Procedure: "other"},
			&wamp.Publish{Request: 5, Topic: "publish", Options: ack}, &wamp.Publish{Request: 6, Topic: "other", Options: ack},
			publish(7, "other"), &wamp.Call{Request: 8, Procedure: "other"}, &wamp.Call{Request: 9, Procedure: "broken"})
		a.hears(&wamp.Subscribed{Request: 1, Subscription: 1}, refusal(wamp.TypeSubscribe, 2, wamp.ErrURINotAuthorized),
			&wamp.Registered{Request: 3, Registration: 1}, refusal(wamp.TypeRegister, 4, wamp.ErrURINotAuthorized),
			&wamp.Published{Request: 5}, refusal(wamp.TypePublish, 6, wamp.ErrURINotAuthorized),
			refusal(wamp.TypeCall, 8, wamp.ErrURINotAuthorized), refusal(wamp.TypeCall, 9, wamp.ErrURIAuthorizationFailed))
	})
}
