package hub_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// TestPollingOnDemand subscribes at a real router, by every pattern, and sees which
// points are polled.
func TestPollingOnDemand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newRealm(t)
		var reads cell[[]string]
		drv := newScript(float("a"), float("b")).polled(func(_ context.Context, ids []string) ([]drivers.Reading, error) {
			reads.store(append(reads.load(), strings.Join(ids, " ")))
			var out []drivers.Reading
			for _, id := range ids {
				out = append(out, good(id, 1.0))
			}
			return out, nil
		})
		own, app := w.join(), w.join()
		cfg := hub.DeviceConfig{Demand: true, Every: ptr(dur(time.Second))}
		h, err := hub.New(hub.Config{Gateway: "barn", Epoch: 7}, []hub.Device{device("dev", drv, cfg)}, own, deps(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- h.Run(ctx) }()
		// within returns what is polled in the next 10 s.
		within := func() map[string]int {
			time.Sleep(150 * time.Millisecond) // what has changed is noticed
			synctest.Wait()
			reads.store(nil)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			n := map[string]int{}
			for _, ids := range reads.load() {
				n[ids]++
			}
			return n
		}
		check := func(what string, want map[string]int) {
			t.Helper()
			if d := cmp.Diff(want, within()); d != "" {
				t.Errorf("%s (-want +got):\n%s", what, d)
			}
		}
		var events cell[[]string]
		subscribe := func(topic wamp.URI, match wamp.Match) func() {
			t.Helper()
			undo, err := app.Subscribe(ctx, topic, wamp.SubscribeOptions{Match: match}, func(ev *wamp.Event) {
				_, kwargs, _ := serialize.Values(ev.Payload)
				q, _ := kwargs["q"].(string)
				why, _ := kwargs["why"].(string)
				events.store(append(events.load(), strings.TrimSpace(q+" "+why)))
			})
			if err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := undo(ctx); err != nil {
					t.Error(err)
				}
			}
		}
		check("nobody", map[string]int{})
		first := subscribe("gantry.barn.point.dev.a", wamp.MatchExact)
		check("an exact subscription", map[string]int{"a": 10})
		second := subscribe("gantry..point..", wamp.MatchWildcard)
		check("a pattern", map[string]int{"a b": 10})
		first()
		check("the pattern alone", map[string]int{"a b": 10})
		second()
		check("nobody any more", map[string]int{})
		third := subscribe("gantry.barn.point.dev.b", wamp.MatchExact)
		events.store(nil)
		check("another one", map[string]int{"b": 10})
		last := subscribe("gantry.barn.point.dev.", wamp.MatchPrefix)
		third()
		check("a prefix", map[string]int{"a b": 10})
		for _, e := range events.load() {
			if e != "good" {
				t.Errorf("an event is %s", e)
			}
		}
		last()
		time.Sleep(time.Second)
		got, err := app.Call(ctx, "gantry.barn.get.dev.a", wamp.CallOptions{}, wamp.Values(nil, wamp.Dict{"max_age": int64(60000)}))
		if err != nil {
			t.Fatal(err)
		}
		if _, kwargs, _ := serialize.Values(got); kwargs["q"] != "stale" || kwargs["why"] != "not_polled" {
			t.Errorf("the last value is %v", kwargs)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run = %v", err)
		}
		for _, s := range []interface{ Leave(context.Context) error }{app, own} {
			if err := s.Leave(t.Context()); err != nil {
				t.Errorf("leave: %v", err)
			}
		}
		w.stop()
	})
}

// TestDemandWithoutARouterThatTells polls as if there were subscribers.
func TestDemandWithoutARouterThatTells(t *testing.T) {
	t.Parallel()
	drv := newScript(float("a")).polled(func(context.Context, []string) ([]drivers.Reading, error) {
		return []drivers.Reading{good("a", 1.0)}, nil
	})
	run(t, []hub.Device{device("dev", drv, hub.DeviceConfig{Demand: true, Every: ptr(dur(time.Second))})}, func(b *bench) {
		b.pass(5 * time.Second)
		if n := len(b.point("a")); n < 4 {
			t.Errorf("%d events", n)
		}
	})
}
