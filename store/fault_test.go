package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
)

// TestEveryStepFails fails the n-th step of a run, for every n, in each way that
// a disk has, and from there on the next few, too. The store must go on by itself
// when the fault ends, and have every acknowledged record, each once and in order.
func TestEveryStepFails(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]stepError{
		"disk full":       {OpCommit, &fs.PathError{Op: "write", Err: syscall.ENOSPC}},
		"read-only":       {OpCommit, &fs.PathError{Op: "write", Err: syscall.EROFS}},
		"sync fails":      {OpCommitted, syscall.EIO},
		"create fails":    {OpCreate, &fs.PathError{Op: "open", Err: syscall.EROFS}},
		"rename fails":    {OpRename, syscall.EIO},
		"directory fails": {OpSync, syscall.EIO},
		"remove fails":    {OpRemove, syscall.EROFS},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			points := 4
			if f.op == OpCommit || f.op == OpCommitted {
				points = 10
			}
			if testing.Short() {
				points = 2
			}
			for n := range points {
				// The store tries again after a while, which nobody has to wait for.
				dir := filepath.Join(t.TempDir(), "s")
				synctest.Test(t, func(t *testing.T) { failAt(t, dir, f, int64(n)) })
			}
		})
	}
}

// failAt runs a store in dir in which three steps of a kind fail, from the n-th on.
func failAt(t *testing.T, dir string, f stepError, n int64) {
	t.Helper()
	var steps atomic.Int64
	armed := atomic.Bool{}
	r := open(t, Config{Dir: dir, Step: func(op Op, _ string) error {
		if !armed.Load() || op != f.op {
			return nil
		}
		if i := steps.Add(1) - 1; i >= n && i < n+3 {
			return f.err
		}
		return nil
	}})
	var err error
	if r.o, err = r.Outbox("up", OutboxConfig{SegmentBytes: minSegment, OnFull: RejectNew}); err != nil {
		t.Fatal(err)
	}
	table, err := r.Table("t", TableConfig{})
	if err != nil {
		t.Fatal(err)
	}
	r.run()
	armed.Store(true)
	acknowledged := make(map[uint64]string)
	last := uint64(0)
	for i := range 10 {
		b := string(noise(20000))
		seq, err := r.o.Append(t.Context(), []byte(b))
		if err == nil {
			acknowledged[seq], last = b, seq
		}
		if err := table.Apply(t.Context(), []Change{put(fmt.Sprint(i%7), b)}); err != nil && !errors.Is(err, f.err) && !errors.Is(err, ErrFull) {
			t.Fatalf("step %d: %v", n, err)
		}
	}
	armed.Store(false)
	if err := r.o.Flush(t.Context()); err != nil {
		t.Fatalf("step %d: no recovery: %v", n, err)
	}
	if err := table.Apply(t.Context(), []Change{put("end", "1")}); err != nil {
		t.Fatalf("step %d: no recovery: %v", n, err)
	}
	r.stop(t)
	r2 := start(t, dir, OutboxConfig{SegmentBytes: minSegment, OnFull: RejectNew})
	defer r2.stop(t)
	seen := uint64(0)
	for _, g := range readAll(t, r2.o, 0) {
		if g.seq <= seen {
			t.Fatalf("step %d: record %d after %d", n, g.seq, seen)
		}
		seen = g.seq
		if want, ok := acknowledged[g.seq]; ok && g.lost == 0 {
			if want != g.data {
				t.Fatalf("step %d: record %d is not what was appended", n, g.seq)
			}
			delete(acknowledged, g.seq)
		}
	}
	if len(acknowledged) > 0 || seen < last {
		t.Fatalf("step %d: %d acknowledged records are gone; the last is %d of %d", n, len(acknowledged), seen, last)
	}
}

func TestSpaceIsKeptForTheSystem(t *testing.T) {
	t.Parallel()
	r := open(t, Config{Dir: t.TempDir(), MinFree: 1 << 60})
	var err error
	if r.o, err = r.Outbox("up", OutboxConfig{}); err != nil {
		t.Fatal(err)
	}
	table, err := r.Table("t", TableConfig{})
	if err != nil {
		t.Fatal(err)
	}
	r.run()
	if _, err := r.o.Append(t.Context(), []byte("x")); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if err := table.Apply(t.Context(), []Change{put("a", "b")}); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if err := table.Delete(t.Context(), []byte("a")); err != nil {
		t.Error("what makes room is refused:", err)
	}
	if r.kinds()[Degraded] == 0 {
		t.Error("nobody was told")
	}
	r.cancel()
	<-r.ended
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
