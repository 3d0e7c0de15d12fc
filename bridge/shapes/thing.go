package shapes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gantry/bridge/shapes/internal/shape"
	"gantry/drivers"
)

// maxQueue bounds the readings of a device that wait for the hub; what is older goes.
const maxQueue = 1024

// cancelTime is what a message that calls something off may take.
const cancelTime = 2 * time.Second

// thing is a device of a host. The host's mutex guards it.
type thing struct {
	host      *Host
	shape, id string
	device    shape.Device
	online    bool
	why       string                     // it is not online
	last      map[string]drivers.Reading // the newest of each point
	queue     []drivers.Reading          // for the driver that runs
	running   bool
	faults    []shape.Refusal
	news      chan struct{} // capacity 1; rung when the driver has something to do
	waits     map[*wait]bool
}

// wait is a request under way.
type wait struct {
	shape.Command
	left     []string // of Await
	readings []drivers.Reading
	actual   drivers.Value // what the first awaited point was last
	progress []any         // not yet told
	done     bool
	value    any
	err      error
	news     chan struct{} // capacity 1
}

func newThing(h *Host, shape, id string) *thing {
	return &thing{host: h, shape: shape, id: id, last: map[string]drivers.Reading{}, news: make(chan struct{}, 1), waits: map[*wait]bool{}, why: "it has not said that it is available"}
}

func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (t *thing) ring() { ring(t.news) }

func (t *thing) describe(d shape.Device) {
	t.device = d
	for id := range t.last {
		if !slices.ContainsFunc(d.Points, func(p drivers.Point) bool { return p.ID == id }) {
			delete(t.last, id)
		}
	}
}

func (t *thing) reach(p shape.Presence) {
	t.online, t.why = p.Online, p.Why
	if !p.Online {
		t.fail(fmt.Errorf("%s: %w", p.Why, drivers.ErrOffline))
	}
	t.ring()
}

func (t *thing) hear(r shape.Reading) {
	if !r.Moment {
		t.last[r.Point] = r.Reading
	}
	if t.running {
		if len(t.queue) >= maxQueue {
			t.queue = append(t.queue[:0], t.queue[1:]...)
			t.host.drop(dropTooFast, 1, "device", t.device.Name, "limit", maxQueue)
		}
		t.queue = append(t.queue, r.Reading)
		t.ring()
	} else if r.Moment {
		t.host.drop(dropNotRunning, 1, "device", t.device.Name, "point", r.Point)
	}
	if r.Quality != drivers.Good { // what the broker kept confirms nothing
		return
	}
	for w := range t.waits {
		w.hear(r.Reading)
	}
}

// hear takes a reading that may confirm what is waited for.
func (w *wait) hear(r drivers.Reading) {
	i := slices.Index(w.left, r.Point)
	if i < 0 {
		return
	}
	if w.Want != nil && r.Point == w.Await[0] {
		w.actual = r.Value
		if !shape.Equal(r.Value, w.Want, w.Tolerance) {
			return
		}
	}
	w.readings = append(w.readings, r)
	w.left = slices.Delete(w.left, i, i+1)
	if len(w.left) == 0 {
		w.done = true
		ring(w.news)
	}
}

// answer gives a result to who waits for it, and reports whether somebody does.
func (t *thing) answer(r shape.Result) (claimed bool) {
	for w := range t.waits {
		if w.Token == "" || w.Token != r.Token {
			continue
		}
		claimed = true
		switch {
		case w.done:
			continue
		case r.Progress != nil:
			if len(w.progress) >= 16 { // the newest says most
				w.progress = append(w.progress[:0], w.progress[1:]...)
				t.host.drop(dropTooFast, 1, "device", t.device.Name, "answer", r.Token)
			}
			w.progress = append(w.progress, r.Progress)
		case r.Err != nil:
			w.done, w.err = true, r.Err
		case len(w.Await) == 0:
			w.done, w.value = true, r.Value
		}
		ring(w.news)
	}
	return claimed
}

// fail ends all requests.
func (t *thing) fail(err error) {
	for w := range t.waits {
		if !w.done {
			w.done, w.err = true, err
		}
		ring(w.news)
	}
}

func (t *thing) garbage(r shape.Refusal) {
	if t.running && len(t.faults) < 16 {
		t.faults = append(t.faults, r)
		t.ring()
	}
}

// appliance is the driver of a thing.
type appliance struct {
	*thing
	desc drivers.Description
	gate drivers.Gate
	told string // why it was not there when Run ended last; Run's alone
}

var (
	_ drivers.Writer = (*appliance)(nil)
	_ drivers.Doer   = (*appliance)(nil)
	_ drivers.Reader = (*askable)(nil)
	_ drivers.Pusher = (*askable)(nil)
)

// Describe implements drivers.Driver.
func (a *appliance) Describe() drivers.Description { return a.desc }

// Run implements drivers.Driver.
func (a *appliance) Run(ctx context.Context, link drivers.Link) error {
	shut := a.gate.Open(ctx)
	defer shut()
	defer func() {
		a.host.mu.Lock()
		a.host.drop(dropNotRunning, len(a.queue), "device", a.device.Name)
		a.running, a.queue = false, nil
		a.host.mu.Unlock()
	}()
	up := false
	for {
		readings, faults, lost := a.take(up)
		switch {
		case lost != nil && (up || a.told != lost.Error()): // the same reason is told once
			a.told = lost.Error()
			return lost
		case lost == nil && !up:
			link.Up()
			up = true
		}
		for i := range readings {
			link.Emit(readings[i])
		}
		for _, f := range faults {
			link.Garbage(f.Why, f.Sample)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.news:
		}
	}
}

// take returns what there is for the hub. It begins with all that is known, once the
// device is there.
func (a *appliance) take(up bool) (readings []drivers.Reading, faults []shape.Refusal, lost error) {
	a.host.mu.Lock()
	defer a.host.mu.Unlock()
	switch {
	case a.host.carrier == nil:
		return nil, nil, errors.New("the broker is not connected: " + a.host.lost)
	case !a.online:
		return nil, nil, errors.New(a.why)
	case !up:
		a.running, a.queue = true, nil
		for i := range a.device.Points {
			if r, ok := a.last[a.device.Points[i].ID]; ok {
				readings = append(readings, r)
			}
		}
		return readings, nil, nil
	}
	readings, faults = a.queue, a.faults
	a.queue, a.faults = nil, nil
	return readings, faults, nil
}

// request sends a command and waits until it is confirmed.
func (a *appliance) request(ctx context.Context, make func(shape.Shape) (shape.Command, error), progress func(any)) (*wait, error) {
	ctx, leave, err := a.gate.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	h := a.host
	h.mu.Lock()
	carrier := h.carrier
	if carrier == nil || !a.online {
		h.mu.Unlock()
		return nil, drivers.ErrOffline
	}
	cmd, err := make(h.shapes[a.shape])
	if err != nil {
		h.mu.Unlock()
		return nil, err
	}
	w := &wait{Command: cmd, left: slices.Clone(cmd.Await), news: newBell()}
	w.done = len(cmd.Await) == 0 && cmd.Token == ""
	a.waits[w] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(a.waits, w)
		h.mu.Unlock()
	}()
	for _, m := range cmd.Send {
		if err := carrier.Send(ctx, command(m)); err != nil {
			return nil, fmt.Errorf("%w: %w", drivers.ErrOffline, err)
		}
	}
	err = w.settle(ctx, h, progress)
	if ctx.Err() != nil && err != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
		defer cancel()
		for _, m := range cmd.Cancel {
			if err := carrier.Send(late, command(m)); err != nil {
				h.log.Warn("request not called off", "device", a.id, "error", err)
			}
		}
	}
	return w, err
}

func newBell() chan struct{} { return make(chan struct{}, 1) }

// settle waits for the end of a request. Afterwards nobody else changes it.
func (w *wait) settle(ctx context.Context, h *Host, progress func(any)) error {
	for {
		h.mu.Lock()
		steps, done, err := w.progress, w.done, w.err
		w.progress = nil
		h.mu.Unlock()
		for _, s := range steps {
			progress(s)
		}
		if done {
			return err
		}
		select {
		case <-w.news:
		case <-ctx.Done():
			h.mu.Lock()
			w.done = true
			actual := w.actual
			h.mu.Unlock()
			if actual != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("it reports %v: %w", actual, drivers.ErrNotVerified)
			}
			return ctx.Err()
		}
	}
}

// Write implements drivers.Writer: it returns what the device reports.
func (a *appliance) Write(ctx context.Context, point string, v drivers.Value) (drivers.Value, error) {
	w, err := a.request(ctx, func(s shape.Shape) (shape.Command, error) { return s.Write(a.id, point, v) }, func(any) {})
	if err != nil {
		return nil, err
	}
	if len(w.readings) > 0 {
		return w.readings[0].Value, nil
	}
	return v, nil
}

// Do implements drivers.Doer. The result is what the device answers, or the points
// that it reports then.
func (a *appliance) Do(ctx context.Context, action string, args map[string]any, progress func(any)) (any, error) {
	w, err := a.request(ctx, func(s shape.Shape) (shape.Command, error) { return s.Do(a.id, action, args) }, progress)
	if err != nil {
		return nil, err
	}
	if len(w.readings) == 0 {
		return w.value, nil
	}
	out := make(map[string]any, len(w.readings))
	for _, r := range w.readings {
		out[r.Point] = r.Value
	}
	return out, nil
}

// askable is the driver of a thing that can be asked for its points.
type askable struct{ *appliance }

// Pushes implements drivers.Pusher.
func (a *askable) Pushes() {}

// Read implements drivers.Reader. Points that cannot be asked for are answered with
// what was last reported.
func (a *askable) Read(ctx context.Context, points []string) ([]drivers.Reading, error) {
	var ask []string
	var out []drivers.Reading
	a.host.mu.Lock()
	for _, p := range points {
		if a.device.Readable[p] {
			ask = append(ask, p)
		} else if r, ok := a.last[p]; ok {
			out = append(out, r)
		}
	}
	a.host.mu.Unlock()
	if len(ask) == 0 {
		return out, nil
	}
	w, err := a.request(ctx, func(s shape.Shape) (shape.Command, error) { return s.Read(a.id, ask) }, func(any) {})
	if err != nil {
		return nil, err
	}
	return append(out, w.readings...), nil
}
