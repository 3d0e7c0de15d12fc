package uplink_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"gantry/bridge/uplink"
	"gantry/wamp"
)

// TestHowSoonItConnectsAgain has a router that is killed again and again, 3 s after each
// connection. As long as it takes events, the uplink comes back at once; when it takes
// none, ever later.
func TestHowSoonItConnectsAgain(t *testing.T) {
	for _, c := range []struct {
		name       string
		taken      bool // an event in each connection
		most, once time.Duration
	}{
		{"a router that takes events", true, 2 * time.Second, 0},
		{"a router that only lets the uplink in", false, time.Minute, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				far := newRealm(t, nil)
				defer far.stop()
				dialled := make(chan time.Time)
				way := newFuse(func(ctx context.Context) (wamp.Peer, error) {
					select {
					case dialled <- time.Now():
						return far.pipe(), nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				})
				s := newSetup(t, t.TempDir(), uplink.Config{Forward: []string{"point"}}, way.dial)
				defer s.stop()
				<-dialled
				longest := time.Duration(0)
				for i := range 20 {
					if c.taken {
						s.publish("temp", i+1, i+1)
					}
					time.Sleep(3 * time.Second)
					killed := time.Now()
					way.blow()
					waited := (<-dialled).Sub(killed)
					longest = max(longest, waited)
					if waited < time.Second || waited > c.most {
						t.Errorf("connection %d was tried after %s", i+2, waited)
					}
				}
				if longest < c.once {
					t.Errorf("the longest wait was %s", longest)
				}
			})
		})
	}
}
