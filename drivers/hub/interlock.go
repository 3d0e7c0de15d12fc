package hub

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gantry/drivers"
	"gantry/wamp"
)

// rivalsOf returns for every point that an interlock names the points that may not
// be on together with it, both ways.
func rivalsOf(devices map[string]*device) map[string][]string {
	rivals := make(map[string][]string)
	add := func(a, b string) {
		if !slices.Contains(rivals[a], b) {
			rivals[a] = append(rivals[a], b)
		}
	}
	for _, d := range devices {
		for _, p := range d.points {
			for _, other := range p.notWith {
				add(d.name+"."+p.id, other)
				add(other, d.name+"."+p.id)
			}
		}
	}
	return rivals
}

// permit asks the rules of a point whether a value may be written at this moment.
// Where it may, the point counts as being written until settled is called. The
// error is a *wamp.Error.
func (h *Hub) permit(d *device, p *point, value drivers.Value) error {
	h.deciding.Lock()
	defer h.deciding.Unlock()
	now := h.now()
	on := isOn(value)
	d.mu.Lock()
	refusal := p.guard.Allow(on, now)
	d.mu.Unlock()
	if refusal != nil {
		details := wamp.Dict{"device": d.name, "point": p.id, "value": value, "why": refusal.Why,
			"retry_ms": (refusal.Wait + time.Millisecond - 1).Milliseconds()}
		if refusal.Why == "rate" {
			return wamp.NewError(wamp.ErrURIBusy, fmt.Sprintf("%s is written at most every %s", p.id, p.limits.Every), details)
		}
		return wamp.NewError(wamp.ErrURISafeLock, fmt.Sprintf("%s stays off for %s at least", p.id, p.limits.MinOff), details)
	}
	if on {
		if rival, state := h.rival(d.name + "." + p.id); rival != "" {
			return wamp.NewError(wamp.ErrURISafeLock, fmt.Sprintf("%s may be on only while %s is known to be off", p.id, rival),
				wamp.Dict{"device": d.name, "point": p.id, "value": value, "why": "not_with", "other": rival, "state": state})
		}
	}
	d.mu.Lock()
	p.guard.Wrote(now)
	p.claims++
	p.orders++
	d.mu.Unlock()
	return nil
}

// rival returns the first point that keeps another from being on, with what it is:
// "on", "unknown" or "changing"; "" if there is none.
func (h *Hub) rival(of string) (name, state string) {
	h.mu.Lock()
	names := h.rivals[of]
	h.mu.Unlock()
	for _, name := range names {
		if state := h.offOr(name); state != "" {
			return name, state
		}
	}
	return "", ""
}

// offOr returns "" for a point that is known to be off, and what it is otherwise.
func (h *Hub) offOr(name string) string {
	device, id, _ := strings.Cut(name, ".")
	d := h.device(device)
	if d == nil || d.byID[id] == nil {
		return "unknown"
	}
	p := d.byID[id]
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case p.claims > 0:
		return "changing"
	case p.guard.Off():
		return ""
	case p.guard.On():
		return "on"
	}
	return "unknown"
}
