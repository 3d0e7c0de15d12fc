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
