package serialport

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

func TestPermissionDeniedNamesTheGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	far, near, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	defer near.Close()
	if err := near.Chmod(0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		// The thread has another user from here on and ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			done <- err
			return
		}
		f, err := openNode(near.Name())
		if err == nil {
			f.Close()
		}
		done <- err
	}()
	err = openError(near.Name(), <-done, Roots{}.withDefaults())
	if !errors.Is(err, unix.EACCES) || !errors.Is(err, drivers.ErrOffline) || !strings.Contains(err.Error(), "usermod -aG") {
		t.Errorf("error %v", err)
	}
}

// A call that does not come back from the kernel is left behind once, not once per
// retry.
func TestStuckPortIsBusyUntilItsCallComesBack(t *testing.T) {
	far, near, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	near.Close()
	p, err := New(Config{Path: near.Name()}, LineConfig{}, Roots{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.stuckWait = time.Millisecond
	hang := make(chan struct{})
	if p.bounded(t.Context(), time.Millisecond, func() { <-hang }) {
		t.Fatal("the call came back")
	}
	drivertest.LeavesNothing(t, func() {
		for range 100 {
			if _, err := p.Open(t.Context()); !errors.Is(err, drivers.ErrBusy) || !strings.Contains(err.Error(), "unplug") {
				t.Fatalf("error %v", err)
			}
		}
	})
	close(hang)
	p.mu.Lock()
	back := p.stuck
	p.mu.Unlock()
	<-back
	c, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestCancelledOpenLeavesThePortFree(t *testing.T) {
	far, near, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	near.Close()
	p, err := New(Config{Path: near.Name()}, LineConfig{}, Roots{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.stuckWait = drivertest.Patience // on a busy machine a cancelled open takes its time
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		c, err := p.Open(ctx)
		switch {
		case err == nil:
			c.Close()
		case errors.Is(err, context.Canceled):
		default:
			t.Fatal(err)
		}
		cancel()
	}
	// The last one may still be in the kernel.
	c, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestHolderIsReadFromProc(t *testing.T) {
	proc := t.TempDir()
	if err := os.MkdirAll(filepath.Join(proc, "4711", "fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(proc, "4711", "comm"), []byte("picocom\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/ttyUSB0", filepath.Join(proc, "4711", "fd", "3")); err != nil {
		t.Fatal(err)
	}
	if got := holder("/dev/ttyUSB0", proc); got != "process 4711 (picocom) has it open" {
		t.Error(got)
	}
	if got := holder("/dev/ttyUSB1", proc); !strings.Contains(got, "fuser") {
		t.Error(got)
	}
}
