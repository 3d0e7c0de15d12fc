package uplink_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gantry/bridge/uplink"
	"gantry/wamp"
	"gantry/wamp/router"
)

// moody is a far router that refuses events on one topic while refuse says so.
func moody(t *testing.T, refuse func() bool) *realm {
	return newRealm(t, func(_ router.Identity, action router.Action, uri wamp.URI, _ wamp.Match) (bool, error) {
		if action == router.ActionPublish && uri == "gantry.g1.point.dev.bad" && refuse() {
			return false, errors.New("down")
		}
		return true, nil
	})
}

// split returns the values of the topic bad, and checks those of temp.
func split(t *testing.T, all []event) (bad []any) {
	t.Helper()
	next := int64(1)
	for _, e := range all {
		switch {
		case e.topic == "gantry.g1.point.dev.bad":
			bad = append(bad, e.value)
		case e.value == next:
			next++
		default:
			t.Errorf("temp: %v in place of %d", e.value, next)
		}
	}
	return bad
}

// TestOrderIsKeptBehindARefusedEvent has a topic that is refused for a second: its
// events wait, in order, and those of another topic go on, also over a new connection.
func TestOrderIsKeptBehindARefusedEvent(t *testing.T) {
	for name, cut := range map[string]bool{"one connection": false, "two connections": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var relents atomic.Bool
				far := moody(t, func() bool { return !relents.Load() })
				defer far.stop()
				got := far.collect(far.join(), "gantry.g1.point.", wamp.SubscribeOptions{})
				line := newFuse(always(far))
				s := newSetup(t, t.TempDir(), uplink.Config{Window: 1000}, line.dial)
				defer s.stop()
				for i := range 20 {
					s.publish("bad", i*3+1, i*3+3)
					s.publish("temp", i*10+1, i*10+10)
				}
				time.Sleep(500 * time.Millisecond)
				synctest.Wait()
				if bad := split(t, got.wait(t, 200)); len(bad) > 0 {
					t.Errorf("%d events of the topic that is refused", len(bad))
				}
				relents.Store(true)
				if cut {
					line.blow()
				}
				bad := split(t, got.waitLong(t, 260, time.Hour))
				for i, v := range bad {
					if v != int64(i+1) {
						t.Fatalf("%v in place of %d", v, i+1)
					}
				}
				time.Sleep(time.Minute)
				st := s.up.Status()
				if len(got.wait(t, 260)) != 260 || st["dead_letters"] != uint64(0) || st["depth"] != uint64(0) {
					t.Errorf("%d events, %v", len(got.events), st)
				}
			})
		})
	}
}

// TestAnOvertakenEventIsSetAside has an event refused whose successors are taken: it
// must not come behind them.
func TestAnOvertakenEventIsSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		far := moody(t, func() bool {
			if asked.Add(1) != 3 {
				return false
			}
			time.Sleep(100 * time.Millisecond) // until its successors are on their way
			return true
		})
		defer far.stop()
		got := far.collect(far.join(), "gantry.g1.point.", wamp.SubscribeOptions{})
		s := newSetup(t, t.TempDir(), uplink.Config{}, always(far))
		defer s.stop()
		s.publish("bad", 1, 10)
		time.Sleep(time.Minute)
		st := s.up.Status()
		last := int64(0)
		for _, v := range split(t, got.wait(t, 9)) {
			if v.(int64) <= last || v == int64(3) {
				t.Errorf("%v behind %d", v, last)
			}
			last = v.(int64)
		}
		if st["dead_letters"] != uint64(1) || st["depth"] != uint64(0) {
			t.Error(st)
		}
	})
}

// TestALostRefusalIsNoRepetition cuts the line while a refusal is on its way: the event
// comes again behind its successors' mark, and is delivered in order or set aside.
func TestALostRefusalIsNoRepetition(t *testing.T) {
	for n := range int64(10) {
		synctest.Test(t, func(t *testing.T) {
			var asked atomic.Int64
			var line *fuse
			far := moody(t, func() bool {
				if asked.Add(1) != n+1 {
					return false
				}
				time.Sleep(100 * time.Millisecond) // until its successors are on their way
				line.blow()
				return true
			})
			defer far.stop()
			got := far.collect(far.join(), "gantry.g1.point.", wamp.SubscribeOptions{})
			line = newFuse(always(far))
			s := newSetup(t, t.TempDir(), uplink.Config{}, line.dial)
			defer s.stop()
			s.publish("bad", 1, 10)
			time.Sleep(time.Minute)
			st := s.up.Status()
			aside, _ := st["dead_letters"].(uint64)
			if st["depth"] != uint64(0) || aside > 1 {
				t.Error(st)
			}
			values, next := split(t, got.wait(t, 10-int(aside))), int64(1)
			for _, v := range values {
				if next == n+1 && aside == 1 {
					next++
				}
				if v != next {
					t.Errorf("event %d refused, %d set aside: %v", n+1, aside, values)
					break
				}
				next++
			}
			if len(values)+int(aside) != 10 {
				t.Errorf("event %d refused: %v, %d set aside", n+1, values, aside)
			}
		})
	}
}

// TestWhatIsRefusedSurvivesTheEnd stops a gateway while events are refused: they are
// sent after the restart.
func TestWhatIsRefusedSurvivesTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var relents atomic.Bool
		far := moody(t, func() bool { return !relents.Load() })
		defer far.stop()
		got := far.collect(far.join(), "gantry.g1.point.", wamp.SubscribeOptions{})
		dir := t.TempDir()
		s := newSetup(t, dir, uplink.Config{}, always(far))
		s.publish("bad", 1, 5)
		s.publish("temp", 1, 10)
		got.wait(t, 10)
		synctest.Wait() // the refusals have come
		s.stop()
		relents.Store(true)
		s = newSetup(t, dir, uplink.Config{}, always(far))
		defer s.stop()
		bad := split(t, got.waitLong(t, 15, time.Hour))
		for i, v := range bad {
			if v != int64(i+1) {
				t.Errorf("%v in place of %d", v, i+1)
			}
		}
	})
}
