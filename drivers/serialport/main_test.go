package serialport_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gantry/drivers/serialport"

	"github.com/creack/pty"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is a pseudo terminal whose far end a test plays. It can be unplugged.
type wire struct {
	t    *testing.T
	path string // link that leads to the present terminal
	far  *os.File
}

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{t: t, path: filepath.Join(t.TempDir(), "port")}
	w.plug()
	t.Cleanup(func() { w.far.Close() })
	return w
}

func (w *wire) plug() {
	w.t.Helper()
	far, near, err := pty.Open()
	if err != nil {
		w.t.Fatal(err)
	}
	name := near.Name()
	near.Close()
	w.far = far
	if err := os.Symlink(name, w.path); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) unplug() {
	w.t.Helper()
	if err := os.Remove(w.path); err != nil {
		w.t.Fatal(err)
	}
	w.far.Close()
}

func (w *wire) send(text string) {
	w.t.Helper()
	if _, err := io.WriteString(w.far, text); err != nil {
		w.t.Fatal(err)
	}
}

func newPort(t *testing.T, path string) *serialport.Port {
	t.Helper()
	p, err := serialport.New(serialport.Config{Path: path}, serialport.LineConfig{Baud: 9600}, serialport.Roots{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func open(t *testing.T, p *serialport.Port) *serialport.Conn {
	t.Helper()
	c, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func wantIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want one that matches %v", err, want)
	}
}
