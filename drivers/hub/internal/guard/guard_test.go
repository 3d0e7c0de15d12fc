package guard_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/drivers/hub/internal/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Unix(1000, 0)

// at is a moment of the tests.
func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

func refused(t *testing.T, r *guard.Refusal, why string, wait time.Duration) {
	t.Helper()
	switch {
	case r == nil && why != "":
		t.Errorf("allowed, want %s", why)
	case r != nil && (r.Why != why || r.Wait != wait):
		t.Errorf("refused for %s, wait %v; want %q, %v", r.Why, r.Wait, why, wait)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	g := guard.New(guard.Limits{Every: time.Second}, at(0))
	refused(t, g.Allow(true, at(0)), "", 0)
	g.Wrote(at(0))
	refused(t, g.Allow(false, at(0.25)), "rate", 750*time.Millisecond)
	refused(t, g.Allow(false, at(1)), "", 0)
}

func TestMinOff(t *testing.T) {
	t.Parallel()
	g := guard.New(guard.Limits{MinOff: 10 * time.Second}, at(0))
	refused(t, g.Allow(true, at(4)), "min_off", 6*time.Second)
	refused(t, g.Allow(false, at(4)), "", 0)
	g.Observe(false, at(5)) // says nothing about how long it has been so
	refused(t, g.Allow(true, at(10)), "", 0)
	g.Observe(true, at(10))
	refused(t, g.Allow(true, at(11)), "", 0)
	g.Observe(false, at(20))
	g.Observe(false, at(25))
	refused(t, g.Allow(true, at(26)), "min_off", 4*time.Second)
	refused(t, g.Allow(true, at(30)), "", 0)
}

func TestMaxOn(t *testing.T) {
	t.Parallel()
	g := guard.New(guard.Limits{MaxOn: 10 * time.Second}, at(0))
	due := func(want time.Time) {
		t.Helper()
		if got := g.Due(); !got.Equal(want) {
			t.Errorf("due %v, want %v", got, want)
		}
	}
	due(time.Time{})
	g.Observe(true, at(1))
	g.Observe(true, at(5))
	due(at(11))
	g.Doubt()
	due(at(11))
	g.Retry(at(12))
	due(at(12))
	g.Observe(false, at(12))
	due(time.Time{})
	g.Observe(true, at(13))
	due(at(23))
}

func TestOffHasToBeKnown(t *testing.T) {
	t.Parallel()
	g := guard.New(guard.Limits{}, at(0))
	for i, step := range []struct {
		do   func()
		want bool
	}{
		{func() {}, false},
		{func() { g.Observe(false, at(1)) }, true},
		{g.Doubt, false},
		{func() { g.Observe(false, at(2)) }, true},
		{func() { g.Observe(true, at(3)) }, false},
	} {
		step.do()
		if g.Off() != step.want {
			t.Errorf("step %d: off = %v", i, g.Off())
		}
	}
}

func TestDeadman(t *testing.T) {
	t.Parallel()
	d := guard.NewDeadman(10 * time.Second)
	check := func(now float64, pending bool, due time.Time) {
		t.Helper()
		if got := d.Pending(at(now)); got != pending {
			t.Errorf("pending at %g = %v", now, got)
		}
		if got := d.Due(); !got.Equal(due) {
			t.Errorf("due %v, want %v", got, due)
		}
	}
	check(0, true, time.Time{}) // at the start, at once
	d.Failed(at(1))
	check(0.5, true, at(1))
	d.Applied()
	check(2, false, time.Time{})
	d.Commanded(false, at(3))
	check(12.9, false, at(13))
	d.Fed(at(12.9))
	check(13, false, at(22.9))
	check(23, true, at(23))
	d.Fed(at(23)) // too late
	check(24, true, at(23))
	d.Commanded(true, at(25))
	check(99, false, time.Time{})

	d = guard.NewDeadman(0) // for the start and the exit only
	d.Applied()
	d.Commanded(false, at(1))
	check(9999, false, time.Time{})
}
