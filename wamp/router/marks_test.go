package router_test

import (
	"fmt"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/router"
)

// sayOnce publishes with wamp.Once.
func (p *scripted) sayOnce(stream string, epoch, seq uint64) {
	p.t.Helper()
	p.request++
	p.say(&wamp.Publish{Request: p.request, Topic: "x", Options: wamp.PublishOptions{
		Acknowledge: true, Once: &wamp.Once{Stream: stream, Epoch: epoch, Seq: seq}}})
}

// told tells marks as text.
func told(marks []router.Mark) string {
	var out []string
	for _, m := range marks {
		out = append(out, fmt.Sprintf("%s %d/%d", strings.ReplaceAll(m.Key, "\x00", ":"), m.Epoch, m.Seq))
	}
	return strings.Join(out, ", ")
}

// TestWhatWasRefusedIsJudgedAnew has publications refused whose publisher does not learn
// of it and sends them once more, when the mark of their stream has gone past them.
func TestWhatWasRefusedIsJudgedAnew(t *testing.T) {
	shut := true
	may := func(_ router.Identity, a router.Action, uri wamp.URI, _ wamp.Match) (bool, error) {
		return a != router.ActionPublish || uri != "bad" || !shut, nil
	}
	within(t, router.RealmConfig{Authorize: may}, func(w *world) {
		pub, _ := w.join("pub")
		sub, _ := w.join("sub")
		for i, topic := range []wamp.URI{"bad", "good"} {
			sub.say(&wamp.Subscribe{Request: wamp.ID(i + 1), Topic: topic})
		}
		sub.heard()
		for _, c := range []struct {
			shut, again bool
			topic       wamp.URI
			seq         uint64
			error       wamp.URI
			routed      bool
		}{
			{shut: true, topic: "good", seq: 1, routed: true},
			{shut: true, topic: "bad", seq: 2, error: wamp.ErrURINotAuthorized},
			{shut: true, topic: "bad", seq: 3, error: wamp.ErrURINotAuthorized},
			{shut: true, topic: "good", seq: 4, routed: true},
			{shut: true, topic: "bad", seq: 2, error: wamp.ErrURINotAuthorized},
			{topic: "bad", seq: 2, routed: true},
			{topic: "bad", seq: 2},
			{topic: "bad", seq: 5, routed: true}, // overtakes 3
			{topic: "bad", seq: 3, error: wamp.ErrURIInvalidArgument},
			{topic: "bad", seq: 3, error: wamp.ErrURIInvalidArgument},
			{topic: "bad", seq: 2},
			{topic: "bad", seq: 3, again: true, routed: true}, // its publisher has an order of its own
			{topic: "bad", seq: 3, again: true},
			{topic: "bad", seq: 3},
			{topic: "good", seq: 9, routed: true},
			{topic: "good", seq: 8, again: true, routed: true},
			{topic: "good", seq: 8},
			{shut: true, topic: "bad", seq: 10, error: wamp.ErrURINotAuthorized},
			{topic: "bad", seq: 10, routed: true},
			{topic: "bad", seq: 10},
		} {
			shut = c.shut
			pub.request++
			pub.say(&wamp.Publish{Request: pub.request, Topic: c.topic, Options: wamp.PublishOptions{
				Acknowledge: true, Once: &wamp.Once{Stream: "s", Epoch: 1, Seq: c.seq, Again: c.again}}})
			if c.error != "" {
				pub.hears(refusal(wamp.TypePublish, pub.request, c.error))
			} else {
				pub.hears(&wamp.Published{Request: pub.request})
			}
			if got := len(sub.heard()) == 1; got != c.routed {
				t.Errorf("%+v: routed %v", c, got)
			}
		}
	})
}

// TestStraysAreBounded has more publications refused than are known of: those above the
// bound are taken for repetitions, and what has been routed never twice.
func TestStraysAreBounded(t *testing.T) {
	shut := true
	may := func(_ router.Identity, a router.Action, _ wamp.URI, _ wamp.Match) (bool, error) {
		return a != router.ActionPublish || !shut, nil
	}
	within(t, router.RealmConfig{Authorize: may, MaxStreams: 1000}, func(w *world) {
		pub, _ := w.join("pub")
		for i := range 2000 {
			for seq := range uint64(100) {
				pub.sayOnce(fmt.Sprint(i%1500), 1, seq+1)
			}
			pub.heard()
		}
		shut = false
		sub, _ := w.join("sub")
		sub.say(&wamp.Subscribe{Request: 1, Topic: "x"})
		sub.heard()
		pub.sayOnce("new", 1, 1)
		pub.sayOnce("new", 1, 1)
		if n := len(sub.heard()); n != 1 {
			t.Errorf("routed %d times", n)
		}
	})
}

// TestRefusalsMoveNoMarks has somebody refused in very many streams: the marks of others
// stay, and there is nothing to keep over a restart.
func TestRefusalsMoveNoMarks(t *testing.T) {
	may := func(who router.Identity, a router.Action, _ wamp.URI, _ wamp.Match) (bool, error) {
		return a != router.ActionPublish || who.AuthID != "mallory", nil
	}
	within(t, router.RealmConfig{Authorize: may, MaxStreams: 3}, func(w *world) {
		pub, _ := w.join("pub")
		mallory, _ := w.join("mallory")
		pub.sayOnce("a", 1, 5)
		for i := range 10 {
			mallory.sayOnce(fmt.Sprint(i), 1, 1)
		}
		pub.sayOnce("b", 1, 5)
		for i := range 10 {
			mallory.sayOnce(fmt.Sprint(i), 1, 1)
		}
		pub.sayOnce("c", 1, 5) // in the place of one of mallory's
		moved, gone := w.TakeMarks(10)
		if told(moved) != "pub:a 1/5, pub:b 1/5, pub:c 1/5" || len(gone) != 0 {
			t.Errorf("moved %s, gone %s", told(moved), told(gone))
		}
		sub, _ := w.join("sub")
		sub.say(&wamp.Subscribe{Request: 1, Topic: "x"})
		sub.heard()
		for _, stream := range []string{"a", "b", "c"} {
			pub.sayOnce(stream, 1, 5)
		}
		if n := len(sub.heard()); n != 0 {
			t.Errorf("%d repetitions were routed", n)
		}
	})
}

func TestMarksAreTakenAndRestored(t *testing.T) {
	var taken []router.Mark
	within(t, router.RealmConfig{MaxStreams: 3}, func(w *world) {
		pub, _ := w.join("pub")
		for _, stream := range []string{"a", "b", "c", "a"} {
			pub.sayOnce(stream, 7, uint64(pub.request)+10)
		}
		pub.sayOnce("b", 7, 1) // repeated: used, not moved
		moved, gone := w.TakeMarks(2)
		if got := told(moved); got != "pub:c 7/12, pub:a 7/13" || len(gone) != 0 {
			t.Errorf("first %s, gone %v", got, gone)
		}
		rest, _ := w.TakeMarks(10)
		if got := told(rest); got != "pub:b 7/11" {
			t.Errorf("then %s", got)
		}
		pub.sayOnce("d", 7, 1)
		pub.sayOnce("e", 7, 1)
		pub.sayOnce("f", 7, 1)
		pub.sayOnce("g", 7, 1) // in the place of d, which nobody has taken
		last, gone := w.TakeMarks(10)
		if got := told(last); got != "pub:e 7/1, pub:f 7/1, pub:g 7/1" || len(gone) != 3 || gone[0].Realm != "realm1" {
			t.Errorf("at last %s, gone %s", got, told(gone))
		}
		if again, gone := w.TakeMarks(10); len(again)+len(gone) != 0 {
			t.Errorf("again: %s, %s", told(again), told(gone))
		}
		taken = last
	})
	within(t, router.RealmConfig{MaxStreams: 3}, func(w *world) {
		taken = append(taken, router.Mark{Realm: "realm9", Key: "pub\x00z", Epoch: 1, Seq: 1})
		if left := w.RestoreMarks(taken); len(left) != 1 || left[0].Realm != "realm9" {
			t.Errorf("left %s", told(left))
		}
		pub, _ := w.join("pub")
		sub, _ := w.join("sub")
		sub.say(&wamp.Subscribe{Request: 1, Topic: "x"})
		sub.heard()
		for _, c := range []struct {
			stream string
			seq    uint64
			routed bool
		}{{"e", 1, false}, {"e", 2, true}, {"h", 1, true}} {
			pub.sayOnce(c.stream, 7, c.seq)
			if got := len(sub.heard()) == 1; got != c.routed {
				t.Errorf("%+v: routed %v", c, got)
			}
		}
		moved, gone := w.TakeMarks(10)
		if told(moved) != "pub:e 7/2, pub:h 7/1" || told(gone) != "pub:f 0/0" {
			t.Errorf("moved %s, gone %s", told(moved), told(gone))
		}
	})
}

func TestNamesOfStreamsAreBounded(t *testing.T) {
	within(t, router.RealmConfig{}, func(w *world) {
		pub, _ := w.join("pub")
		pub.sayOnce(strings.Repeat("s", 255), 1, 1)
		if _, ok := pub.heard()[0].(*wamp.Published); !ok {
			t.Error("255 bytes are refused")
		}
		pub.sayOnce(strings.Repeat("s", 256), 1, 1)
		if e, ok := pub.heard()[0].(*wamp.ErrorReply); !ok || e.URI != wamp.ErrURIInvalidArgument {
			t.Errorf("256 bytes: %v", e)
		}
	})
}
