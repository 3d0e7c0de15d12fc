// Package filter smooths and thins out the values of a point before they are
// compared with what was published: median, debounce, window and throttle, in this
// order. It is a plain state machine: time comes in with every call, and who calls
// asks Next when to come back.
//
// Readings without a usable value pass all filters at once and start them afresh:
// that something is wrong is never held back, and no value is made up from before
// and after.
package filter

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub/internal/transform"
	"gantry/internal/wallclock"
)

// Sample is one value of a point in the published unit and type.
type Sample struct {
	Value   drivers.Value // nil where Quality is Bad, and Stale without a value before
	Quality drivers.Quality
	Why     string // reason where Quality is not Good
	// At is when it was measured.
	At wallclock.Stamp
	// Least and Most are those of a window that gives them, in Value's type; else nil.
	Least, Most drivers.Value
}

// usable reports whether s has a value that was measured.
func (s *Sample) usable() bool { return s.Quality <= drivers.Uncertain }

// Config says which filters a point has. The zero value has none.
type Config struct {
	// Median is the number of values whose middle one counts: odd, 3 to 31. 0 = off.
	Median int
	// Debounce is how long a new value has to stay before it counts; it counts from
	// when it came. 0 = off.
	Debounce time.Duration
	// Window makes one value of all that come in that time. 0 = off. Of says which:
	// "mean" (rounded on an int point), "min", "max", or "all": the mean, with Least
	// and Most.
	Window time.Duration
	Of     string
	// Throttle is the shortest time between two values; the newest one waits. 0 = off.
	Throttle time.Duration
}

// maxMedian bounds the values that a median keeps.
const maxMedian = 31

// Validate checks c for a point of type typ. The error is a *drivers.ConfigError
// with the key below the point.
func (c *Config) Validate(typ drivers.Type) error {
	numeric := typ == drivers.Float || typ == drivers.Int
	switch {
	case c.Median != 0 && !numeric:
		return bad("median", "only on float and int points", "the point's values are %s", typ)
	case c.Median != 0 && (c.Median < 3 || c.Median > maxMedian || c.Median%2 == 0):
		return bad("median", fmt.Sprintf("an odd number from 3 to %d", maxMedian), "is %d", c.Median)
	case c.Window != 0 && !numeric:
		return bad("window", "only on float and int points", "the point's values are %s", typ)
	case c.Window == 0 && c.Of != "":
		return bad("window.every", "a duration above 0", "is missing")
	case c.Window != 0 && c.Of != "mean" && c.Of != "min" && c.Of != "max" && c.Of != "all":
		return bad("window.of", `"mean", "min", "max", "all"`, "is %.16q", c.Of)
	}
	return nil
}

func bad(key, allowed, format string, args ...any) error {
	return &drivers.ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}

// Filter is the filters of one point. The zero value lets everything pass.
type Filter struct {
	stages []stage
}

// stage is one filter.
type stage interface {
	// add takes a usable sample and returns what passes now.
	add(s Sample, now time.Time) (Sample, bool)
	// due returns what passes because time has passed.
	due(now time.Time) (Sample, bool)
	// next is when due has something, zero for not before another sample.
	next() time.Time
	// restart forgets everything; s, where it is usable, has just passed by.
	restart(s Sample, now time.Time)
}

// New returns the filters of c, which is valid.
func New(c *Config) *Filter {
	f := &Filter{}
	if c.Median > 0 {
		f.stages = append(f.stages, &median{size: c.Median})
	}
	if c.Debounce > 0 {
		f.stages = append(f.stages, &debounce{hold: c.Debounce})
	}
	if c.Window > 0 {
		f.stages = append(f.stages, &window{length: c.Window, of: c.Of})
	}
	if c.Throttle > 0 {
		f.stages = append(f.stages, &throttle{gap: c.Throttle})
	}
	return f
}

// Add takes a sample and returns the one that passes at this moment, if any.
func (f *Filter) Add(s Sample, now time.Time) (Sample, bool) {
	if !s.usable() {
		f.Pass(s, now)
		return s, true
	}
	return f.through(0, s, now)
}

// through takes s through the stages from the first given.
func (f *Filter) through(first int, s Sample, now time.Time) (Sample, bool) {
	for _, stage := range f.stages[first:] {
		var ok bool
		if s, ok = stage.add(s, now); !ok {
			return s, false
		}
	}
	return s, true
}

// Pass notes that s has gone past the filters, and starts them afresh.
func (f *Filter) Pass(s Sample, now time.Time) {
	for _, stage := range f.stages {
		stage.restart(s, now)
	}
}

// Due returns a sample that passes because time has passed, if any. It is asked
// again until there is none.
func (f *Filter) Due(now time.Time) (Sample, bool) {
	for i, stage := range f.stages {
		for {
			s, ok := stage.due(now)
			if !ok {
				break
			}
			if s, ok = f.through(i+1, s, now); ok {
				return s, true
			}
		}
	}
	return Sample{}, false
}

// Next is when Due may have something, zero for not before another sample.
func (f *Filter) Next() time.Time {
	var first time.Time
	for _, stage := range f.stages {
		if t := stage.next(); !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// median lets the middle one of the last values pass, with the time and quality of
// the newest.
type median struct {
	size int
	last []drivers.Value
}

func (m *median) add(s Sample, _ time.Time) (Sample, bool) {
	if len(m.last) == m.size {
		m.last = slices.Delete(m.last, 0, 1)
	}
	m.last = append(m.last, s.Value)
	sorted := slices.SortedFunc(slices.Values(m.last), func(a, b drivers.Value) int {
		x, _ := transform.Number(a)
		y, _ := transform.Number(b)
		return cmp.Compare(x, y)
	})
	s.Value = sorted[len(sorted)/2]
	return s, true
}

func (m *median) due(time.Time) (Sample, bool) { return Sample{}, false }
func (m *median) next() time.Time              { return time.Time{} }

func (m *median) restart(s Sample, _ time.Time) {
	m.last = m.last[:0]
	if s.usable() {
		m.last = append(m.last, s.Value)
	}
}

// debounce lets a value pass once it has stayed.
type debounce struct {
	hold   time.Duration
	stable drivers.Value // nil before the first
	rival  Sample        // another value, as it came
	since  time.Time     // of the rival; zero = there is none
}

func (d *debounce) add(s Sample, now time.Time) (Sample, bool) {
	switch {
	case d.stable == nil, transform.Same(s.Value, d.stable):
		d.stable, d.since = s.Value, time.Time{}
		return s, true
	case d.since.IsZero() || !transform.Same(s.Value, d.rival.Value):
		d.rival, d.since = s, now
	}
	return d.due(now)
}

func (d *debounce) due(now time.Time) (Sample, bool) {
	if d.since.IsZero() || now.Sub(d.since) < d.hold {
		return Sample{}, false
	}
	d.stable, d.since = d.rival.Value, time.Time{}
	return d.rival, true
}

func (d *debounce) next() time.Time {
	if d.since.IsZero() {
		return d.since
	}
	return d.since.Add(d.hold)
}

func (d *debounce) restart(s Sample, _ time.Time) {
	d.stable, d.since = nil, time.Time{}
	if s.usable() {
		d.stable = s.Value
	}
}

// window makes one value of many. It begins with the first one after the last
// window's end.
type window struct {
	length time.Duration
	of     string
	begun  time.Time // zero = nothing is in it
	n      int
	sum    float64
	least  Sample
	most   Sample
	worst  Sample // the last uncertain one, or the newest
}

func (w *window) add(s Sample, now time.Time) (Sample, bool) {
	out, ok := w.due(now)
	v, _ := transform.Number(s.Value)
	if w.begun.IsZero() {
		w.begun, w.n, w.sum, w.least, w.most, w.worst = now, 0, 0, s, s, s
	}
	if least, _ := transform.Number(w.least.Value); v < least {
		w.least = s
	}
	if most, _ := transform.Number(w.most.Value); v > most {
		w.most = s
	}
	w.n++
	w.sum += v
	at := s.At
	if s.Quality >= w.worst.Quality {
		w.worst = s
	}
	w.worst.At = at
	return out, ok
}

func (w *window) due(now time.Time) (Sample, bool) {
	if w.begun.IsZero() || now.Sub(w.begun) < w.length {
		return Sample{}, false
	}
	w.begun = time.Time{}
	s := w.worst
	switch w.of {
	case "min":
		s.Value = w.least.Value
	case "max":
		s.Value = w.most.Value
	default:
		mean := w.sum / float64(w.n)
		if math.IsInf(w.sum, 0) {
			// The sum is too large, the mean is not; the middle of the range does.
			least, _ := transform.Number(w.least.Value)
			most, _ := transform.Number(w.most.Value)
			mean = least/2 + most/2
		}
		s.Value = mean
		if _, whole := w.least.Value.(int64); whole {
			s.Value = int64(math.Round(mean))
		}
		if w.of == "all" {
			s.Least, s.Most = w.least.Value, w.most.Value
		}
	}
	return s, true
}

func (w *window) next() time.Time {
	if w.begun.IsZero() {
		return w.begun
	}
	return w.begun.Add(w.length)
}

func (w *window) restart(Sample, time.Time) { w.begun = time.Time{} }

// throttle lets one value pass in a time; of those that come too early the newest
// waits.
type throttle struct {
	gap     time.Duration
	passed  time.Time // when the last one did; zero = none has
	held    Sample
	holding bool
}

func (t *throttle) add(s Sample, now time.Time) (Sample, bool) {
	t.held, t.holding = s, true
	return t.due(now)
}

func (t *throttle) due(now time.Time) (Sample, bool) {
	if !t.holding || !t.passed.IsZero() && now.Sub(t.passed) < t.gap {
		return Sample{}, false
	}
	t.passed, t.holding = now, false
	return t.held, true
}

func (t *throttle) next() time.Time {
	if !t.holding {
		return time.Time{}
	}
	return t.passed.Add(t.gap)
}

func (t *throttle) restart(s Sample, now time.Time) {
	t.passed, t.holding = time.Time{}, false
	if s.usable() {
		t.passed = now
	}
}
