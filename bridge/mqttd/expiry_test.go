package mqttd_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"

	"gantry/bridge/mqttd"
	"gantry/internal/wallclock"
)

const halfCentury = 50 * 365 * 24 * time.Hour

// machine is a machine whose clock may be moved.
type machine struct {
	began time.Time
	moved atomic.Int64
	set   atomic.Bool // something keeps the clock right
}

// clock returns the clock of a process. boot names the start of the machine, which was this
// long before the test began.
func (m *machine) clock(boot string, before time.Duration) *wallclock.Clock {
	return wallclock.New(wallclock.Config{
		Boot: boot, Synced: m.set.Load,
		System: func() time.Time { return time.Now().Add(time.Duration(m.moved.Load())) },
		Up:     func() time.Duration { return time.Since(m.began) + before },
	})
}

// TestJumpsOfTheClock moves the machine's clock while a session waits for its client, before and
// behind a restart of the gateway or of the machine. The session and its messages last as long as
// they should.
func TestJumpsOfTheClock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		jump   time.Duration
		reboot bool
		set    bool // the clock can be trusted from the restart on
	}{
		"ahead":                              {halfCentury, false, false},
		"back":                               {-halfCentury, false, false},
		"ahead, when the clock is set":       {halfCentury, false, true},
		"ahead, over a start of the machine": {halfCentury, true, true},
		"back, over a start of the machine":  {-halfCentury, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				hw := &machine{began: time.Now()}
				disk := &memoryTable{entries: map[string][]byte{}}
				w := newWorldAt(t, mqttd.Config{}, nil, hw.clock("first", time.Hour), true, disk, nil)
				m, p := w.five(), w.five()
				m.connect("kept", expiring(1000))
				m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1})
				m.send(&v5.Disconnect{Properties: &v5.Properties{}})
				synctest.Wait()
				p.connect("p", nil)
				lasts := func(n uint32) func(*v5.Publish) {
					return func(p *v5.Publish) { p.Properties.MessageExpiry = &n }
				}
				p.publish("a", "short", 1, 1, lasts(50))
				expect[v5.Puback](p)
				p.publish("a", "long", 1, 2, lasts(500))
				expect[v5.Puback](p)
				_ = p.conn.Close()
				hw.moved.Store(int64(c.jump / 2))
				time.Sleep(100 * time.Second)

				crashed := disk.copy()
				hw.moved.Store(int64(c.jump))
				boot, before := "first", time.Hour
				if c.reboot {
					boot, before = "second", time.Minute
				}
				hw.set.Store(c.set)
				w = newWorldAt(t, mqttd.Config{}, nil, hw.clock(boot, before), true, crashed, nil)
				time.Sleep(100 * time.Second)
				m = w.back("kept")
				got := expect[v5.Publish](m)
				want := uint32(300)
				if c.reboot { // nobody knows how long the machine was off
					want = 400
					if string(got.Payload) == "short" {
						t.Error("expired, and sent")
					}
				}
				if string(got.Payload) != "long" || *got.Properties.MessageExpiry != want {
					t.Errorf("%q, %d s left, want %d", got.Payload, *got.Properties.MessageExpiry, want)
				}
				m.ack(got)
				m.send(&v5.Disconnect{Properties: &v5.Properties{}})
				synctest.Wait()
				hw.moved.Store(0)
				time.Sleep(999 * time.Second)
				if st := w.server.Stats(); st.Away != 1 || st.LongestAway != 999*time.Second {
					t.Errorf("%+v", st)
				}
				time.Sleep(2 * time.Second)
				if st := w.server.Stats(); st.Away != 0 || st.SessionsExpired != 1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}
