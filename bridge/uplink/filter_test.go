package uplink

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
)

func TestFilter(t *testing.T) {
	t.Parallel()
	cfg := Config{Include: []string{"point.meter.", "point..power", "state.."}, Exclude: []string{"point.meter.noise"}}
	f := newFilter(cfg, "gantry.g1.")
	for topic, want := range map[wamp.URI]bool{
		"gantry.g1.point.meter.voltage": true,
		"gantry.g1.point.meter.noise":   false,
		"gantry.g1.point.pump.power":    true,
		"gantry.g1.point.pump.voltage":  false,
		"gantry.g1.state.pump.link":     true,
		"gantry.g2.point.meter.voltage": false,
	} {
		if got := f.passes(topic); got != want {
			t.Errorf("%s: %t", topic, got)
		}
	}
	if all := newFilter(Config{}, "gantry.g1."); !all.passes("gantry.g1.point.a.b") {
		t.Error("nothing passes a filter without rules")
	}
}

func TestSampling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFilter(Config{Sample: []Sample{{Topic: "point.fast.", Every: 10 * time.Second}}}, "gantry.g1.")
		passed := map[wamp.URI]int{}
		for range 100 {
			for _, topic := range []wamp.URI{"gantry.g1.point.fast.a", "gantry.g1.point.fast.b", "gantry.g1.point.slow.a"} {
				if f.passes(topic) {
					passed[topic]++
				}
			}
			time.Sleep(time.Second)
		}
		if passed["gantry.g1.point.fast.a"] != 10 || passed["gantry.g1.point.fast.b"] != 10 || passed["gantry.g1.point.slow.a"] != 100 {
			t.Error(passed)
		}
	})
}

func TestLimiter(t *testing.T) {
	for name, c := range map[string]struct {
		rate Rate
		size int
		want int // events in 100 s
	}{
		"events": {Rate{Events: 20}, 1000, 2000},
		"bytes":  {Rate{Bytes: 5000}, 1000, 500},
		"both":   {Rate{Events: 20, Bytes: 5000}, 1000, 500},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(c.rate)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
				defer cancel()
				n := 0
				for l.wait(ctx) == nil {
					l.take(c.size)
					n++
				}
				// What was saved up at the beginning comes on top.
				if extra := n - c.want; extra < 0 || extra > c.want/50 {
					t.Errorf("%d events", n)
				}
			})
		})
	}
}

// The backlog pays for live values, which do not wait.
func TestLimiterPrefersLiveValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(Rate{Events: 10})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		backlog := 0
		var live sync.WaitGroup
		defer live.Wait()
		live.Go(func() {
			for ctx.Err() == nil {
				l.take(1)
				time.Sleep(250 * time.Millisecond)
			}
		})
		for l.wait(ctx) == nil {
			l.take(1)
			backlog++
		}
		if backlog < 600 || backlog > 615 {
			t.Errorf("%d events beside 400 live ones", backlog)
		}
	})
}
