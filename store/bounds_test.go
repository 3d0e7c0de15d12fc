package store

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// noise returns n bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

func diskUse(t *testing.T, dir string) (n int64) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "up", "q-*.db"))
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		n += onDisk(info)
	}
	return n
}

func TestDropOldestStaysWithinBytesAndShowsTheGap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := OutboxConfig{MaxBytes: 1 << 20, SegmentBytes: 256 << 10}
	r := start(t, dir, cfg)
	for range 300 {
		if _, err := r.o.AppendAll(t.Context(), noise(4000), noise(4000)); err != nil {
			t.Fatal(err)
		}
		if n := diskUse(t, dir); n > cfg.MaxBytes {
			t.Fatalf("%d bytes on disk", n)
		}
	}
	check := func() {
		t.Helper()
		all := readAll(t, r.o, 0)
		s := r.o.Status()
		if all[0].lost == 0 || all[0].lost != all[0].seq || all[0].lost != s.Dropped {
			t.Fatalf("first %+v, status %+v", all[0], s)
		}
		for i, g := range all[1:] {
			if g.lost > 0 || g.seq != all[i].seq+1 {
				t.Fatalf("%+v", g)
			}
		}
		if all[len(all)-1].seq != 600 || s.Bytes != diskUse(t, dir) {
			t.Fatalf("%+v", s)
		}
	}
	check()
	if r.kinds()[Dropped] == 0 {
		t.Error("no event")
	}
	r.stop(t)
	r = start(t, dir, cfg)
	check()
	if err := r.o.Ack(t.Context(), 600); err != nil {
		t.Fatal(err)
	}
	r.stop(t)
	if files, _ := filepath.Glob(filepath.Join(dir, "up", "*")); len(files) != 0 {
		t.Error("files left after everything was acknowledged:", files)
	}
}

// TestTheLighterGivesWay fills the disk: the records of an outbox of less weight make
// room for those of another.
func TestTheLighterGivesWay(t *testing.T) {
	t.Parallel()
	var full, freed atomic.Bool
	r := open(t, Config{Dir: t.TempDir(), Step: func(op Op, path string) error {
		switch light := filepath.Base(filepath.Dir(path)) == "light"; {
		case op == OpRemove && light:
			freed.Store(true)
		case (op == OpCommit || op == OpCreate) && full.Load() && !freed.Load():
			return syscall.ENOSPC
		}
		return nil
	}})
	light, err := r.Outbox("light", OutboxConfig{SegmentBytes: minSegment})
	if err != nil {
		t.Fatal(err)
	}
	if r.o, err = r.Outbox("heavy", OutboxConfig{SegmentBytes: minSegment, Over: light}); err != nil {
		t.Fatal(err)
	}
	r.run()
	defer r.stop(t)
	for _, o := range []*Outbox{light, r.o} {
		for range 40 {
			if _, err := o.Append(t.Context(), noise(8000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	full.Store(true)
	if _, err := r.o.Append(t.Context(), noise(8000)); err != nil {
		t.Fatal(err)
	}
	if l, h := light.Status().Dropped, r.o.Status().Dropped; l == 0 || h != 0 {
		t.Errorf("the light one has dropped %d, the heavy one %d", l, h)
	}
}

func TestRejectNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, dir, OutboxConfig{MaxBytes: 1 << 20, OnFull: RejectNew})
	defer r.stop(t)
	var err error
	n := uint64(0)
	for err == nil && n < 1000 {
		n++
		_, err = r.o.Append(t.Context(), noise(4000))
	}
	if !errors.Is(err, ErrFull) || diskUse(t, dir) > 1<<20 {
		t.Fatal(n, err, diskUse(t, dir))
	}
	if s := r.o.Status(); s.Rejected != 1 || s.Appended != n-1 || s.Dropped != 0 {
		t.Fatalf("%+v", s)
	}
	if all := readAll(t, r.o, 0); len(all) != int(n-1) {
		t.Fatal(len(all))
	}
	if err := r.o.Ack(t.Context(), n-1); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); err == nil || errors.Is(err, ErrFull); {
		if _, err = r.o.Append(t.Context(), noise(10)); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestOldSegmentsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The bubble's clock begins in 2000, where no clock is right.
		begin := time.Now()
		now := func() time.Time { return time.Unix(clockSet+1000, 0).Add(time.Since(begin)) }
		s, err := Open(Config{Dir: t.TempDir(), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		o, err := s.Outbox("up", OutboxConfig{MaxAge: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		for range 10 {
			appendN(t, o, 1)
			time.Sleep(20 * time.Minute)
		}
		synctest.Wait()
		if st := o.Status(); st.Dropped < 7 || st.Dropped > 8 || st.Files != 10-int(st.Dropped) {
			t.Errorf("%+v", st)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestLargeRecords(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), OutboxConfig{})
	defer r.stop(t)
	big := noise(2 << 20)
	if _, err := r.o.AppendAll(t.Context(), nil, big, []byte{}, big); err != nil {
		t.Fatal(err)
	}
	if _, err := r.o.Append(t.Context(), make([]byte, 2<<20+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	all := readAll(t, r.o, 0)
	if len(all) != 4 || all[0].data != "" || all[1].data != string(big) || all[3].data != string(big) {
		t.Fatal(len(all))
	}
}

func TestAppendsWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Config{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		o, err := s.Outbox("up", OutboxConfig{MaxPending: 10000, MaxRecord: 5000})
		if err != nil {
			t.Fatal(err)
		}
		// Nobody commits: Run has not been called.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range 2 {
			if _, err := o.Enqueue(ctx, make([]byte, 5000), false); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := o.Enqueue(ctx, []byte("x"), false); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		// Acknowledged records make room as committed ones do.
		if err := o.Ack(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Enqueue(t.Context(), []byte("x"), false); err != nil {
			t.Fatal(err)
		}
		waits := make(chan error)
		go func() {
			_, err := o.Append(t.Context(), []byte("y"))
			waits <- err
		}()
		synctest.Wait()
		s.Close()
		if err := <-waits; !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	})
}

func FuzzChunk(f *testing.F) {
	var d deflater
	good := encodeChunk(&d, &chunk{epoch: 3, first: 7, acked: 6, clock: 1, quality: clockGuess, records: [][]byte{[]byte("a"), nil, bytes.Repeat([]byte("b"), 500)}})
	f.Add(good)
	f.Add(good[:chunkHeader])
	f.Add(encodeChunk(&d, &chunk{first: 1, records: [][]byte{noise(100)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeChunk(b)
		findChunks(b)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatal(err)
			}
			return
		}
		again, err := decodeChunk(encodeChunk(&d, c))
		if err != nil || again.last() != c.last() || again.quality != c.quality || !bytes.Equal(again.records[0], c.records[0]) {
			t.Fatal(err)
		}
	})
}

// FuzzCheckFile changes a file and lets bbolt open what the check lets pass:
// bbolt then neither panics nor hangs.
func FuzzCheckFile(f *testing.F) {
	dir := f.TempDir()
	fill(f, filepath.Join(dir, "s"), OutboxConfig{MaxBytes: 64 << 20, SegmentBytes: minSegment}, 200)
	orig, err := os.ReadFile(filepath.Join(dir, "s", metaName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), []byte{1})
	f.Add(uint16(8192+8), []byte{2})
	f.Add(uint16(4*4096+20), []byte{0xff})
	f.Fuzz(func(t *testing.T, at uint16, x []byte) {
		path := filepath.Join(t.TempDir(), "meta.db")
		b := bytes.Clone(orig)
		for i := range x {
			if p := int(at) + i; p < len(b) {
				b[p] ^= x[i]
			}
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := openMeta(newDisk("", nil, 0), path, func(Event) {})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.put("k", x); err != nil && x != nil {
			t.Fatal(err)
		}
		_ = m.close()
	})
}
