package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
)

// both is an outbox with two readers, one of them without a name.
var both = OutboxConfig{Readers: []string{"b"}}

// readFrom is readAll for one of several readers.
func readFrom(t testing.TB, r *Reader) (all []got) {
	t.Helper()
	last, after := r.o.Status().Appended, r.Acked()
	for after < last {
		if err := r.Read(t.Context(), after, 100, func(epoch, seq uint64, b []byte, lost uint64) {
			after = seq
			all = append(all, got{epoch, seq, string(b), lost})
		}); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestReadersHaveCursorsOfTheirOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, dir, both)
	appendN(t, r.o, 10)
	a, b := r.o.Reader(""), r.o.Reader("b")
	if r.o.Reader("a") != nil {
		t.Error("a reader that was not configured")
	}
	if err := a.Ack(t.Context(), 8); err != nil {
		t.Fatal(err)
	}
	if err := b.Ack(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if err := a.Ack(t.Context(), 11); err == nil {
		t.Error("a record that does not exist was acknowledged")
	}
	check := func() {
		t.Helper()
		a, b := r.o.Reader(""), r.o.Reader("b")
		if all := readFrom(t, a); len(all) != 2 || all[0].data != "record 9" {
			t.Error(all)
		}
		if all := readFrom(t, b); len(all) != 7 || all[0].data != "record 4" {
			t.Error(all)
		}
		if s := r.o.Status(); s.Acked != 3 {
			t.Errorf("%+v", s)
		}
		if c := a.Counters(); c["acknowledged"] != 8 || c["appended"] != 10 {
			t.Error(c)
		}
	}
	check()
	r.stop(t)
	r = start(t, dir, both)
	check()
	r.stop(t)
}

// TestReadersAfterACrash finds the cursors of several readers in the commit that came
// after them, without one of their own.
func TestReadersAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := start(t, dir, both)
		appendN(t, r.o, 10)
		if err := errors.Join(r.o.Reader("").Ack(t.Context(), 8), r.o.Reader("b").Ack(t.Context(), 3)); err != nil {
			t.Fatal(err)
		}
		appendN(t, r.o, 1)
		copied := filepath.Join(t.TempDir(), "copy")
		copyDir(t, dir, copied)
		r.stop(t)
		r = start(t, copied, both)
		defer r.stop(t)
		if a, b := r.o.Reader("").Acked(), r.o.Reader("b").Acked(); a != 8 || b != 3 {
			t.Error(a, b)
		}
	})
}

func TestRecordsStayForTheSlowestReader(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := OutboxConfig{SegmentBytes: minSegment, Readers: both.Readers}
	r := start(t, dir, cfg)
	for range 100 {
		if _, err := r.o.Append(t.Context(), noise(8000)); err != nil {
			t.Fatal(err)
		}
	}
	full := diskUse(t, dir)
	if err := r.o.Reader("").Ack(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	r.stop(t)
	if n := diskUse(t, dir); n < full/2 {
		t.Fatalf("%d bytes of %d are left while one reader waits for all", n, full)
	}
	r = start(t, dir, cfg)
	if all := readFrom(t, r.o.Reader("b")); len(all) != 100 || all[99].lost > 0 {
		t.Fatal(len(all))
	}
	if err := r.o.Reader("b").Ack(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	r.stop(t)
	if n := diskUse(t, dir); n > 0 {
		t.Errorf("%d bytes are left when all have read them", n)
	}
}

// TestOneReaderAwayCostsWhatNobodyCosts compares what a reading costs the disk while
// nobody is there with what it costs while one of two readers is.
func TestOneReaderAwayCostsWhatNobodyCosts(t *testing.T) {
	t.Parallel()
	cost := func(cfg OutboxConfig, read func(*rig, uint64)) (perReading float64) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			r := start(t, dir, cfg)
			defer r.stop(t)
			perReading, _ = paced(t, r, 100, time.Minute, func(seq uint64) { read(r, seq) })
		})
		return perReading
	}
	one := cost(OutboxConfig{}, func(*rig, uint64) {})
	two := cost(both, func(r *rig, seq uint64) {
		if err := r.o.Reader("").Ack(t.Context(), max(seq, 5)-4); err != nil {
			t.Error(err)
		}
	})
	none := cost(both, func(r *rig, seq uint64) {
		for _, name := range []string{"", "b"} {
			if err := r.o.Reader(name).Ack(t.Context(), seq); err != nil {
				t.Error(err)
			}
		}
	})
	t.Logf("bytes per reading: %.1f with one reader away, %.1f with one of two away, %.1f with both there", one, two, none)
	if two > one*1.1 || none > 10 {
		t.Error("sharing is dear")
	}
}

func TestAtTheBoundEachReaderHasItsOwnGap(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), OutboxConfig{MaxBytes: 1 << 20, SegmentBytes: 256 << 10, Readers: both.Readers})
	defer r.stop(t)
	a, b := r.o.Reader(""), r.o.Reader("b")
	for i := range uint64(400) {
		if _, err := r.o.Append(t.Context(), noise(8000)); err != nil {
			t.Fatal(err)
		}
		if i == 50 {
			if err := b.Ack(t.Context(), 50); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Ack(t.Context(), i+1); err != nil {
			t.Fatal(err)
		}
	}
	if all := readFrom(t, a); len(all) != 0 || a.Counters()["dropped"] != 0 {
		t.Error(all, a.Counters())
	}
	all := readFrom(t, b)
	if all[0].lost == 0 || all[0].seq != 50+all[0].lost || b.Counters()["dropped"] != all[0].lost {
		t.Errorf("%+v %v", all[0], b.Counters())
	}
}

// TestReadersComeAndGo renames the readers of an outbox: nothing that waits is lost,
// and what waits for nobody goes.
func TestReadersComeAndGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func(names ...string) *rig {
		return start(t, dir, OutboxConfig{Readers: names})
	}
	r := open() // as every outbox was before there were several readers
	appendN(t, r.o, 10)
	if err := r.o.Ack(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	r.stop(t)
	r = open("a", "b")
	for _, name := range []string{"", "a", "b"} {
		if at := r.o.Reader(name).Acked(); at != 4 {
			t.Errorf("%s begins at %d", name, at)
		}
	}
	if err := errors.Join(r.o.Ack(t.Context(), 10), r.o.Reader("a").Ack(t.Context(), 10), r.o.Reader("b").Ack(t.Context(), 6)); err != nil {
		t.Fatal(err)
	}
	r.stop(t)
	r = open("c")
	if at := r.o.Reader("c").Acked(); at != 6 {
		t.Errorf("a new reader begins at %d; what waited for another one was kept from 6 on", at)
	}
	r.stop(t)
	r = open()
	defer r.stop(t)
	if s := r.o.Status(); s.Acked != 10 {
		t.Errorf("%+v: something is kept for one that is no more", s)
	}
}

// TestOldStateOpens opens a directory as it was written before outboxes could have
// several readers: meta.db with one cursor for each outbox.
func TestOldStateOpens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, dir, OutboxConfig{})
	appendN(t, r.o, 10)
	r.stop(t)
	db, err := bbolt.Open(filepath.Join(dir, metaName), 0o600, options(metaMapped, false))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketCursors).Put([]byte("up"), []byte{0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 2})
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r = start(t, dir, both)
	defer r.stop(t)
	if all := readFrom(t, r.o.Reader("b")); len(all) != 3 || all[0].data != "record 8" || r.o.Status().Dropped != 2 {
		t.Errorf("%v %+v", all, r.o.Status())
	}
}

// TestReadersWithoutMeta loses meta.db: the cursors are those of the last commit.
func TestReadersWithoutMeta(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, dir, both)
	appendN(t, r.o, 10)
	if err := errors.Join(r.o.Reader("").Ack(t.Context(), 8), r.o.Reader("b").Ack(t.Context(), 3)); err != nil {
		t.Fatal(err)
	}
	appendN(t, r.o, 1)
	r.stop(t)
	if err := os.Remove(filepath.Join(dir, metaName)); err != nil {
		t.Fatal(err)
	}
	r = start(t, dir, both)
	defer r.stop(t)
	if a, b := r.o.Reader("").Acked(), r.o.Reader("b").Acked(); a != 8 || b != 3 {
		t.Error(a, b)
	}
}

func TestReadersWaitEachForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, t.TempDir(), both)
		defer r.stop(t)
		appendN(t, r.o, 1)
		if err := r.o.Reader("").Ack(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.o.Reader("").Read(ctx, 0, 1, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if all := readFrom(t, r.o.Reader("b")); len(all) != 1 {
			t.Error(all)
		}
	})
}

func TestReadersAreBounded(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range maxReaders + 1 {
		many = append(many, fmt.Sprint("r", i))
	}
	for _, names := range [][]string{many, {"a", "a"}, {""}, {"A"}} {
		var ce *ConfigError
		if err := (OutboxConfig{Readers: names}).Validate(); !errors.As(err, &ce) || ce.Key != "readers" {
			t.Errorf("%q: %v", names, err)
		}
	}
}

func FuzzCursors(f *testing.F) {
	o := &Outbox{readers: []*Reader{{}, {name: "bc"}}}
	f.Add(o.packCursors([]uint64{1, 1 << 40}))
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		unpackCursors(b)
		unpackCursors(binary.LittleEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, castagnoli)))
		o := &Outbox{readers: []*Reader{{}, {name: string(b)}}}
		if got := unpackCursors(o.packCursors([]uint64{7, uint64(len(b))})); len(b) > 0 && (got[""] != 7 || got[string(b)] != uint64(len(b))) {
			t.Error(got)
		}
	})
}
