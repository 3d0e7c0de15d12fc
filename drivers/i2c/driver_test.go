package i2c

import (
	"errors"
	"sync/atomic"
	"testing"
	"unsafe"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/internal/ioctl/ioctltest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func expander(t testing.TB, buses *Buses, address uint8) *Driver {
	t.Helper()
	d, err := New(Config{Chip: "mcp23017", Address: address, Outputs: []string{"a0", "b7"}, PullUps: []string{"a1"}}, drivers.Env{}, buses)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		g := &registers{chips: map[uint8]*[256]byte{0x20: {}}}
		return expander(t, g.buses(), 0x20)
	})
}

func TestConformanceOfASensor(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		g := &registers{chips: map[uint8]*[256]byte{0x40: {}}}
		g.set(0x40, 1, 0x07, 0xd0)
		d, err := New(Config{Chip: "ina219"}, drivers.Env{}, g.buses())
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

func TestExpanderIsSetUpWithoutAGlitch(t *testing.T) {
	t.Parallel()
	g := &registers{chips: map[uint8]*[256]byte{0x21: {}}, log: []string{}}
	d := expander(t, g.buses(), 0x21)
	drivertest.Start(t, d).WaitUp(t, 1)
	// Outputs, pull-ups, and then the directions: a0 and b7 are outputs.
	want := []string{"0x21: 14 00 00", "0x21: 0c 02 00", "0x21: 00 fe 7f"}
	if diff := cmp.Diff(want, g.log); diff != "" {
		t.Error(diff)
	}
	if got, err := d.Write(t.Context(), "b7", true); got != true || err != nil {
		t.Error(got, err)
	}
	if got, err := d.Write(t.Context(), "a0", true); got != true || err != nil {
		t.Error(got, err)
	}
	if a, b := g.get(0x21, mcpOutputs), g.get(0x21, mcpOutputs+1); a != 0x01 || b != 0x80 {
		t.Errorf("outputs %#x %#x", a, b)
	}
	g.set(0x21, mcpPins, 0x02, 0x80)
	got, err := d.Read(t.Context(), []string{"a0", "a1", "b7"})
	for i, on := range []bool{false, true, true} {
		if err != nil || got[i].Value != on {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if _, err := d.Write(t.Context(), "a1", true); err == nil {
		t.Error("an input can be written")
	}
}

func TestChipThatLostItsPowerIsSetUpAnew(t *testing.T) {
	t.Parallel()
	g := &registers{chips: map[uint8]*[256]byte{0x20: {}}}
	d := expander(t, g.buses(), 0x20)
	link := &drivertest.Link{}
	done := make(chan error, 1)
	go func() { done <- d.Run(t.Context(), link) }()
	link.WaitUp(t, 1)
	if _, err := d.Write(t.Context(), "a0", true); err != nil {
		t.Fatal(err)
	}
	g.set(0x20, mcpDirection, 0xff, 0xff)
	g.set(0x20, mcpOutputs, 0, 0)
	if _, err := d.Read(t.Context(), []string{"a0"}); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("Read returned %v", err)
	}
	if err := <-done; !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("Run returned %v", err)
	}
	drivertest.Start(t, d).WaitUp(t, 1)
	if g.get(0x20, mcpDirection) != 0xfe || g.get(0x20, mcpOutputs) != 0x01 {
		t.Error("the chip is not as it was")
	}
}

func TestChipsShareABusAndOneMayBeMissing(t *testing.T) {
	t.Parallel()
	g := &registers{chips: map[uint8]*[256]byte{0x20: {}, 0x21: {}}}
	buses := g.buses()
	a, b := expander(t, buses, 0x20), expander(t, buses, 0x21)
	drivertest.Start(t, a).WaitUp(t, 1)
	link := &drivertest.Link{}
	done := make(chan error, 1)
	go func() { done <- b.Run(t.Context(), link) }()
	link.WaitUp(t, 1)
	if g.open != 1 {
		t.Errorf("the bus is open %d times", g.open)
	}
	g.unplug(0x21)
	if _, err := b.Read(t.Context(), []string{"a0"}); !errors.Is(err, drivers.ErrOffline) {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("Run returned %v", err)
	}
	if _, err := a.Read(t.Context(), []string{"a0"}); err != nil {
		t.Error(err)
	}
	if err := b.Run(t.Context(), link); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("Run without a chip returned %v", err)
	}
}

func TestATransferIsRepeatedOnce(t *testing.T) {
	t.Parallel()
	for glitches, want := range map[int]error{1: nil, 2: drivers.ErrOffline} {
		p := &glitch{registers: &registers{chips: map[uint8]*[256]byte{0x20: {}}}, left: glitches}
		if _, err := (wire{&bus{port: p}, 0x20}).read(t.Context(), 0, 1); !errors.Is(err, want) {
			t.Errorf("%d glitches: %v", glitches, err)
		}
	}
}

func TestBusFaults(t *testing.T) {
	t.Parallel()
	for failure, want := range map[error]error{
		unix.ENXIO: drivers.ErrOffline, unix.EREMOTEIO: drivers.ErrOffline, unix.EIO: drivers.ErrOffline,
		unix.ETIMEDOUT: drivers.ErrTimeout,
	} {
		w := wire{&bus{port: &playback{t: t, failure: failure}}, 0x76}
		if _, err := w.read(t.Context(), 0, 1); !errors.Is(err, want) {
			t.Errorf("%v: %v", failure, err)
		}
	}
}

func TestDamagedBytesAreGarbage(t *testing.T) {
	t.Parallel()
	buses := NewBuses()
	p := &playback{t: t, address: 0x44, steps: []step{
		{"f3 2d", ""}, {"", crc("8010")}, {"24 00", ""}, {"", "66 67 93 80 00 a2"},
	}}
	buses.open = func(string) (port, error) { return p, nil }
	d, err := New(Config{Chip: "sht3x"}, drivers.Env{}, buses)
	if err != nil {
		t.Fatal(err)
	}
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	got, err := d.Read(t.Context(), []string{"humidity"})
	if err != nil || len(got) != 1 || got[0].Why != whyChecksum || got[0].Value != nil || len(link.AllGarbage()) != 1 {
		t.Errorf("%+v, %v, %v", got, err, link.AllGarbage())
	}
}

func TestNoBusIsOffline(t *testing.T) {
	t.Parallel()
	d, err := New(Config{Chip: "bme280", Path: t.TempDir() + "/i2c-1"}, drivers.Env{}, NewBuses())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Run(t.Context(), &drivertest.Link{}); !errors.Is(err, drivers.ErrOffline) {
		t.Error(err)
	}
}

func TestBadConfigurationNamesTheKey(t *testing.T) {
	t.Parallel()
	for key, tt := range map[string]struct {
		cfg     Config
		allowed string
	}{
		"path":     {Config{Path: "i2c-1", Chip: "bme280"}, "an absolute path"},
		"chip":     {Config{Chip: "bme680"}, "ads1115, bh1750, bme280, bmp280, ina219, ina226, mcp23017, scd4x, sht3x, sht4x"},
		"address":  {Config{Chip: "bme280", Address: 0x44}, "0x76, 0x77"},
		"shunt":    {Config{Chip: "bme280", Shunt: 1}, "path, chip, address"},
		"inputs":   {Config{Chip: "ads1115", Inputs: []string{"a4"}}, "a0_a1, a0_a3, a1_a3, a2_a3, a0, a1, a2, a3, each once"},
		"range":    {Config{Chip: "ads1115", Range: 5}, "6.144, 4.096, 2.048, 1.024, 0.512, 0.256"},
		"outputs":  {Config{Chip: "mcp23017", Outputs: []string{"a0", "a0"}}, "a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, each once"},
		"pull_ups": {Config{Chip: "mcp23017", Outputs: []string{"a0"}, PullUps: []string{"a0"}}, "inputs"},
	} {
		_, err := New(tt.cfg, drivers.Env{}, NewBuses())
		var c *drivers.ConfigError
		if !errors.As(err, &c) || c.Key != key || c.Allowed != tt.allowed {
			t.Errorf("%s: %+v", key, c)
		}
	}
}

func TestOneChipInTwoDevicesIsRefused(t *testing.T) {
	t.Parallel()
	wrong := NewKind().Agree(map[string]any{
		"a": &Config{Chip: "sht3x"}, "b": &Config{Chip: "sht4x", Address: 0x44, Path: "/dev/i2c-1"}, "c": &Config{Chip: "sht3x", Path: "/dev/i2c-2"},
	})
	var c *drivers.ConfigError
	if len(wrong) != 1 || !errors.As(wrong["b"], &c) || c.Key != "address" {
		t.Error(wrong)
	}
}

// TestKernelHeader compares structures and numbers with the kernel's headers.
func TestKernelHeader(t *testing.T) {
	t.Parallel()
	ioctltest.Header(t, "linux/i2c.h", map[string]uintptr{
		"sizeof(struct i2c_msg)":          unsafe.Sizeof(message{}),
		"offsetof(struct i2c_msg, flags)": unsafe.Offsetof(message{}.Flags),
		"offsetof(struct i2c_msg, len)":   unsafe.Offsetof(message{}.Length),
		"offsetof(struct i2c_msg, buf)":   unsafe.Offsetof(message{}.Bytes),
		"I2C_M_RD":                        readFlag,
	})
	ioctltest.Header(t, "linux/i2c-dev.h", map[string]uintptr{
		"I2C_RDWR":                                    readWrite,
		"sizeof(struct i2c_rdwr_ioctl_data)":          unsafe.Sizeof(messages{}),
		"offsetof(struct i2c_rdwr_ioctl_data, nmsgs)": unsafe.Offsetof(messages{}.N),
	})
}

// spoilt is a bus whose lines are noisy from some time on.
type spoilt struct {
	port
	noise atomic.Bool
}

func (s *spoilt) Transfer(address uint8, w, r []byte) error {
	if !s.noise.Load() {
		return s.port.Transfer(address, w, r)
	}
	for i := range r {
		r[i] = 0x5A
	}
	return nil
}

func TestGarbageIsNoValue(t *testing.T) {
	t.Parallel()
	bus := &spoilt{port: &playback{t: t, address: 0x44, steps: []step{{"f3 2d", ""}, {"", crc("8010")}}}}
	buses := NewBuses()
	buses.open = func(string) (port, error) { return bus, nil }
	d, err := New(Config{Chip: "sht3x"}, drivers.Env{}, buses)
	if err != nil {
		t.Fatal(err)
	}
	drivertest.GarbageIsNoValue(t, d, func() { bus.noise.Store(true) })
}
