package wallclock

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const year = 365 * 24 * time.Hour

// truth is when the machine of the tests was started.
var truth = time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)

// machine is a machine whose clocks the test moves.
type machine struct {
	up     time.Duration
	wrong  time.Duration // what its clock is ahead of the truth
	synced bool
	boot   string
}

func (m *machine) clock(floor time.Time) *Clock {
	return New(Config{
		System: func() time.Time { return truth.Add(m.up + m.wrong) }, Synced: func() bool { return m.synced },
		Up: func() time.Duration { return m.up }, Boot: m.boot, Floor: floor,
	})
}

// step has somebody set the machine's clock, as the kernel does it: nothing keeps it
// right any more.
func (m *machine) step(by time.Duration) { m.wrong, m.synced = m.wrong+by, false }

// sync has a time server set it.
func (m *machine) sync() { m.wrong, m.synced = 0, true }

// taken is a stamp with the truth.
type taken struct {
	Stamp
	epoch uint64
	at    time.Time
}

func (m *machine) take(c *Clock, epoch uint64) taken {
	return taken{c.Stamp(time.Time{}), epoch, truth.Add(m.up)}
}

// about reports whether two times are the same but for what the test takes itself.
func about(a, b time.Time) bool { return a.Sub(b).Abs() < 10*time.Millisecond }

// check looks at what a stamp is put right to.
func (s taken) check(t *testing.T, c *Clock) {
	t.Helper()
	ts, ok := s.TS, true
	if s.Up != 0 {
		ts, ok = c.Right(s.epoch, s.Up)
	}
	if err := ts - s.at.UnixMicro(); !ok || err > 10_000 || err < -10_000 {
		t.Errorf("%v: put right by %v: wrong by %v us (known %v)", s.at, s.Up, err, ok)
	}
}

// TestJumps lets a clock jump in every way, before and after it has been set, with the
// process started anew in between: every stamp of this start of the machine can be put
// right.
func TestJumps(t *testing.T) {
	t.Parallel()
	jumps := []time.Duration{-50 * year, 50 * year, time.Hour, -time.Hour, -time.Second, time.Second, 300 * time.Millisecond}
	for _, before := range jumps {
		for _, after := range jumps {
			for _, anew := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v then %v, anew %v", before, after, anew), func(t *testing.T) {
					t.Parallel()
					m := &machine{boot: "a"}
					c, epoch := m.clock(time.Time{}), uint64(7)
					if err := c.Resume(nil, epoch); err != nil {
						t.Fatal(err)
					}
					restart := func() {
						if !anew {
							return
						}
						saved, err := c.Saved()
						if err != nil {
							t.Fatal(err)
						}
						c, epoch = m.clock(time.Time{}), epoch+1
						if err := c.Resume(saved, epoch); err != nil {
							t.Fatal(err)
						}
					}
					var all []taken
					take := func() {
						for range 3 {
							m.up += 1700 * time.Millisecond
							all = append(all, m.take(c, epoch))
						}
					}
					take()
					m.step(before)
					take()
					restart()
					m.step(-before / 2)
					m.step(before / 3)
					take()
					for i := range all {
						if all[i].Up == 0 {
							t.Fatalf("%v: a stamp of a clock that nobody has set", all[i])
						}
					}
					m.sync()
					take()
					for i := range all {
						all[i].check(t, c)
					}
					restart()
					m.step(after)
					take()
					restart()
					take()
					m.sync()
					take()
					for i := range all {
						all[i].check(t, c)
					}
				})
			}
		}
	}
}

// TestALeapSecond has the kernel insert a second while a time server keeps the clock:
// what was stamped and put right before stays as it is, and the clock goes on.
func TestALeapSecond(t *testing.T) {
	t.Parallel()
	m := &machine{boot: "a", wrong: -50 * year}
	c := m.clock(time.Time{})
	_ = c.Resume(nil, 1)
	m.up = time.Minute
	guess := m.take(c, 1)
	m.sync()
	guess.check(t, c)
	for _, leap := range []time.Duration{-time.Second, 2 * time.Second} {
		m.up += time.Hour
		m.wrong += leap
		if now, want := c.Now(), truth.Add(m.up+m.wrong); !about(now, want) {
			t.Errorf("it is %v, not %v", now, want)
		}
		guess.check(t, c)
	}
}

// next starts the process anew.
func next(t *testing.T, m *machine, c *Clock, epoch uint64, boot string) *Clock {
	t.Helper()
	c.Synced()
	saved, err := c.Saved()
	if err != nil {
		t.Fatal(err)
	}
	m.boot = boot
	c = m.clock(time.Time{})
	if err := c.Resume(saved, epoch); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAnotherStartOfTheMachine leaves what was guessed in an earlier one in which the
// clock was never set as it is.
func TestAnotherStartOfTheMachine(t *testing.T) {
	t.Parallel()
	m := &machine{boot: "a", wrong: -year}
	c := m.clock(time.Time{})
	_ = c.Resume(nil, 1)
	m.up = time.Hour
	old := m.take(c, 1)
	saved, err := c.Saved()
	if err != nil {
		t.Fatal(err)
	}
	m.boot, m.up = "b", 2*time.Hour
	c = m.clock(time.Time{})
	if err := c.Resume(saved, 2); err != nil {
		t.Fatal(err)
	}
	m.sync()
	if ts, ok := c.Right(old.epoch, old.Up); ok {
		t.Errorf("put right to %d", ts)
	}
	// What was guessed before the clock was set stays known when it is over.
	m.step(year)
	m.up += time.Second
	c = next(t, m, c, 3, "b")
	m.sync()
	m.up = 10 * time.Second // less than what was taken had
	known := taken{Stamp{Up: 5_000_000}, 2, truth.Add(5 * time.Second)}
	for epoch := uint64(4); epoch < 100; epoch++ {
		boot := fmt.Sprint("never", epoch)
		c.Synced()
		m.step(year)
		c = next(t, m, c, epoch, boot)
		known.check(t, c)
		if _, ok := c.Right(old.epoch, old.Up); ok {
			t.Fatal("a guess of a start in which the clock was never set was put right")
		}
		if _, ok := c.Right(epoch-1, 1); ok != (epoch == 4) {
			t.Fatalf("epoch %d, before %s: %v", epoch-1, boot, ok)
		}
	}
	c = next(t, m, c, 100, "b2")
	m.sync()
	for epoch := uint64(101); epoch < 140; epoch++ {
		c = next(t, m, c, epoch, fmt.Sprint("set", epoch))
		m.wrong, m.synced = 0, true
		c.Synced()
	}
	if _, ok := c.Right(known.epoch, known.Up); ok {
		t.Error("every start is remembered for ever")
	}
	if _, ok := c.Right(135, 1); !ok {
		t.Error("recent starts are forgotten")
	}
	c = next(t, m, c, 140, "x")
	if _, ok := c.Right(140, 1); !ok {
		t.Error("the clock is set, and the present guess not right")
	}
	for _, wrong := range []taken{{epoch: 141, Stamp: Stamp{Up: 1}}, {epoch: 140, Stamp: Stamp{Up: m.up.Microseconds() + 1_000_000}}, {epoch: 140}, {epoch: 140, Stamp: Stamp{Up: -5}}} {
		if _, ok := c.Right(wrong.epoch, wrong.Up); ok {
			t.Errorf("%+v was put right", wrong)
		}
	}
}

// TestTheFloor starts a machine whose clock stands at 1970, or in the future: it is
// never before what is known to have passed, and a future that was only guessed does
// not stay.
func TestTheFloor(t *testing.T) {
	t.Parallel()
	built := truth.Add(-100 * 24 * time.Hour)
	m := &machine{boot: "a", wrong: truth.Sub(time.Unix(0, 0)) * -1, up: time.Second}
	c := m.clock(built)
	_ = c.Resume(nil, 1)
	if now := c.Now(); now.Before(built) || now.After(built.Add(time.Second)) {
		t.Errorf("it is %v, built %v", now, built)
	}
	m.up = time.Hour
	if now, want := c.Now(), built.Add(time.Hour-time.Second); !about(now, want) {
		t.Errorf("an hour later it is %v, not %v", now, want)
	}
	m.wrong = 50 * year
	if now := c.Now(); now.Before(truth.Add(49 * year)) {
		t.Errorf("a guess is the machine's clock, not %v", now)
	}
	saved, _ := c.Saved()
	next := &machine{boot: "b", wrong: -50 * year}
	c = next.clock(built)
	if err := c.Resume(saved, 2); err != nil {
		t.Fatal(err)
	}
	if now, want := c.Now(), built.Add(time.Hour-time.Second); !about(now, want) {
		t.Errorf("after a guessed future it is %v, not %v", now, want)
	}
	next.up = time.Minute
	next.sync()
	saved, _ = c.Saved()
	last := &machine{boot: "c", wrong: -50 * year}
	c = last.clock(built)
	if err := c.Resume(saved, 3); err != nil {
		t.Fatal(err)
	}
	if now, want := c.Now(), truth.Add(time.Minute); !about(now, want) {
		t.Errorf("the next start begins at %v, not %v", now, want)
	}
}

// TestWhatWasAgo stamps a time of the past by how long ago it was.
func TestWhatWasAgo(t *testing.T) {
	t.Parallel()
	m := &machine{boot: "a", up: time.Hour, wrong: -50 * year}
	c := m.clock(time.Time{})
	_ = c.Resume(nil, 1)
	measured := time.Now().Add(-10 * time.Second)
	m.step(49 * year)
	s := c.Stamp(measured)
	if d := s.Up - (time.Hour - 10*time.Second).Microseconds(); d > 0 || d < -1e6 {
		t.Errorf("up is wrong by %d us", d)
	}
	m.sync()
	s = c.Stamp(measured)
	if d := s.TS - truth.Add(time.Hour-10*time.Second).UnixMicro(); s.Up != 0 || d > 0 || d < -1e6 {
		t.Errorf("%+v, wrong by %d us", s, d)
	}
	// The time of day and the monotonic time of a reading are not of the same instant.
	real := New(Config{Synced: func() bool { return true }})
	if now := time.Now(); !near(real.Stamp(now).TS, now.UnixMicro()) {
		t.Errorf("%v became %v", now.UnixMicro(), real.Stamp(now))
	}
}

// TestTheKernelIsAskedWhenTheClockHasJumped has a step come between an answer and its
// use.
func TestTheKernelIsAskedWhenTheClockHasJumped(t *testing.T) {
	t.Parallel()
	m := &machine{boot: "a", wrong: -year}
	asked := 0
	c := New(Config{
		System: func() time.Time { return truth.Add(m.up + m.wrong) }, Up: func() time.Duration { return m.up }, Boot: "a",
		Synced: func() bool {
			if asked++; asked == 1 {
				m.sync() // just then
			}
			return m.synced
		},
	})
	_ = c.Resume(nil, 1)
	guess := c.Stamp(time.Time{})
	if guess.Up != 0 || !about(time.UnixMicro(guess.TS), truth) {
		t.Errorf("the clock was set: %+v", guess)
	}
	before := asked
	for range 100 {
		c.Stamp(time.Time{})
	}
	if asked != before {
		t.Errorf("asked %d times within no time", asked-before)
	}
	m.step(3 * time.Hour)
	if now := c.Now(); !about(now, truth) {
		t.Errorf("it is %v when somebody has set the clock to %v", now, m.wrong)
	}
	if !c.Synced() {
		t.Error("a clock that was set is not any more")
	}
}

// TestRandomWalk compares with the truth, whatever happens.
func TestRandomWalk(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		m := &machine{boot: "a"}
		c, epoch := m.clock(time.Time{}), uint64(1)
		_ = c.Resume(nil, epoch)
		var all []taken
		for range 100 {
			m.up += time.Duration(rnd.Int64N(int64(20 * time.Second)))
			switch rnd.IntN(8) {
			case 0:
				m.step(time.Duration(rnd.Int64N(int64(100*year))) - 50*year)
			case 1:
				m.sync()
			case 2:
				saved, _ := c.Saved()
				epoch++
				c = m.clock(time.Time{})
				if err := c.Resume(saved, epoch); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, m.take(c, epoch))
		}
		m.sync()
		for _, s := range all {
			s.check(t, c)
		}
	}
}

func FuzzSaved(f *testing.F) {
	m := &machine{boot: "a"}
	c := m.clock(truth)
	_ = c.Resume(nil, 1)
	good, _ := c.Saved()
	f.Add(good)
	m.sync()
	m.up = time.Hour
	c.Synced()
	good, _ = c.Saved()
	f.Add(good)
	f.Add([]byte(`{"v":1,"floor":9223372036854775807,"boot":"a","epoch":1,"set":true,"first":-9223372036854775808}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &machine{boot: "a", up: time.Hour}
		c := m.clock(truth)
		err := c.Resume(b, 5)
		if now := c.Now(); now.Year() > 2255 || now.Before(truth) {
			t.Fatalf("it is %v after %q", now, b)
		}
		if ts, ok := c.Right(5, 1); ok && err != nil {
			t.Fatalf("%d from %q", ts, b)
		}
		m.sync()
		m.up += 10 * time.Second
		if now := c.Now(); !about(now, truth.Add(m.up)) {
			t.Fatalf("it is %v in the end, after %q", now, b)
		}
		saved, err := c.Saved()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.clock(truth).Resume(saved, 6); err != nil {
			t.Fatalf("%s: %v", saved, err)
		}
	})
}

func BenchmarkStamp(b *testing.B) {
	c := New(Config{Synced: func() bool { return true }})
	for b.Loop() {
		c.Stamp(time.Time{})
	}
}
