package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"

	"github.com/google/go-cmp/cmp"
)

func TestConformance(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		dir := t.TempDir()
		newNode(t, dir, "1")
		return search(t, dir).driver(t, "1")
	})
}

func TestABoardIsWhatItAnnounces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newNode(t, dir, "A-1.x")
	c := search(t, dir).candidate(t, "A-1.x")
	port, err := filepath.EvalSymlinks(filepath.Join(dir, "ttyA-1.x"))
	if err != nil {
		t.Fatal(err)
	}
	c.New = nil
	want := drivers.Candidate{Kind: "node", ID: "A-1.x", Name: "node_a_1_x", Model: "Fake 1", Returns: true,
		Description: "temperature, led, blink() at " + port}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("candidate (-want +got):\n%s", d)
	}
}

func TestReadingsAndCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := newNode(t, dir, "1")
	d := search(t, dir).driver(t, "1")
	want := drivers.Description{Model: "Fake 1",
		Points: []drivers.Point{
			{ID: "temperature", Type: drivers.Float, Unit: "Cel", Readable: true},
			{ID: "led", Type: drivers.Bool, Readable: true, Writable: true},
		},
		Actions: []drivers.Action{{ID: "blink", Args: []drivers.Point{{ID: "times", Type: drivers.Int}}}},
	}
	if d := cmp.Diff(want, d.Describe()); d != "" {
		t.Errorf("description (-want +got):\n%s", d)
	}
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	// What it has said before the driver came.
	link.WaitReading(t, "temperature", 0, func(r drivers.Reading) bool { return r.Value == 1.0 && !r.Time.IsZero() })
	n.set(n.measure)
	link.WaitReading(t, "temperature", 0, func(r drivers.Reading) bool { return r.Value == 2.0 })

	w := d.(drivers.Writer)
	if got, err := w.Write(t.Context(), "led", true); err != nil || got != true {
		t.Errorf("set = %v, %v", got, err)
	}
	if _, err := w.Write(t.Context(), "temperature", 1.0); !errors.Is(err, drivers.ErrRefused) {
		t.Errorf("set of a sensor = %v", err)
	}
	do := d.(drivers.Doer)
	if got, err := do.Do(t.Context(), "blink", map[string]any{"times": int64(3)}, nil); err != nil || got != nil {
		t.Errorf("do = %v, %v", got, err)
	}
	if _, err := do.Do(t.Context(), "blink", map[string]any{"often": int64(3)}, nil); !errors.Is(err, drivers.ErrRefused) {
		t.Errorf("do with another argument = %v", err)
	}
	n.set(func() { n.busy = true })
	if _, err := w.Write(t.Context(), "led", false); !errors.Is(err, drivers.ErrBusy) || !strings.Contains(err.Error(), "not now") {
		t.Errorf("set of a busy node = %v", err)
	}
}

// TestACommandIsObeyedOnce loses a command, then an answer: both are sent again,
// and the node obeys once.
func TestACommandIsObeyedOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := newNode(t, dir, "1")
	d := search(t, dir).driver(t, "1")
	drivertest.Start(t, d).WaitUp(t, 1)
	for i, deaf := range []int{2, 1} {
		n.set(func() { n.deaf = deaf })
		if _, err := d.(drivers.Doer).Do(t.Context(), "blink", nil, nil); err != nil {
			t.Fatalf("with %d losses: %v", deaf, err)
		}
		n.set(func() {
			if n.obeyed != i+1 {
				t.Errorf("obeyed %d times, want %d", n.obeyed, i+1)
			}
		})
	}
	n.set(func() { n.deaf = 1000 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.(drivers.Writer).Write(ctx, "led", true); !errors.Is(err, drivers.ErrTimeout) {
		t.Errorf("set of a deaf node = %v", err)
	}
}

func TestABoardThatRestartsIsAskedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := newNode(t, dir, "1")
	h := search(t, dir)
	d := h.driver(t, "1")
	link := &drivertest.Link{}
	ran := make(chan error, 1)
	go func() { ran <- d.Run(t.Context(), link) }()
	link.WaitUp(t, 1)
	// The firmware is another one now.
	n.set(func() { n.extra = true; n.introduce(0) })
	if err := <-ran; !errors.Is(err, errRestarted) {
		t.Errorf("Run = %v", err)
	}
	h.await(t, "the point more", func() bool {
		c, is := h.there["1"]
		return is && strings.HasPrefix(c.Description, "temperature, led, line")
	})
	// The driver of the old description waits for ever; a new one serves the board.
	drivertest.Start(t, h.driver(t, "1")).WaitUp(t, 1)
}

func TestABoardThatIsAnotherAfterAStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := newNode(t, dir, "1")
	h := search(t, dir)
	h.candidate(t, "1")
	n.set(func() { n.serial = "2"; n.introduce(0) })
	h.candidate(t, "2")
	h.await(t, "the first to be gone", func() bool { return len(h.there) == 1 })
}

// TestATalkativeBoardIsAskedAgain loses the first announcement of a board that
// never pauses.
func TestATalkativeBoardIsAskedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := newNode(t, dir, "1")
	n.set(func() { n.dumb = 1 })
	h := search(t, dir)
	found := make(chan struct{})
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				n.set(n.measure)
			case <-found:
				return
			}
		}
	}()
	defer close(found)
	h.candidate(t, "1")
}

func TestPortsWithoutANode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, serial := range map[string]string{"version": "1", "anonymous": ""} {
		n := &fakeNode{serial: serial, version: version}
		if name == "version" {
			n.version = 9
		}
		n.plug(t, filepath.Join(dir, "tty"+name))
		t.Cleanup(func() { n.unplug(t) })
	}
	if err := os.WriteFile(filepath.Join(dir, "ttyfile"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// A port that nobody allowed.
	other := newNode(t, t.TempDir(), "2")
	first := newNode(t, dir, "3")
	twin := &fakeNode{serial: "3", version: version}
	h := search(t, dir)
	h.candidate(t, "3")
	twin.plug(t, filepath.Join(dir, "tty4"))
	t.Cleanup(func() { twin.unplug(t) })
	select {
	case <-twin.greeted:
	case <-time.After(drivertest.Patience):
		t.Fatal("the twin has not been asked")
	}
	h.await(t, "one board", func() bool { return len(h.there) == 1 })
	if len(other.greeted) > 0 {
		t.Error("a port that was not allowed has been opened")
	}
	// Then the other may be it.
	before := h.candidate(t, "3").Description
	first.unplug(t)
	h.await(t, "the twin", func() bool { c, is := h.there["3"]; return is && c.Description != before })
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]Config{
		"ports: is missing":                 {},
		`ports: "ttyACM0" is no path`:       {Ports: []string{"ttyACM0"}},
		`ports: "/dev/[" is no path`:        {Ports: []string{"/dev/["}},
		`usb: "2341" is not a USB identity`: {USB: []string{"2341"}},
		"":                                  {Ports: []string{"/dev/ttyACM*"}, USB: []string{"2341:0043"}},
	} {
		_, err := New(cfg, drivers.Env{})
		if want == "" && err == nil {
			continue
		}
		var c *drivers.ConfigError
		if !errors.As(err, &c) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", cfg, err, want)
		}
	}
}

func TestGarbageIsNoValue(t *testing.T) {
	t.Parallel()
	warm := []byte{byte(drivers.Float), 21, 0, 0, 0, 0}
	head := func(k kind, more ...byte) []byte { return append([]byte{byte(k), 0}, more...) }
	for why, body := range map[string][]byte{
		"unknown point":               concat(head(reading, 7, 0), warm),
		"point is not readable":       concat(head(reading, 2, 0, byte(drivers.Text)), text("x")),
		"unknown quality":             concat(head(reading, 0, byte(drivers.Bad)+1), warm),
		"another type than announced": head(reading, 0, 0, byte(drivers.Bool), 1),
		"unknown message":             concat(head(0x99, 0, 0), warm),
		"reading":                     head(reading, 0, 0, byte(drivers.Float), 21, 0),
		"reading: an unknown tag":     head(reading, 0, 0, 0x77, 21),
		"reading: more behind it":     concat(head(reading, 0, 0), warm, []byte{0}),
		"reading: a short batch":      concat(head(batch, 0, 0), warm, []byte{1, 0}),
		// A batch with a fault has no value at all.
		"another type than announced: in a batch": concat(head(batch, 0, 0), warm, []byte{1, 0}, warm),
	} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			n := &fakeNode{serial: "1", version: version, extra: true, shy: true}
			n.plug(t, filepath.Join(dir, "tty1"))
			t.Cleanup(func() { n.unplug(t) })
			var told atomic.Pointer[string]
			d := witness{search(t, dir).driver(t, "1"), &told}
			var saying sync.WaitGroup
			t.Cleanup(saying.Wait)
			drivertest.GarbageIsNoValue(t, d, func() {
				// Again and again: a session that is lost on a busy machine hears nothing.
				saying.Go(func() {
					for ; t.Context().Err() == nil; time.Sleep(50 * time.Millisecond) {
						n.set(func() { n.say(body...) })
					}
				})
			})
			if want, _, _ := strings.Cut(why, ":"); *told.Load() != want {
				t.Errorf("told %q", *told.Load())
			}
		})
	}
}

// witness is a driver whose garbage is noted.
type witness struct {
	drivers.Driver
	told *atomic.Pointer[string]
}

func (w witness) Run(ctx context.Context, link drivers.Link) error {
	return w.Driver.Run(ctx, noting{link, w.told})
}

type noting struct {
	drivers.Link
	told *atomic.Pointer[string]
}

func (n noting) Garbage(why string, sample []byte) {
	n.told.Store(&why)
	n.Link.Garbage(why, sample)
}
