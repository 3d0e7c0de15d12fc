package shapes

import (
	"gantry/drivers"
)

// Candidates returns what Run would report.
func (h *Host) Candidates() []drivers.Candidate {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []drivers.Candidate
	for k := range h.things {
		h.changed[k] = true
	}
	var due []key
	for k := range h.changed {
		due = append(due, k)
	}
	all, _ := (&finder{h, nil, map[key]string{}}).candidates(due)
	for _, c := range all {
		list = append(list, c)
	}
	return list
}

// Exercise makes every command of every device.
func (h *Host) Exercise() {
	h.mu.Lock()
	defer h.mu.Unlock()
	values := map[drivers.Type]drivers.Value{drivers.Float: 1.5, drivers.Int: int64(3), drivers.Bool: true, drivers.Text: "x"}
	for k, t := range h.things {
		var all []string
		for _, p := range t.device.Points {
			all = append(all, p.ID)
			_, _ = h.shapes[k.shape].Write(k.id, p.ID, values[p.Type])
		}
		_, _ = h.shapes[k.shape].Read(k.id, all)
		for _, a := range t.device.Actions {
			args := map[string]any{}
			for _, p := range a.Args {
				args[p.ID] = values[p.Type]
			}
			_, _ = h.shapes[k.shape].Do(k.id, a.ID, args)
		}
	}
}
