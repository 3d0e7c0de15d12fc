package router_test

import (
	"fmt"
	"testing"

	"gantry/wamp"
	"gantry/wamp/router"
)

func TestSlowSubscribers(t *testing.T) {
	for _, c := range []struct {
		policy wamp.Overflow
		want   string // what comes once there is room: first the event that was about to be sent
		drops  uint64
	}{
		{wamp.OverflowDefault, "[a1 a7 b7 a8 b8 a9 b9]", 11},
		{wamp.OverflowDropOldest, "[a1 a7 b7 a8 b8 a9 b9]", 11},
		{wamp.OverflowLatest, "[a1 a9 b9]", 15},
		{wamp.OverflowDropNewest, "[]", 18},
	} {
		t.Run(c.policy.String(), func(t *testing.T) {
			within(t, router.RealmConfig{MaxBacklogBytes: 800}, func(w *world) {
				slow, _ := w.join("slow")
				slow.say(&wamp.Subscribe{Request: 1, Topic: "t.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix, Overflow: c.policy}})
				slow.heard()
				quick, _ := w.join("quick")
				quick.say(&wamp.Subscribe{Request: 1, Topic: "t.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}})
				quick.heard()
				pub, _ := w.join("pub")
				publish := func(from, to int) {
					for i := from; i < to; i++ {
						for _, topic := range []string{"a", "b"} {
							pub.say(&wamp.Publish{Request: 1, Topic: wamp.URI("t." + topic), Payload: wamp.Args(fmt.Sprint(topic, i))})
						}
					}
				}
				values := func(p *scripted) (out []string) {
					for _, m := range p.heard() {
						args, _ := m.(*wamp.Event).Payload.GoValues()
						out = append(out, args[0].(string))
					}
					return out
				}
				slow.takes(2)
				publish(0, 10)
				if got := fmt.Sprint(values(slow)); got != "[a0 b0]" {
					t.Errorf("before: %s", got)
				}
				if n := len(values(quick)); n != 20 {
					t.Errorf("the quick one got %d events", n)
				}
				slow.takes(-1)
				if got := fmt.Sprint(values(slow)); got != c.want {
					t.Errorf("later: %s, want %s", got, c.want)
				}
				publish(10, 11)
				if got := fmt.Sprint(values(slow)); got != "[a10 b10]" {
					t.Errorf("after: %s", got)
				}
				if st := w.Stats("realm1"); st.Dropped != c.drops {
					t.Errorf("%d dropped, want %d", st.Dropped, c.drops)
				}
			})
		})
	}
}

func TestSlowSubscriberIsDisconnectedOnRequest(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		slow, _ := w.join("slow")
		slow.say(&wamp.Subscribe{Request: 1, Topic: "t", Options: wamp.SubscribeOptions{Overflow: wamp.OverflowDisconnect}},
			&wamp.Subscribe{Request: 2, Topic: "u", Options: wamp.SubscribeOptions{Overflow: wamp.OverflowInvalid}})
		slow.hears(&wamp.Subscribed{Request: 1, Subscription: 1}, refusal(wamp.TypeSubscribe, 2, wamp.ErrURIInvalidArgument))
		slow.takes(0)
		pub, _ := w.join("pub")
		pub.say(&wamp.Publish{Request: 1, Topic: "t"})
		if !slow.isClosed() || w.Stats("realm1").SlowConsumers != 1 {
			t.Error("the slow session goes on")
		}
	})
}

func TestNothingLateFollowsUnsubscribed(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		slow, _ := w.join("slow")
		slow.say(&wamp.Subscribe{Request: 1, Topic: "t"}, &wamp.Subscribe{Request: 2, Topic: "u"})
		slow.heard()
		slow.takes(0)
		pub, _ := w.join("pub")
		for range 3 {
			pub.say(&wamp.Publish{Request: 1, Topic: "t"}, &wamp.Publish{Request: 1, Topic: "u"})
		}
		// A queue that is full for events still takes answers.
		slow.mu.Lock()
		slow.fail = func(m wamp.Message) error {
			if m.Type() == wamp.TypeEvent {
				return wamp.ErrQueueFull
			}
			return nil
		}
		slow.mu.Unlock()
		slow.say(&wamp.Unsubscribe{Request: 3, Subscription: 1})
		slow.hears(&wamp.Unsubscribed{Request: 3})
		slow.takes(-1)
		slow.hears(&wamp.Event{Subscription: 2}, &wamp.Event{Subscription: 2}, &wamp.Event{Subscription: 2})
	})
}
