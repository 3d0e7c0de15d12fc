package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestClockJumpsDropNothing lets the wall clock jump while records wait: none is
// dropped before its time, all keep their order, and ageing goes on after that.
func TestClockJumpsDropNothing(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for _, from := range []time.Time{time.Unix(0, 0), time.Unix(clockSet+1000, 0)} {
		for _, jump := range []time.Duration{-50 * year, 50 * year, -time.Hour, time.Hour} {
			t.Run(fmt.Sprint(from.UTC().Year(), " jump ", jump), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) { jumpClock(t, dir, from, jump) })
			})
		}
	}
}

func jumpClock(t *testing.T, dir string, from time.Time, jump time.Duration) {
	begin, offset := time.Now(), atomic.Int64{}
	r := open(t, Config{Dir: dir, Now: func() time.Time { return from.Add(time.Since(begin) + time.Duration(offset.Load())) }})
	var err error
	if r.o, err = r.Outbox("up", OutboxConfig{MaxBytes: 64 << 20, SegmentBytes: minSegment, MaxAge: 12 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	r.run()
	fill := func() {
		t.Helper()
		for range 20 {
			if _, err := r.o.Append(t.Context(), noise(20000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill()
	offset.Store(int64(jump))
	time.Sleep(2 * time.Hour)
	fill()
	if all := readAll(t, r.o, 0); len(all) != 40 || r.o.Status().Dropped != 0 {
		t.Fatalf("%d of 40 records are left", len(all))
	}
	time.Sleep(26 * time.Hour)
	// What was written while the clock was right does age.
	if dropped := r.o.Status().Dropped; from.Unix() > clockSet && dropped < 20 {
		t.Errorf("%d records were dropped when their time had come", dropped)
	}
	r.cancel()
	if err := <-r.ended; err != nil && err != context.Canceled {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestWhatAWrongClockWroteIsNotTooOld starts the store anew on machines whose clock was
// wrong before, or is wrong now: nothing is dropped before its time, and never while
// the clock cannot be trusted.
func TestWhatAWrongClockWroteIsNotTooOld(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	truth := time.Unix(clockSet, 0).Add(year)
	wrongs := []time.Duration{-57 * year, -year / 2, -time.Hour, time.Hour, 50 * year}
	for _, wrong := range wrongs {
		t.Run(fmt.Sprint("written at ", wrong), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				m := &ageMachine{t: t, dir: dir, begun: time.Now(), truth: truth}
				m.set(wrong, false)
				m.start()
				m.fill(20)
				m.stop()
				m.set(0, true)
				m.start()
				m.fill(20)
				time.Sleep(11 * time.Hour)
				m.kept(40)
				time.Sleep(5 * time.Hour)
				// The file written last stays.
				if dropped := m.o.Status().Dropped; dropped < 20 {
					t.Errorf("only %d records grow old", dropped)
				}
				m.stop()
			})
		})
		t.Run(fmt.Sprint("looked at, at ", wrong), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				m := &ageMachine{t: t, dir: dir, begun: time.Now(), truth: truth}
				m.set(0, true)
				m.start()
				m.fill(20)
				m.stop()
				time.Sleep(10 * time.Hour)
				m.set(wrong, false)
				m.start()
				m.fill(20)
				time.Sleep(20 * time.Hour)
				m.kept(40)
				m.set(wrong+30*year, false)
				time.Sleep(20 * time.Hour)
				m.kept(40)
				m.stop()
				m.start()
				time.Sleep(time.Hour)
				m.kept(40)
				m.set(0, true)
				time.Sleep(time.Hour)
				if dropped := m.o.Status().Dropped; dropped != 20 {
					t.Errorf("%d records were dropped when 20 were two days old", dropped)
				}
				m.set(50*year, false)
				m.fill(20)
				time.Sleep(10 * time.Hour)
				if dropped := m.o.Status().Dropped; dropped > 40 {
					t.Errorf("a jump dropped %d records", dropped-40)
				}
				m.stop()
			})
		})
	}
}

// ageMachine is a machine whose clock may be wrong, with a store whose records are
// too old after 12 h.
type ageMachine struct {
	*rig
	t            *testing.T
	dir          string
	begun, truth time.Time
	wrong        atomic.Int64 // time.Duration
	synced       atomic.Bool
}

func (m *ageMachine) set(wrong time.Duration, synced bool) {
	m.wrong.Store(int64(wrong))
	m.synced.Store(synced)
}

func (m *ageMachine) start() {
	m.t.Helper()
	r := open(m.t, Config{
		Dir: m.dir, Now: func() time.Time { return m.truth.Add(time.Since(m.begun) + time.Duration(m.wrong.Load())) }, Synced: m.synced.Load,
	})
	var err error
	if r.o, err = r.Outbox("up", OutboxConfig{MaxBytes: 64 << 20, SegmentBytes: minSegment, MaxAge: 12 * time.Hour}); err != nil {
		m.t.Fatal(err)
	}
	r.run()
	m.rig = r
}

func (m *ageMachine) fill(n int) {
	m.t.Helper()
	for range n {
		if _, err := m.o.Append(m.t.Context(), noise(20000)); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m *ageMachine) kept(n int) {
	m.t.Helper()
	if left := len(readAll(m.t, m.o, 0)); left != n || m.o.Status().Dropped != 0 {
		m.t.Fatalf("%d of %d records are left", left, n)
	}
}

func (m *ageMachine) stop() {
	m.cancel()
	if err := <-m.ended; err != nil && err != context.Canceled {
		m.t.Error(err)
	}
	if err := m.Close(); err != nil {
		m.t.Error(err)
	}
}
