package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fill makes a store with several files and returns its records.
func fill(t testing.TB, dir string, cfg OutboxConfig, n int) {
	t.Helper()
	r := start(t, dir, cfg)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < n; i += 50 {
		var batch [][]byte
		for range 50 {
			b := fmt.Appendf(nil, "record %d ", len(batch)+i+1)
			for range 300 {
				b = append(b, byte(rnd.Uint32()))
			}
			batch = append(batch, b)
		}
		if _, err := r.o.AppendAll(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
	}
	r.stop(t)
}

// TestDamage damages one file of a filled store in a random way; the store opens
// all the same, returns only true records, accounts for every missing one, and
// goes on.
func TestDamage(t *testing.T) {
	t.Parallel()
	cfg := OutboxConfig{MaxBytes: 64 << 20, SegmentBytes: minSegment}
	orig := filepath.Join(t.TempDir(), "orig")
	fill(t, orig, cfg, 1500)
	files, _ := filepath.Glob(filepath.Join(orig, "up", "q-*.db"))
	files = append(files, filepath.Join(orig, metaName))
	if len(files) < 4 {
		t.Fatal(files)
	}
	rounds := 150
	if testing.Short() {
		rounds = 30
	}
	found := 0
	for round := range rounds {
		rnd := rand.New(rand.NewPCG(uint64(round), 7))
		dir := filepath.Join(t.TempDir(), fmt.Sprint(round))
		copyDir(t, orig, dir)
		rel, _ := filepath.Rel(orig, files[rnd.IntN(len(files))])
		what := hurt(t, rnd, filepath.Join(dir, rel))
		r := start(t, dir, cfg)
		lost := uint64(0)
		next := uint64(1)
		for _, g := range readAll(t, r.o, 0) {
			lost += g.lost
			if g.lost == 0 && !strings.HasPrefix(g.data, fmt.Sprintf("record %d ", g.seq)) {
				t.Fatalf("%s of %s: record %d is %.20q", what, rel, g.seq, g.data)
			}
			next = g.seq + 1
		}
		n := r.kinds()
		if (next < 1501 || lost > 0) && n[DamagedFile]+n[DamagedChunk] == 0 && !strings.HasPrefix(what, "meta") {
			t.Fatalf("%s of %s: %d lost, end %d, silently", what, rel, lost, next)
		}
		if lost > 0 || len(n) > 0 {
			found++
		}
		appendN(t, r.o, 1)
		r.stop(t)
	}
	t.Logf("%d of %d damages mattered", found, rounds)
}

// hurt damages a file and says how.
func hurt(t *testing.T, rnd *rand.Rand, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The rest of the file has not been written yet.
	at := rnd.IntN(min(len(b), minSegment))
	what := ""
	switch rnd.IntN(5) {
	case 0:
		what, b = fmt.Sprint("truncation at ", at), b[:at]
	case 1:
		at &^= 4095
		what = fmt.Sprint("zeros at ", at)
		clear(b[at:min(at+4096, len(b))])
	case 2:
		// Page headers and keys, where it hurts most.
		at = at&^4095 + rnd.IntN(64)
		fallthrough
	case 3:
		at = min(at, len(b)-1)
		what = fmt.Sprint("bit flip at ", at)
		b[at] ^= 1 << rnd.IntN(8)
	default:
		what = fmt.Sprint("garbage at ", at)
		for i := at; i < min(at+1+rnd.IntN(5000), len(b)); i++ {
			b[i] = byte(rnd.Uint32())
		}
	}
	if at < 8192 {
		// The newer meta page may have been hit: bbolt then takes the one before, as
		// after a power cut.
		what = "meta: " + what
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return what
}

func TestSalvage(t *testing.T) {
	t.Parallel()
	cfg := OutboxConfig{MaxBytes: 64 << 20, SegmentBytes: 1 << 20}
	dir := filepath.Join(t.TempDir(), "s")
	fill(t, dir, cfg, 500)
	path := segmentPath(filepath.Join(dir, "up"), 1)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[:2*page]) // both meta pages
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, cfg)
	defer r.stop(t)
	all := readAll(t, r.o, 0)
	if len(all) != 500 || all[499].lost > 0 {
		t.Fatalf("%d records of 500 were saved", len(all))
	}
	if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) != 1 || r.kinds()[DamagedFile] != 1 {
		t.Error(aside, r.kinds())
	}
}

func TestDamagedFilesDoNotPileUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 3 * keepDamaged {
		if err := os.WriteFile(filepath.Join(dir, metaName), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, "*.damaged-*")); len(aside) != keepDamaged {
		t.Error(aside)
	}
}
