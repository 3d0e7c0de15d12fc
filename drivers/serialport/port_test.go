package serialport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/serialport"
)

func TestBytesGoBothWays(t *testing.T) {
	w := newWire(t)
	c := open(t, newPort(t, w.path))
	w.send("hello")
	buf := make([]byte, 64)
	n, err := c.Read(within(t, drivertest.Patience), buf)
	if err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("read %q, %v", buf[:n], err)
	}
	if err := c.Write(t.Context(), []byte("\x00\x11\x13\r\n\x7f")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(w.far, got); err != nil || string(got) != "\x00\x11\x13\r\n\x7f" {
		t.Fatalf("far end read %q, %v", got, err)
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	w := newWire(t)
	c := open(t, newPort(t, w.path))
	buf := make([]byte, 8)

	begin := time.Now()
	_, err := c.Read(within(t, 50*time.Millisecond), buf)
	wantIs(t, err, context.DeadlineExceeded)
	if took := time.Since(begin); took < 45*time.Millisecond || took > drivertest.Patience {
		t.Errorf("a deadline of 50 ms took %v", took)
	}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(ctx, buf)
		done <- err
	}()
	cancel()
	wantIs(t, <-done, context.Canceled)

	w.send("x")
	if n, err := c.Read(within(t, drivertest.Patience), buf); err != nil || n != 1 {
		t.Errorf("read after a cancelled one: %d, %v", n, err)
	}
}

func TestUnplugEndsReadAndReplugOpensAgain(t *testing.T) {
	w := newWire(t)
	p := newPort(t, w.path)
	c := open(t, p)
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(t.Context(), make([]byte, 8))
		done <- err
	}()
	w.unplug()
	wantIs(t, <-done, drivers.ErrOffline)
	wantIs(t, c.Write(t.Context(), []byte("x")), drivers.ErrOffline)
	if err := c.Close(); err != nil {
		t.Error(err)
	}

	_, err := p.Open(t.Context())
	wantIs(t, err, drivers.ErrOffline)
	if !strings.Contains(err.Error(), "no such port") {
		t.Errorf("error does not say that the port is absent: %v", err)
	}

	w.plug()
	again := open(t, p)
	w.send("back")
	buf := make([]byte, 8)
	if n, err := again.Read(within(t, drivertest.Patience), buf); err != nil || string(buf[:n]) != "back" {
		t.Fatalf("read %q, %v", buf[:n], err)
	}
}

func TestOldInputIsDroppedWhenOpening(t *testing.T) {
	w := newWire(t)
	first := open(t, newPort(t, w.path))
	w.send("stale")
	first.Close()
	c := open(t, newPort(t, w.path))
	w.send("fresh")
	buf := make([]byte, 32)
	n, err := c.Read(within(t, drivertest.Patience), buf)
	if err != nil || string(buf[:n]) != "fresh" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
}

// A wedged adapter takes no more bytes. Nothing may hang, and nothing may be left
// behind: the leak check of TestMain looks at the goroutines.
func TestBlockedWriteEndsAndLeavesNothing(t *testing.T) {
	w := newWire(t)
	p := newPort(t, w.path)
	more := bytes.Repeat([]byte("x"), 1<<17)
	for range 20 {
		c := open(t, p)
		reading := make(chan error, 1)
		go func() {
			_, err := c.Read(t.Context(), make([]byte, 8))
			reading <- err
		}()
		err := context.DeadlineExceeded
		for errors.Is(err, context.DeadlineExceeded) { // the machine was busy: not begun
			err = c.Write(within(t, 30*time.Millisecond), more)
		}
		wantIs(t, err, drivers.ErrTimeout)
		wantIs(t, <-reading, drivers.ErrTimeout)
		wantIs(t, c.Write(t.Context(), []byte("y")), drivers.ErrTimeout)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloseFreesABlockedWrite(t *testing.T) {
	w := newWire(t)
	c := open(t, newPort(t, w.path))
	done := make(chan error, 1)
	go func() { done <- c.Write(t.Context(), bytes.Repeat([]byte("x"), 1<<17)) }()
	// The far end has got something: the write is under way.
	if _, err := w.far.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	wantIs(t, <-done, drivers.ErrOffline)
}

func TestWriteWaitsForItsTurn(t *testing.T) {
	w := newWire(t)
	c := open(t, newPort(t, w.path))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Write(ctx, bytes.Repeat([]byte("x"), 1<<17)) }()
	if _, err := w.far.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	wantIs(t, c.Write(within(t, 10*time.Millisecond), []byte("y")), context.DeadlineExceeded)
	cancel()
	wantIs(t, <-done, drivers.ErrTimeout)
}

func TestSecondOpenIsRefusedAlsoForRoot(t *testing.T) {
	w := newWire(t)
	c := open(t, newPort(t, w.path))
	_, err := newPort(t, w.path).Open(t.Context())
	wantIs(t, err, drivers.ErrBusy)
	if !strings.Contains(err.Error(), "another device of this gateway") {
		t.Errorf("error does not say who has the port: %v", err)
	}
	c.Close()
	open(t, newPort(t, w.path))
}

func TestBusyPortNamesTheProcess(t *testing.T) {
	flock, err := exec.LookPath("flock")
	if err != nil {
		t.Skip("needs flock (Debian package util-linux)")
	}
	w := newWire(t)
	node, err := filepath.EvalSymlinks(w.path)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(flock, "--exclusive", "--no-fork", node, "cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stdin.Close(); cmd.Wait() }()
	// cat answers once flock has the lock.
	io.WriteString(stdin, "x")
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_, err = newPort(t, w.path).Open(t.Context())
	wantIs(t, err, drivers.ErrBusy)
	if want := fmt.Sprintf("process %d (cat) has it open", cmd.Process.Pid); !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not contain %q", err, want)
	}
}

func TestPortWithoutModemLinesWorks(t *testing.T) {
	w := newWire(t)
	off := false
	p, err := serialport.New(serialport.Config{Path: w.path}, serialport.LineConfig{DTR: &off, RTS: &off}, serialport.Roots{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, p)
	w.send("x")
	if _, err := c.Read(within(t, drivertest.Patience), make([]byte, 8)); err != nil {
		t.Error(err)
	}
}

func TestChildProcessesDoNotGetThePort(t *testing.T) {
	w := newWire(t)
	c := open(t, newPort(t, w.path))
	out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	if err != nil {
		t.Skipf("needs ls and /proc: %v", err)
	}
	if strings.Contains(string(out), c.Path()+"\n") {
		t.Errorf("a child has the port open:\n%s", out)
	}
}

// The library's own Read panics in this situation.
func TestWorksBeyondThousandDescriptors(t *testing.T) {
	for range 1100 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Skipf("needs 1100 descriptors: %v", err)
		}
		defer f.Close()
	}
	w := newWire(t)
	c := open(t, newPort(t, w.path))
	w.send("x")
	if _, err := c.Read(within(t, drivertest.Patience), make([]byte, 8)); err != nil {
		t.Error(err)
	}
	if err := c.Write(t.Context(), []byte("y")); err != nil {
		t.Error(err)
	}
}

func TestOpenTellsWhatToDo(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"no such port": filepath.Join(dir, "absent"), "not a serial port": plain} {
		_, err := newPort(t, path).Open(t.Context())
		wantIs(t, err, drivers.ErrOffline)
		var pe *serialport.Error
		if !errors.As(err, &pe) || pe.Hint == "" || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestThousandReplugsLeakNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	w := newWire(t)
	p := newPort(t, w.path)
	descriptors := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("needs /proc")
		}
		return len(fds)
	}
	before := descriptors()
	for range 1000 {
		c, err := p.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.unplug()
		if _, err := c.Read(within(t, drivertest.Patience), make([]byte, 8)); !errors.Is(err, drivers.ErrOffline) {
			t.Fatal(err)
		}
		c.Close()
		w.plug()
	}
	if after := descriptors(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestSocatPair(t *testing.T) {
	socat, err := exec.LookPath("socat")
	if err != nil {
		if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
			t.Fatal("needs the Debian package socat")
		}
		t.Skip("needs the Debian package socat")
	}
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	cmd := exec.Command(socat, "-d", "-d", "pty,raw,echo=0,link="+a, "pty,raw,echo=0,link="+b)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	var said []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(said, []byte("starting data transfer loop")) {
		n, err := log.Read(buf)
		if err != nil {
			t.Fatalf("socat: %v: %s", err, said)
		}
		said = append(said, buf[:n]...)
	}
	near, far := open(t, newPort(t, a)), open(t, newPort(t, b))
	if err := far.Write(t.Context(), []byte("21.5\n")); err != nil {
		t.Fatal(err)
	}
	n, err := near.Read(within(t, drivertest.Patience), buf)
	if err != nil || !strings.HasPrefix("21.5\n", string(buf[:n])) {
		t.Fatalf("read %q, %v", buf[:n], err)
	}
	// The adapter dies: both ends notice.
	cmd.Process.Kill()
	for err == nil {
		_, err = near.Read(within(t, drivertest.Patience), buf)
	}
	wantIs(t, err, drivers.ErrOffline)
}

func TestSpeedReachesThePort(t *testing.T) {
	w := newWire(t)
	for _, baud := range []uint32{9600, 31250, 250000} {
		p, err := serialport.New(serialport.Config{Path: w.path}, serialport.LineConfig{Baud: baud, Mode: "8E2"}, serialport.Roots{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c := open(t, p)
		if got := speed(t, w.far); got != baud {
			t.Errorf("speed %d, want %d", got, baud)
		}
		c.Close()
	}
}
