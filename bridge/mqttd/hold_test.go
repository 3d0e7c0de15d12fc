package mqttd_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"

	"gantry/bridge/mqttd"
)

// flood has a subscriber connect that reads nothing, publishes until it is thrown out, and
// returns how long the publisher was held up.
func (w *world) flood(p *five, id string, edit func(*v5.Connect)) time.Duration {
	w.t.Helper()
	m := w.five()
	if !m.connect(id, edit).SessionPresent {
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1})
	}
	slow, start := w.server.Stats().Slow, time.Now()
	for n := 1; w.server.Stats().Slow == slow; n++ {
		if n > 100 {
			w.t.Fatal("not thrown out")
		}
		p.publish("a", fmt.Sprintf("%0200d", n), 1, uint16(n), nil)
		expect[v5.Puback](p)
	}
	d := time.Since(start)
	_ = m.conn.Close()
	synctest.Wait()
	return d
}

// Who reads nothing holds publishers up once; what it may do so again for comes back
// slowly, whatever connections, sessions and client identifiers it makes.
func TestNobodyHoldsPublishersUpAgainAndAgain(t *testing.T) {
	t.Parallel()
	for name, who := range map[string]struct {
		id    func(n int) string
		edit  func(*v5.Connect)
		first time.Duration
	}{
		"a client without a session": {func(int) string { return "same" }, nil, 2 * time.Second},
		"a client with a session":    {func(int) string { return "same" }, expiring(1000), 2 * time.Second},
		"a client of many names":     {func(n int) string { return []string{"same", fmt.Sprint("name", n)}[min(n, 1)] }, nil, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, mqttd.Config{QueueBytes: 4096, InFlight: 2}, true)
				p := w.five()
				p.connect("p", nil)
				var held time.Duration
				for n := range 20 {
					held += w.flood(p, who.id(n), who.edit)
				}
				if held < who.first || held > who.first+time.Second {
					t.Errorf("held for %v", held)
				}
				st := w.server.Stats()
				if st.HeldTime < held || st.HeldTime > held+time.Second || st.Exhausted != 20 || st.Held == 0 || st.Held == 20 {
					t.Errorf("%v held, %+v", held, st)
				}
				time.Sleep(30 * time.Second) // half of a client's comes back in it
				if d := w.flood(p, "same", nil); d < time.Second || d > 1100*time.Millisecond {
					t.Errorf("held for %v after a while", d)
				}
				_ = p.conn.Close()
			})
		})
	}
}
