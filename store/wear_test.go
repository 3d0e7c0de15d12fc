package store

import (
	"bytes"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// paced appends sampled readings of 200 bytes, rate a second for a while, and
// returns what each has cost the disk, in bytes and syncs per second. after is
// called with each sequence number.
func paced(t *testing.T, r *rig, rate int, long time.Duration, after func(seq uint64)) (perReading, flushes float64) {
	t.Helper()
	w0, f0, _ := r.Costs()
	n := int(long/time.Second) * rate
	for i := range n {
		seq, err := r.o.Enqueue(t.Context(), reading(i), false)
		if err != nil {
			t.Fatal(err)
		}
		after(seq)
		time.Sleep(time.Second / time.Duration(rate))
	}
	w1, f1, _ := r.Costs()
	return float64(w1-w0) / float64(n), float64(f1-f0) / long.Seconds()
}

// TestWear holds the store to its budget of bytes and syncs. The times are those
// of a fake clock, the files are real.
func TestWear(t *testing.T) {
	t.Parallel()
	offline := func(uint64) {}
	for _, c := range []struct {
		name           string
		cfg            OutboxConfig
		online, burst  bool
		bytes, flushes float64
	}{
		{name: "healthy uplink", online: true, bytes: 10, flushes: 3},
		{name: "offline", bytes: 450, flushes: 3},
		{name: "offline, wear-saver", cfg: OutboxConfig{WearSaver: true}, bytes: 180, flushes: 3},
		{name: "offline, after a burst has drained", burst: true, bytes: 450, flushes: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				c.cfg.MaxBytes = 1 << 30
				r := start(t, dir, c.cfg)
				defer r.stop(t)
				if c.burst {
					burst(t, r, 1_000_000)
				}
				after := offline
				if c.online {
					after = func(seq uint64) {
						if err := r.o.Ack(t.Context(), seq); err != nil {
							t.Fatal(err)
						}
					}
				}
				got, flushes := paced(t, r, 100, 2*time.Minute, after)
				t.Logf("%.1f bytes per reading, %.2f flushes per second", got, flushes)
				if got > c.bytes || flushes > c.flushes {
					t.Errorf("allowed: %v bytes, %v flushes", c.bytes, c.flushes)
				}
			})
		})
	}
}

// burst appends n readings, a twentieth of them in short mode, and drains them.
func burst(t *testing.T, r *rig, n int) {
	t.Helper()
	if testing.Short() || raceEnabled {
		n /= 20
	}
	var last uint64
	for i := range n {
		seq, err := r.o.Enqueue(t.Context(), reading(i), false)
		if err != nil {
			t.Fatal(err)
		}
		last = seq
	}
	if err := r.o.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.o.Ack(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
}

// TestTwoWeeksFitInto512MiB measures two hours of 20 readings a second, offline,
// and holds it to its share.
func TestTwoWeeksFitInto512MiB(t *testing.T) {
	if raceEnabled {
		t.Skip("144,000 readings, without a race to find")
	}
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, dir, OutboxConfig{MaxBytes: 512 << 20, SegmentBytes: 4 << 20})
		defer r.stop(t)
		paced(t, r, 20, 2*time.Hour, func(uint64) {})
		synctest.Wait()
		packed := int64(0)
		for _, s := range r.o.list() {
			if s != r.o.active {
				packed += s.bytes.Load()
			}
		}
		if packed == 0 {
			t.Fatal("no file was full")
		}
		end := r.o.list()[len(r.o.list())-1].first - 1
		perReading := float64(packed) / float64(end)
		t.Logf("%.1f bytes per reading, 14 days take %.0f MiB", perReading, perReading*20*86400*14/(1<<20))
		if perReading*20*86400*14 > 512<<20 {
			t.Error("more than 512 MiB")
		}
		for i, g := range readAll(t, r.o, 0) {
			if g.seq != uint64(i+1) || !bytes.Equal([]byte(g.data), reading(i)) {
				t.Fatalf("record %d is %.60q", g.seq, g.data)
			}
		}
	})
}

func TestPackingStopsWhereItGainsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, dir, OutboxConfig{SegmentBytes: minSegment})
	for range 60 {
		if _, err := r.o.Append(t.Context(), noise(8000)); err != nil {
			t.Fatal(err)
		}
	}
	if all := readAll(t, r.o, 0); len(all) != 60 {
		t.Fatal(len(all))
	}
	r.stop(t)
	if tmp, _ := filepath.Glob(filepath.Join(dir, "up", "*"+newSuffix)); len(tmp) > 0 {
		t.Error(tmp)
	}
}
