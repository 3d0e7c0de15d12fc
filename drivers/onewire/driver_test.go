package onewire_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/onewire"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	warm = "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"
	cold = "5e ff 4b 46 7f ff 02 10 b6 : crc=b6 YES\n5e ff 4b 46 7f ff 02 10 b6 t=-10125\n"
)

// bus makes a tree as the kernel's: the sensors' folders are in that of the bus, and
// links to them are in the folder that it returns.
type bus struct {
	t      testing.TB
	path   string
	master string
}

func newBus(t testing.TB) bus {
	t.Helper()
	root := t.TempDir()
	b := bus{t, filepath.Join(root, "bus", "w1", "devices"), filepath.Join(root, "devices", "w1_bus_master1")}
	for _, dir := range []string{b.path, b.master} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.write("therm_bulk_read", "0\n")
	b.link("w1_bus_master1", b.master)
	return b
}

// write fills a file below the bus's folder.
func (b bus) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.master, name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b bus) link(name, to string) {
	b.t.Helper()
	if err := os.Symlink(to, filepath.Join(b.path, name)); err != nil {
		b.t.Fatal(err)
	}
}

func (b bus) plug(name, text string) {
	b.t.Helper()
	dir := filepath.Join(b.master, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	b.write(filepath.Join(name, "w1_slave"), text)
	b.write(filepath.Join(name, "resolution"), "12\n")
	b.link(name, dir)
}

func (b bus) unplug(name string) {
	b.t.Helper()
	if err := os.Remove(filepath.Join(b.path, name)); err != nil {
		b.t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(b.master, name)); err != nil {
		b.t.Fatal(err)
	}
}

func (b bus) device(cfg onewire.Config) *onewire.Driver {
	b.t.Helper()
	cfg.Path = b.path
	d, err := onewire.New(cfg, drivers.Env{})
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

const (
	one = "28-0316a2794cff"
	two = "10-000802824e58"
)

func both() map[string]onewire.PointConfig {
	return map[string]onewire.PointConfig{"flow": {Sensor: one}, "back": {Sensor: two}}
}

func TestConformance(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		b := newBus(t)
		b.plug(one, warm)
		b.plug(two, cold)
		return b.device(onewire.Config{Points: both()})
	})
}

func get(t testing.TB, d *onewire.Driver, ids ...string) []drivers.Reading {
	t.Helper()
	got, err := d.Read(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].Time = time.Time{}
	}
	return got
}

func TestMissingSensorIsOfflineAndSoIsTheDeviceWithoutAny(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.plug(one, warm)
	d := b.device(onewire.Config{Points: both()})
	link := &drivertest.Link{}
	done := make(chan error, 1)
	go func() { done <- d.Run(t.Context(), link) }()
	link.WaitUp(t, 1)
	want := []drivers.Reading{
		{Point: "flow", Value: 23.125},
		{Point: "back", Quality: drivers.Bad, Why: "offline"},
	}
	if diff := cmp.Diff(want, get(t, d, "flow", "back")); diff != "" {
		t.Error(diff)
	}
	b.plug(two, cold)
	b.unplug(one)
	want = []drivers.Reading{{Point: "back", Value: -10.125}}
	if diff := cmp.Diff(want, get(t, d, "back")); diff != "" {
		t.Error(diff)
	}
	b.unplug(two)
	get(t, d, "back")
	if err := <-done; !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("Run returned %v", err)
	}
	if err := d.Run(t.Context(), link); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("without sensors Run returned %v", err)
	}
}

func TestWithoutPointsSensorsAreFound(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.plug(one, warm)
	b.plug("01-000000abcdef", "") // a serial number chip: no thermometer
	d := b.device(onewire.Config{})
	if points := d.Describe().Points; len(points) != 1 || points[0].ID != "28_0316a2794cff" {
		t.Error(points)
	}
	drivertest.Start(t, d).WaitUp(t, 1)
	b.plug(two, cold)
	got, err := d.Do(t.Context(), "scan", nil, nil)
	if diff := cmp.Diff(map[string]any{"sensors": []any{two, one}}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestBulkConversionIsTriggeredWhenAllAreRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		ids  []string
		want string
	}{
		{"all", []string{"flow", "back"}, "trigger\n"},
		{"one of two", []string{"flow"}, "0\n"},
	} {
		b := newBus(t)
		b.plug(one, warm)
		b.plug(two, cold)
		d := b.device(onewire.Config{Bulk: true, Points: both()})
		drivertest.Start(t, d).WaitUp(t, 1)
		for _, r := range get(t, d, c.ids...) {
			if r.Quality != drivers.Good {
				t.Error(r)
			}
		}
		got, err := os.ReadFile(filepath.Join(b.master, "therm_bulk_read"))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestResolutionIsSet(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.plug(one, warm)
	d := b.device(onewire.Config{Points: map[string]onewire.PointConfig{"flow": {Sensor: one, Resolution: 9}}})
	drivertest.Start(t, d).WaitUp(t, 1)
	got, err := os.ReadFile(filepath.Join(b.master, one, "resolution"))
	if err != nil || string(got) != "9\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestDeadlineDuringAConversion has a file whose read takes its time, as the kernel's.
func TestDeadlineDuringAConversion(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.plug(one, warm)
	d := b.device(onewire.Config{Points: map[string]onewire.PointConfig{"flow": {Sensor: one}}})
	drivertest.Start(t, d).WaitUp(t, 1)
	file := filepath.Join(b.master, one, "w1_slave")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	// Open at both ends, lest anybody wait for the other to open it.
	pipe, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got, err := d.Read(ctx, []string{"flow"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, %v", got, err)
	}
	// The conversion ends, and so may Run. Whoever only now opens the file finds one
	// that is read at once.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(warm), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pipe.WriteString(warm); err != nil {
		t.Fatal(err)
	}
}

func TestOldKernelsWithoutScratchpadFile(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.plug(one, warm)
	if err := os.Rename(filepath.Join(b.master, one, "w1_slave"), filepath.Join(b.master, one, "temperature")); err != nil {
		t.Fatal(err)
	}
	b.write(filepath.Join(one, "temperature"), "21500\n")
	d := b.device(onewire.Config{Points: map[string]onewire.PointConfig{"flow": {Sensor: one}}})
	drivertest.Start(t, d).WaitUp(t, 1)
	if diff := cmp.Diff([]drivers.Reading{{Point: "flow", Value: 21.5}}, get(t, d, "flow")); diff != "" {
		t.Error(diff)
	}
}

func TestBadConfigurationNamesTheKey(t *testing.T) {
	t.Parallel()
	for key, cfg := range map[string]onewire.Config{
		"path":               {Path: "w1"},
		"point.a.sensor":     {Points: map[string]onewire.PointConfig{"a": {Sensor: "28-0316A2794CFF"}}},
		"point.b.sensor":     {Points: map[string]onewire.PointConfig{"a": {Sensor: one}, "b": {Sensor: one}}},
		"point.a.resolution": {Points: map[string]onewire.PointConfig{"a": {Sensor: one, Resolution: 13}}},
	} {
		_, err := onewire.New(cfg, drivers.Env{})
		var c *drivers.ConfigError
		if !errors.As(err, &c) || c.Key != key {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestGarbageIsNoValue(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	b.plug(one, warm)
	b.plug(two, cold)
	drivertest.GarbageIsNoValue(t, b.device(onewire.Config{Points: both()}), func() {
		b.write(filepath.Join(one, "w1_slave"), "72 01 4b 46 7f ff 0e 11 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 11 57 t=23125\n") // a bit flipped
		b.write(filepath.Join(two, "w1_slave"), "t=\xff\n")
	})
}
