package onewire_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/onewire"
	"gantry/internal/guest"

	"github.com/google/go-cmp/cmp"
)

// The sensors of the module hilbus, and what they measure.
const (
	flow = "28-0000014c4948" // 21.5 degrees
	back = "28-0000024c4948" // -5 degrees
)

// onKernelBus returns a device of both.
func onKernelBus(t *testing.T, bulk bool) *onewire.Driver {
	t.Helper()
	d, err := onewire.New(onewire.Config{Bulk: bulk, Points: map[string]onewire.PointConfig{
		"flow": {Sensor: flow, Resolution: 10}, "back": {Sensor: back, Resolution: 10},
	}}, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestKernelBus reads sensors that the kernel's w1_therm serves, on the bus of the
// module hilbus, which plays DS18B20 and their faults.
func TestKernelBus(t *testing.T) {
	guest.Count(t, "w1_conversions") // or skips
	// The kernel looks for sensors every ten seconds.
	for late := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_, err1 := os.Stat("/sys/bus/w1/devices/" + flow)
		_, err2 := os.Stat("/sys/bus/w1/devices/" + back)
		if err1 == nil && err2 == nil {
			break
		}
		if time.Now().After(late) {
			t.Fatal(err1, err2)
		}
	}
	measured := []drivers.Reading{{Point: "flow", Value: 21.5}, {Point: "back", Value: -5.0}}
	reads := func(t *testing.T, d *onewire.Driver, want ...drivers.Reading) {
		t.Helper()
		if diff := cmp.Diff(want, get(t, d, "flow", "back")); diff != "" {
			t.Error(diff)
		}
	}
	start := func(t *testing.T, bulk bool) *onewire.Driver {
		t.Helper()
		d := onKernelBus(t, bulk)
		drivertest.Start(t, d).WaitUp(t, 1)
		return d
	}
	t.Run("sensors are found", func(t *testing.T) {
		d, err := onewire.New(onewire.Config{}, drivers.Env{})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, p := range d.Describe().Points {
			ids = append(ids, p.ID)
		}
		if diff := cmp.Diff([]string{"28_0000014c4948", "28_0000024c4948"}, ids); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("one after the other", func(t *testing.T) {
		d := start(t, false)
		before, bulk := guest.Count(t, "w1_conversions"), guest.Count(t, "w1_bulk")
		reads(t, d, measured...)
		if n := guest.Count(t, "w1_conversions") - before; n != 2 || guest.Count(t, "w1_bulk") != bulk {
			t.Errorf("%d conversions for two sensors", n)
		}
	})
	t.Run("bulk conversion", func(t *testing.T) {
		d := start(t, true)
		before, bulk := guest.Count(t, "w1_conversions"), guest.Count(t, "w1_bulk")
		reads(t, d, measured...)
		if n := guest.Count(t, "w1_bulk") - bulk; n != 1 || guest.Count(t, "w1_conversions") != before+2 {
			t.Errorf("%d conversions of all sensors", n)
		}
	})
	t.Run("the value of power-on", func(t *testing.T) {
		d := start(t, false)
		guest.Set(t, "w1_85", 1)
		hot := func(id string) drivers.Reading {
			return drivers.Reading{Point: id, Value: 85.0, Quality: drivers.Uncertain, Why: "power_on"}
		}
		reads(t, d, hot("flow"), hot("back"))
		guest.Set(t, "w1_85", 0)
		reads(t, d, measured...)
	})
	t.Run("one wrong checksum, which the kernel reads again", func(t *testing.T) {
		d := start(t, false)
		guest.Set(t, "w1_bad", 1)
		reads(t, d, measured...)
		if n := guest.Count(t, "w1_bad"); n != 0 {
			t.Errorf("%d checksums are still to be wrong", n)
		}
	})
	t.Run("wrong checksums", func(t *testing.T) {
		d := start(t, false)
		guest.Set(t, "w1_bad", 1<<30)
		for _, r := range get(t, d, "flow", "back") {
			if r.Quality != drivers.Bad || r.Value != nil || !slices.Contains([]string{"no_answer", "checksum"}, r.Why) {
				t.Errorf("%+v", r)
			}
		}
		guest.Set(t, "w1_bad", 0)
		reads(t, d, measured...)
	})
	t.Run("a sensor that is silent", func(t *testing.T) {
		d := start(t, false)
		guest.Set(t, "w1_absent", 1)
		reads(t, d, drivers.Reading{Point: "flow", Quality: drivers.Bad, Why: "no_answer"}, measured[1])
		guest.Set(t, "w1_absent", 0)
		reads(t, d, measured...)
	})
	t.Run("sensors that are removed, and back", func(t *testing.T) {
		const master = "/sys/bus/w1/devices/w1_bus_master1/"
		tell := func(file, sensor string) {
			t.Helper()
			if err := os.WriteFile(master+file, []byte(sensor+"\n"), 0); err != nil {
				t.Fatal(err)
			}
		}
		d := onKernelBus(t, false)
		link, done := &drivertest.Link{}, make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { done <- d.Run(ctx, link) }()
		link.WaitUp(t, 1)
		guest.Set(t, "w1_absent", 3)
		offline := func(id string) drivers.Reading {
			return drivers.Reading{Point: id, Quality: drivers.Bad, Why: "offline"}
		}
		tell("w1_master_remove", back)
		if r := get(t, d, "back"); r[0] != offline("back") {
			t.Errorf("%+v", r)
		}
		tell("w1_master_remove", flow)
		reads(t, d, offline("flow"), offline("back"))
		if err := <-done; !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("without sensors Run returned %v", err)
		}
		guest.Set(t, "w1_absent", 0)
		tell("w1_master_add", flow)
		tell("w1_master_add", back)
		go func() { done <- d.Run(ctx, link) }()
		link.WaitUp(t, 2)
		reads(t, d, measured...)
	})
}
