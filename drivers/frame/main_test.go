package frame_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/frame"
	"gantry/drivers/serialport"
	"gantry/internal/config"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// board is a device at the far end of a pseudo terminal.
type board struct {
	t    *testing.T
	far  *os.File
	path string
	done sync.WaitGroup
}

// newBoard returns a device that calls heard with what has been sent to it and not
// been used up; heard returns how much it uses, and what it answers.
func newBoard(t *testing.T, heard func(b []byte) (used int, answer []byte)) *board {
	t.Helper()
	far, near, err := drivertest.OpenWire()
	if err != nil {
		t.Fatal(err)
	}
	b := &board{t: t, far: far, path: near.Name()}
	t.Cleanup(func() {
		far.Close()
		near.Close()
		b.done.Wait()
	})
	b.done.Go(func() { answer(far, heard) })
	return b
}

// deaf uses up all that it is sent.
func deaf(b []byte) (int, []byte) { return len(b), nil }

func (b *board) send(s string) {
	b.t.Helper()
	if _, err := b.far.Write(unhex(b.t, s)); err != nil {
		b.t.Error(err)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// parse reads a device's own keys.
func parse(t testing.TB, text string) frame.Config {
	t.Helper()
	var cfg frame.Config
	if err := config.Decode("test.toml", []byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// sample returns the configuration of a device of examples/frame.
func sample(t testing.TB, name string) frame.Config {
	t.Helper()
	cfg, errs := config.Load(filepath.Join("..", "..", "examples", "frame"), []drivers.Kind{frame.Kind})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, d := range cfg.Devices {
		if d.Name == name {
			return *d.Driver.(*frame.Config)
		}
	}
	t.Fatalf("no device %s", name)
	return frame.Config{}
}

// driver returns a driver on the board.
func (b *board) driver(cfg frame.Config) drivers.Driver {
	b.t.Helper()
	cfg.Port = serialport.Config{Path: b.path}
	d, err := frame.New(cfg, drivers.Env{})
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// start runs a driver on the board and returns both once it is up.
func (b *board) start(cfg frame.Config) (drivers.Driver, *drivertest.Link) {
	b.t.Helper()
	d := b.driver(cfg)
	link := drivertest.Start(b.t, d)
	link.WaitUp(b.t, 1)
	return d, link
}
