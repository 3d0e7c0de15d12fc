package router_test

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
)

func TestEventHistory(t *testing.T) {
	rules := []router.HistoryRule{{Topic: "log.", Match: wamp.MatchPrefix}, {Topic: "log.b", MaxEvents: 2}}
	within(t, router.RealmConfig{History: rules}, func(w *world) {
		pub, pubID := w.join("pub")
		var published []wamp.ID
		publish := func(topic wamp.URI, o wamp.PublishOptions, args ...any) {
			o.Acknowledge = true
			pub.say(&wamp.Publish{Request: wamp.ID(len(published) + 1), Topic: topic, Options: o, Payload: wamp.Args(args...)})
			published = append(published, pub.heard()[0].(*wamp.Published).Publication)
			time.Sleep(time.Second)
		}
		start := time.Now().UTC()
		publish("log.a", wamp.PublishOptions{DiscloseMe: true}, 0)
		publish("log.b", wamp.PublishOptions{}, 1)
		publish("log.b", wamp.PublishOptions{}, 2)
		publish("log.b", wamp.PublishOptions{}, 3)
		publish("log.c", wamp.PublishOptions{Filter: &wamp.PublishFilter{EligibleAuthID: []string{"friend"}}}, 4)
		publish("log.c", wamp.PublishOptions{Filter: &wamp.PublishFilter{Eligible: []wamp.ID{}}}, 5)
		publish("log.c", wamp.PublishOptions{Filter: &wamp.PublishFilter{ExcludeAuthRole: []string{"nobody"}}}, []byte{6})

		friend, _ := w.join("friend")
		stranger, _ := w.join("stranger")
		// Nobody has ever subscribed.
		id := func(p *scripted, topic string, options wamp.Dict) int64 {
			t.Helper()
			v, err := p.asks("wamp.subscription.lookup", wamp.List{topic, options}, nil)
			if err != "" || v == nil {
				t.Fatalf("lookup: %v, %s", v, err)
			}
			return int64(v.(wamp.ID))
		}
		all := id(friend, "log.", wamp.Dict{"match": "prefix"})
		values := func(p *scripted, sub int64, kwargs wamp.Dict) string {
			t.Helper()
			v, err := p.asks("wamp.subscription.get_events", wamp.List{sub}, kwargs)
			if err != "" {
				t.Fatalf("get_events %v: %s", kwargs, err)
			}
			var out []any
			for _, ev := range v.(wamp.List) {
				out = append(out, ev.(wamp.Dict)["args"].(wamp.List)[0])
			}
			return fmt.Sprint(out)
		}
		at := func(seconds int) string {
			return start.Add(time.Duration(seconds) * time.Second).Format(time.RFC3339Nano)
		}
		for _, c := range []struct {
			kwargs wamp.Dict
			want   string
		}{
			{nil, "[0 1 2 3 4 [6]]"},
			{wamp.Dict{"reverse": true}, "[[6] 4 3 2 1 0]"},
			{wamp.Dict{"limit": int64(2)}, "[0 1]"},
			{wamp.Dict{"limit": int64(2), "reverse": true}, "[[6] 4]"},
			{wamp.Dict{"topic": "log.b"}, "[1 2 3]"},
			{wamp.Dict{"topic": "log.x"}, "[]"},
			{wamp.Dict{"from_time": at(1), "before_time": at(3)}, "[1 2]"},
			{wamp.Dict{"after_time": at(1), "until_time": at(3)}, "[2 3]"},
			{wamp.Dict{"from_publication": int64(published[1]), "until_publication": int64(published[2])}, "[1 2]"},
			{wamp.Dict{"after_publication": int64(published[1]), "before_publication": int64(published[3])}, "[2]"},
			{wamp.Dict{"after_publication": int64(published[2]), "limit": int64(1)}, "[3]"},
			{wamp.Dict{"before_publication": int64(published[3]), "reverse": true, "limit": int64(2)}, "[2 1]"},
			{wamp.Dict{"until_publication": int64(published[3]), "from_publication": int64(published[1]), "reverse": true}, "[3 2 1]"},
			{wamp.Dict{"from_publication": int64(1)}, "[]"},
		} {
			if got := values(friend, all, c.kwargs); got != c.want {
				t.Errorf("%v: %s, want %s", c.kwargs, got, c.want)
			}
		}
		if got := values(stranger, all, nil); got != "[0 1 2 3 [6]]" {
			t.Errorf("a stranger sees %s", got)
		}
		if got := values(friend, id(friend, "log.b", nil), nil); got != "[2 3]" {
			t.Errorf("the bounded history has %s", got)
		}
		v, _ := friend.asks("wamp.subscription.get_events", wamp.List{all}, wamp.Dict{"limit": int64(1)})
		want := wamp.Dict{
			"timestamp": start.Format("2006-01-02T15:04:05.000Z"), "subscription": wamp.ID(all), "publication": published[0],
			"details": wamp.Dict{"topic": "log.a", "publisher": pubID, "publisher_authid": "pub", "publisher_authrole": "trusted"},
			"args":    wamp.List{int64(0)},
		}
		if got := v.(wamp.List)[0]; !reflect.DeepEqual(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		for _, kwargs := range []wamp.Dict{{"limit": int64(0)}, {"limit": "x"}, {"reverse": 1}, {"from_time": "yesterday"}, {"from_publication": int64(-1)}, {"topic": 1}} {
			friend.refused(wamp.ErrURIInvalidArgument, "wamp.subscription.get_events", wamp.List{all}, kwargs)
		}
		friend.refused(wamp.ErrURINoSuchSubscription, "wamp.subscription.get_events", wamp.List{int64(99)}, nil)

		// A subscription comes and goes; its history stays.
		friend.say(&wamp.Subscribe{Request: 1, Topic: "log.b"}, &wamp.Unsubscribe{Request: 2, Subscription: 2})
		friend.hears(&wamp.Subscribed{Request: 1, Subscription: 2}, &wamp.Unsubscribed{Request: 2})
		publish("log.b", wamp.PublishOptions{}, 7)
		if got := values(friend, 2, nil); got != "[3 7]" {
			t.Errorf("after the last unsubscribe: %s", got)
		}
	})
}

func TestLongHistoriesAreReadInPieces(t *testing.T) {
	within(t, router.RealmConfig{History: []router.HistoryRule{{Topic: "log", MaxEvents: 900}}}, func(w *world) {
		p, _ := w.join("p")
		for i := range 1500 {
			p.say(&wamp.Publish{Request: 1, Topic: "log", Payload: wamp.Args(i)})
		}
		for _, reverse := range []bool{false, true} {
			v, err := p.asks("wamp.subscription.get_events", wamp.List{int64(1)}, wamp.Dict{"reverse": reverse})
			events, _ := v.(wamp.List)
			if err != "" || len(events) != 900 {
				t.Fatalf("%d events, %s", len(events), err)
			}
			for i, ev := range events {
				want := int64(600 + i)
				if reverse {
					want = int64(1499 - i)
				}
				if got := ev.(wamp.Dict)["args"].(wamp.List)[0]; got != want {
					t.Fatalf("event %d is %v, want %d", i, got, want)
				}
			}
		}
	})
}

func TestRetainedValuesExpire(t *testing.T) {
	within(t, router.RealmConfig{RetainedTTL: time.Minute, MaxRetained: 2}, func(w *world) {
		p, _ := w.join("p")
		retain := func(topic wamp.URI) {
			p.say(&wamp.Publish{Request: 1, Topic: topic, Options: wamp.PublishOptions{Retain: true}})
		}
		retain("t.1")
		retain("t.2")
		time.Sleep(30 * time.Second)
		retain("t.1")
		time.Sleep(30 * time.Second)
		retain("t.3") // takes the room of t.2, which has expired
		p.say(&wamp.Subscribe{Request: 2, Topic: "t.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}},
			&wamp.Subscribe{Request: 3, Topic: "t.2", Options: wamp.SubscribeOptions{GetRetained: true}})
		topics := map[wamp.URI]bool{}
		for _, m := range p.heard() {
			if ev, ok := m.(*wamp.Event); ok {
				topics[ev.Details.Topic] = true
			}
		}
		if want := map[wamp.URI]bool{"t.1": true, "t.3": true}; !reflect.DeepEqual(topics, want) {
			t.Errorf("retained: %v", topics)
		}
	})
}

// TestPagesByRecord reads a history in pages behind record numbers, of which the first
// have been dropped, and sees of others' events only that they take numbers.
func TestPagesByRecord(t *testing.T) {
	within(t, router.RealmConfig{History: []router.HistoryRule{{Topic: "log.", Match: wamp.MatchPrefix, MaxEvents: 900}}}, func(w *world) {
		p, _ := w.join("p")
		for i := range 1500 {
			m := &wamp.Publish{Request: 1, Topic: "log.even", Payload: wamp.Args(i)}
			if i%2 == 1 {
				m.Topic = "log.odd"
			}
			if i%3 == 0 {
				m.Options.Filter = &wamp.PublishFilter{EligibleAuthID: []string{"friend"}}
			}
			p.say(m)
		}
		stranger, _ := w.join("stranger")
		var got []int64
		after := int64(0)
		for {
			v, failed := stranger.asks("wamp.subscription.get_events", wamp.List{int64(1)}, wamp.Dict{"_after_record": after, "limit": int64(7), "topic": "log.odd"})
			events, _ := v.(wamp.List)
			if failed != "" {
				t.Fatal(failed)
			}
			if len(events) == 0 {
				break
			}
			for _, ev := range events {
				number, _ := ev.(wamp.Dict)["_record"].(int64)
				value := ev.(wamp.Dict)["args"].(wamp.List)[0].(int64)
				if number != value+1 || number <= after {
					t.Fatalf("record %d is event %d, behind %d", number, value, after)
				}
				after = number
				got = append(got, value)
			}
		}
		var want []int64
		for i := int64(600); i < 1500; i++ {
			if i%2 == 1 && i%3 != 0 {
				want = append(want, i)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d events %v, want %d", len(got), got, len(want))
		}
		if v, _ := stranger.asks("wamp.subscription.get_events", wamp.List{int64(1)}, wamp.Dict{"_after_record": int64(9999)}); len(v.(wamp.List)) != 0 {
			t.Errorf("behind the end: %v", v)
		}
		v, _ := stranger.asks("wamp.subscription.get_events", wamp.List{int64(1)}, wamp.Dict{"_after_record": int64(1499), "reverse": true})
		if list := v.(wamp.List); len(list) != 1 || list[0].(wamp.Dict)["_record"] != int64(1500) {
			t.Errorf("the newest: %v", v)
		}
		for _, kwargs := range []wamp.Dict{{"_after_record": int64(-1)}, {"_after_record": "1"}} {
			stranger.refused(wamp.ErrURIInvalidArgument, "wamp.subscription.get_events", wamp.List{int64(1)}, kwargs)
		}
	})
}

// repeated is a Log of many equal records that counts those it hands out.
type repeated struct {
	record      []byte
	last, given uint64
}

func (l *repeated) Append(record []byte) error { l.record = bytes.Clone(record); return nil }
func (l *repeated) Last() uint64               { return l.last }
func (l *repeated) Read(_ context.Context, after uint64, limit int, each func(uint64, []byte)) (uint64, error) {
	for ; limit > 0 && after < l.last; limit-- {
		after++
		l.given++
		each(after, l.record)
	}
	return after, nil
}

// TestAHistoryIsReadOnce reads a long one in pages and has each record read once or, at
// the end of a page, a second time.
func TestAHistoryIsReadOnce(t *testing.T) {
	log := &repeated{last: 100_000}
	within(t, router.RealmConfig{History: []router.HistoryRule{{Topic: "log", Log: log}}}, func(w *world) {
		p, _ := w.join("p")
		p.say(&wamp.Publish{Request: 1, Topic: "log", Payload: wamp.Args(21.5)})
		var after, pages int64
		for ; ; pages++ {
			v, failed := p.asks("wamp.subscription.get_events", wamp.List{int64(1)}, wamp.Dict{"_after_record": after})
			events, _ := v.(wamp.List)
			if failed != "" {
				t.Fatal(failed)
			}
			if len(events) == 0 {
				break
			}
			after += int64(len(events))
		}
		if after != 100_000 || pages != 100 || log.given > 110_000 {
			t.Errorf("%d events in %d pages took %d records", after, pages, log.given)
		}
		t.Logf("%d events in %d pages took %d records", after, pages, log.given)
	})
}

// holes is a Log that has lost the records between some of its numbers.
type holes struct {
	repeated
	lost [][2]uint64 // from, to
}

func (l *holes) Read(ctx context.Context, after uint64, limit int, each func(uint64, []byte)) (uint64, error) {
	for ; limit > 0 && after < l.last; limit-- {
		after++
		for _, h := range l.lost {
			if h[0] <= after && after <= h[1] {
				after = h[1] + 1
			}
		}
		if after > l.last {
			return l.last, nil
		}
		each(after, l.record)
	}
	return after, nil
}

// TestHolesInAHistory reads histories that damage has made holes into, from the newest
// event back: none that is left is missed.
func TestHolesInAHistory(t *testing.T) {
	for _, lost := range [][][2]uint64{
		{{101, 900}}, {{1, 500}}, {{300, 1000}}, {{2, 999}}, {{100, 350}, {352, 800}}, {{400, 600}, {1, 199}}, {{1, 999}}, {{1, 1000}},
	} {
		log := &holes{repeated: repeated{last: 1000}, lost: lost}
		left := 1000
		for _, h := range lost {
			left -= int(h[1] - h[0] + 1)
		}
		within(t, router.RealmConfig{History: []router.HistoryRule{{Topic: "log", Log: log}}}, func(w *world) {
			p, _ := w.join("p")
			p.say(&wamp.Publish{Request: 1, Topic: "log", Payload: wamp.Args(21.5)})
			v, failed := p.asks("wamp.subscription.get_events", wamp.List{int64(1)}, wamp.Dict{"reverse": true, "limit": int64(1000)})
			events, _ := v.(wamp.List)
			if failed != "" || len(events) != left {
				t.Errorf("%v lost: %d events of %d, %s", lost, len(events), left, failed)
			}
		})
	}
}

// TestWhatIsServedLateIsAmended has last values and the events of a history replaced
// by what is known of them by then; who listens at once gets what was published.
func TestWhatIsServedLateIsAmended(t *testing.T) {
	wrong := time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
	const late = 57 * 365 * 24 * time.Hour
	cfg := router.RealmConfig{
		History: []router.HistoryRule{{Topic: "log"}},
		Now:     func() time.Time { return wrong },
		Amend: func(topic wamp.URI, p wamp.Payload) (wamp.Payload, time.Duration) {
			return wamp.Args("amended " + string(topic)), late
		},
	}
	within(t, cfg, func(w *world) {
		pub, _ := w.join("pub")
		sub, _ := w.join("sub")
		sub.say(&wamp.Subscribe{Request: 1, Topic: "log"})
		sub.heard()
		pub.say(&wamp.Publish{Request: 1, Topic: "log", Options: wamp.PublishOptions{Acknowledge: true, Retain: true}, Payload: wamp.Args("as it was")})
		pub.heard()
		first := func(m wamp.Message) any {
			t.Helper()
			ev, ok := m.(*wamp.Event)
			if !ok {
				t.Fatalf("heard %v", m)
			}
			args, _, err := serialize.Values(ev.Payload)
			if err != nil {
				t.Fatal(err)
			}
			return args[0]
		}
		if got := first(sub.heard()[0]); got != "as it was" {
			t.Errorf("the event says %v", got)
		}
		next, _ := w.join("next")
		next.say(&wamp.Subscribe{Request: 1, Topic: "log", Options: wamp.SubscribeOptions{GetRetained: true}})
		if got := first(next.heard()[1]); got != "amended log" {
			t.Errorf("the last value says %v", got)
		}
		id, _ := next.asks("wamp.subscription.lookup", wamp.List{"log"}, nil)
		v, failed := next.asks("wamp.subscription.get_events", wamp.List{int64(id.(wamp.ID))}, wamp.Dict{"from_time": wrong.Add(late).Format(time.RFC3339)})
		if failed != "" || len(v.(wamp.List)) != 1 {
			t.Fatalf("the history has %v, %s", v, failed)
		}
		ev := v.(wamp.List)[0].(wamp.Dict)
		if at := wrong.Add(late).Format("2006-01-02T15:04:05.000Z"); ev["timestamp"] != at || ev["args"].(wamp.List)[0] != "amended log" {
			t.Errorf("the history has %v, want it at %s", ev, at)
		}
	})
}
