package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gantry/internal/launch"
	"gantry/store"
)

// TestApart has this program open files: a whole one, one that bbolt panics at, and one
// that never opens.
func TestApart(t *testing.T) {
	t.Setenv(asProgram, "1")
	if underRace {
		trials.limits.Memory = 0 // the race detector alone wants more
	}
	log := slog.New(slog.DiscardHandler)
	dir := filepath.Join(t.TempDir(), "store")
	st, err := store.Open(store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	whole := filepath.Join(dir, "meta.db")
	out, err := trials.run(log)([]string{"check", whole, whole})
	if err != nil || string(out) != "sound\nsound\n" {
		t.Fatalf("%q, %v", out, err)
	}

	b, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for at := 2 * page; at < len(b); at += page {
		b[at+8], b[at+9] = 0xff, 0xff // the type of the page
	}
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = trials.run(log)([]string{"check", whole, bad, whole})
	if !errors.Is(err, store.ErrDied) || string(out) != "sound\n" || !strings.Contains(err.Error(), "panic") {
		t.Errorf("%q, %v", out, err)
	}

	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	hasty := apart{limits: trials.limits, wait: time.Second}
	if out, err := hasty.run(log)([]string{"check", pipe}); !errors.Is(err, store.ErrDied) || len(out) > 0 {
		t.Errorf("%q, %v", out, err)
	}
	poor := apart{limits: launch.Limits{Memory: 1 << 20}, wait: patience}
	if out, err := poor.run(log)([]string{"check", whole}); err == nil {
		t.Errorf("without memory: %q", out)
	}
	if _, err := trials.run(log)([]string{"nonsense"}); err == nil || errors.Is(err, store.ErrDied) {
		t.Errorf("nonsense: %v", err)
	}
}
