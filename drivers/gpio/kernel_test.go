package gpio

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
)

// simulated returns a device on lines of the kernel's gpio-sim: GANTRY_0 to GANTRY_5.
func simulated(t *testing.T) (*sim, *Driver) {
	t.Helper()
	s := newSim(t, "GANTRY_0", "GANTRY_1", "GANTRY_2", "GANTRY_3", "GANTRY_4", "GANTRY_5")
	d, err := New(Config{Chip: simLabel, Points: map[string]PointConfig{
		"door": {Line: "GANTRY_0"}, "energy": {Line: "GANTRY_1", Kind: "counter"},
		"pump": {Line: "GANTRY_2", Kind: "output", ActiveLow: true}, "lamp": {Line: "GANTRY_3", Kind: "pwm"},
		"up": {Line: "GANTRY_4", Bias: "up"}, "down": {Line: "GANTRY_5", Bias: "down"},
	}}, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

func TestConformanceOnASimulatedChip(t *testing.T) {
	newSim(t, "GANTRY")
	drivertest.Test(t, func(t *testing.T) drivers.Driver { _, d := simulated(t); return d })
}

// TestSimulatedChip talks to the kernel itself.
func TestSimulatedChip(t *testing.T) {
	s, d := simulated(t)
	done := make(chan error, 1)
	link := &drivertest.Link{}
	go func() { done <- d.Run(t.Context(), link) }()
	link.WaitUp(t, 1)
	t.Run("edges", func(t *testing.T) {
		link.WaitReading(t, "door", 0, func(r drivers.Reading) bool { return r.Value == false })
		s.pull(t, 0, true)
		link.WaitReading(t, "door", 0, func(r drivers.Reading) bool { return r.Value == true && time.Since(r.Time).Abs() < time.Minute })
	})
	t.Run("pulls", func(t *testing.T) {
		if up, down := get(t, d, "up"), get(t, d, "down"); up != true || down != false {
			t.Errorf("pulled up %v, pulled down %v", up, down)
		}
	})
	t.Run("counted pulses", func(t *testing.T) {
		// One after the other: pulses that come faster than the kernel's thread for
		// interrupts runs are one to it.
		for n := range int64(50) {
			s.pull(t, 1, true)
			await(t, d, "energy", n+1)
			s.pull(t, 1, false)
		}
	})
	t.Run("a burst of edges", func(t *testing.T) {
		// Each that the kernel saw is either an event or counted as lost, and the last
		// level is right.
		skip := len(link.Readings())
		for n := range 201 {
			s.pull(t, 0, n%2 == 1)
		}
		link.WaitReading(t, "door", skip, func(r drivers.Reading) bool { return r.Value == false })
		await(t, d, "door", false)
	})
	t.Run("an output", func(t *testing.T) {
		if !s.isHigh(t, 2) {
			t.Error("the output is on at the start")
		}
		set(t, d, "pump", true)
		if s.isHigh(t, 2) || get(t, d, "pump") != true {
			t.Error("the output is off")
		}
	})
	t.Run("a line that another has taken", func(t *testing.T) {
		other, err := New(Config{Points: map[string]PointConfig{"x": {Line: "GANTRY_2"}}}, drivers.Env{})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Run(t.Context(), &drivertest.Link{}); !errors.Is(err, drivers.ErrBusy) || !strings.Contains(err.Error(), `"gantry"`) {
			t.Errorf("a line in use: %v", err)
		}
	})
	t.Run("a chip that is unplugged", func(t *testing.T) {
		s.unplug(t)
		if _, err := d.Read(t.Context(), []string{"pump"}); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("the chip is gone, and Read returned %v", err)
		}
		if err := <-done; !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("the chip is gone, and Run returned %v", err)
		}
		if err := d.Run(t.Context(), link); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("the chip is still gone, and Run returned %v", err)
		}
	})
	t.Run("a chip that is plugged in again", func(t *testing.T) {
		s.plug(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- d.Run(ctx, link) }()
		link.WaitUp(t, 2)
		if s.isHigh(t, 2) || get(t, d, "pump") != true || get(t, d, "energy") != int64(50) {
			t.Error("the output is off, or the counter has begun anew")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
