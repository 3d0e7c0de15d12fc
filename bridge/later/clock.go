package later

import "time"

// Moment is one look at the clocks of the machine.
type Moment struct {
	Wall   time.Time
	Synced bool          // Wall can be trusted
	Boot   string        // names this start of the machine
	Up     time.Duration // since then, the time that it slept included
}

// Instant is a time to come, by both clocks.
type Instant struct {
	Wall int64  // microseconds UTC; 0 = the wall clock could not be trusted
	Boot string // the start of the machine that Up counts from
	Up   time.Duration
}

// In returns the instant that is d after the moment.
func (m Moment) In(d time.Duration) Instant {
	i := Instant{Boot: m.Boot, Up: m.Up + d}
	if m.Synced {
		i.Wall = m.Wall.Add(d).UnixMicro()
	}
	return i
}

// answer is what can be said about an instant.
type answer int

const (
	no answer = iota
	yes
	unknown // the wall clock has to be set first
	never   // nobody will ever know: the machine was started anew, and had no time before
)

// passed reports whether i is over. Within one start of the machine only the clock
// that does not jump counts; the wall clock is for what was before.
func (m Moment) passed(i Instant) answer {
	switch {
	case i.Boot == m.Boot:
		return is(m.Up >= i.Up)
	case i.Wall == 0:
		return never
	case !m.Synced:
		return unknown
	}
	return is(m.Wall.UnixMicro() >= i.Wall)
}

// expired is passed for the end of a job, which a trusted wall clock may bring
// forward, but never put off.
func (m Moment) expired(i Instant) answer {
	if i.Wall != 0 && m.Synced && m.Wall.UnixMicro() >= i.Wall {
		return yes
	}
	return m.passed(i)
}

// until returns how long it is until i, as far as that is known; ok is false while
// it is not.
func (m Moment) until(i Instant) (d time.Duration, ok bool) {
	switch {
	case i.Boot == m.Boot:
		d = i.Up - m.Up
	case i.Wall == 0 || !m.Synced:
		return 0, false
	default:
		d = time.UnixMicro(i.Wall).Sub(m.Wall)
	}
	if i.Wall != 0 && m.Synced {
		d = min(d, time.UnixMicro(i.Wall).Sub(m.Wall))
	}
	return max(d, 0), true
}

func is(b bool) answer {
	if b {
		return yes
	}
	return no
}
