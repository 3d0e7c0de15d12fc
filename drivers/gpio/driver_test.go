package gpio

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func (f *fake) device(points map[string]PointConfig) *Driver {
	f.t.Helper()
	d, err := newDriver(Config{Path: f.dir, Points: points}, drivers.Env{Now: func() time.Time { return epoch }}, f.ioctl)
	if err != nil {
		f.t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		f := newFake(t, "IN", "S0", "RELAY", "LAMP")
		return f.device(map[string]PointConfig{
			"door": {Line: "IN"}, "energy": {Line: "S0", Kind: "counter"},
			"pump": {Line: "RELAY", Kind: "output"}, "lamp": {Line: "LAMP", Kind: "pwm"},
		})
	})
}

func get(t testing.TB, d *Driver, id string) drivers.Value {
	t.Helper()
	got, err := d.Read(t.Context(), []string{id})
	if err != nil {
		t.Fatal(err)
	}
	return got[0].Value
}

// await returns when the point has the value.
func await(t testing.TB, d *Driver, id string, want drivers.Value) {
	t.Helper()
	for late := time.Now().Add(drivertest.Patience); ; runtime.Gosched() {
		got := get(t, d, id)
		if got == want {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("%s is %v, not %v", id, got, want)
		}
	}
}

func set(t testing.TB, d *Driver, id string, v drivers.Value) {
	t.Helper()
	if got, err := d.Write(t.Context(), id, v); err != nil || got != v {
		t.Fatal(got, err)
	}
}

func TestInputEdgesHaveTheKernelsTime(t *testing.T) {
	t.Parallel()
	f := newFake(t, "IN")
	d := f.device(map[string]PointConfig{"door": {Line: "IN", ActiveLow: true, Bias: "up", Bounce: drivers.Duration(5 * time.Millisecond)}})
	link := drivertest.Start(t, d)
	link.Wait(t, "the level", func() bool { return len(link.Readings()) == 1 })
	f.pull("IN", true, epoch.Add(time.Second), false)
	f.pull("IN", false, epoch.Add(2*time.Second), false)
	link.Wait(t, "the edges", func() bool { return len(link.Readings()) == 3 })
	want := []drivers.Reading{
		{Point: "door", Value: true, Time: epoch},
		{Point: "door", Value: false, Time: epoch.Add(time.Second)},
		{Point: "door", Value: true, Time: epoch.Add(2 * time.Second)},
	}
	if diff := cmp.Diff(want, link.Readings()); diff != "" {
		t.Error(diff)
	}
	r := f.line("IN").request
	if r.Config.Flags != flagInput|flagRising|flagFalling|flagRealtime|flagActiveLow|flagPullUp || r.Config.NumAttrs != 1 ||
		r.Config.Attrs[0] != (lineConfigAttribute{lineAttribute{ID: attrDebounce, Value: debounceValue(5 * time.Millisecond)}, 1}) || text(r.Consumer) != "gantry" {
		t.Errorf("%+v", r)
	}
}

func TestLostEdgesAreCountedAndReported(t *testing.T) {
	t.Parallel()
	f := newFake(t, "IN", "S0")
	d := f.device(map[string]PointConfig{"door": {Line: "IN"}, "energy": {Line: "S0", Kind: "counter"}})
	link := drivertest.Start(t, d)
	link.Wait(t, "the level", func() bool { return len(link.Readings()) == 1 })
	for i := range 20 {
		f.pull("S0", i%2 == 0, epoch, i < 15) // rising edges 1 to 8 are lost
		f.pull("IN", i%2 == 0, epoch, i < 19)
	}
	link.Wait(t, "the loss", func() bool { return len(link.AllGarbage()) == 1 })
	if diff := cmp.Diff([]drivertest.Garbage{{Why: "overrun", Sample: "19 edges lost"}}, link.AllGarbage()); diff != "" {
		t.Error(diff)
	}
	await(t, d, "energy", int64(10))
}

func TestCounterGoesOnAfterTheChipWasLost(t *testing.T) {
	t.Parallel()
	f := newFake(t, "S0", "RELAY")
	d := f.device(map[string]PointConfig{"energy": {Line: "S0", Kind: "counter"}, "pump": {Line: "RELAY", Kind: "output"}})
	done := make(chan error, 1)
	link := &drivertest.Link{}
	go func() { done <- d.Run(t.Context(), link) }()
	link.WaitUp(t, 1)
	set(t, d, "pump", true)
	f.pull("S0", true, epoch, false)
	await(t, d, "energy", int64(1))
	f.unplug()
	if err := <-done; !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("Run returned %v", err)
	}
	f.gone, f.line("RELAY").high = false, false
	drivertest.Start(t, d).WaitUp(t, 1)
	if get(t, d, "energy") != int64(1) || get(t, d, "pump") != true {
		t.Error("the count or the output's state is forgotten")
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	f := newFake(t, "RELAY")
	d := f.device(map[string]PointConfig{"pump": {Line: "RELAY", Kind: "output", ActiveLow: true}})
	drivertest.Start(t, d).WaitUp(t, 1)
	if !f.isHigh("RELAY") || get(t, d, "pump") != false {
		t.Error("it is on at the start")
	}
	set(t, d, "pump", true)
	if f.isHigh("RELAY") || get(t, d, "pump") != true {
		t.Error("it is off")
	}
}

func TestInitialStateIsThereFromTheFirstMoment(t *testing.T) {
	t.Parallel()
	f := newFake(t, "RELAY")
	drivertest.Start(t, f.device(map[string]PointConfig{"pump": {Line: "RELAY", Kind: "output", Initial: true}})).WaitUp(t, 1)
	if !f.isHigh("RELAY") || len(f.switches("RELAY")) > 0 {
		t.Error("it was switched later, or not at all")
	}
}

// run runs f while d runs, in time that does not pass by itself.
func run(t *testing.T, names []string, points map[string]PointConfig, f func(t *testing.T, k *fake, d *Driver)) {
	synctest.Test(t, func(t *testing.T) {
		k := newFake(t, names...)
		d := k.device(points)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx, &drivertest.Link{}) }()
		synctest.Wait()
		f(t, k, d)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestPulse(t *testing.T) {
	t.Parallel()
	points := map[string]PointConfig{"bell": {Line: "RELAY", Kind: "output"}}
	run(t, []string{"RELAY"}, points, func(t *testing.T, k *fake, d *Driver) {
		begin := time.Now()
		if _, err := d.Do(t.Context(), "pulse", map[string]any{"seconds": 0.25}, nil); err != nil {
			t.Fatal(err)
		}
		want := []fakeSwitch{{begin, true}, {begin.Add(250 * time.Millisecond), false}}
		if diff := cmp.Diff(want, k.switches("RELAY"), cmp.AllowUnexported(fakeSwitch{})); diff != "" {
			t.Error(diff)
		}
	})
	run(t, []string{"RELAY"}, points, func(t *testing.T, k *fake, d *Driver) {
		ctx, cancel := context.WithCancel(t.Context())
		pulse := make(chan error, 2)
		go func() {
			_, err := d.Do(ctx, "pulse", map[string]any{"seconds": 60.0}, nil)
			pulse <- err
		}()
		synctest.Wait()
		if _, err := d.Do(t.Context(), "pulse", map[string]any{"seconds": 1.0}, nil); !errors.Is(err, drivers.ErrBusy) {
			t.Errorf("a second pulse: %v", err)
		}
		cancel()
		if err := <-pulse; !errors.Is(err, context.Canceled) || k.isHigh("RELAY") {
			t.Errorf("cancelled: %v, still on: %v", err, k.isHigh("RELAY"))
		}
		go func() {
			_, err := d.Do(t.Context(), "pulse", map[string]any{"seconds": 60.0}, nil)
			pulse <- err
		}()
		synctest.Wait()
		set(t, d, "bell", true)
		if err := <-pulse; err != nil || !k.isHigh("RELAY") {
			t.Errorf("%v; the pulse's end undid a write", err)
		}
	})
}

func TestPulseEndsWithTheRun(t *testing.T) {
	t.Parallel()
	var k *fake
	pulse := make(chan error, 1)
	run(t, []string{"RELAY"}, map[string]PointConfig{"bell": {Line: "RELAY", Kind: "output"}}, func(t *testing.T, f *fake, d *Driver) {
		k = f
		go func() {
			_, err := d.Do(context.Background(), "pulse", map[string]any{"seconds": 60.0}, nil)
			pulse <- err
		}()
		synctest.Wait()
	})
	if err := <-pulse; err == nil || k.isHigh("RELAY") {
		t.Errorf("%v, still on: %v", err, k.isHigh("RELAY"))
	}
}

func TestPWM(t *testing.T) {
	t.Parallel()
	run(t, []string{"LAMP"}, map[string]PointConfig{"lamp": {Line: "LAMP", Kind: "pwm", Frequency: 100}}, func(t *testing.T, k *fake, d *Driver) {
		for _, percent := range []float64{30, 75, 100, 0} {
			set(t, d, "lamp", percent)
			synctest.Wait()
			from := time.Now()
			time.Sleep(time.Second)
			synctest.Wait()
			var high time.Duration
			last := fakeSwitch{from, percent > 0}
			for _, s := range append(k.switches("LAMP"), fakeSwitch{time.Now(), false}) {
				if s.at.Before(from) {
					continue
				}
				if last.high {
					high += s.at.Sub(last.at)
				}
				last = s
			}
			if got := 100 * high.Seconds(); got < percent-0.01 || got > percent+0.01 {
				t.Errorf("%v %%: on for %v of a second", percent, high)
			}
		}
		if n := len(k.switches("LAMP")); n < 390 || n > 410 {
			t.Errorf("%d switches in two seconds at 100 Hz", n)
		}
	})
}

func TestLinesAreFoundByNameAndChip(t *testing.T) {
	t.Parallel()
	f := newFake(t, "A", "B", "", "D")
	f.plug("gpiochip1", "expander", "B", "E")
	f.line("D").consumer = "spi0 CS0"
	for _, c := range []struct {
		name, chip string
		cfg        PointConfig
		want       error
	}{
		{"by name", "", PointConfig{Line: "E"}, nil},
		{"by label", "expander", PointConfig{Line: "B"}, nil},
		{"by chip", "gpiochip0", PointConfig{Line: "B"}, nil},
		{"by number", "pinctrl-fake", PointConfig{Number: new(uint32)}, nil},
		{"on two chips", "", PointConfig{Line: "B"}, drivers.ErrOffline},
		{"nowhere", "", PointConfig{Line: "Z"}, drivers.ErrOffline},
		{"no such chip", "other", PointConfig{Line: "A"}, drivers.ErrOffline},
		{"in use", "", PointConfig{Line: "D"}, drivers.ErrBusy},
	} {
		d, err := newDriver(Config{Chip: c.chip, Path: f.dir, Points: map[string]PointConfig{"x": c.cfg}}, drivers.Env{}, f.ioctl)
		if err != nil {
			t.Fatal(err)
		}
		link := &drivertest.Link{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx, link) }()
		if c.want == nil {
			link.WaitUp(t, 1)
			cancel()
		}
		if err := <-done; !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		cancel()
	}
}

func TestBadConfigurationNamesTheKey(t *testing.T) {
	t.Parallel()
	number := new(uint32)
	for key, cfg := range map[string]Config{
		"path":              {Path: "dev"},
		"point":             {},
		"chip":              {Points: map[string]PointConfig{"a": {Number: number}}},
		"point.a.line":      {Points: map[string]PointConfig{"a": {Line: "A", Number: number}}},
		"point.b":           {Points: map[string]PointConfig{"a": {Line: "A"}, "b": {Line: "A"}}},
		"point.a.kind":      {Points: map[string]PointConfig{"a": {Line: "A", Kind: "button"}}},
		"point.a.bias":      {Points: map[string]PointConfig{"a": {Line: "A", Bias: "sideways"}}},
		"point.a.drive":     {Points: map[string]PointConfig{"a": {Line: "A", Drive: "open_drain"}}},
		"point.a.edge":      {Points: map[string]PointConfig{"a": {Line: "A", Kind: "counter", Edge: "x"}}},
		"point.a.bounce":    {Points: map[string]PointConfig{"a": {Line: "A", Bounce: drivers.Duration(time.Minute)}}},
		"point.a.frequency": {Points: map[string]PointConfig{"a": {Line: "A", Kind: "pwm", Frequency: 1000}}},
	} {
		_, err := New(cfg, drivers.Env{})
		var c *drivers.ConfigError
		if !errors.As(err, &c) || c.Key != key || c.Allowed == "" || strings.Contains(c.Allowed, "[") {
			t.Errorf("%s: %+v", key, c)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add(make([]byte, 2*eventSize+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(decodeEvents(b)); n != len(b)/48 {
			t.Errorf("%d edges in %d bytes", n, len(b))
		}
	})
}
