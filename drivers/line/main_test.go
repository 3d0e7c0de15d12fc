package line_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/line"
	"gantry/drivers/serialport"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// board is a device at the far end of a pseudo terminal.
type board struct {
	t     *testing.T
	path  string
	lines chan string // what was sent to it, line by line; closed by its reader at unplug

	mu   sync.Mutex // guards far
	far  *os.File
	done sync.WaitGroup
}

func newBoard(t *testing.T) *board {
	t.Helper()
	b := &board{t: t, path: filepath.Join(t.TempDir(), "port")}
	b.plug()
	t.Cleanup(func() {
		b.file().Close()
		b.done.Wait()
	})
	return b
}

func (b *board) file() *os.File {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.far
}

func (b *board) plug() {
	b.t.Helper()
	far, near, err := drivertest.OpenWire()
	if err != nil {
		b.t.Fatal(err)
	}
	// Without it, the far end has nothing to read from while nobody has the port.
	name := near.Name()
	b.t.Cleanup(func() { near.Close() })
	b.mu.Lock()
	b.far = far
	b.mu.Unlock()
	if err := os.Symlink(name, b.path); err != nil {
		b.t.Fatal(err)
	}
	lines := make(chan string, 100)
	b.lines = lines
	b.done.Go(func() {
		defer close(lines)
		in := bufio.NewScanner(far)
		for in.Scan() {
			lines <- in.Text()
		}
	})
}

func (b *board) unplug() {
	b.t.Helper()
	if err := os.Remove(b.path); err != nil {
		b.t.Fatal(err)
	}
	b.file().Close()
}

func (b *board) send(format string, args ...any) {
	b.t.Helper()
	if _, err := fmt.Fprintf(b.file(), format, args...); err != nil {
		b.t.Error(err)
	}
}

// next returns the next line that the board was sent.
func (b *board) next() string {
	b.t.Helper()
	select {
	case l, ok := <-b.lines:
		if !ok {
			b.t.Fatal("the board is unplugged")
		}
		return l
	case <-time.After(drivertest.Patience):
		b.t.Fatal("the board was sent nothing")
	}
	return ""
}

// config returns cfg with the board's port in it.
func (b *board) config(cfg line.Config) line.Config {
	cfg.Port = serialport.Config{Path: b.path}
	return cfg
}

func (b *board) driver(cfg line.Config) *line.Driver {
	b.t.Helper()
	d, err := line.New(b.config(cfg), drivers.Env{})
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// start runs a driver on the board and returns both once it is up.
func (b *board) start(cfg line.Config) (*line.Driver, *drivertest.Link) {
	b.t.Helper()
	d := b.driver(cfg)
	link := drivertest.Start(b.t, d)
	link.WaitUp(b.t, 1)
	return d, link
}

func length(d time.Duration) *drivers.Duration {
	x := drivers.Duration(d)
	return &x
}

// led is a device that sends JSON and obeys LED.
func led() line.Config {
	return line.Config{
		Parse: line.ParseConfig{JSON: true, Ignore: []string{"^BOOT"}},
		Points: map[string]line.PointConfig{
			"t": {From: "t"},
			"led": {Type: "bool", Write: &line.WriteConfig{Template: "LED {value}\n",
				Ack: `^OK LED (?P<value>[01])$`, Nack: "^ERR", Timeout: length(5 * time.Second)}},
		},
		Actions: map[string]line.ActionConfig{
			"interval": {Template: "INTERVAL {ms}\n", Ack: `^OK INTERVAL (?P<ms>\d+)$`, Nack: "^ERR", Timeout: length(5 * time.Second),
				Args: map[string]line.ArgConfig{"ms": {Type: "int"}}},
			"reset": {Template: "RESET\n"},
		},
	}
}

// newStuckPort returns a port whose far end never reads.
func newStuckPort(t *testing.T) string {
	t.Helper()
	far, near, err := drivertest.OpenWire()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close(); near.Close() })
	return near.Name()
}
