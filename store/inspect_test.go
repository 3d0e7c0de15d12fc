package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestInspectExportCompact(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "s")
	if _, err := Inspect(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	r := open(t, Config{Dir: dir})
	var err error
	if r.o, err = r.Outbox("up", OutboxConfig{SegmentBytes: minSegment}); err != nil {
		t.Fatal(err)
	}
	table, err := r.Table("t", TableConfig{})
	if err != nil {
		t.Fatal(err)
	}
	r.run()
	if _, _, err := Compact(dir); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	for i := range 60 {
		if _, err := r.o.Append(t.Context(), reading(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(r.o.Ack(t.Context(), 20), table.Apply(t.Context(), []Change{put("a", "1"), put("b", "2")})); err != nil {
		t.Fatal(err)
	}
	r.stop(t)

	reports := inspect(t, dir)
	up := reports[len(reports)-1]
	if reports[1].Table != "t" || reports[1].Records != 2 || up.Outbox != "up" || up.Last != 60 || up.Acked != 20 {
		t.Fatalf("%+v", reports)
	}
	next := uint64(1)
	export := func() {
		t.Helper()
		next = 1
		err := Export(dir, "up", func(epoch, seq uint64, _ int64, b []byte) error {
			if seq != next || epoch != 1 || string(b) != string(reading(int(seq-1))) {
				return fmt.Errorf("record %d of epoch %d: %.40q", seq, epoch, b)
			}
			next++
			return nil
		})
		if err != nil || next != 61 {
			t.Fatal(next, err)
		}
	}
	export()
	if err := Export(dir, "none", nil); err == nil {
		t.Error("an outbox that is not there was exported")
	}
	before, after, err := Compact(dir)
	if err != nil || after > before {
		t.Fatal(before, after, err)
	}
	export()
	inspect(t, dir)

	// A flipped bit in a record is found.
	b, err := os.ReadFile(up.Path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		if string(b[i:i+4]) == chunkMagic {
			b[i+chunkHeader+3] ^= 4
			break
		}
	}
	if err := os.WriteFile(up.Path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := Inspect(dir)
	if err != nil || all[len(all)-1].Err == nil {
		t.Fatal("damage was not found", err)
	}
}

// inspect requires everything to be in order.
func inspect(t *testing.T, dir string) []Report {
	t.Helper()
	reports, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if r.Err != nil {
			t.Fatalf("%s: %v", r.Path, r.Err)
		}
	}
	return reports
}

// TestInspectBeside looks at a store that is being written.
func TestInspectBeside(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "s")
	r := start(t, dir, OutboxConfig{SegmentBytes: minSegment, Linger: time.Microsecond})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			seq, err := r.o.Append(ctx, reading(i))
			if err == nil && i%20 == 0 && i > 200 {
				err = r.o.Ack(ctx, seq-100)
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	for n := 0; (n < 20 || r.o.Committed() < 400) && !t.Failed(); n++ {
		before := r.o.Status()
		last := uint64(0)
		for _, f := range inspect(t, dir) {
			last = max(last, f.Last)
		}
		if after := r.o.Status(); last < before.Committed || last > after.Appended {
			t.Errorf("the last record is %d, of %+v to %+v", last, before, after)
		}
	}
	seen := uint64(0)
	if err := Export(dir, "up", func(_, seq uint64, _ int64, b []byte) error {
		if seq <= seen || string(b) != string(reading(int(seq-1))) {
			return fmt.Errorf("record %d after %d: %.40q", seq, seen, b)
		}
		seen = seq
		return nil
	}); err != nil {
		t.Error(err)
	}
	cancel()
	wg.Wait()
	r.stop(t)
	inspect(t, dir)
}

// TestInspectGivesTheLockBack has a child between its fork and its exec while a store is
// looked at.
func TestInspectGivesTheLockBack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "s")
	fill(t, dir, OutboxConfig{}, 50)
	copied := -1
	if err := Export(dir, "up", func(_, seq uint64, _ int64, _ []byte) error {
		if seq > 1 {
			return nil
		}
		fds, err := os.ReadDir("/proc/self/fd")
		for _, fd := range fds {
			n, _ := strconv.Atoi(fd.Name())
			if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); to == filepath.Join(dir, "lock") {
				copied, err = unix.Dup(n)
			}
		}
		return err
	}); err != nil || copied < 0 {
		t.Fatal(copied, err)
	}
	defer unix.Close(copied)
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
