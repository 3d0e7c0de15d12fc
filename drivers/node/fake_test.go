package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
)

func fixed() time.Time { return time.Unix(1, 0) }

// fakeNode is a node that does what its test says, on pseudo terminals. The real
// ones are in firmware/nodes.
type fakeNode struct {
	serial  string
	version byte
	extra   bool // it has a point more
	link    string
	shy     bool // it says no readings by itself

	mu       sync.Mutex // guards the rest
	far      *os.File
	near     *os.File
	served   sync.WaitGroup
	dumb     int           // hellos that it does not answer
	deaf     int           // commands that it loses from now on, or their answers
	mute     bool          // it says nothing
	busy     bool          // it refuses
	led      bool          // what was set
	obeyed   int           // commands
	last     []byte        // the answer to the last command
	request  byte          // of the last command
	greeted  chan struct{} // one token after a hello
	readings int
}

// plug plugs the node in, at a new pseudo terminal behind link.
func (n *fakeNode) plug(t testing.TB, link string) {
	t.Helper()
	far, near, err := drivertest.OpenWire()
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.far, n.near, n.link, n.request = far, near, link, 0
	if n.greeted == nil {
		n.greeted = make(chan struct{}, 1)
	}
	n.mu.Unlock()
	n.served.Go(func() { n.serve(far) })
	if err := os.Symlink(near.Name(), link); err != nil {
		t.Fatal(err)
	}
}

// unplug takes the node away.
func (n *fakeNode) unplug(t testing.TB) {
	t.Helper()
	if n.far == nil {
		return
	}
	if err := os.Remove(n.link); err != nil {
		t.Error(err)
	}
	n.far.Close()
	n.near.Close()
	n.served.Wait()
	n.far = nil
}

func (n *fakeNode) serve(far *os.File) {
	var d decoder
	buf := make([]byte, 256)
	for {
		got, err := far.Read(buf)
		if err != nil {
			return
		}
		for in := buf[:got]; len(in) > 0; {
			var body []byte
			in, body, _ = d.next(in)
			if body != nil {
				n.take(far, body)
			}
		}
	}
}

func (n *fakeNode) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// say sends a message, unless it is mute.
func (n *fakeNode) say(body ...byte) {
	// A port that is gone takes nothing.
	_, _ = n.far.Write(appendFrame(nil, body))
}

func text(s string) []byte { return append([]byte{byte(len(s))}, s...) }

// introduce sends the announcement.
func (n *fakeNode) introduce(request byte) {
	points := byte(2)
	if n.extra {
		points = 3
	}
	n.say(concat([]byte{byte(announce), request, n.version, 64, points, 1}, text(n.serial), text("Fake"), text("1"))...)
	n.say(concat([]byte{byte(point), request, 0, flagReadable, byte(drivers.Float)}, text("temperature"), text("Cel"), text(""), []byte{0})...)
	n.say(concat([]byte{byte(point), request, 1, flagReadable | flagWritable, byte(drivers.Bool)}, text("led"), text(""), text(""), []byte{0})...)
	if n.extra {
		n.say(concat([]byte{byte(point), request, 2, flagWritable, byte(drivers.Text)}, text("line"), text(""), text(""), []byte{0})...)
	}
	n.say(concat([]byte{byte(action), request, 0}, text("blink"), text(""), []byte{1})...)
	n.say(concat([]byte{byte(argument), request, 0, 0, 0, byte(drivers.Int)}, text("times"), text(""), text(""), []byte{0})...)
}

func concat(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// measure sends a batch: the number of the reading, and the LED.
func (n *fakeNode) measure() {
	n.readings++
	led := byte(0)
	if n.led {
		led = 1
	}
	b := []byte{byte(batch), 0, 0, 0, byte(drivers.Float)}
	b = binary.LittleEndian.AppendUint32(b, uint32(n.readings))
	n.say(append(b, 0, 1, 0, byte(drivers.Bool), led)...)
}

func (n *fakeNode) take(far *os.File, body []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mute || n.far != far {
		return
	}
	switch kind(body[0]) {
	case hello:
		select {
		case n.greeted <- struct{}{}:
		default:
		}
		n.request = 0
		if n.dumb > 0 {
			n.dumb--
			return
		}
		n.introduce(body[1])
		if !n.shy {
			n.measure()
		}
	case ping:
		n.say(byte(result), body[1], tagNone)
	case set, do:
		n.command(body)
	}
}

func (n *fakeNode) command(body []byte) {
	if n.deaf > 1 {
		n.deaf--
		return
	}
	if body[1] != n.request {
		n.request, n.last = body[1], n.obey(body)
	}
	if n.deaf > 0 {
		n.deaf--
		return
	}
	n.say(n.last...)
}

// obey returns the answer.
func (n *fakeNode) obey(body []byte) []byte {
	if n.busy {
		return concat([]byte{byte(refusal), body[1], codeBusy}, text("not now"))
	}
	n.obeyed++
	if kind(body[0]) == do {
		return []byte{byte(result), body[1], tagNone}
	}
	if body[2] == 1 {
		n.led = body[4] == 1
		return []byte{byte(result), body[1], byte(drivers.Bool), body[4]}
	}
	return concat([]byte{byte(refusal), body[1], 4}, text("cannot be set"))
}

// porch is the drivers.Found of a test: it keeps what is there.
type porch struct {
	mu      sync.Mutex // guards there
	there   map[string]drivers.Candidate
	changed chan struct{} // one token after changes that nobody has looked at
}

func newPorch() *porch {
	return &porch{there: map[string]drivers.Candidate{}, changed: make(chan struct{}, 1)}
}

func (h *porch) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *porch) Appeared(_ context.Context, c drivers.Candidate) error {
	if err := c.Validate(); err != nil {
		return err
	}
	h.change(func() { h.there[c.ID] = c })
	return nil
}

func (h *porch) Vanished(_ context.Context, _, id string) { h.change(func() { delete(h.there, id) }) }

// await waits until ok, which is called with the lock held, does.
func (h *porch) await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	late := time.After(drivertest.Patience)
	for {
		h.mu.Lock()
		done := ok()
		h.mu.Unlock()
		if done {
			return
		}
		select {
		case <-h.changed:
		case <-late:
			t.Fatalf("%s: not in time", what)
		}
	}
}

// candidate waits for the board and returns it.
func (h *porch) candidate(t testing.TB, serial string) (c drivers.Candidate) {
	t.Helper()
	h.await(t, "board "+serial, func() (ok bool) { c, ok = h.there[serial]; return ok })
	return c
}

// driver waits for the board and returns a driver for it.
func (h *porch) driver(t testing.TB, serial string) drivers.Driver {
	t.Helper()
	d, err := h.candidate(t, serial).New(drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// search runs a finder of the ports that match dir/tty* until the end of the test.
func search(t testing.TB, dir string) *porch {
	t.Helper()
	found, err := New(Config{Ports: []string{filepath.Join(dir, "tty*")}}, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	found.(*finder).every = 5 * time.Millisecond
	h := newPorch()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- found.Run(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return h
}

// newNode plugs a node in for as long as the test runs.
func newNode(t testing.TB, dir, serial string) *fakeNode {
	t.Helper()
	n := &fakeNode{serial: serial, version: version}
	n.plug(t, filepath.Join(dir, fmt.Sprintf("tty%s", serial)))
	t.Cleanup(func() { n.unplug(t) })
	return n
}
