package store

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestEpochIsNotGivenTwice puts an older meta.db back, as a disk does that has lost
// what it claimed to have written: the epochs of the records still count.
func TestEpochIsNotGivenTwice(t *testing.T) {
	t.Parallel()
	for name, hurtNewest := range map[string]bool{"whole": false, "damaged": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			meta := filepath.Join(dir, metaName)
			r := start(t, dir, OutboxConfig{})
			r.stop(t)
			old, err := os.ReadFile(meta)
			if err != nil {
				t.Fatal(err)
			}
			var last uint64
			for range 3 {
				r := start(t, dir, OutboxConfig{})
				appendN(t, r.o, 2)
				last = r.Epoch()
				r.stop(t)
			}
			if err := os.WriteFile(meta, old, 0o600); err != nil {
				t.Fatal(err)
			}
			if hurtNewest {
				spoilFirstPage(t, filepath.Join(dir, "up"))
			}
			r = start(t, dir, OutboxConfig{})
			defer r.stop(t)
			if r.Epoch() <= last {
				t.Errorf("epoch %d is given after %d", r.Epoch(), last)
			}
			seen := map[string]bool{}
			appendN(t, r.o, 1)
			for _, g := range readAll(t, r.o, 0) {
				id := fmt.Sprintf("%d/%d", g.epoch, g.seq)
				if g.lost == 0 && seen[id] {
					t.Errorf("%s is there twice", id)
				}
				seen[id] = true
			}
		})
	}
}

// spoilFirstPage zeroes the head of the newest segment, which bbolt needs.
func spoilFirstPage(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "q-*.db"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[len(files)-1], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 2*page), 0); err != nil {
		t.Fatal(err)
	}
}
