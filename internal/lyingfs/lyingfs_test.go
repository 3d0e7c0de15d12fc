package lyingfs_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"gantry/internal/lyingfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func seed(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, n)) }

// synced writes a file and syncs it.
func synced(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

// TestCut cuts the power: what was synced is there, and what was not may be.
func TestCut(t *testing.T) {
	f, dir := lyingfs.ForTest(t)
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	synced(t, a, "one")
	kept, lost := 0, 0
	for n := range uint64(20) {
		if err := errors.Join(os.WriteFile(b, []byte("two"), 0o600), os.Rename(a, c)); err != nil {
			t.Fatal(err)
		}
		f.Restore(seed(n))
		switch content(t, b) {
		case "two":
			kept++
		default:
			lost++
		}
		if content(t, a)+content(t, c) != "one" {
			t.Fatalf("a is %q, c is %q", content(t, a), content(t, c))
		}
		synced(t, a, "one")
		_ = errors.Join(os.Remove(b), os.Remove(c))
		f.Settle()
	}
	if kept == 0 || lost == 0 {
		t.Errorf("kept %d times, lost %d times", kept, lost)
	}
}

func TestSyncsThatLie(t *testing.T) {
	f, dir := lyingfs.ForTest(t)
	f.Lie(true)
	lost := false
	for n := range uint64(20) {
		synced(t, filepath.Join(dir, "a"), "one")
		f.Restore(seed(n))
		lost = lost || content(t, filepath.Join(dir, "a")) != "one"
		f.Lie(true)
	}
	if !lost {
		t.Error("everything was kept")
	}
}

func TestFaults(t *testing.T) {
	f, dir := lyingfs.ForTest(t)
	path := filepath.Join(dir, "a")
	synced(t, path, "one")
	write := func() error { return os.WriteFile(path, make([]byte, 10_000), 0o600) }
	for _, c := range []struct {
		name    string
		on, off func()
		err     error
	}{
		{"full", func() { f.Full(5000) }, func() { f.Full(0) }, syscall.ENOSPC},
		{"read-only", func() { f.ReadOnly(true) }, func() { f.ReadOnly(false) }, syscall.EROFS},
		{"failing", func() { f.FailWrites(1) }, func() { f.FailWrites(0) }, syscall.EIO},
		{"cut", func() { f.CutAfter(0) }, func() { f.Restore(seed(1)) }, syscall.EIO},
	} {
		c.on()
		if err := write(); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		c.off()
		if err := write(); err != nil || f.Dark() {
			t.Errorf("after %s: %v", c.name, err)
		}
	}
	if n := f.Used(); n != 10_000 {
		t.Errorf("%d bytes are used", n)
	}
}

// TestUnreadable reads what could be read before.
func TestUnreadable(t *testing.T) {
	f, dir := lyingfs.ForTest(t)
	path := filepath.Join(dir, "a")
	synced(t, path, "one")
	if got := content(t, path); got != "one" {
		t.Fatal(got)
	}
	f.Unreadable(true)
	if b, err := os.ReadFile(path); !errors.Is(err, syscall.EIO) {
		t.Errorf("%q, %v", b, err)
	}
	f.Unreadable(false)
	if got := content(t, path); got != "one" {
		t.Errorf("afterwards it is %q", got)
	}
}

// TestLow has the file system say that it is nearly full.
func TestLow(t *testing.T) {
	f, dir := lyingfs.ForTest(t)
	for _, low := range []bool{true, false} {
		f.Low(low)
		var fs syscall.Statfs_t
		if err := syscall.Statfs(dir, &fs); err != nil {
			t.Fatal(err)
		}
		if got := fs.Bavail < fs.Blocks/20; got != low {
			t.Errorf("%d of %d blocks are free", fs.Bavail, fs.Blocks)
		}
		synced(t, filepath.Join(dir, "a"), "one")
	}
}
