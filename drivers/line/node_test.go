package line_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/line"
	"gantry/drivers/serialport"
	"gantry/internal/avrhil"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

// node returns the configuration that users of the reference node start from, for
// this board, which has no boot loader to wait for.
func node(t *testing.T, b *avrhil.Board) line.Config {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "serial", "devices.d", "node.toml"))
	if err != nil {
		t.Fatal(err)
	}
	// The keys of the hub are in it too and are left out here.
	var file struct{ Device map[string]line.Config }
	if err := toml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	cfg, ok := file.Device["node"]
	if !ok {
		t.Fatal("the example has no device named node")
	}
	cfg.Port, cfg.Settle = serialport.Config{Path: b.Path()}, 0
	return cfg
}

func nodeDriver(t *testing.T, b *avrhil.Board) *line.Driver {
	t.Helper()
	return newDriver(t, node(t, b))
}

// do runs an action of the node and returns the result.
func do(t *testing.T, d *line.Driver, action string, args map[string]any) map[string]any {
	t.Helper()
	got, err := d.Do(t.Context(), action, args, func(any) {})
	if err != nil {
		t.Fatalf("%s: %v", action, err)
	}
	return got.(map[string]any)
}

func near(celsius float64) func(drivers.Reading) bool {
	return func(r drivers.Reading) bool {
		v, ok := r.Value.(float64)
		return ok && math.Abs(v-celsius) <= avrhil.Tolerance && r.Quality == drivers.Good
	}
}

func TestNodeConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("takes three seconds")
	}
	b := avrhil.Start(t, avrhil.Options{})
	drivertest.Test(t, func(t *testing.T) drivers.Driver { return nodeDriver(t, b) })
}

func TestNodeIsReadAndObeys(t *testing.T) {
	t.Parallel()
	b := avrhil.Start(t, avrhil.Options{})
	d := nodeDriver(t, b)
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	link.WaitReading(t, "temperature", 0, near(avrhil.Room))
	link.WaitReading(t, "led", 0, func(r drivers.Reading) bool { return r.Value == false })

	if diff := cmp.Diff(map[string]any{"answer": "OK INTERVAL 20"}, do(t, d, "interval", map[string]any{"ms": int64(20)})); diff != "" {
		t.Error(diff)
	}
	b.SetCelsius(-7.5)
	link.WaitReading(t, "temperature", 0, near(-7.5))
	b.SetCelsius(math.NaN())
	link.WaitReading(t, "temperature", 0, func(r drivers.Reading) bool {
		return r.Quality == drivers.Bad && r.Why == "null" && r.Value == nil
	})

	for _, on := range []bool{true, false, true} {
		before := len(link.Readings())
		if got, err := d.Write(t.Context(), "led", on); got != on || err != nil {
			t.Errorf("led = %v: %v, %v", on, got, err)
		}
		// Acknowledged means done.
		if b.LED() != on {
			t.Errorf("led = %v was acknowledged, but the pin is %v", on, !on)
		}
		link.WaitReading(t, "led", before, func(r drivers.Reading) bool { return r.Value == on })
	}
	changes := b.Changes()
	do(t, d, "blink", map[string]any{"times": int64(3)})
	b.WaitChanges(changes + 6)
	want := map[string]any{"answer": "OK ID gantry-node 1.0.0", "name": "gantry-node", "version": "1.0.0"}
	if diff := cmp.Diff(want, do(t, d, "id", nil)); diff != "" {
		t.Error(diff)
	}
	do(t, d, "restart", nil)
	b.WaitLED(false)
	link.WaitReading(t, "led", len(link.Readings()), func(r drivers.Reading) bool { return r.Value == false })
	if g := link.AllGarbage(); len(g) != 0 {
		t.Errorf("garbage %v", g)
	}
}

func TestNodeRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	b := avrhil.Start(t, avrhil.Options{})
	cfg := node(t, b)
	cfg.Actions["burn"] = line.ActionConfig{Template: "BURN\n", Ack: "^OK BURN$", Nack: "^ERR "}
	far := cfg.Actions["interval"]
	far.Args = map[string]line.ArgConfig{"ms": {Type: "int"}} // the node itself has to look
	cfg.Actions["interval"] = far
	d := newDriver(t, cfg)
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	for action, c := range map[string]struct {
		args map[string]any
		says string
	}{
		"burn":     {nil, "unknown command"},
		"interval": {map[string]any{"ms": int64(60001)}, "allowed: 10 to 60000"},
	} {
		_, err := d.Do(t.Context(), action, c.args, func(any) {})
		if !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", action, err)
		}
	}
}

// Not parallel: it counts what the whole process has open.
func TestNodeUnpluggedAndReplugged(t *testing.T) {
	b := avrhil.Start(t, avrhil.Options{})
	d := nodeDriver(t, b)
	cycle := func() {
		link := &drivertest.Link{}
		done := make(chan error, 1)
		go func() { done <- d.Run(t.Context(), link) }()
		link.WaitUp(t, 1)
		do(t, d, "interval", map[string]any{"ms": int64(10)})
		if got, err := d.Write(t.Context(), "led", true); got != true || err != nil || !b.LED() {
			t.Errorf("led: %v, %v; pin %v", got, err, b.LED())
		}
		link.WaitReading(t, "temperature", len(link.Readings()), near(avrhil.Room))
		b.Unplug()
		select {
		case err := <-done:
			if !errors.Is(err, drivers.ErrOffline) {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(drivertest.Patience):
			t.Fatalf("Run has not noticed in %v", drivertest.Patience)
		}
		if err := d.Run(t.Context(), link); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("Run while unplugged returned %v", err)
		}
		if _, err := d.Write(t.Context(), "led", true); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("Write while unplugged returned %v", err)
		}
		for _, r := range link.Readings() {
			if r.Point == "temperature" && !near(avrhil.Room)(r) {
				t.Errorf("%+v", r)
			}
		}
		if g := link.AllGarbage(); len(g) != 0 {
			t.Errorf("garbage %v", g)
		}
		b.Replug()
	}
	for range 2 {
		cycle()
	}
	drivertest.LeavesNothing(t, func() {
		for range 10 {
			cycle()
		}
	})
}

func TestNodeOnANoisyLine(t *testing.T) {
	t.Parallel()
	b := avrhil.Start(t, avrhil.Options{})
	cfg := node(t, b)
	cfg.Points["led"].Write.Timeout = length(time.Second)
	d := newDriver(t, cfg)
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	do(t, d, "interval", map[string]any{"ms": int64(10)})
	b.Noise(true)
	link.Wait(t, "garbage", func() bool { return len(link.AllGarbage()) >= 100 })
	if b.LED() {
		t.Error("noise has switched the LED")
	}
	// A command may be lost; one that is acknowledged is obeyed.
	for tries := 1; ; tries++ {
		if _, err := d.Write(t.Context(), "led", true); err == nil {
			break
		} else if !errors.Is(err, drivers.ErrTimeout) && !errors.Is(err, drivers.ErrRefused) || tries == 20 {
			t.Fatalf("try %d: %v", tries, err)
		}
	}
	if !b.LED() {
		t.Error("acknowledged, but the pin is low")
	}
	b.Noise(false)
	heard := len(link.Readings())
	link.WaitReading(t, "temperature", heard, near(avrhil.Room))

	for _, r := range link.Readings() {
		switch {
		case r.Quality == drivers.Bad && r.Value == nil:
		case r.Point == "temperature" && near(avrhil.Room)(r):
		case r.Point == "led" && r.Quality == drivers.Good:
		default:
			t.Errorf("noise made %+v", r)
		}
	}
	if s := b.Stats(); s.Spoilt == 0 || s.Crashes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestWrongBaudRateGivesGarbageOnly(t *testing.T) {
	t.Parallel()
	b := avrhil.Start(t, avrhil.Options{})
	cfg := node(t, b)
	cfg.Line.Baud = 57600
	cfg.Frame.Max = 16
	link := drivertest.Start(t, newDriver(t, cfg))
	link.Wait(t, "garbage", func() bool { return len(link.AllGarbage()) >= 3 })
	if all := link.Readings(); len(all) != 0 {
		t.Errorf("readings %v", all)
	}
}
