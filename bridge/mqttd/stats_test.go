package mqttd_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"

	"gantry/bridge/mqttd"
	"gantry/wamp"
)

// Whatever a client or its messages lose has a count.
func TestEveryLossIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mqttd.Config{MaxFilters: 2, MaxSessions: 3}, true)
		s := w.session()
		p := w.five()
		p.connect("p", nil)
		away := w.five()
		away.connect("away", expiring(100))
		if codes := away.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1}, v5.SubOptions{Topic: "low"}, v5.SubOptions{Topic: "third"}); codes[2] != 0x97 {
			t.Errorf("codes %v", codes)
		}
		m := w.five()
		m.connect("m", nil)
		for n, filter := range []string{"a/#/b", "forbidden/x"} {
			if codes := m.subscribe(nil, v5.SubOptions{Topic: filter}); codes[0] < 0x80 {
				t.Errorf("filter %d: %v", n, codes)
			}
		}
		m.subscribe(nil, v5.SubOptions{Topic: "odd/+", QoS: 1})
		if a := w.five().connect("fourth", nil); a.ReasonCode != 0x88 {
			t.Errorf("CONNACK %#x", a.ReasonCode)
		}
		away.send(&v5.Disconnect{Properties: &v5.Properties{}})
		synctest.Wait()
		p.publish("a", "expires", 1, 1, func(p *v5.Publish) { p.Properties.MessageExpiry = ptr[uint32](1) })
		expect[v5.Puback](p)
		p.publish("a", "stays", 1, 2, nil)
		expect[v5.Puback](p)
		p.publish("low", "x", 0, 0, nil)
		p.again("b", "x", 3, false)
		expect[v5.Pubrec](p)
		p.again("b", "x", 3, true)
		expect[v5.Pubrec](p)
		if err := s.Publish(t.Context(), "odd.x", wamp.PublishOptions{Acknowledge: true}, wamp.Args(math.NaN(), 1)); err != nil {
			t.Fatal(err)
		}
		m.quiet()
		wild := wamp.Values(wamp.List{1}, wamp.Dict{"mqtt": wamp.Dict{"response_topic": "a/#", "content_type": "x"}})
		if err := s.Publish(t.Context(), "odd.y", wamp.PublishOptions{Acknowledge: true}, wild); err != nil {
			t.Fatal(err)
		}
		if got := m.message("odd/y", "1", 1).Properties; got.ResponseTopic != "" || got.ContentType != "x" {
			t.Errorf("%v", got)
		}
		time.Sleep(10 * time.Second)
		if st := w.server.Stats(); st.Away != 1 || st.AwayMessages != 2 || st.AwayBytes < 20 || st.LongestAway < 10*time.Second || st.LongestAway > 11*time.Second || st.Sessions != 3 {
			t.Errorf("%+v", st)
		}
		away = w.back("away")
		away.message("a", "stays", 1)
		away.send(&v5.Disconnect{Properties: &v5.Properties{}})
		time.Sleep(2000 * time.Second)
		st := w.server.Stats()
		for name, c := range map[string]struct{ got, want uint64 }{
			"filters": {st.Filters, 3}, "no session": {st.NoSession, 1}, "expired": {st.Expired, 1}, "missed": {st.Missed, 1}, "repeated": {st.Repeated, 1},
			"unmappable": {st.Unmappable, 1}, "abandoned": {st.Abandoned, 1}, "sessions expired": {st.SessionsExpired, 1}, "away": {uint64(st.Away), 0}, "cut": {st.Cut, 1},
		} {
			if c.got != c.want {
				t.Errorf("%s: %d, want %d", name, c.got, c.want)
			}
		}
		_ = p.conn.Close()
		_ = m.conn.Close()
	})
}
