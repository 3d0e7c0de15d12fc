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
