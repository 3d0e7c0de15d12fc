package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/internal/avrhil"
)

// plugUno plugs a simulated board with the real firmware in.
func plugUno(t *testing.T) (*avrhil.Board, drivers.Driver) {
	t.Helper()
	dir := t.TempDir()
	b := avrhil.Start(t, avrhil.Options{Serial: "5573630383"})
	if err := os.Symlink(b.Path(), filepath.Join(dir, "tty0")); err != nil {
		t.Fatal(err)
	}
	return b, search(t, dir).driver(t, "5573630383")
}

func TestFirmwareConforms(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		_, d := plugUno(t)
		return d
	})
}

// TestFirmwareOnANoisyLine spoils a byte of 25, both ways: what arrives is right, and
// commands are obeyed all the same.
func TestFirmwareOnANoisyLine(t *testing.T) {
	t.Parallel()
	b, d := plugUno(t)
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	w := d.(drivers.Writer)
	if _, err := w.Write(t.Context(), "interval", int64(100)); err != nil {
		t.Fatal(err)
	}
	b.Noise(true)
	// Some attempts are in vain; all of five seconds are not, but once in a while.
	obeyed := 0
	for late := time.Now().Add(60 * time.Second); obeyed < 5 && time.Now().Before(late); {
		on := obeyed%2 == 0
		got, err := w.Write(t.Context(), "led", on)
		switch {
		case err == nil && got == on:
			b.WaitLED(on)
			obeyed++
		case err == nil:
			t.Fatalf("led set to %v: %v", on, got)
		case !errors.Is(err, drivers.ErrTimeout):
			t.Fatalf("led: %v", err)
		}
	}
	if obeyed < 5 {
		t.Errorf("%d commands obeyed, want 5", obeyed)
	}
	b.Noise(false)
	seen := len(link.Readings())
	link.WaitReading(t, "temperature", seen, func(drivers.Reading) bool { return true })
	for _, r := range link.Readings() {
		if f, is := r.Value.(float64); is && (f < avrhil.Room-avrhil.Tolerance || f > avrhil.Room+avrhil.Tolerance) {
			t.Errorf("reading %+v of a room of %v degrees", r, avrhil.Room)
		}
	}
	if s := b.Stats(); s.Spoilt == 0 || len(link.AllGarbage()) == 0 {
		t.Errorf("no noise: %+v, %d pieces of garbage", s, len(link.AllGarbage()))
	}
}
