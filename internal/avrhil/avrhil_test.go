package avrhil_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/serialport"
	"gantry/internal/avrhil"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is an open port as a program sees it.
type wire struct {
	t    *testing.T
	conn *serialport.Conn
	in   *bufio.Reader
}

func open(t *testing.T, path string, baud uint32) *wire {
	t.Helper()
	p, err := serialport.New(serialport.Config{Path: path}, serialport.LineConfig{Baud: baud}, serialport.Roots{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	w := &wire{t: t, conn: c}
	w.in = bufio.NewReader(w)
	return w
}

func (w *wire) Read(p []byte) (int, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), avrhil.Patience)
	defer cancel()
	return w.conn.Read(ctx, p)
}

func (w *wire) send(text string) {
	w.t.Helper()
	if err := w.conn.Write(w.t.Context(), []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

// until returns the next line that begins like that; the test fails when it does
// not come within Patience, whatever else the node says meanwhile.
func (w *wire) until(prefix string) string {
	w.t.Helper()
	var seen []string
	for late := time.Now().Add(avrhil.Patience); time.Now().Before(late); {
		l, err := w.in.ReadString('\n')
		if err != nil {
			w.t.Fatalf("waiting for %q: %v after %q", prefix, err, seen)
		}
		if strings.HasPrefix(l, prefix) {
			return strings.TrimSuffix(l, "\n")
		}
		if len(seen) < 20 {
			seen = append(seen, l)
		}
	}
	w.t.Fatalf("waiting for %q: not in %v; the first lines seen are %q", prefix, avrhil.Patience, seen)
	return ""
}

type reading struct {
	Seq uint32
	T   *float64
	LED int
	Up  uint32
}

func (w *wire) reading() reading {
	w.t.Helper()
	l := w.until("{")
	var r reading
	d := json.NewDecoder(strings.NewReader(l))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		w.t.Fatalf("%s: %v", l, err)
	}
	return r
}

// settled returns nil once readings are as they should be, or the last one. Some
// may have been on their way.
func (w *wire) settled(ok func(reading) bool) *reading {
	w.t.Helper()
	var r reading
	for range 200 {
		if r = w.reading(); ok(r) {
			return nil
		}
	}
	return &r
}

func TestFirmwareOnTheHost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ tool, name string }{{"make", "make"}, {"gcc", "gcc"}} {
		if _, err := exec.LookPath(c.tool); err != nil {
			if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
				t.Fatal("package missing: " + c.name)
			}
			t.Skip("package missing: " + c.name)
		}
	}
	out, err := avrhil.Run("make", "-s", "-C", filepath.Join("..", "..", "firmware", "nodes"), "check", "CC=gcc", "B="+t.TempDir())
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNodeSpeaksItsProtocol(t *testing.T) {
	t.Parallel()
	b := avrhil.Start(t, avrhil.Options{})
	w := open(t, b.Path(), 115200)
	// What the node says at power on may be thrown away by the port's opening.
	w.send("RESTART\n")
	w.until("OK RESTART")
	if got := w.until("BOOT"); got != "BOOT gantry-node 1.0.0" {
		t.Errorf("%q", got)
	}
	first := w.reading()
	if first.Seq != 0 || first.T == nil || math.Abs(*first.T-avrhil.Room) > avrhil.Tolerance || first.LED != 0 {
		t.Errorf("%+v", first)
	}
	w.send("INTERVAL 20\n")
	w.until("OK INTERVAL 20")
	a, c := w.reading(), w.reading()
	if a.Seq != 1 || c.Seq != 2 || c.Up-a.Up != 20 {
		t.Errorf("%+v, then %+v", a, c)
	}

	w.send("LED 1\r\n")
	w.until("OK LED 1")
	if !b.LED() || b.Changes() != 1 {
		t.Errorf("LED %v after %d changes", b.LED(), b.Changes())
	}
	if r := w.reading(); r.LED != 1 {
		t.Errorf("%+v", r)
	}
	w.send("BLINK 2\n")
	w.until("OK BLINK 2")
	b.WaitChanges(5)
	w.send("LED 0\nID\n")
	w.until("OK LED 0")
	w.until("OK ID gantry-node 1.0.0")
	b.WaitLED(false)

	for _, c := range []struct{ line, answer string }{
		{"LED 2\n", "ERR 3 allowed: 0 to 1"},
		{"LED\n", "ERR 2 one number expected"},
		{"BURN\n", "ERR 1 unknown command"},
		{strings.Repeat("x", 3000) + "\n", "ERR 4 line too long"},
		{"LED \xb1\n", "ERR 5 bad character"},
	} {
		w.send(c.line)
		if got := w.until("ERR"); got != c.answer {
			t.Errorf("%.40q was answered by %q", c.line, got)
		}
		w.send("ID\n")
		w.until("OK ID")
	}
	if b.LED() {
		t.Error("bad input has switched the LED")
	}
}

func TestSensorIsMeasured(t *testing.T) {
	t.Parallel()
	b := avrhil.Start(t, avrhil.Options{})
	w := open(t, b.Path(), 115200)
	w.send("INTERVAL 10\n")
	w.until("OK")
	for _, c := range []float64{-39.5, -0.4, 0, 37, 59} {
		b.SetCelsius(c)
		if r := w.settled(func(r reading) bool { return r.T != nil && math.Abs(*r.T-c) <= avrhil.Tolerance }); r != nil {
			t.Errorf("at %v: %+v", c, r)
		}
	}
	for _, c := range []float64{math.NaN(), -45, 90} {
		b.SetCelsius(c)
		if r := w.settled(func(r reading) bool { return r.T == nil }); r != nil {
			t.Errorf("at %v: %+v", c, r)
		}
	}
}

func TestWatchdogRestartsTheNode(t *testing.T) {
	t.Parallel()
	b := avrhil.Start(t, avrhil.Options{})
	w := open(t, b.Path(), 115200)
	w.send("LED 1\nRESTART\n")
	w.until("OK RESTART")
	w.until("BOOT")
	if r := w.reading(); r.Seq != 0 || r.LED != 0 || b.LED() {
		t.Errorf("%+v, LED %v", r, b.LED())
	}
	if s := b.Stats(); s.Resets != 2 || s.Crashes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestOpeningResets(t *testing.T) {
	t.Parallel()
	for _, noReset := range []bool{false, true} {
		b := avrhil.Start(t, avrhil.Options{NoReset: noReset})
		w := open(t, b.Path(), 115200)
		w.send("LED 1\n")
		w.until("OK LED 1")
		w.conn.Close()
		b.WaitClosed()
		w = open(t, b.Path(), 115200)
		// The answer to it comes after what a start says.
		w.send("ID\n")
		w.until("OK ID")
		if b.LED() != noReset {
			t.Errorf("NoReset %v: LED %v", noReset, b.LED())
		}
	}
}

func TestUnplugAndReplug(t *testing.T) {
	t.Parallel()
	b := avrhil.Start(t, avrhil.Options{})
	for range 3 {
		w := open(t, b.Path(), 115200)
		w.send("LED 1\n")
		w.until("OK LED 1")
		b.Unplug()
		if b.LED() {
			t.Error("the LED is on without power")
		}
		if _, err := w.in.ReadString(0); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("error %v", err)
		}
		if _, err := os.Lstat(b.Path()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the port of an unplugged board: %v", err)
		}
		b.Replug()
	}
	b.Close()
	b.Close()
}

func TestWrongBaudRateIsRubbish(t *testing.T) {
	t.Parallel()
	b := avrhil.Start(t, avrhil.Options{})
	w := open(t, b.Path(), 9600)
	got := make([]byte, 8)
	n, err := w.Read(got)
	if err != nil || strings.Contains("BOOT gantry-node", string(got[:n])) {
		t.Errorf("%q, %v", got[:n], err)
	}
	w.send("LED 1\n")
	w.conn.Close()
	if b.LED() || b.Stats().Spoilt == 0 {
		t.Errorf("LED %v, %+v", b.LED(), b.Stats())
	}
}

func TestNoiseIsSeen(t *testing.T) {
	t.Parallel()
	b := avrhil.Start(t, avrhil.Options{})
	w := open(t, b.Path(), 115200)
	w.send("INTERVAL 10\n")
	w.until("OK")
	b.Noise(true)
	for spoilt := false; !spoilt; {
		l, err := w.in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		spoilt = strings.ContainsFunc(l, func(r rune) bool { return r > '~' })
	}
	b.Noise(false)
	w.send("\nLED 1\n")
	w.until("OK LED 1")
}
