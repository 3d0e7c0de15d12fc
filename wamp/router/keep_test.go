package router_test

import (
	"testing"

	"gantry/wamp"
	"gantry/wamp/router"
)

// TestWhatCannotBeKeptIsRefused refuses acknowledged publications while there is no
// room for them, and nothing else.
func TestWhatCannotBeKeptIsRefused(t *testing.T) {
	full := true
	keep := func(topic wamp.URI) *wamp.Error {
		if full && wamp.URI("alarm.").Matches(wamp.MatchPrefix, topic) {
			return wamp.NewError(wamp.ErrURIStorageFull, "no room", wamp.Dict{"part": "hq"})
		}
		return nil
	}
	within(t, router.RealmConfig{Keep: keep}, func(w *world) {
		pub, _ := w.join("pub")
		sub, _ := w.join("sub")
		sub.say(&wamp.Subscribe{Request: 1, Topic: "alarm.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}})
		sub.heard()
		once := func(request wamp.ID) *wamp.Publish {
			return &wamp.Publish{Request: request, Topic: "alarm.a", Options: wamp.PublishOptions{Acknowledge: true, Once: &wamp.Once{Stream: "s", Epoch: 1, Seq: 1}}}
		}

		pub.say(once(1))
		pub.hears(&wamp.ErrorReply{RequestType: wamp.TypePublish, Request: 1, URI: wamp.ErrURIStorageFull,
			Payload: wamp.Values(wamp.List{"no room"}, wamp.Dict{"part": "hq"})})
		if got := sub.heard(); len(got) != 0 {
			t.Errorf("refused, and delivered: %v", got)
		}

		pub.say(&wamp.Publish{Request: 2, Topic: "alarm.a"})
		if got := sub.heard(); len(got) != 1 {
			t.Errorf("nobody waits for it: %v", got)
		}
		pub.say(&wamp.Publish{Request: 3, Topic: "point.a", Options: wamp.PublishOptions{Acknowledge: true}})
		if _, ok := pub.heard()[0].(*wamp.Published); !ok {
			t.Error("refused what need not be kept")
		}

		full = false
		pub.say(once(4))
		if _, ok := pub.heard()[0].(*wamp.Published); !ok {
			t.Error("still refused")
		}
		if got := sub.heard(); len(got) != 1 {
			t.Errorf("the second attempt was taken for a repetition: %v", got)
		}
	})
}

// TestAnswersWaitForTheDisk answers publications when what is kept of them is.
func TestAnswersWaitForTheDisk(t *testing.T) {
	var owed []func()
	settle := func(topic wamp.URI, done func()) bool {
		if topic != "kept" {
			return false
		}
		owed = append(owed, done)
		return true
	}
	within(t, router.RealmConfig{Settle: settle}, func(w *world) {
		pub, _ := w.join("pub")
		sub, _ := w.join("sub")
		sub.say(&wamp.Subscribe{Request: 1, Topic: "kept"})
		sub.heard()
		publish := func(request wamp.ID, topic wamp.URI, seq uint64) {
			pub.say(&wamp.Publish{Request: request, Topic: topic, Options: wamp.PublishOptions{Acknowledge: true, Once: &wamp.Once{Stream: "s", Epoch: 1, Seq: seq}}})
		}
		publish(1, "kept", 1)
		publish(2, "kept", 1) // skipped, and the first may not be on disk yet
		if got := sub.heard(); len(got) != 1 {
			t.Errorf("the event does not wait: %v", got)
		}
		publish(3, "other", 2)
		if got := pub.heard(); len(got) != 1 || got[0].(*wamp.Published).Request != 3 {
			t.Errorf("before the disk has it: %v", got)
		}
		for _, done := range owed {
			done()
		}
		if got := pub.heard(); len(got) != 2 || got[0].(*wamp.Published).Request != 1 || got[1].(*wamp.Published).Request != 2 {
			t.Errorf("answers: %v", got)
		}
	})
}
