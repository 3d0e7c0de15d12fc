package wallclock_test

import (
	"encoding/json"
	"testing"
	"time"

	"gantry/internal/wallclock"
)

// TestSince compares a mark with a later moment, over jumps of the machine's clock and starts of
// the machine.
func TestSince(t *testing.T) {
	t.Parallel()
	const years = 50 * 365 * 24 * time.Hour
	began := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		boot         string
		up, system   time.Duration // of the second moment, since the first
		before, then bool          // the clock is set
		want         time.Duration
	}{
		"nothing happens":                        {"a", time.Minute, time.Minute, true, true, time.Minute},
		"the clock jumps ahead":                  {"a", time.Minute, years, false, false, time.Minute},
		"the clock is set at last":               {"a", time.Minute, years, false, true, time.Minute},
		"the clock jumps back":                   {"a", time.Minute, -years, true, true, time.Minute},
		"another start, both set":                {"b", -time.Hour, time.Minute, true, true, time.Minute},
		"another start, set back":                {"b", -time.Hour, -years, true, true, 0},
		"another start, not set before":          {"b", -time.Hour, years, false, true, 0},
		"another start, not set yet":             {"b", -time.Hour, years, true, false, 0},
		"the machine has been running for less?": {"a", -time.Minute, time.Minute, true, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := func(boot string, up, system time.Duration, set bool) *wallclock.Clock {
				return wallclock.New(wallclock.Config{
					Boot: boot, Up: func() time.Duration { return 2*time.Hour + up },
					System: func() time.Time { return began.Add(system) }, Synced: func() bool { return set },
				})
			}
			b, err := json.Marshal(clock("a", 0, 0, c.before).Mark())
			if err != nil {
				t.Fatal(err)
			}
			var m wallclock.Mark
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			if got := clock(c.boot, c.up, c.system, c.then).Since(m); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
	if d := wallclock.New(wallclock.Config{}).Since(wallclock.Mark{}); d != 0 {
		t.Errorf("%v since no moment", d)
	}
}
