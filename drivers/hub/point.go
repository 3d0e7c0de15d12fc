package hub

import (
	"math"
	"sync/atomic"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub/internal/filter"
	"gantry/drivers/hub/internal/guard"
	"gantry/drivers/hub/internal/transform"
	"gantry/internal/wallclock"
	"gantry/wamp"
)

// point is one point of a device: its newest sample and what of it has been
// published. It is a plain state machine without locks or clock; the device's
// mutex guards everything but the spec and the stream.
type point struct {
	*spec
	stream *atomic.Uint64 // seq of the stream's last event; the hub's, shared by successive devices of one name
	filter *filter.Filter
	guard  *guard.Guard
	dead   *guard.Deadman // nil without a safe value
	claims int            // writes under way that callers asked for
	orders uint64         // how often callers have had it written
	owed   bool           // the hub is writing by itself
	wanted bool           // somebody is subscribed; only kept for devices with demand
	// patience is staleAfter, or what is left of it when the driver turns out
	// not to be polled.
	patience time.Duration

	raw   drivers.Value // what the driver said last, nil where it was not usable
	words uint64        // how often it has said something
	heard chan struct{} // closed at the next word; nil while nobody waits

	last    filter.Sample // the newest that the filters let pass, published or not
	arrived time.Time     // of the newest reading, whether it passed or not
	some    bool          // there has been a sample

	sent   filter.Sample // the last published
	sentAt time.Time
	dirty  bool // the last publication failed, or the router forgot it
	sentQ  bool // sent is valid
}

// newPoint returns a point of which nothing is known.
func newPoint(s *spec, stream *atomic.Uint64, now time.Time) *point {
	p := &point{spec: s, stream: stream, patience: s.staleAfter, filter: filter.New(&s.filter), guard: guard.New(s.limits, now)}
	if s.safe != nil {
		p.dead = guard.NewDeadman(s.safeAfter)
	}
	return p
}

// hear notes what the driver said.
func (p *point) hear(raw drivers.Value) {
	p.raw = raw
	p.words++
	if p.heard != nil {
		close(p.heard)
		p.heard = nil
	}
}

// arrive takes a sample and reports which one is to be published, if any. force
// publishes it past the filters.
func (p *point) arrive(s filter.Sample, now time.Time, force bool) (filter.Sample, bool) {
	p.arrived = now
	switch {
	case s.Quality > drivers.Uncertain:
		p.guard.Doubt()
	case p.switches():
		p.guard.Observe(isOn(s.Value), now)
	}
	if force {
		p.filter.Pass(s, now)
		return s, p.accept(s, now, true)
	}
	out, ok := p.filter.Add(s, now)
	return out, ok && p.accept(out, now, false)
}

// accept takes a sample that has passed the filters and reports whether it is to
// be published.
func (p *point) accept(s filter.Sample, now time.Time, force bool) bool {
	p.last, p.some = s, true
	switch {
	case force, !p.sentQ, p.dirty:
		return true
	case s.Quality != p.sent.Quality, s.Why != p.sent.Why:
		return true
	case p.maxSilence > 0 && now.Sub(p.sentAt) >= p.maxSilence:
		return true
	case p.deadband == 0 && p.maxSilence == 0:
		return true
	}
	return p.moved(s.Value, p.sent.Value) || p.moved(s.Least, p.sent.Least) || p.moved(s.Most, p.sent.Most)
}

// moved reports whether v is far enough from what was last published. A value
// exactly one deadband away is, whatever the rounding of the subtraction.
func (p *point) moved(v, sent drivers.Value) bool {
	if p.deadband > 0 {
		a, aok := transform.Number(v)
		b, bok := transform.Number(sent)
		if aok && bok {
			return math.Abs(a-b) >= p.deadband*(1-1e-9)
		}
	}
	return !transform.Same(v, sent)
}

// published notes that s went out, or that it did not.
func (p *point) published(s filter.Sample, now time.Time, ok bool) {
	p.dirty = !ok
	if ok {
		p.sent, p.sentAt, p.sentQ = s, now, true
	}
}

// age makes the point stale for the given reason and reports whether it was not
// before. The value and its time stay.
func (p *point) age(why string, now time.Time) bool {
	p.guard.Doubt()
	p.filter.Pass(filter.Sample{Quality: drivers.Stale}, now)
	if !p.some || p.last.Quality == drivers.Stale {
		return false
	}
	p.last.Quality, p.last.Why = drivers.Stale, why
	return true
}

// due reports what the passing of time asks for while the device is up: publish
// says that the last sample has to go out (again). next is when to ask again,
// zero for not before another reading.
func (p *point) due(now time.Time) (publish bool, next time.Time) {
	for s, ok := p.filter.Due(now); ok; s, ok = p.filter.Due(now) {
		publish = p.accept(s, now, false) || publish
	}
	publish, next = p.elapsed(now, publish)
	if at := p.filter.Next(); !at.IsZero() && (next.IsZero() || at.Before(next)) {
		next = at
	}
	return publish, next
}

// elapsed is due but for the filters; publish says whether they want it.
func (p *point) elapsed(now time.Time, publish bool) (bool, time.Time) {
	var next time.Time
	if !p.some || p.last.Quality == drivers.Stale {
		return publish || p.dirty, next
	}
	if p.patience > 0 {
		next = p.arrived.Add(p.patience)
		if !now.Before(next) {
			p.age("silent", now)
			return true, time.Time{}
		}
	}
	if publish || p.dirty {
		return true, next
	}
	if p.maxSilence > 0 && p.sentQ {
		again := p.sentAt.Add(p.maxSilence)
		if !now.Before(again) {
			return true, now
		}
		if next.IsZero() || again.Before(next) {
			next = again
		}
	}
	return false, next
}

// Values that never change, boxed once.
var qualities = [...]any{
	drivers.Good:      drivers.Good.String(),
	drivers.Uncertain: drivers.Uncertain.String(),
	drivers.Bad:       drivers.Bad.String(),
	drivers.Stale:     drivers.Stale.String(),
}

// envelope returns the keyword arguments that events and results have in common.
// size is a hint for the number of keys.
func (p *point) envelope(s *filter.Sample, h *Hub, size int) wamp.Dict {
	d := make(wamp.Dict, size)
	h.date(d, s.At)
	d["q"] = qualities[s.Quality]
	if s.Why != "" {
		d["why"] = s.Why
	}
	if p.unit != "" {
		d["unit"] = p.unit
	}
	if s.Least != nil {
		d["min"], d["max"] = s.Least, s.Most
	}
	return d
}

// clean turns a driver's reading into a sample in the published unit and type.
// What does not fit is Bad, never a made-up value.
func (p *point) clean(r *drivers.Reading, now time.Time, clock *wallclock.Clock) filter.Sample {
	s := filter.Sample{Quality: r.Quality, Why: clip(r.Why, 64)}
	switch at := r.Time; {
	case at.IsZero():
		s.At = clock.Stamp(now)
	case at == at.Round(0): // without a monotonic reading: a time that the device tells
		s.At.TS = at.UnixMicro()
	default:
		s.At = clock.Stamp(at)
	}
	if s.Quality > drivers.Stale {
		s.Quality, s.Why = drivers.Bad, "quality"
	}
	if s.Quality == drivers.Good {
		s.Why = ""
	}
	if s.Quality == drivers.Bad || s.Quality == drivers.Stale && r.Value == nil {
		return s
	}
	v, why := p.way.Apply(r.Value)
	if why != "" {
		s.Quality, s.Why = drivers.Bad, why
		return s
	}
	s.Value = v
	return s
}
