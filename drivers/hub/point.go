package hub

import (
	"math"
	"sync/atomic"
	"time"

	"gantry/drivers"
	"gantry/wamp"
)

// sample is one value of a point, scaled.
type sample struct {
	value   drivers.Value // nil where quality is Bad, and Stale without a value before
	quality drivers.Quality
	why     string
	ts      int64 // when it was measured: microseconds UTC
}

// point is one point of a device: its newest sample and what of it has been
// published. It is a plain state machine without locks or clock; the device's
// mutex guards everything but the spec and the stream.
type point struct {
	*spec
	stream *atomic.Uint64 // seq of the stream's last event; the hub's, shared by successive devices of one name
	// patience is staleAfter, or what is left of it when the driver turns out
	// not to be polled.
	patience time.Duration

	last    sample // the newest, published or not
	arrived time.Time
	some    bool // there has been a reading

	sent   sample // the last published
	sentAt time.Time
	dirty  bool // the last publication failed, or the router forgot it
	sentQ  bool // sent is valid
}

// arrive takes a sample and reports whether it is to be published.
func (p *point) arrive(s sample, now time.Time, force bool) bool {
	p.last, p.arrived, p.some = s, now, true
	switch {
	case force, !p.sentQ, p.dirty:
		return true
	case s.quality != p.sent.quality, s.why != p.sent.why:
		return true
	case p.maxSilence > 0 && now.Sub(p.sentAt) >= p.maxSilence:
		return true
	case p.deadband == 0 && p.maxSilence == 0:
		return true
	}
	return p.moved(s.value)
}

// moved reports whether v is far enough from the last published value. A value
// exactly one deadband away is, whatever the rounding of the subtraction.
func (p *point) moved(v drivers.Value) bool {
	if p.deadband > 0 {
		a, aok := number(v)
		b, bok := number(p.sent.value)
		if aok && bok {
			return math.Abs(a-b) >= p.deadband*(1-1e-9)
		}
	}
	return !same(v, p.sent.value)
}

// published notes that s went out, or that it did not.
func (p *point) published(s sample, now time.Time, ok bool) {
	p.dirty = !ok
	if ok {
		p.sent, p.sentAt, p.sentQ = s, now, true
	}
}

// age makes the point stale for the given reason and reports whether it was not
// before. The value and its time stay.
func (p *point) age(why string) bool {
	if !p.some || p.last.quality == drivers.Stale {
		return false
	}
	p.last.quality, p.last.why = drivers.Stale, why
	return true
}

// due reports what the passing of time asks for while the device is up: publish
// says that the last sample has to go out (again). next is when to ask again,
// zero for not before another reading.
func (p *point) due(now time.Time) (publish bool, next time.Time) {
	if !p.some || p.last.quality == drivers.Stale {
		return p.dirty, next
	}
	if p.patience > 0 {
		next = p.arrived.Add(p.patience)
		if !now.Before(next) {
			p.age("silent")
			return true, time.Time{}
		}
	}
	if p.dirty {
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
func (p *point) envelope(s *sample, clk any, size int) wamp.Dict {
	d := make(wamp.Dict, size)
	d["ts"] = s.ts
	d["q"] = qualities[s.quality]
	if s.why != "" {
		d["why"] = s.why
	}
	if p.unit != "" {
		d["unit"] = p.unit
	}
	d["clk"] = clk
	return d
}

// clean turns a driver's reading into a sample in the published unit and type.
// What does not fit is Bad, never a made-up value.
func (p *point) clean(r *drivers.Reading, now time.Time) sample {
	at := r.Time
	if at.IsZero() {
		at = now
	}
	s := sample{quality: r.Quality, why: clip(r.Why, 64), ts: at.UnixMicro()}
	if s.quality > drivers.Stale {
		s.quality, s.why = drivers.Bad, "quality"
	}
	if s.quality == drivers.Good {
		s.why = ""
	}
	if s.quality == drivers.Bad || s.quality == drivers.Stale && r.Value == nil {
		return s
	}
	v, why := coerce(p.raw, r.Value)
	if why == "" {
		v, why = p.scaled(v)
	}
	if why != "" {
		s.quality, s.why = drivers.Bad, why
		return s
	}
	s.value = v
	return s
}
