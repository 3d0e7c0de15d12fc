package onewire_test

import (
	"os"
	"testing"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/onewire"
)

// TestKernelBus reads sensors that the kernel's w1_therm serves, on the bus of the
// module hilbus, which plays DS18B20 and their faults.
func TestKernelBus(t *testing.T) {
	const knobs = "/sys/module/hilbus/parameters/"
	if _, err := os.Stat(knobs + "w1_mc"); err != nil {
		t.Skip("needs a kernel with w1_therm and the module hilbus, and root")
	}
	knob := func(name, value string) {
		t.Helper()
		if err := os.WriteFile(knobs+name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.WriteFile(knobs+name, []byte("0"), 0) })
	}
	found, err := onewire.New(onewire.Config{}, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	points := map[string]onewire.PointConfig{}
	var ids []string
	for _, p := range found.Describe().Points {
		ids = append(ids, p.ID)
		points[p.ID] = onewire.PointConfig{Sensor: p.ID[:2] + "-" + p.ID[3:], Resolution: 10}
	}
	if len(ids) < 2 {
		t.Fatalf("found %v; load hilbus with w1_mc=21500,-5000", ids)
	}
	for _, bulk := range []bool{false, true} {
		d, err := onewire.New(onewire.Config{Bulk: bulk, Points: points}, drivers.Env{})
		if err != nil {
			t.Fatal(err)
		}
		drivertest.Start(t, d).WaitUp(t, 1)
		sum := 0.0
		for _, r := range get(t, d, ids...) {
			v, ok := r.Value.(float64)
			if !ok {
				t.Errorf("bulk %v: %+v", bulk, r)
			}
			sum += v
		}
		if sum != 21.5-5 {
			t.Errorf("bulk %v: the sum of the temperatures is %v", bulk, sum)
		}
	}
	d, err := onewire.New(onewire.Config{Points: points}, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	drivertest.Start(t, d).WaitUp(t, 1)
	for _, c := range []struct {
		knob, value string
		quality     drivers.Quality
		whys        []string
	}{
		{"w1_85", "1", drivers.Uncertain, []string{"power_on"}},
		{"w1_bad", "1000", drivers.Bad, []string{"no_answer", "checksum"}},
		{"w1_absent", "3", drivers.Bad, []string{"no_answer", "checksum", "offline"}},
	} {
		knob(c.knob, c.value)
		for _, r := range get(t, d, ids[:2]...) {
			known := false
			for _, why := range c.whys {
				known = known || r.Why == why
			}
			if r.Quality != c.quality || !known {
				t.Errorf("%s: %+v", c.knob, r)
			}
			t.Logf("%s: %+v", c.knob, r)
		}
		knob(c.knob, "0")
	}
}
