package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// tableRig is an open store with one table.
type tableRig struct {
	*rig
	t *Table
}

func startTable(t testing.TB, dir string, cfg TableConfig, step func(Op, string) error) *tableRig {
	t.Helper()
	r := &tableRig{rig: open(t, Config{Dir: dir, Step: step})}
	var err error
	if r.t, err = r.Table("sessions", cfg); err != nil {
		t.Fatal(err)
	}
	r.run()
	return r
}

func (r *tableRig) content(t testing.TB) map[string]string {
	t.Helper()
	m := make(map[string]string)
	if err := r.t.Each(func(k, v []byte) error { m[string(k)] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	if n := r.t.Counters()["entries"]; int(n) != len(m) {
		t.Fatalf("%d entries are counted, there are %d", n, len(m))
	}
	return m
}

func put(k, v string) Change { return Change{[]byte(k), []byte(v)} }

func TestTableKeepsWhatWasApplied(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := startTable(t, dir, TableConfig{}, nil)
	if err := r.t.Apply(t.Context(), []Change{put("a", "1"), put("b", ""), put("c", "3"), {Key: []byte("a")}}); err != nil {
		t.Fatal(err)
	}
	if err := r.t.Delete(t.Context(), []byte("c"), []byte("never there")); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"b": ""}
	if got := r.content(t); !maps.Equal(got, want) {
		t.Fatal(got)
	}
	r.stop(t)
	if err := r.t.Apply(t.Context(), []Change{put("d", "4")}); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	r = startTable(t, dir, TableConfig{}, nil)
	defer r.stop(t)
	if got := r.content(t); !maps.Equal(got, want) {
		t.Fatal(got)
	}
}

func TestTableRefusesWhatPassesItsBounds(t *testing.T) {
	t.Parallel()
	r := startTable(t, t.TempDir(), TableConfig{MaxEntries: 3, MaxBytes: 4096}, nil)
	defer r.stop(t)
	ok := func(changes ...Change) {
		t.Helper()
		if err := r.t.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
	}
	ok(put("a", "1"), put("b", "2"), put("c", "3"))
	before := r.content(t)
	for name, changes := range map[string][]Change{
		"entries": {put("a", "changed"), put("d", "4"), {Key: []byte("b")}, put("e", "5")},
		"bytes":   {put("a", string(noise(2048))), {Key: []byte("c")}, put("b", string(noise(2048)))},
	} {
		if err := r.t.Apply(t.Context(), changes); !errors.Is(err, ErrFull) {
			t.Fatal(name, err)
		}
		if got := r.content(t); !maps.Equal(got, before) {
			t.Fatalf("%s: a refused call has changed the table: %q", name, got)
		}
	}
	ok(Change{Key: []byte("a")}, put("d", "4"))
	for _, c := range []Change{{}, put(string(noise(MaxKey+1)), ""), put("a", string(noise(4096)))} {
		if err := r.t.Apply(t.Context(), []Change{c}); !errors.Is(err, ErrTooLarge) {
			t.Fatal(err)
		}
	}
	if c := r.t.Counters(); c["refused"] != 2 || c["entries"] != 3 || c["failing"] != 0 {
		t.Error(c)
	}
}

func TestTableSharesCommits(t *testing.T) {
	t.Parallel()
	r := startTable(t, t.TempDir(), TableConfig{}, nil)
	defer r.stop(t)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 10 {
				if err := r.t.Apply(t.Context(), []Change{put(fmt.Sprint(i), fmt.Sprint(j))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if c := r.t.Counters(); c["changes"] != 640 || c["commits"] > 160 {
		t.Error(c)
	}
	if got := r.content(t); len(got) != 64 || got["63"] != "9" {
		t.Error(got)
	}
}

// TestTableModel drives a table and a map with the same random changes, with
// failing steps and restarts in between.
func TestTableModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 5))
			var fail atomic.Pointer[stepError]
			step := func(op Op, path string) error {
				if f := fail.Load(); f != nil && op == f.op {
					return f.err
				}
				return nil
			}
			dir := filepath.Join(t.TempDir(), "s")
			r := startTable(t, dir, TableConfig{}, step)
			defer func() { r.stop(t) }()
			model := make(map[string]string)
			for range 100 {
				changes := randomChanges(rnd)
				switch rnd.IntN(10) {
				case 0:
					r.stop(t)
					r = startTable(t, dir, TableConfig{}, step)
				case 1:
					fail.Store(&stepError{OpCommit, &fs.PathError{Op: "write", Err: syscall.ENOSPC}})
					if err := r.t.Apply(t.Context(), changes); !errors.Is(err, ErrFull) {
						t.Fatal(err)
					}
					fail.Store(nil)
					continue
				case 2:
					// The outcome is not known, and applying once more is right.
					fail.Store(&stepError{OpCommitted, syscall.EIO})
					if err := r.t.Apply(t.Context(), changes); !errors.Is(err, syscall.EIO) {
						t.Fatal(err)
					}
					fail.Store(nil)
				}
				if err := r.t.Apply(t.Context(), changes); err != nil {
					t.Fatal(err)
				}
				for _, c := range changes {
					if c.Value == nil {
						delete(model, string(c.Key))
					} else {
						model[string(c.Key)] = string(c.Value)
					}
				}
				if got := r.content(t); !maps.Equal(got, model) {
					t.Fatalf("table %d, model %d entries", len(got), len(model))
				}
			}
			if k := r.kinds(); k[DamagedFile] != 0 || k[Degraded]-k[Recovered] > 1 {
				t.Error(k)
			}
		})
	}
}

type stepError struct {
	op  Op
	err error
}

func randomChanges(rnd *rand.Rand) (changes []Change) {
	for range 1 + rnd.IntN(20) {
		c := Change{Key: fmt.Appendf(nil, "key %d", rnd.IntN(300))}
		if rnd.IntN(3) > 0 {
			c.Value = noise(rnd.IntN(3000))
		}
		changes = append(changes, c)
	}
	return changes
}

// TestDamagedTable damages a table in a random way: it opens all the same, has
// only true entries, and says so when some are missing.
func TestDamagedTable(t *testing.T) {
	t.Parallel()
	orig := filepath.Join(t.TempDir(), "orig")
	r := startTable(t, orig, TableConfig{}, nil)
	want := make(map[string]string)
	for i := range 40 {
		var changes []Change
		for j := range 30 {
			c := put(fmt.Sprint("key ", i*30+j), string(noise(100)))
			want[string(c.Key)] = string(c.Value)
			changes = append(changes, c)
		}
		// Removed and changed entries leave old copies in the file.
		changes = append(changes, put("removed", "x"), Change{Key: []byte("removed")}, put("changed", fmt.Sprint(i)))
		want["changed"] = fmt.Sprint(i)
		if err := r.t.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
	}
	r.stop(t)
	rounds := 40
	if testing.Short() {
		rounds = 20
	}
	saved := 0
	for round := range rounds {
		rnd := rand.New(rand.NewPCG(uint64(round), 9))
		dir := filepath.Join(t.TempDir(), fmt.Sprint(round))
		copyDir(t, orig, dir)
		what := hurt(t, rnd, filepath.Join(dir, "t-sessions.db"))
		r := startTable(t, dir, TableConfig{}, nil)
		got := r.content(t)
		for k, v := range got {
			// The meta page before the newest one leads to the table as it was before
			// the last call.
			if want[k] != v && (k != "changed" || v != "38") {
				t.Fatalf("%s: %q is %.20q", what, k, v)
			}
		}
		missing := len(got) < len(want)
		if missing && r.kinds()[DamagedFile] == 0 && what[:4] != "meta" {
			t.Fatalf("%s: %d of %d entries are left, silently", what, len(got), len(want))
		}
		if missing && len(got) > 0 {
			saved++
		}
		if err := r.t.Apply(t.Context(), []Change{put("new", "1")}); err != nil {
			t.Fatal(what, err)
		}
		r.stop(t)
	}
	if saved == 0 {
		t.Error("nothing was ever saved of a damaged table")
	}
}

func TestTableShrinksWithItsContent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := startTable(t, dir, TableConfig{}, nil)
	for i := range 12 {
		if err := r.t.Apply(t.Context(), []Change{put(fmt.Sprint(i), string(noise(1<<20)))}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 12 {
		if err := r.t.Delete(t.Context(), []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	r.stop(t)
	r = startTable(t, dir, TableConfig{}, nil)
	defer r.stop(t)
	if n := fileSize(filepath.Join(dir, "t-sessions.db")); n > 1<<20 || len(r.content(t)) != 0 {
		t.Error("the file has", n, "bytes")
	}
}

func FuzzSalvage(f *testing.F) {
	dir := f.TempDir()
	r := startTable(f, dir, TableConfig{}, nil)
	for i := range 200 {
		if err := r.t.Apply(f.Context(), []Change{put(fmt.Sprint(i), string(noise(100)))}); err != nil {
			f.Fatal(err)
		}
	}
	r.stop(f)
	good, err := os.ReadFile(filepath.Join(dir, "t-sessions.db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint(0), []byte{1, 2, 3})
	f.Add(uint(9000), []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at uint, x []byte) {
		path := filepath.Join(t.TempDir(), "f")
		b := append([]byte(nil), good...)
		copy(b[at%uint(len(b)):], x)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if n := len(salvage(path)); n > 200 {
			t.Fatal(n, "entries of 200")
		}
	})
}
