package i2c

import (
	"context"
	"errors"
	"testing"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/internal/guest"

	"github.com/google/go-cmp/cmp"
)

// kernelBus returns the bus of the module hilbus, with a BMP280 at 0x76 that it plays as
// a file of registers, and an SHT3x at 0x44.
func kernelBus(t *testing.T) (path string) {
	t.Helper()
	var chip [256]byte
	chip[bmeID] = 0x58
	copy(chip[bmeCalib1:], unhex("70 6b 43 67 18 fc 7d 8e 43 d6 d0 0b 27 0b 8c 00 f9 ff 8c 3c f8 c6 70 17 00 00"))
	copy(chip[bmeData:], unhex("65 5a c0 7e ed 00 80 00"))
	return guest.I2C(t, chip)
}

func onKernelBus(t *testing.T, cfg Config) *Driver {
	t.Helper()
	cfg.Path = kernelBus(t)
	d, err := New(cfg, drivers.Env{}, NewBuses())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformanceOnTheKernelBus(t *testing.T) {
	kernelBus(t)
	drivertest.Test(t, func(t *testing.T) drivers.Driver { return onKernelBus(t, Config{Chip: "bmp280"}) })
}

// TestKernelBus reads chips by way of the kernel's bus, and meets its faults.
func TestKernelBus(t *testing.T) {
	kernelBus(t)
	want := []drivers.Reading{good("temperature", 25.08), good("pressure", 100653.27)}
	measures := func(t *testing.T, d *Driver) {
		t.Helper()
		got, err := d.Read(t.Context(), []string{"temperature", "pressure"})
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			got[i].Time = want[i].Time
		}
		if diff := cmp.Diff(want, got, near(0.01)); diff != "" {
			t.Error(diff)
		}
	}
	// start runs a BMP280 and returns how its Run ends.
	start := func(t *testing.T) (*Driver, *drivertest.Link, chan error) {
		t.Helper()
		d := onKernelBus(t, Config{Chip: "bmp280"})
		link, done := &drivertest.Link{}, make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		go func() { done <- d.Run(ctx, link) }()
		link.WaitUp(t, 1)
		return d, link, done
	}
	t.Run("registers", func(t *testing.T) {
		d, _, _ := start(t)
		measures(t, d)
	})
	t.Run("one message without acknowledgement is repeated", func(t *testing.T) {
		d, _, _ := start(t)
		guest.Set(t, "i2c_nack", 1)
		measures(t, d)
		if n := guest.Count(t, "i2c_nack"); n != 0 {
			t.Errorf("%d messages are still to be refused", n)
		}
	})
	t.Run("a chip that goes away and comes back", func(t *testing.T) {
		d, link, done := start(t)
		guest.Set(t, "i2c_nack", 1<<30)
		if _, err := d.Read(t.Context(), []string{"temperature"}); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("Read returned %v", err)
		}
		if err := <-done; !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("Run returned %v", err)
		}
		if err := d.Run(t.Context(), link); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("while it was away, Run returned %v", err)
		}
		guest.Set(t, "i2c_nack", 0)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { done <- d.Run(ctx, link) }()
		link.WaitUp(t, 2)
		measures(t, d)
	})
	t.Run("a hung bus", func(t *testing.T) {
		d, _, done := start(t)
		guest.Set(t, "i2c_stuck", 1)
		if _, err := d.Read(t.Context(), []string{"temperature"}); !errors.Is(err, drivers.ErrTimeout) {
			t.Errorf("Read returned %v", err)
		}
		if err := <-done; !errors.Is(err, drivers.ErrTimeout) {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Run("a wrong checksum", func(t *testing.T) {
		d := onKernelBus(t, Config{Chip: "sht3x"})
		link := drivertest.Start(t, d)
		link.WaitUp(t, 1)
		for _, damaged := range []int{1, 0} {
			guest.Set(t, "i2c_flip", damaged)
			got, err := d.Read(t.Context(), []string{"temperature"})
			if err != nil || len(got) != 1 {
				t.Fatal(got, err)
			}
			got[0].Time = want[0].Time
			expected := good("temperature", 25.0)
			if damaged > 0 {
				expected = badReading("temperature", whyChecksum)
			}
			if diff := cmp.Diff(expected, got[0], near(0.01)); diff != "" {
				t.Error(diff)
			}
		}
		if n := len(link.AllGarbage()); n != 1 {
			t.Errorf("garbage was reported %d times", n)
		}
	})
	t.Run("a chip that is not there", func(t *testing.T) {
		if err := onKernelBus(t, Config{Chip: "sht3x", Address: 0x45}).Run(t.Context(), &drivertest.Link{}); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Run("another chip at the address", func(t *testing.T) {
		if err := onKernelBus(t, Config{Chip: "bme280"}).Run(t.Context(), &drivertest.Link{}); !errors.Is(err, drivers.ErrOffline) || !errors.Is(err, errWrongChip) {
			t.Errorf("Run returned %v", err)
		}
	})
}
