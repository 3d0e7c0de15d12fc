package uplink_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"gantry/bridge/uplink"
	"gantry/wamp"
)

// line is a connection that delivers so many messages a second.
type line struct {
	wamp.Peer
	pause time.Duration
}

func (l *line) Recv() (wamp.Message, error) {
	m, err := l.Peer.Recv()
	time.Sleep(l.pause)
	return m, err
}

// TestNewestValuesGoFirst has a long queue on a slow line: the newest value of each
// point goes ahead of it without a number, and the stream stays whole.
func TestNewestValuesGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := newRealm(t, nil)
		defer far.stop()
		c := far.collect(far.join(), "gantry.g1.point.", wamp.SubscribeOptions{})
		open := make(chan struct{})
		dial := func(ctx context.Context) (wamp.Peer, error) {
			select {
			case <-open:
				return &line{far.pipe(), 10 * time.Millisecond}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		s := newSetup(t, t.TempDir(), uplink.Config{}, dial)
		defer s.stop()
		s.publish("temp", 1, 3000)
		close(open)
		time.Sleep(10 * time.Second) // a third of it
		s.publish("temp", 3001, 3001)
		s.publish("power", 1, 1)
		time.Sleep(time.Second)
		synctest.Wait()
		live := map[wamp.URI]any{}
		count := 0
		for _, e := range c.wait(t, 1) {
			if e.kwargs["live"] == true {
				if e.kwargs["seq"] != nil || e.kwargs["ep"] != nil || e.kwargs["replay"] != nil || e.ret {
					t.Errorf("a live value with numbers: %+v", e)
				}
				live[e.topic] = e.value
				count++
			}
		}
		if live["gantry.g1.point.dev.temp"] != int64(3001) || live["gantry.g1.point.dev.power"] != int64(1) {
			t.Errorf("after a second the far side knows %v", live)
		}
		if count > 3 {
			t.Errorf("%d live values of 2 points", count)
		}
		all := c.waitLong(t, 3002+count, time.Hour)
		next := int64(1)
		for _, e := range all {
			if e.kwargs["live"] == nil && e.topic == "gantry.g1.point.dev.temp" {
				if e.value != next {
					t.Fatalf("%+v in place of %d", e, next)
				}
				next++
			}
		}
		if next != 3002 {
			t.Errorf("the stream ends with %d", next-1)
		}
	})
}

// TestAQuickQueueHasNoLiveValues: what is soon through goes in its turn.
func TestAQuickQueueHasNoLiveValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := newRealm(t, nil)
		defer far.stop()
		c := far.collect(far.join(), "gantry.g1.point.", wamp.SubscribeOptions{})
		s := newSetup(t, t.TempDir(), uplink.Config{}, always(far))
		defer s.stop()
		for i := range 20 {
			s.publish("temp", i*100+1, i*100+100)
			time.Sleep(time.Second)
		}
		for i, e := range c.wait(t, 2000) {
			if e.value != int64(i+1) || e.kwargs["live"] != nil {
				t.Fatalf("%d: %+v", i, e)
			}
		}
	})
}
