package node

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"gantry/drivers"
)

// driver is one board, whatever port it is at and whether it is there or not.
type driver struct {
	finder *finder
	serial string
	desc   drivers.Description

	mu      sync.Mutex // guards session
	session *session   // nil while the board is not there
}

var (
	_ drivers.Driver = (*driver)(nil)
	_ drivers.Writer = (*driver)(nil)
	_ drivers.Doer   = (*driver)(nil)
)

// Describe returns what the board has announced.
func (d *driver) Describe() drivers.Description {
	desc := d.desc
	desc.Points, desc.Actions = slices.Clone(desc.Points), slices.Clone(desc.Actions)
	return desc
}

// Run implements drivers.Driver: it waits for the board and serves it until it is
// lost. The port stays open when ctx ends: opening it again would reset the board.
func (d *driver) Run(ctx context.Context, link drivers.Link) error {
	s := d.finder.await(ctx, d.serial, &d.desc)
	if s == nil {
		return nil
	}
	defer d.finder.release(d.serial)
	d.set(s)
	defer d.set(nil)
	s.join(link)
	defer s.leave(link)
	select {
	case <-ctx.Done():
		return nil
	case <-s.done:
		return fmt.Errorf("node %s at %s: %w", d.serial, s.path, s.err)
	}
}

func (d *driver) set(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session = s
}

func (d *driver) current() (*session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session == nil {
		return nil, drivers.ErrOffline
	}
	return d.session, nil
}

// Write implements drivers.Writer.
func (d *driver) Write(ctx context.Context, point string, v drivers.Value) (drivers.Value, error) {
	i := slices.IndexFunc(d.desc.Points, func(p drivers.Point) bool { return p.ID == point })
	if i < 0 || !d.desc.Points[i].Writable {
		return nil, fmt.Errorf("there is no point %.64q to write: %w", point, drivers.ErrRefused)
	}
	payload, err := appendValue([]byte{byte(i)}, v)
	if err != nil {
		return nil, err
	}
	s, err := d.current()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	got, err := s.command(ctx, set, payload)
	if err == nil && got != nil && !fits(d.desc.Points[i].Type, got) {
		return nil, fmt.Errorf("point %s: the node answers with another type than announced: %w", point, drivers.ErrNotVerified)
	}
	return got, err
}

// Do implements drivers.Doer. Nodes report no progress.
func (d *driver) Do(ctx context.Context, name string, args map[string]any, _ func(any)) (any, error) {
	i := slices.IndexFunc(d.desc.Actions, func(a drivers.Action) bool { return a.ID == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no action %.64q: %w", name, drivers.ErrRefused)
	}
	payload := []byte{byte(i)}
	known := 0
	for j, arg := range d.desc.Actions[i].Args {
		v, given := args[arg.ID]
		if !given {
			continue
		}
		known++
		var err error
		if payload, err = appendValue(append(payload, byte(j)), v); err != nil {
			return nil, fmt.Errorf("argument %s: %w", arg.ID, err)
		}
	}
	if known < len(args) {
		return nil, fmt.Errorf("action %s has no such argument: %w", name, drivers.ErrRefused)
	}
	s, err := d.current()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, actionTime)
	defer cancel()
	return s.command(ctx, do, payload)
}
