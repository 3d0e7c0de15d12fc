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

// dated returns i with the time of day that was not known when it was made; ok is false
// where there is nothing to add, or it is not known yet.
func (m Moment) dated(i Instant) (dated Instant, ok bool) {
	if i == (Instant{}) || i.Wall != 0 || i.Boot != m.Boot || !m.Synced {
		return i, false
	}
	return m.In(i.Up - m.Up), true
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

// correction is by how much a trusted wall clock may bring the end of a job forward
// within one start of the machine: time servers correct what a clock has drifted. What
// is more is a jump, and says nothing of how much time has passed.
const correction = 10 * time.Minute

// sooner returns how much earlier than by the clock that does not jump it is until i by
// the wall clock; 0 where that does not count. Both are of one start of the machine.
func (m Moment) sooner(i Instant) time.Duration {
	if i.Wall == 0 || !m.Synced {
		return 0
	}
	d := i.Up - m.Up - time.UnixMicro(i.Wall).Sub(m.Wall)
	if d < 0 || d > correction {
		return 0
	}
	return d
}

// expired is passed for the end of a job, which a trusted wall clock may bring
// forward by a correction, but never put off.
func (m Moment) expired(i Instant) answer {
	if i.Boot == m.Boot {
		return is(m.Up+m.sooner(i) >= i.Up)
	}
	return m.passed(i)
}

// until returns how long it is until i, as far as that is known; ok is false while
// it is not.
func (m Moment) until(i Instant) (d time.Duration, ok bool) {
	switch {
	case i.Boot == m.Boot:
		d = i.Up - m.Up - m.sooner(i)
	case i.Wall == 0 || !m.Synced:
		return 0, false
	default:
		d = time.UnixMicro(i.Wall).Sub(m.Wall)
	}
	return max(d, 0), true
}

func is(b bool) answer {
	if b {
		return yes
	}
	return no
}
