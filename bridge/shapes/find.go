package shapes

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"gantry/bridge"
	"gantry/bridge/shapes/internal/shape"
	"gantry/drivers"
)

// Run implements drivers.Finder: it tells the hub which devices there are, asks the
// devices what has to be asked, and keeps the subscriptions.
func (h *Host) Run(ctx context.Context, found drivers.Found) error {
	f := finder{h, found, map[key]string{}}
	h.mu.Lock()
	for k := range h.things { // of a run before
		h.note(k, h.now())
	}
	h.mu.Unlock()
	for {
		wait := f.turn(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-h.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// finder is one run of a host.
type finder struct {
	*Host
	found    drivers.Found
	reported map[key]string // the names of the devices that the hub knows of
}

// turn does what is due and returns when there may be more, at the latest.
func (f *finder) turn(ctx context.Context) time.Duration {
	f.mu.Lock()
	c, resubscribe := f.carrier, f.filters && f.carrier != nil
	now := f.now()
	f.expire(now)
	var due []key
	wait := time.Hour
	if len(f.changed) > 0 {
		wait = min(quiet-now.Sub(f.latest), patience-now.Sub(f.since))
		if wait <= 0 {
			due = slices.SortedFunc(maps.Keys(f.changed), func(a, b key) int {
				return strings.Compare(a.shape+" "+a.id, b.shape+" "+b.id)
			})
			clear(f.changed)
			wait, resubscribe = time.Hour, resubscribe || f.filters && f.carrier != nil
		} else {
			resubscribe = false // with the devices
		}
	}
	var asks []bridge.Message
	if resubscribe || !f.filters { // not before the answers can be heard
		asks, f.asks = f.asks, nil
	}
	var filters []string
	if resubscribe {
		f.filters = false
		filters = f.subscriptions()
	}
	candidates, gone := f.candidates(due)
	if f.alarm = f.next(); !f.alarm.IsZero() {
		wait = min(wait, f.alarm.Sub(now))
	}
	f.mu.Unlock()

	for _, k := range gone {
		f.found.Vanished(ctx, k.shape, f.identity(k))
		delete(f.reported, k)
	}
	for k, cand := range candidates {
		if err := f.found.Appeared(ctx, cand); err != nil {
			f.refused.add("not_taken", 1)
			f.rare.Warn("device not taken", "device", cand.Key(), "error", err)
			continue
		}
		f.reported[k] = cand.Name
	}
	if resubscribe {
		if err := c.Subscribe(ctx, filters); err != nil && ctx.Err() == nil {
			f.rare.Warn("broker does not take the subscriptions of devices", "error", err)
		}
	}
	for i, m := range asks {
		if err := c.Send(ctx, m); err != nil {
			f.drop(dropNotSent, len(asks)-i, "topic", m.Topic, "questions", len(asks)-i, "error", err)
			break // the connection is lost; another asks afresh
		}
	}
	return wait
}

// candidates returns the devices to report and those to take back; h.mu is held. A
// device whose name has changed is taken back first.
func (f *finder) candidates(due []key) (list map[key]drivers.Candidate, gone []key) {
	if len(due) == 0 {
		return nil, nil
	}
	wanted := make(map[string]string, len(f.things))
	for k, t := range f.things {
		wanted[f.identity(k)] = t.device.Name
	}
	names := shape.Names(wanted)
	list = map[key]drivers.Candidate{}
	for _, k := range due {
		t, there := f.things[k]
		if _, known := f.reported[k]; known && !there {
			gone = append(gone, k)
		}
		if !there {
			continue
		}
		list[k] = t.candidate(f.identity(k), names[f.identity(k)])
	}
	for k, before := range f.reported {
		t, there := f.things[k]
		if !there {
			continue
		}
		if name := names[f.identity(k)]; name != before {
			gone = append(gone, k)
			list[k] = t.candidate(f.identity(k), name)
		}
	}
	return list, gone
}

// identity is the ID of a device among all of its kind.
func (h *Host) identity(k key) string {
	b := []byte(k.id)
	clean := true
	for i, c := range b {
		if (c < '-' || c > ':') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' {
			b[i], clean = '-', false
		}
	}
	id := string(b)
	if !clean || len(id) > 60 {
		id = shape.Suffixed(id, k.id)
	}
	return h.cfg.Broker + "/" + id
}

// candidate returns the device for the hub.
func (t *thing) candidate(id, name string) drivers.Candidate {
	d := description(&t.device)
	readable := len(t.device.Readable) > 0
	return drivers.Candidate{
		Kind: t.shape, ID: id, Name: name, Model: t.device.Model, Description: t.device.Label,
		New: func(drivers.Env) (drivers.Driver, error) {
			a := &appliance{thing: t, desc: d}
			if readable {
				return &askable{a}, nil
			}
			return a, nil
		},
	}
}

// description is what a device says of itself, with what cannot be put right.
func description(d *shape.Device) drivers.Description {
	out := drivers.Description{Model: clip(d.Model, 200)}
	for _, p := range d.Points {
		out.Points = append(out.Points, tidy(p))
	}
	for _, a := range d.Actions {
		b := drivers.Action{ID: a.ID, Description: clip(a.Description, 200), Progressive: a.Progressive}
		seen := map[string]bool{}
		for _, arg := range a.Args {
			if bridge.ValidName(arg.ID) && !seen[arg.ID] {
				seen[arg.ID] = true
				b.Args = append(b.Args, tidy(arg))
			}
		}
		if bridge.ValidName(b.ID) {
			out.Actions = append(out.Actions, b)
		}
	}
	return out
}

func tidy(p drivers.Point) drivers.Point {
	p.Description = clip(p.Description, 200)
	if p.Min != nil && p.Max != nil && *p.Min > *p.Max {
		p.Min, p.Max = nil, nil
	}
	if p.Type != drivers.Text {
		p.Enum = nil
	}
	if p.Type != drivers.Float && p.Type != drivers.Int {
		p.Min, p.Max = nil, nil
	}
	return p
}

func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
