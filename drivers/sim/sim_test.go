package sim_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/sim"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ms(n int) *drivers.Duration {
	d := drivers.Duration(time.Duration(n) * time.Millisecond)
	return &d
}

func device(t *testing.T, cfg sim.Config) *sim.Driver {
	t.Helper()
	d, err := sim.New(cfg, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver { return device(t, sim.Config{Period: ms(5)}) })
}

func TestKindMakesAGreenhouse(t *testing.T) {
	t.Parallel()
	d, err := sim.Kind.New(sim.Kind.Config(), drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	var points, actions []string
	for _, p := range d.Describe().Points {
		points = append(points, p.ID)
	}
	for _, a := range d.Describe().Actions {
		actions = append(actions, a.ID)
	}
	if diff := cmp.Diff([]string{"humidity", "lamp", "light", "soil", "temperature", "valve"}, points); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"move"}, actions); diff != "" {
		t.Error(diff)
	}
}

// runFor runs d for that long and returns what it reported.
func runFor(t *testing.T, d drivers.Driver, long time.Duration) (*drivertest.Link, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	link := &drivertest.Link{}
	return link, d.Run(ctx, link)
}

func values(link *drivertest.Link, point string) []drivers.Value {
	var all []drivers.Value
	for _, r := range link.Readings() {
		if r.Point == point {
			all = append(all, r.Value)
		}
	}
	return all
}

func TestSameSeedSameReadings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, _ := runFor(t, device(t, sim.Config{Seed: 7}), 30*time.Second+1)
		b, _ := runFor(t, device(t, sim.Config{Seed: 7}), 30*time.Second+1)
		c, _ := runFor(t, device(t, sim.Config{Seed: 8}), 30*time.Second+1)
		if n := len(values(a, "temperature")); n != 31 {
			t.Errorf("%d readings in 30 s at 1 s, the first at once", n)
		}
		if diff := cmp.Diff(values(a, "temperature"), values(b, "temperature")); diff != "" {
			t.Error(diff)
		}
		if cmp.Equal(values(a, "temperature"), values(c, "temperature")) {
			t.Error("another seed gives the same readings")
		}
	})
}

func TestSensorsDriftWithinTheirRange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := sim.Config{Points: map[string]sim.PointConfig{
			"a": {Kind: "drift", Base: 10, Swing: 2, Noise: 0.5, Cycle: ms(60000)},
			"l": {Kind: "light", Base: 1000, Cycle: ms(60000)},
		}}
		link, _ := runFor(t, device(t, cfg), 2*time.Minute)
		var least, most float64 = 10, 10
		for _, v := range values(link, "a") {
			least, most = min(least, v.(float64)), max(most, v.(float64))
		}
		if least < 7.5 || most > 12.5 || least > 8.5 || most < 11.5 {
			t.Errorf("between %v and %v", least, most)
		}
		dark := 0
		for _, v := range values(link, "l") {
			if v.(float64) == 0 {
				dark++
			}
		}
		if n := len(values(link, "l")); dark < n/3 || dark > 2*n/3 {
			t.Errorf("dark in %d of %d readings", dark, n)
		}
	})
}

// inBubble runs d in a synctest bubble and calls f while it runs.
func inBubble(t *testing.T, cfg sim.Config, f func(t *testing.T, d *sim.Driver, link *drivertest.Link)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := device(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		link := &drivertest.Link{}
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx, link) }()
		synctest.Wait()
		f(t, d, link)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRelaySwitches(t *testing.T) {
	inBubble(t, sim.Config{}, func(t *testing.T, d *sim.Driver, link *drivertest.Link) {
		if got, err := d.Write(t.Context(), "lamp", true); got != true || err != nil {
			t.Errorf("%v, %v", got, err)
		}
		if _, err := d.Write(t.Context(), "lamp", "on"); err == nil {
			t.Error("a text switches a relay")
		}
		<-time.After(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]drivers.Value{false, true}, values(link, "lamp")); diff != "" {
			t.Error(diff)
		}
	})
}

func TestValveTakesItsTimeAndReports(t *testing.T) {
	inBubble(t, sim.Config{}, func(t *testing.T, d *sim.Driver, _ *drivertest.Link) {
		var steps []float64
		begin := time.Now()
		got, err := d.Do(t.Context(), "move", map[string]any{"to": 24.0}, func(v any) {
			steps = append(steps, v.(map[string]any)["position"].(float64))
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(any(map[string]any{"position": 24.0}), got); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(begin); took != 960*time.Millisecond {
			t.Errorf("24 %% of 4 s took %v", took)
		}
		if diff := cmp.Diff([]float64{5, 10, 15, 20}, steps); diff != "" {
			t.Error(diff)
		}
		// Back down by the point itself.
		back, err := d.Write(t.Context(), "valve", 0.0)
		if err != nil || back != 0.0 {
			t.Errorf("%v, %v", back, err)
		}
	})
}

func TestCancelledValveStopsWhereItIs(t *testing.T) {
	inBubble(t, sim.Config{Period: ms(100)}, func(t *testing.T, d *sim.Driver, link *drivertest.Link) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := d.Do(ctx, "move", map[string]any{"to": int64(100)}, func(any) {}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		<-time.After(time.Second)
		synctest.Wait()
		all := values(link, "valve")
		if last := all[len(all)-1]; last != 25.0 {
			t.Errorf("stands at %v, want 25", last)
		}
		short, done := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer done()
		if _, err := d.Write(short, "valve", 0.0); !errors.Is(err, drivers.ErrTimeout) {
			t.Errorf("error %v", err)
		}
	})
}

func TestMovingValveIsBusy(t *testing.T) {
	inBubble(t, sim.Config{}, func(t *testing.T, d *sim.Driver, _ *drivertest.Link) {
		first := make(chan error, 1)
		go func() {
			_, err := d.Write(t.Context(), "valve", 100.0)
			first <- err
		}()
		synctest.Wait()
		if _, err := d.Do(t.Context(), "move", map[string]any{"to": 0.0}, func(any) {}); !errors.Is(err, drivers.ErrBusy) {
			t.Errorf("error %v", err)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

func TestPositionsOutOfRangeAreRefused(t *testing.T) {
	inBubble(t, sim.Config{}, func(t *testing.T, d *sim.Driver, _ *drivertest.Link) {
		for _, to := range []any{-0.1, 100.1, nil, "50"} {
			if _, err := d.Do(t.Context(), "move", map[string]any{"to": to}, func(any) {}); err == nil {
				t.Errorf("moved to %v", to)
			}
		}
		if _, err := d.Do(t.Context(), "move", map[string]any{"to": 1.0, "speed": 2}, func(any) {}); err == nil {
			t.Error("unknown argument was taken")
		}
	})
}

func TestEachOfSeveralValvesHasItsAction(t *testing.T) {
	t.Parallel()
	d := device(t, sim.Config{Points: map[string]sim.PointConfig{"a": {Kind: "valve"}, "b": {Kind: "valve"}}})
	var ids []string
	for _, a := range d.Describe().Actions {
		ids = append(ids, a.ID)
	}
	if diff := cmp.Diff([]string{"move_a", "move_b"}, ids); diff != "" {
		t.Error(diff)
	}
}

func one(faults ...sim.FaultConfig) sim.Config {
	return sim.Config{Points: map[string]sim.PointConfig{"a": {Kind: "drift"}}, Faults: faults}
}

func TestSilenceAndGarbageEndAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := one(sim.FaultConfig{Kind: "silence", After: 2, For: 3}, sim.FaultConfig{Kind: "garbage", After: 6, For: 2})
		link, err := runFor(t, device(t, cfg), 9*time.Second+1)
		if err != nil {
			t.Fatal(err)
		}
		// Rounds 0 1, silence in 2 3 4, 5, garbage in 6 7, 8 9.
		if n, g := len(link.Readings()), len(link.AllGarbage()); n != 5 || g != 2 {
			t.Errorf("%d readings, %d of garbage, want 5 and 2", n, g)
		}
	})
}

func TestPanicComesOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := device(t, one(sim.FaultConfig{Kind: "panic", After: 2}))
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			runFor(t, d, time.Minute)
		}()
		link, err := runFor(t, d, time.Second+1)
		if err != nil || len(link.Readings()) != 2 {
			t.Errorf("%d readings, %v", len(link.Readings()), err)
		}
	})
}

func TestBlockHoldsRequestsUntilTheirDeadline(t *testing.T) {
	cfg := sim.Config{Faults: []sim.FaultConfig{{Kind: "block"}}}
	inBubble(t, cfg, func(t *testing.T, d *sim.Driver, link *drivertest.Link) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := d.Write(ctx, "lamp", true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if len(link.Readings()) != 0 {
			t.Error("readings although it hangs")
		}
	})
}

func TestSlowDeviceAnswersLate(t *testing.T) {
	late := drivers.Duration(300 * time.Millisecond)
	cfg := sim.Config{Faults: []sim.FaultConfig{{Kind: "slow", After: 1, For: 2, Delay: &late}}}
	inBubble(t, cfg, func(t *testing.T, d *sim.Driver, link *drivertest.Link) {
		lamp := func(want time.Duration) {
			t.Helper()
			begin := time.Now()
			if _, err := d.Write(t.Context(), "lamp", true); err != nil {
				t.Error(err)
			}
			if took := time.Since(begin); took != want {
				t.Errorf("a write took %v, want %v", took, want)
			}
		}
		lamp(0)
		<-time.After(1100 * time.Millisecond) // round 1 is out at 1.3 s
		if n := len(values(link, "soil")); n != 1 {
			t.Errorf("%d readings", n)
		}
		lamp(300 * time.Millisecond)
		<-time.After(2 * time.Second)
		if n := len(values(link, "soil")); n != 4 {
			t.Errorf("%d readings", n)
		}
		lamp(0)
	})
}

func TestLostDeviceStaysAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := device(t, one(sim.FaultConfig{Kind: "lost", After: 1, For: 2}))
		for range 3 {
			if _, err := runFor(t, d, time.Minute); !errors.Is(err, drivers.ErrOffline) {
				t.Errorf("error %v", err)
			}
		}
		if _, err := runFor(t, d, time.Minute); err != nil {
			t.Error(err)
		}
	})
}

func TestBadConfigurationNamesTheKey(t *testing.T) {
	t.Parallel()
	point := func(c sim.PointConfig) sim.Config {
		return sim.Config{Points: map[string]sim.PointConfig{"a": c}}
	}
	for name, tc := range map[string]struct {
		cfg sim.Config
		key string
	}{
		"period":                  {sim.Config{Period: ms(0)}, "period"},
		"no kind":                 {point(sim.PointConfig{}), "point.a.kind"},
		"swing of a relay":        {point(sim.PointConfig{Kind: "relay", Swing: 1}), "point.a"},
		"travel of a drift":       {point(sim.PointConfig{Kind: "drift", Travel: ms(5)}), "point.a.travel"},
		"start beyond the range":  {point(sim.PointConfig{Kind: "valve", Start: 101}), "point.a.start"},
		"cycle of nothing":        {point(sim.PointConfig{Kind: "drift", Cycle: ms(0)}), "point.a.cycle"},
		"huge base":               {point(sim.PointConfig{Kind: "drift", Base: 1e300}), "point.a.base"},
		"unknown fault":           {one(sim.FaultConfig{Kind: "fire"}), "fault.0.kind"},
		"a delay of a panic":      {one(sim.FaultConfig{Kind: "panic", Delay: ms(5)}), "fault.0.delay"},
		"a delay of nothing":      {one(sim.FaultConfig{Kind: "slow", Delay: ms(0)}), "fault.0.delay"},
		"a panic that lasts":      {one(sim.FaultConfig{Kind: "panic", For: 2}), "fault.0.for"},
		"a name with a capital A": {sim.Config{Points: map[string]sim.PointConfig{"A": {Kind: "drift"}}}, "point.A"},
	} {
		_, err := sim.New(tc.cfg, drivers.Env{})
		var ce *drivers.ConfigError
		if !errors.As(err, &ce) || ce.Key != tc.key || ce.Allowed == "" {
			t.Errorf("%s: error %v, want one for %s that says what is allowed", name, err, tc.key)
		}
	}
}

func TestGarbageIsNoValue(t *testing.T) {
	t.Parallel()
	drivertest.GarbageIsNoValue(t, device(t, one(sim.FaultConfig{Kind: "garbage"})), func() {})
}
