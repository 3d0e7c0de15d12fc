// Package avrhil gives tests the reference node of firmware/nodes: the firmware as
// it is shipped, on a simulated ATmega328P that runs at real speed, behind a serial
// port that a program opens like any other; and, for what another processor makes of
// the same sources, a BBC micro:bit in QEMU (microbit.go). It is for tests only.
//
// The firmware and the simulator's harness in csrc are compiled once per test
// binary. That takes the Debian packages gcc, make, gcc-avr, avr-libc and
// libsimavr-dev, and for the micro:bit make, gcc-arm-none-eabi and qemu-system-arm;
// without one of them a test is skipped, or fails where GANTRY_REQUIRE_PEERS=1 is
// set.
package avrhil

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is how long a board may take to do as it is told before the test fails.
const Patience = time.Minute

// Room is the temperature that a new board measures, in degrees Celsius.
const Room = 21.5

// Tolerance is how far a reading may be off the temperature set: a step of the
// chip's converter and its rounding, in degrees Celsius.
const Tolerance = 0.25

// Options say how a board differs from an Arduino Uno. The zero value is one.
type Options struct {
	// NoReset keeps the chip running when its port is opened. Without it, the first
	// opening after WaitClosed has returned resets the chip.
	NoReset bool
	// Serial is the serial number in its EEPROM, of a board that says what it is
	// (announced.c); "" = one that speaks lines (node.c).
	Serial string
}

// Stats counts what has happened since the board was started, over all its resets.
type Stats struct {
	In      int // bytes that reached the chip
	Out     int // bytes that the chip has sent
	Lost    int // bytes that the host did not read in time
	Spoilt  int // bytes changed or put in by noise or a wrong baud rate
	Resets  int // of power and reset line, the start among them; not by the watchdog
	Crashes int // of the firmware
}

// Board is a node that is plugged in. Its methods may be called concurrently, but,
// since they fail the test when the simulator does, only from the test's goroutine
// or ones that the test waits for.
type Board struct {
	t    testing.TB
	path string
	cmd  *exec.Cmd
	in   io.WriteCloser
	log  bytes.Buffer // what the simulator complains of; to be read when it has ended

	asking  sync.Mutex    // held from a question to its answer
	answers chan string   // closed by listen at the simulator's end; capacity 1: one question at a time
	ended   chan struct{} // closed by listen when the simulator is gone
	gone    chan struct{} // closed by Close: nobody asks any more
	close   sync.Once

	mu      sync.Mutex // guards the rest
	led     bool
	changes int
	changed chan struct{} // closed at the next change; nil if nobody waits
}

// Start plugs in a new board, whose LED is off. The end of the test unplugs it and
// ends the simulator.
func Start(t testing.TB, o Options) *Board {
	t.Helper()
	p := need(t)
	dir := t.TempDir()
	b := &Board{t: t, path: filepath.Join(dir, "node"), answers: make(chan string, 1),
		ended: make(chan struct{}), gone: make(chan struct{})}
	harness, firmware := filepath.Join(dir, "avrhil"), filepath.Join(dir, "node.hex")
	image := p.node
	if o.Serial != "" {
		image = p.announced
	}
	if err := errors.Join(install(harness, p.harness, 0o700), install(firmware, image, 0o600)); err != nil {
		t.Fatal(err)
	}
	b.cmd = exec.Command(harness, b.path, firmware)
	if o.NoReset {
		b.cmd.Args = append(b.cmd.Args, "noreset")
	}
	b.cmd.Stderr = &b.log
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go b.listen(out)
	t.Cleanup(b.Close)
	b.answer("start")
	if o.Serial != "" {
		b.ask("serial %s", o.Serial)
	}
	b.SetCelsius(Room)
	return b
}

// install writes a file that may be executed at once: a process that is started
// while it is open for writing would inherit it and keep it busy.
func install(path string, content []byte, mode os.FileMode) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, content, mode)
}

// listen takes what the simulator says until it ends.
func (b *Board) listen(out io.Reader) {
	defer close(b.ended)
	defer close(b.answers)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		if kind != "!" {
			select {
			case b.answers <- rest:
			case <-b.gone: // a question was given up
			}
			continue
		}
		b.mu.Lock()
		b.led = rest == "1"
		b.changes++
		if b.changed != nil {
			close(b.changed)
			b.changed = nil
		}
		b.mu.Unlock()
	}
	// The simulator has closed its output; how it ended does not matter here.
	_ = b.cmd.Wait()
}

// ask sends a command and returns the answer.
func (b *Board) ask(format string, args ...any) string {
	b.t.Helper()
	b.asking.Lock()
	defer b.asking.Unlock()
	question := fmt.Sprintf(format, args...)
	// It fails only when the simulator has ended, and then there is no answer.
	_, _ = io.WriteString(b.in, question+"\n")
	return b.answer(question)
}

func (b *Board) answer(question string) string {
	b.t.Helper()
	select {
	case a, ok := <-b.answers:
		if !ok {
			<-b.ended
			b.t.Fatalf("%s: the simulator has ended: %s", question, b.log.String())
		}
		if a == "error" {
			b.t.Fatalf("%s: the simulator does not know that", question)
		}
		return a
	case <-time.After(Patience):
		b.t.Fatalf("%s: no answer from the simulator", question)
	}
	return ""
}

// Path returns the serial port: a link that is there while the board is plugged
// in. It stays the same until ReplugAt, beside which no other method may be called.
func (b *Board) Path() string { return b.path }

// LED reports whether the chip drives the pin of its LED high at this moment.
func (b *Board) LED() bool {
	b.t.Helper()
	return b.ask("led") == "1"
}

// WaitLED returns when the pin of the LED has the level; the test fails when that
// takes longer than Patience.
func (b *Board) WaitLED(on bool) {
	b.t.Helper()
	b.wait(fmt.Sprintf("the LED to be %v", on), func() bool { return b.led == on })
}

// WaitClosed returns when the board has noticed that no program has its port open;
// the test fails when that takes longer than Patience. A program that is just being
// started can hold a copy of a port for a moment after it was closed.
func (b *Board) WaitClosed() {
	b.t.Helper()
	for late := time.Now().Add(Patience); b.ask("open") == "1"; {
		if time.Now().After(late) {
			b.t.Fatalf("the port is still open after %v", Patience)
		}
	}
}

// Changes returns how often the LED's pin has changed its level since the start.
func (b *Board) Changes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changes
}

// WaitChanges returns when the LED's pin has changed its level n times since the
// start.
func (b *Board) WaitChanges(n int) {
	b.t.Helper()
	b.wait(fmt.Sprintf("%d changes of the LED", n), func() bool { return b.changes >= n })
}

// wait returns when ok, which is called with the lock held, does.
func (b *Board) wait(what string, ok func() bool) {
	b.t.Helper()
	late := time.NewTimer(Patience)
	defer late.Stop()
	for {
		b.mu.Lock()
		done := ok()
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-b.ended:
			b.t.Fatalf("waiting for %s: the simulator has ended: %s", what, b.log.String())
		case <-late.C:
			b.t.Fatalf("waiting for %s: not in %v", what, Patience)
		}
	}
}

// SetCelsius sets what the board's sensor feels; readings follow within Tolerance.
// The sensor reaches from -40 to 59 degrees; beyond, and for NaN, which takes the
// sensor away, there is no reading.
func (b *Board) SetCelsius(c float64) {
	b.t.Helper()
	millivolts := 0.0
	if !math.IsNaN(c) {
		millivolts = math.Round(min(max(500+10*c, 0), 1100))
	}
	b.ask("adc 0 %d", int(millivolts))
}

// Unplug takes the port and the board's power away.
func (b *Board) Unplug() {
	b.t.Helper()
	b.ask("unplug")
}

// Replug plugs the board in again, at another node behind the same path. The
// firmware starts anew.
func (b *Board) Replug() {
	b.t.Helper()
	b.ask("plug")
}

// ReplugAt is Replug behind another path.
func (b *Board) ReplugAt(path string) {
	b.t.Helper()
	b.ask("plug %s", path)
	b.path = path
}

// Noise disturbs the line, or stops that: each 25th byte or so gets its top bit
// set, and on the way to the host bytes with the top bit set come in between. What
// has been a digit is no digit then: lines without a checksum cannot show more.
func (b *Board) Noise(on bool) {
	b.t.Helper()
	n := 0
	if on {
		n = 40
	}
	b.ask("noise %d", n)
}

// Stats returns the counters.
func (b *Board) Stats() Stats {
	b.t.Helper()
	var s Stats
	a := b.ask("stat")
	if _, err := fmt.Sscan(a, &s.In, &s.Out, &s.Lost, &s.Spoilt, &s.Resets, &s.Crashes); err != nil {
		b.t.Fatalf("stat: %q: %v", a, err)
	}
	return s
}

// Close unplugs the board for good and waits for the simulator's end. The end of
// the test calls it too; it may be called more than once.
func (b *Board) Close() {
	b.close.Do(func() {
		close(b.gone)
		b.in.Close()
		select {
		case <-b.ended:
		case <-time.After(Patience):
			_ = b.cmd.Process.Kill()
			b.t.Error("the simulator did not end by itself")
			select {
			case <-b.ended:
			case <-time.After(Patience):
				b.t.Error("nor when it was killed")
				return
			}
		}
		if b.log.Len() > 0 {
			b.t.Logf("simulator: %s", b.log.String())
		}
	})
}
