// Package guard keeps the rules of what may be done to an actuator and for how
// long: how often it is written, how long it may be on and has to be off, and when
// nobody looks after it any more. Its types are plain state machines: time comes in
// with every call, and who calls asks when to come back.
package guard

import "time"

// Limits are the rules of one point. 0 = no such rule.
type Limits struct {
	Every  time.Duration // least time between two writes
	MaxOn  time.Duration // longest time on
	MinOff time.Duration // least time off before it may be on again
}

// Refusal says why a write is not allowed now.
type Refusal struct {
	Why  string        // "rate" or "min_off"
	Wait time.Duration // until it would be
}

// state is what is known of a point.
type state uint8

const (
	unknown state = iota // never heard of
	off
	on
)

// Guard watches one point. "On" is true, or any number but 0.
type Guard struct {
	limits Limits
	state  state
	sure   bool      // the state is that of now, not one from before a failure
	since  time.Time // of the state; from the start until it is known
	wrote  time.Time // the last write; zero = none
	retry  time.Time // no earlier is it to be switched off; zero = at once
}

// New returns the guard of a point of which nothing is known. It counts as off
// since now: after a restart, what was switched off a moment before may not be on
// at once.
func New(l Limits, now time.Time) *Guard { return &Guard{limits: l, since: now} }

// Observe notes what the point is known to be.
func (g *Guard) Observe(isOn bool, now time.Time) {
	s := off
	if isOn {
		s = on
	}
	if s != g.state && !(s == off && g.state == unknown) {
		g.since = now
	}
	if s == off {
		g.retry = time.Time{}
	}
	g.state, g.sure = s, true
}

// Doubt notes that the point may be another now than it was: the device is lost, or
// a write has failed.
func (g *Guard) Doubt() { g.sure = false }

// Off reports whether the point is known to be off.
func (g *Guard) Off() bool { return g.state == off && g.sure }

// On reports whether the point is known to be on.
func (g *Guard) On() bool { return g.state == on && g.sure }

// Allow reports why a write is not allowed, or nil.
func (g *Guard) Allow(isOn bool, now time.Time) *Refusal {
	if wait := g.limits.Every - now.Sub(g.wrote); !g.wrote.IsZero() && wait > 0 {
		return &Refusal{Why: "rate", Wait: wait}
	}
	if wait := g.limits.MinOff - now.Sub(g.since); isOn && g.state != on && wait > 0 {
		return &Refusal{Why: "min_off", Wait: wait}
	}
	return nil
}

// Wrote notes that a write is on its way.
func (g *Guard) Wrote(now time.Time) { g.wrote = now }

// Due is when the point has been on for too long, zero for not before it is on.
func (g *Guard) Due() time.Time {
	if g.state != on || g.limits.MaxOn == 0 {
		return time.Time{}
	}
	due := g.since.Add(g.limits.MaxOn)
	if due.Before(g.retry) {
		return g.retry
	}
	return due
}

// Retry notes that switching off has failed and is to be tried again at that time.
func (g *Guard) Retry(at time.Time) { g.retry = at }

// Deadman says when a point is to be set to its safe value: at the start, and when
// no controller has commanded it or said that it is there for too long.
type Deadman struct {
	after   time.Duration
	pending bool      // the safe value is to be written
	retry   time.Time // no earlier
	armed   bool      // the point may have another value than the safe one
	fed     time.Time // when a controller was last heard of
}

// NewDeadman returns one whose safe value is to be written at once. after is the
// time without a controller; 0 = any.
func NewDeadman(after time.Duration) *Deadman { return &Deadman{after: after, pending: true} }

// Commanded notes that a controller has set the point, or may have: to the safe
// value, or to another.
func (d *Deadman) Commanded(safe bool, now time.Time) {
	d.pending, d.armed, d.fed = false, !safe, now
}

// Fed notes that the controller is there.
func (d *Deadman) Fed(now time.Time) {
	if d.armed {
		d.fed = now
	}
}

// Due is when the safe value is to be written, zero for not before another command.
func (d *Deadman) Due() time.Time {
	switch {
	case d.pending:
		return d.retry
	case d.armed && d.after > 0:
		return d.fed.Add(d.after)
	}
	return time.Time{}
}

// Pending reports whether the safe value is to be written at now. From then on it
// is, until Applied or another command.
func (d *Deadman) Pending(now time.Time) bool {
	if d.armed && d.after > 0 && now.Sub(d.fed) >= d.after {
		d.pending, d.armed, d.retry = true, false, now
	}
	return d.pending
}

// Safe reports whether the point has its safe value, as far as is known.
func (d *Deadman) Safe() bool { return !d.pending && !d.armed }

// Applied notes that the safe value has been written.
func (d *Deadman) Applied() { d.pending, d.armed = false, false }

// Failed notes that it has not, and is to be tried again at that time.
func (d *Deadman) Failed(retry time.Time) { d.pending, d.retry = true, retry }
