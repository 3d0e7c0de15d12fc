package router_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

// retain publishes a value that is kept.
func (p *scripted) retain(topic, value string) {
	p.t.Helper()
	p.say(&wamp.Publish{Request: 1, Topic: wamp.URI(topic), Options: wamp.PublishOptions{Retain: true}, Payload: wamp.Args(value)})
}

// values returns the events that have come, as topic, value and whether it is a last one.
func (p *scripted) values() (out []string) {
	p.t.Helper()
	for _, m := range p.heard() {
		if ev, ok := m.(*wamp.Event); ok {
			args, _ := ev.Payload.GoValues()
			out = append(out, fmt.Sprint(ev.Details.Topic, " ", args[0], " ", ev.Details.Retained))
		}
	}
	return out
}

// joinRoomy brings a peer into the realm that tells of room.
func (w *world) joinRoomy() *scripted {
	p := w.connectBy("roomy")
	p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles, "authid": "roomy"}})
	p.heard()
	return p
}

// What does not fit at SUBSCRIBE comes when there is room: each topic once, and nothing
// old behind something new.
func TestLastValuesComeAsThereIsRoom(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		pub, _ := w.join("pub")
		const n = 5000 // more than are looked at in one go
		for i := range n {
			pub.retain(fmt.Sprint("t.", i), "old")
		}
		pub.retain("u.other", "x")
		sub := w.joinRoomy()
		sub.takes(1 + 10) // SUBSCRIBED
		sub.say(&wamp.Subscribe{Request: 1, Topic: "t.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}})
		seen := map[string]int{}
		take := func(want int) {
			t.Helper()
			got := sub.values()
			if len(got) != want {
				t.Fatalf("%d events, want %d", len(got), want)
			}
			for _, v := range got {
				seen[v]++
			}
		}
		take(10)
		// One that has not come yet is replaced, live; one is taken back; one is new.
		sub.takes(2)
		pub.say(&wamp.Publish{Request: 1, Topic: "t.4000", Options: wamp.PublishOptions{Unretain: true}, Payload: wamp.Args("gone")})
		if got := sub.values(); len(got) != 2 {
			t.Fatalf("%v", got)
		} else {
			for _, v := range got {
				seen[v]++
			}
		}
		sub.takes(0)
		pub.retain("t.4001", "lost") // a live event that does not fit, as ever
		sub.takes(1)
		take(1)
		sub.takes(-1)
		time.Sleep(time.Second)
		for _, v := range sub.values() {
			seen[v]++
		}
		for i := range n {
			want := 1
			if i == 4000 || i == 4001 {
				want = 0
			}
			if got := seen[fmt.Sprintf("t.%d old true", i)]; got != want {
				t.Errorf("t.%d came %d times", i, got)
			}
		}
		pub.retain("t.1", "live")
		if got := sub.values(); !slices.Contains(got, "t.1 live false") {
			t.Errorf("%v", got)
		}
	})
}

func TestNoLastValuesBehindUnsubscribed(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		pub, _ := w.join("pub")
		for i := range 100 {
			pub.retain(fmt.Sprint("t.", i), "x")
		}
		sub := w.joinRoomy()
		sub.takes(1 + 5)
		sub.say(&wamp.Subscribe{Request: 1, Topic: "t.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}})
		if n := len(sub.values()); n != 5 {
			t.Errorf("%d came", n)
		}
		sub.mu.Lock()
		sub.fail = func(m wamp.Message) error {
			if _, ok := m.(*wamp.Event); ok {
				return wamp.ErrQueueFull
			}
			return nil
		}
		sub.mu.Unlock()
		sub.say(&wamp.Unsubscribe{Request: 2, Subscription: 1})
		sub.hears(&wamp.Unsubscribed{Request: 2})
		sub.takes(-1)
		time.Sleep(time.Minute)
		sub.hears()
		sub.say(&wamp.Subscribe{Request: 3, Topic: "t.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}})
		if n := len(sub.values()); n != 100 {
			t.Errorf("%d came at the second subscription", n)
		}
	})
}

func TestASessionEndsInTheMiddleOfLastValues(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		pub, _ := w.join("pub")
		for i := range 100 {
			pub.retain(fmt.Sprint("t.", i), "x")
		}
		sub := w.joinRoomy()
		sub.takes(1 + 5)
		sub.say(&wamp.Subscribe{Request: 1, Topic: "t.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}})
		close(sub.in)
	})
}

func TestKeepOrRefuse(t *testing.T) {
	within(t, router.RealmConfig{MaxRetained: 2}, func(w *world) {
		pub, _ := w.join("pub")
		sub, _ := w.join("sub")
		sub.say(&wamp.Subscribe{Request: 1, Topic: "", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}})
		sub.heard()
		strict := wamp.PublishOptions{Acknowledge: true, Retain: true, KeepOrRefuse: true}
		for i, topic := range []wamp.URI{"a", "b", "c", "a"} {
			pub.say(&wamp.Publish{Request: wamp.ID(i + 1), Topic: topic, Options: strict, Payload: wamp.Args("x")})
		}
		var got []string
		for _, m := range pub.heard() {
			uri := wamp.URI("")
			if e, ok := m.(*wamp.ErrorReply); ok {
				uri = e.URI
			}
			got = append(got, fmt.Sprint(m.Type(), uri))
		}
		if want := "[PUBLISHED PUBLISHED ERRORgantry.error.limit PUBLISHED]"; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
		if got := fmt.Sprint(sub.values()); got != "[a x false b x false a x false]" {
			t.Errorf("the subscriber got %s", got)
		}
		if st := w.Stats("realm1"); st.Retained != 2 || st.NotRetained != 1 {
			t.Errorf("%+v", st)
		}
	})
}
