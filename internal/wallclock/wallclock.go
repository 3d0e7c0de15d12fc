// Package wallclock is the time of day on a machine whose clock may not be set: a
// board without a battery starts in 1970, or where it was switched off, and its clock
// jumps when a time server is found, or when somebody sets it.
//
// Until something keeps the machine's clock right, times are guesses: that clock, but
// never before a time that is known to have passed (the floor). A guess carries how
// long the machine had been running, and once the clock has been set it can be put
// right by that, however often the clock has jumped in between.
package wallclock

import (
	"crypto/rand"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gantry/internal/clocksync"
)

// Config says what a clock is made of. Zero fields take the default.
type Config struct {
	// System is the machine's clock; nil is time.Now.
	System func() time.Time
	// Synced reports whether something keeps it right; nil asks the kernel. A step by
	// anything but a time server must make it false, as in Linux.
	Synced func() bool
	// Up is the time since the start of the machine, its sleep included; nil is
	// CLOCK_BOOTTIME.
	Up func() time.Duration
	// Boot names this start of the machine; "" is the kernel's boot_id.
	Boot string
	// Floor is a time that has passed, such as that of the build.
	Floor time.Time
}

// Stamp is an instant.
type Stamp struct {
	// TS is microseconds since 1970 UTC.
	TS int64
	// Up says, where TS is a guess, how many microseconds after the start of the
	// machine the instant was, at least 1. 0: the clock was set.
	Up int64
}

// Clock is the time of day. Its methods are safe for concurrent use.
type Clock struct {
	cfg  Config
	boot string

	mu sync.Mutex // guards what follows; all times are microseconds

	// Once the machine's clock has been set, in this start of the machine: what it was
	// ahead of up at first, by which guesses are put right, and last.
	set         bool
	first, last int64

	floor int64 // a time that has passed, less up

	epoch      uint64 // of the process; 0 = not known yet
	firstEpoch uint64 // of the processes since the start of the machine
	past       []era  // earlier starts of the machine, the oldest first

	asked reading // when Synced was asked last; zero = never, or not to be believed
	kept  bool    // what it said

	changed chan struct{} // capacity 1: what is worth saving has changed
}

// New returns a clock.
func New(cfg Config) *Clock {
	if cfg.Synced == nil {
		cfg.Synced = clocksync.Synced
	}
	if cfg.Up == nil {
		cfg.Up = uptime
	}
	if cfg.Boot == "" {
		cfg.Boot = bootID()
	}
	c := &Clock{cfg: cfg, boot: cfg.Boot, changed: make(chan struct{}, 1)}
	if !cfg.Floor.IsZero() {
		c.floor = cfg.Floor.UnixMicro() - cfg.Up().Microseconds()
	}
	return c
}

// bootID names this start of the machine (random(4)). Where the kernel does not tell,
// it is a name that never comes again.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return rand.Text()
	}
	return strings.TrimSpace(string(b))
}

// uptime is the time since the start of the machine, its sleep included
// (clock_gettime(2), CLOCK_BOOTTIME).
func uptime() time.Duration {
	var t unix.Timespec
	// It has no way to fail on a kernel that Go runs on.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return time.Duration(t.Nano())
}

// Boot names this start of the machine.
func (c *Clock) Boot() string { return c.boot }

// Up returns the time since the start of the machine, its sleep included.
func (c *Clock) Up() time.Duration { return c.cfg.Up() }

// Synced reports whether the time of day can be trusted. Once it could, it can until
// the machine is started anew: then the clock goes on by itself from where the machine's
// was last right, whatever becomes of that.
func (c *Clock) Synced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	return c.set
}

// Now returns the time of day, without a monotonic reading. While it cannot be trusted
// it is the later of the machine's clock and the floor.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall(c.look()).Round(0)
}

// Stamp returns the stamp of at, a time of this process with a monotonic reading: how
// long ago it was counts, and not what the machine's clock was then. The zero time
// is now.
func (c *Clock) Stamp(at time.Time) Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.look()
	t := c.wall(r)
	var ago time.Duration
	if !at.IsZero() {
		ago = r.mono.Sub(at)
		t = t.Add(-ago)
	}
	s := Stamp{TS: t.UnixMicro()}
	if !c.set {
		s.Up = max(r.up-ago.Microseconds(), 1)
	}
	return s
}

// wall returns the time of day; mu is held.
func (c *Clock) wall(r reading) time.Time {
	switch floor := time.UnixMicro(c.floor + r.up); {
	case c.kept:
		return r.system
	case c.set:
		return time.UnixMicro(c.last + r.up)
	case r.system.Before(floor):
		return floor
	}
	return r.system
}

// Right returns what a stamp of this gateway's TS should be, given the Up that it
// had and the epoch of the process that made it. ok is false as long as that is not
// known: the clock has not been set since the start of the machine that the stamp is of,
// or that was many starts ago.
func (c *Clock) Right(epoch uint64, up int64) (ts int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.look()
	switch {
	case c.epoch == 0 || epoch > c.epoch || up < 1 || up > maxTime:
		return 0, false
	case epoch >= c.firstEpoch:
		return c.first + up, c.set && up <= r.up
	}
	for _, e := range slices.Backward(c.past) {
		if epoch >= e.Epoch {
			return e.First + up, e.Set
		}
	}
	return 0, false
}

const (
	// askAge is for how long an answer of Synced is used.
	askAge = 5 * time.Second
	// step is by how much the machine's clock has to move against the others to have
	// jumped, in microseconds. They are read one after the other, and the kernel slews
	// them alike.
	step = 5_000
	// slow is how long, in microseconds, reading all may take for the result to be
	// believed; tries is how often they are read.
	slow  = 1_000
	tries = 5
)

// reading is one look at the clocks.
type reading struct {
	up     int64     // microseconds
	system time.Time // the machine's clock
	mono   time.Time // with a monotonic reading
}

// ahead returns what the machine's clock is ahead of up, in microseconds.
func (r *reading) ahead() int64 { return r.system.UnixMicro() - r.up }

// now reads the clocks that cost no call of the kernel.
func (c *Clock) now() (r reading) {
	r.mono = time.Now()
	r.system = r.mono
	if c.cfg.System != nil {
		r.system = c.cfg.System()
	}
	return r
}

// read reads all clocks at the same time, as far as the scheduler lets it.
func (c *Clock) read() (r reading) {
	for range tries {
		before := c.cfg.Up().Microseconds()
		r = c.now()
		after := c.cfg.Up().Microseconds()
		r.up = before + (after-before)/2
		if after-before <= slow {
			break
		}
	}
	return r
}

// look reads the clocks, and asks whether they are right when that was long ago or the
// machine's clock has jumped since. mu is held.
func (c *Clock) look() reading {
	if !c.asked.mono.IsZero() {
		r := c.now()
		since := r.mono.Sub(c.asked.mono)
		if since < askAge && near(r.system.UnixMicro()-c.asked.system.UnixMicro(), since.Microseconds()) {
			r.up = c.asked.up + since.Microseconds()
			return r
		}
	}
	r := c.read()
	for range tries {
		before := r
		kept := c.cfg.Synced()
		// What the clock is ahead by must be the same before and after the answer, or
		// that would be taken for another time.
		if r = c.read(); near(r.ahead(), before.ahead()) {
			c.asked, c.kept = r, kept
			c.note(r.ahead())
			return r
		}
	}
	c.asked, c.kept = reading{}, false
	return r
}

// note takes over what the machine's clock is ahead by, when it is right. mu is held.
func (c *Clock) note(ahead int64) {
	if !c.kept || c.set && near(c.last, ahead) {
		return
	}
	if !c.set {
		c.first = ahead
	}
	c.set, c.last = true, ahead
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func near(a, b int64) bool { return a-b < step && b-a < step }
