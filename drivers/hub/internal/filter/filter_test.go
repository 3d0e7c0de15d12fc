package filter_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"gantry/drivers"
	"gantry/drivers/hub/internal/filter"
	"gantry/internal/wallclock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// in is a sample, in seconds from the start.
type in struct {
	at    float64
	v     any // a value; or drivers.Bad
	doubt bool
}

// play feeds a filter and calls it when it asks to be. Outputs are second, value,
// the second in which it was measured, and "?" where it is uncertain.
func play(f *filter.Filter, steps []in, until float64) []string {
	start := time.Unix(0, 0)
	var got []string
	take := func(s filter.Sample, now time.Time) {
		mark := ""
		switch s.Quality {
		case drivers.Uncertain:
			mark = "?"
		case drivers.Bad:
			mark = "!"
		}
		got = append(got, fmt.Sprintf("%g %v@%g%s", now.Sub(start).Seconds(), s.Value, float64(s.At.TS)/1e6, mark))
	}
	pass := func(to time.Time) {
		for next := f.Next(); !next.IsZero() && !next.After(to); next = f.Next() {
			for s, ok := f.Due(next); ok; s, ok = f.Due(next) {
				take(s, next)
			}
		}
	}
	for _, i := range steps {
		now := start.Add(time.Duration(i.at * float64(time.Second)))
		pass(now)
		s := filter.Sample{Value: i.v, At: wallclock.Stamp{TS: now.UnixMicro()}}
		if i.v == drivers.Bad {
			s.Value, s.Quality = nil, drivers.Bad
		}
		if i.doubt {
			s.Quality = drivers.Uncertain
		}
		if s, ok := f.Add(s, now); ok {
			take(s, now)
		}
	}
	pass(start.Add(time.Duration(until * float64(time.Second))))
	return got
}

func TestFilters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		cfg   filter.Config
		steps []in
		want  []string
	}{
		{"none lets everything pass", filter.Config{},
			[]in{{at: 1, v: 1.0}, {at: 2, v: 1.0}, {at: 3, v: drivers.Bad}}, []string{"1 1@1", "2 1@2", "3 <nil>@3!"}},
		{"a median drops a spike", filter.Config{Median: 3},
			[]in{{at: 1, v: 1.0}, {at: 2, v: 2.0}, {at: 3, v: 900.0}, {at: 4, v: 3.0}, {at: 5, v: 4.0}},
			[]string{"1 1@1", "2 2@2", "3 2@3", "4 3@4", "5 4@5"}},
		{"a median starts afresh after a fault", filter.Config{Median: 3},
			[]in{{at: 1, v: int64(1)}, {at: 2, v: int64(1)}, {at: 3, v: drivers.Bad}, {at: 4, v: int64(9)}},
			[]string{"1 1@1", "2 1@2", "3 <nil>@3!", "4 9@4"}},
		{"a value counts once it has stayed", filter.Config{Debounce: time.Second},
			[]in{{at: 1, v: false}, {at: 2, v: true}, {at: 2.5, v: true}}, []string{"1 false@1", "3 true@2"}},
		{"one that bounces does not", filter.Config{Debounce: time.Second},
			[]in{{at: 1, v: false}, {at: 2, v: true}, {at: 2.5, v: false}, {at: 3, v: true}, {at: 3.9, v: false}, {at: 9, v: false}},
			[]string{"1 false@1", "2.5 false@2.5", "3.9 false@3.9", "9 false@9"}},
		{"a third value waits from its own start", filter.Config{Debounce: time.Second},
			[]in{{at: 1, v: "a"}, {at: 2, v: "b"}, {at: 2.5, v: "c"}}, []string{"1 a@1", "3.5 c@2.5"}},
		{"a fault ends the wait", filter.Config{Debounce: time.Second},
			[]in{{at: 1, v: "a"}, {at: 2, v: "b"}, {at: 2.5, v: drivers.Bad}, {at: 2.6, v: "c"}},
			[]string{"1 a@1", "2.5 <nil>@2.5!", "2.6 c@2.6"}},
		{"a mean ends by time alone", filter.Config{Window: 10 * time.Second, Of: "mean"},
			[]in{{at: 1, v: 1.0}, {at: 2, v: 2.0}, {at: 9, v: 6.0}}, []string{"11 3@9"}},
		{"a window begins with its first value", filter.Config{Window: 10 * time.Second, Of: "max"},
			[]in{{at: 1, v: 1.0}, {at: 2, v: 7.0}, {at: 5, v: 2.0}, {at: 15, v: 3.0}, {at: 16, v: 2.0}}, []string{"11 7@5", "25 3@16"}},
		{"a minimum of integers stays one", filter.Config{Window: 10 * time.Second, Of: "min"},
			[]in{{at: 1, v: int64(4)}, {at: 2, v: int64(-3)}}, []string{"11 -3@2"}},
		{"a mean of integers is rounded", filter.Config{Window: 10 * time.Second, Of: "mean"},
			[]in{{at: 1, v: int64(4)}, {at: 2, v: int64(5)}, {at: 3, v: int64(5)}}, []string{"11 5@3"}},
		{"a doubtful value makes the window doubtful", filter.Config{Window: 10 * time.Second, Of: "mean"},
			[]in{{at: 1, v: 1.0}, {at: 2, v: 3.0, doubt: true}, {at: 3, v: 2.0}}, []string{"11 2@3?"}},
		{"a mean of the largest numbers is a number", filter.Config{Window: time.Second, Of: "mean"},
			[]in{{at: 1, v: math.MaxFloat64}, {at: 1.5, v: math.MaxFloat64}}, []string{fmt.Sprintf("2 %v@1.5", math.MaxFloat64)}},
		{"a fault drops the window", filter.Config{Window: 10 * time.Second, Of: "mean"},
			[]in{{at: 1, v: 1.0}, {at: 2, v: drivers.Bad}, {at: 3, v: 5.0}}, []string{"2 <nil>@2!", "13 5@3"}},
		{"of what comes too fast the newest waits", filter.Config{Throttle: 10 * time.Second},
			[]in{{at: 1, v: 1.0}, {at: 2, v: 2.0}, {at: 3, v: 3.0}, {at: 30, v: 4.0}}, []string{"1 1@1", "11 3@3", "30 4@30"}},
		{"a fault is not throttled", filter.Config{Throttle: 10 * time.Second},
			[]in{{at: 1, v: 1.0}, {at: 2, v: 2.0}, {at: 3, v: drivers.Bad}, {at: 4, v: 4.0}}, []string{"1 1@1", "3 <nil>@3!", "4 4@4"}},
		{"one after the other", filter.Config{Median: 3, Window: 2 * time.Second, Of: "max", Throttle: 5 * time.Second},
			[]in{{at: 0, v: 1.0}, {at: 1, v: 99.0}, {at: 2, v: 2.0}, {at: 3, v: 3.0}, {at: 4, v: 4.0}, {at: 5, v: 5.0}},
			[]string{"2 99@1", "7 4@5"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tt.want, play(filter.New(&tt.cfg), tt.steps, 60)); d != "" {
				t.Errorf("outputs (-want +got):\n%s", d)
			}
		})
	}
}

func TestWhatPassedByCounts(t *testing.T) {
	t.Parallel()
	now := time.Unix(100, 0)
	f := filter.New(&filter.Config{Debounce: time.Second, Throttle: 10 * time.Second})
	f.Add(filter.Sample{Value: false}, now)
	f.Add(filter.Sample{Value: true}, now.Add(time.Second))
	f.Pass(filter.Sample{Value: true}, now.Add(1500*time.Millisecond))
	if !f.Next().IsZero() {
		t.Error("something still waits")
	}
	if _, ok := f.Add(filter.Sample{Value: true}, now.Add(2*time.Second)); ok {
		t.Error("the throttle does not count what passed by")
	}
	if got, want := f.Next(), now.Add(11500*time.Millisecond); !got.Equal(want) {
		t.Errorf("next at %v, want %v", got, want)
	}
}

func TestWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		typ  drivers.Type
		cfg  filter.Config
		key  string
	}{
		{"a median of four", drivers.Float, filter.Config{Median: 4}, "median"},
		{"a median of one", drivers.Float, filter.Config{Median: 1}, "median"},
		{"a median of thousands", drivers.Float, filter.Config{Median: 9999}, "median"},
		{"a median of texts", drivers.Text, filter.Config{Median: 3}, "median"},
		{"a window of bools", drivers.Bool, filter.Config{Window: 1, Of: "min"}, "window"},
		{"a window without a length", drivers.Int, filter.Config{Of: "min"}, "window.every"},
		{"a window of what", drivers.Int, filter.Config{Window: 1, Of: "sum"}, "window.of"},
	} {
		var c *drivers.ConfigError
		if err := tt.cfg.Validate(tt.typ); !errors.As(err, &c) || c.Key != tt.key || c.Allowed == "" {
			t.Errorf("%s: %v, want an error of key %s that says what is allowed", tt.name, err, tt.key)
		}
	}
}
