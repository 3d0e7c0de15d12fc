package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
)

// gapsOf returns what a reader is told of missing records, as from-to cause.
func gapsOf(all []got) (gaps []string) {
	for _, g := range all {
		if g.lost > 0 {
			gaps = append(gaps, fmt.Sprintf("%d-%d %s", g.seq-g.lost+1, g.seq, g.data))
		}
	}
	return gaps
}

// cut opens what a power cut at this moment would leave of a store.
func cut(t *testing.T, r *rig, cfg OutboxConfig) *rig {
	t.Helper()
	to := filepath.Join(t.TempDir(), "cut")
	copyDir(t, r.cfg.Dir, to)
	return start(t, to, cfg)
}

// TestGapsSayWhy drops records at the bound; the reader that was away is told which and
// why, also after a restart and after a power cut, until it has acknowledged that.
func TestGapsSayWhy(t *testing.T) {
	t.Parallel()
	cfg := OutboxConfig{MaxBytes: 1 << 20, SegmentBytes: 256 << 10, Readers: []string{"b"}}
	r := start(t, t.TempDir(), cfg)
	for range 300 {
		if _, err := r.o.Append(t.Context(), noise(8000)); err != nil {
			t.Fatal(err)
		}
	}
	want := gapsOf(readFrom(t, r.o.Reader("b")))
	if len(want) != 1 || want[0] != fmt.Sprintf("1-%d max_bytes", r.o.Status().Dropped) {
		t.Fatal(want)
	}
	if l := r.o.Losses(); l["max_bytes"] != r.o.Status().Dropped || l["disk full"] != 0 || l["rejected"] != 0 {
		t.Error(l)
	}
	after := cut(t, r, cfg)
	r.stop(t)
	r = start(t, r.cfg.Dir, cfg)
	for _, x := range []*rig{r, after} {
		for _, name := range []string{"", "b"} {
			if gaps := gapsOf(readFrom(t, x.o.Reader(name))); !slices.Equal(gaps, want) {
				t.Errorf("reader %q is told of %q, not of %q", name, gaps, want)
			}
		}
	}
	if err := after.o.Ack(t.Context(), 300); err != nil {
		t.Fatal(err)
	}
	after.stop(t)
	after = start(t, after.cfg.Dir, cfg)
	if gaps := gapsOf(readFrom(t, after.o.Reader(""))); len(gaps) > 0 {
		t.Errorf("told again of %q", gaps)
	}
	if gaps := gapsOf(readFrom(t, after.o.Reader("b"))); !slices.Equal(gaps, want) {
		t.Errorf("the other one is told of %q", gaps)
	}
	after.stop(t)
	r.stop(t)
}

// TestALostEndIsAGap drops all that there is before a power cut: the numbers are not
// given again, and the reader is told.
func TestALostEndIsAGap(t *testing.T) {
	t.Parallel()
	cfg := OutboxConfig{}
	r := start(t, t.TempDir(), cfg)
	appendN(t, r.o, 10)
	r.stop(t)
	r = start(t, r.cfg.Dir, cfg)
	if !r.o.dropOldest(diskFull) {
		t.Fatal("nothing was dropped")
	}
	after := cut(t, r, cfg)
	defer after.stop(t)
	r.stop(t)
	appendN(t, after.o, 1)
	if all := readAll(t, after.o, 0); !slices.Equal(gapsOf(all), []string{"1-10 disk full"}) || all[1].seq != 11 {
		t.Error(all)
	}
}

// TestACrashIsAGap loses sampled records in a power cut. Without any there is no gap,
// nor is there one after an end in order.
func TestACrashIsAGap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		sampled, orderly bool
		want             []string
	}{
		{"sampled records", true, false, []string{"4-4 crash"}},
		{"none of them", false, false, nil},
		{"an end in order", true, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, t.TempDir(), OutboxConfig{SampleInterval: time.Hour})
			appendN(t, r.o, 3)
			if c.sampled {
				if _, err := r.o.Enqueue(t.Context(), []byte("x"), false); err != nil {
					t.Fatal(err)
				}
			}
			var after *rig
			if c.orderly {
				r.stop(t)
				after = start(t, r.cfg.Dir, OutboxConfig{})
			} else {
				after = cut(t, r, OutboxConfig{})
				defer r.stop(t)
			}
			if gaps := gapsOf(readAll(t, after.o, 0)); !slices.Equal(gaps, c.want) {
				t.Error(gaps)
			}
			if n := after.o.Losses()["crash"]; n != uint64(len(c.want)) {
				t.Errorf("%d crashes are counted", n)
			}
			// The next cut costs nothing, and what was told stays until it is acknowledged.
			again := cut(t, after, OutboxConfig{})
			if gaps := gapsOf(readAll(t, again.o, 0)); !slices.Equal(gaps, c.want) {
				t.Error("told after another cut:", gaps)
			}
			again.stop(t)
			after.stop(t)
		})
	}
}

// TestDamageIsAGap loses a file to damage.
func TestDamageIsAGap(t *testing.T) {
	t.Parallel()
	cfg := OutboxConfig{MaxBytes: 64 << 20, SegmentBytes: minSegment}
	dir := filepath.Join(t.TempDir(), "s")
	fill(t, dir, cfg, 1500)
	files, _ := filepath.Glob(filepath.Join(dir, "up", "q-*.db"))
	if len(files) < 3 {
		t.Fatal(files)
	}
	if err := os.WriteFile(files[1], bytes.Repeat([]byte{7}, page), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, cfg)
	want := gapsOf(readAll(t, r.o, 0))
	r.stop(t)
	r = start(t, dir, cfg)
	defer r.stop(t)
	gaps := gapsOf(readAll(t, r.o, 0))
	if len(gaps) != 1 || !bytes.HasSuffix([]byte(gaps[0]), []byte(" damaged")) || !slices.Equal(gaps, want) {
		t.Error(want, gaps)
	}
}

// TestADamagedChunkIsOneGap damages a chunk in the middle of a file that is read again
// and again: what is missing is known once, and no more than that.
func TestADamagedChunkIsOneGap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, dir, OutboxConfig{})
	for range 3 {
		appendN(t, r.o, 10)
	}
	r.stop(t)
	bad := damageChunk(t, segmentPath(filepath.Join(dir, "up"), 1), 2)
	r = start(t, dir, OutboxConfig{})
	defer r.stop(t)
	want := []string{fmt.Sprintf("%d-%d damaged", bad.from, bad.to)}
	for range 5 {
		if gaps := gapsOf(readAll(t, r.o, 0)); !slices.Equal(gaps, want) {
			t.Fatalf("told of %q, not of %q", gaps, want)
		}
	}
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	if !slices.Equal(r.o.gaps, []gap{bad}) {
		t.Error(r.o.gaps)
	}
}

// damageChunk damages the chunk of a file that is the first to begin at from or behind,
// and returns what is missing then.
func damageChunk(t *testing.T, path string, from uint64) gap {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, options(0, false))
	if err != nil {
		t.Fatal(err)
	}
	var c *chunk
	err = db.Update(func(tx *bbolt.Tx) error {
		k, _ := tx.Cursor().Seek(binary.BigEndian.AppendUint64(nil, from))
		b := tx.Bucket(k)
		packed := slices.Clone(b.Get([]byte(chunkKey)))
		if c, err = decodeChunk(packed); err != nil {
			return err
		}
		packed[len(packed)-1] ^= 1
		return b.Put([]byte(chunkKey), packed)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return gap{c.first, c.last(), inDamage}
}

// TestARefusedRecordIsAGap has a record refused, and one given up, while the disk fails.
func TestARefusedRecordIsAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var fails atomic.Bool
		r := open(t, Config{Dir: t.TempDir(), Step: func(op Op, _ string) error {
			if fails.Load() && (op == OpCommit || op == OpCreate) {
				return syscall.EIO
			}
			return nil
		}})
		var err error
		if r.o, err = r.Outbox("up", OutboxConfig{MaxPending: 10000, MaxRecord: 5000}); err != nil {
			t.Fatal(err)
		}
		r.run()
		defer r.stop(t)
		fails.Store(true)
		if _, err := r.o.Append(t.Context(), []byte("refused")); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := r.o.Enqueue(t.Context(), make([]byte, 5000), false); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		fails.Store(false)
		if err := r.o.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if gaps := gapsOf(readAll(t, r.o, 0)); !slices.Equal(gaps, []string{"1-1 refused", "2-2 not written"}) {
			t.Error(gaps)
		}
		if l := r.o.Losses(); l["refused"] != 1 || l["not written"] != 1 {
			t.Error(l)
		}
	})
}

// TestWhoCannotWait enqueues the first sampled record of a run while meta.db cannot be
// written, and does not wait for it.
func TestWhoCannotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var held atomic.Bool
		free := make(chan struct{})
		r := open(t, Config{Dir: t.TempDir(), Step: func(op Op, path string) error {
			// A file is committed to under the name that it was born with.
			if held.Load() && op == OpCommit && strings.HasPrefix(filepath.Base(path), metaName) {
				<-free
			}
			return nil
		}})
		var err error
		if r.o, err = r.Outbox("up", OutboxConfig{SampleInterval: time.Hour}); err != nil {
			t.Fatal(err)
		}
		r.run()
		defer r.stop(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		held.Store(true)
		taken := make(chan error, 1)
		go func() {
			_, err := r.o.Enqueue(ctx, []byte("x"), false)
			taken <- err
		}()
		synctest.Wait()
		select {
		case err := <-taken:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("it waits for the disk")
		}
		close(free)
		synctest.Wait()
		after := cut(t, r, OutboxConfig{})
		defer after.stop(t)
		if gaps := gapsOf(readAll(t, after.o, 0)); !slices.Equal(gaps, []string{"1-1 crash"}) {
			t.Error(gaps)
		}
	})
}

func TestCausesAreBounded(t *testing.T) {
	t.Parallel()
	o := &Outbox{}
	for i := range uint64(3 * maxGaps) {
		o.note(gap{2*i + 1, 2*i + 1, inCrash})
	}
	if n := len(o.gaps); n != maxGaps || o.gaps[n-1].to != 6*maxGaps-1 {
		t.Error(n, o.gaps[n-1])
	}
}

func FuzzGaps(f *testing.F) {
	f.Add(losses{true, 7, []gap{{1, 2, overAge}, {5, 5, inCrash}}}.pack())
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		l := unpackLosses(b)
		again := unpackLosses(l.pack())
		if again.loose != l.loose || again.crashes != l.crashes || !slices.Equal(again.gaps, l.gaps) {
			t.Error(l, again)
		}
		o := &Outbox{gaps: l.gaps}
		at := uint64(1)
		o.eachGap(1, 1000, func(from, to uint64, _ cause) {
			if from != at || to < from {
				t.Fatalf("%d-%d in place of %d", from, to, at)
			}
			at = to + 1
		})
		if at != 1001 {
			t.Errorf("ends before %d", at)
		}
	})
}
