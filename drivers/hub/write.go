package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub/internal/filter"
	"gantry/internal/lane"
	"gantry/wamp"
)

// verifyPause is the pause between two questions whether a device has taken a value.
const verifyPause = 50 * time.Millisecond

// command writes a value that spec.check has passed, if the rules of the point
// allow it now. It returns what the device reports to have set, and the seq it was
// published with. The error is a *wamp.Error.
func (d *device) command(ctx context.Context, p *point, value drivers.Value) (filter.Sample, int64, error) {
	// A mask needs the other bits; whether the value fits does not depend on them.
	if _, why := p.way.Undo(value, int64(0)); why != "" {
		details := wamp.Dict{"device": d.name, "point": p.id, "value": value, "why": why}
		p.describeRange(details)
		return filter.Sample{}, 0, wamp.NewError(wamp.ErrURIOutOfRange, p.id+" cannot express this value", details)
	}
	l, err := d.current()
	if err != nil {
		return filter.Sample{}, 0, d.answer(err, p.id)
	}
	if err := d.hub.permit(d, p, value); err != nil {
		return filter.Sample{}, 0, err
	}
	raw, back, err := d.write(ctx, l, lane.Write, p, value)
	if err == nil && p.verify > 0 {
		back, err = d.readBack(ctx, l, p, raw)
	}
	d.settled(p, value, err)
	if err != nil {
		return filter.Sample{}, 0, d.writeFailed(l, p, value, err)
	}
	s, seq := d.deliver(l.ctx, drivers.Reading{Point: p.id, Value: back}, true)
	return s, seq, nil
}

// settled notes the outcome of a command that permit let through.
func (d *device) settled(p *point, value drivers.Value, err error) {
	d.mu.Lock()
	p.claims--
	if err != nil {
		// The device may have obeyed all the same.
		p.guard.Doubt()
	}
	if p.dead != nil {
		p.dead.Commanded(err == nil && p.isSafe(value), d.hub.now())
	}
	d.mu.Unlock()
	d.rules.ring()
}

// write hands a value to the driver. It returns what it has written and what the
// device reports to have set, both raw.
func (d *device) write(ctx context.Context, l *life, turn lane.Priority, p *point, value drivers.Value) (raw, back drivers.Value, err error) {
	writer, ok := l.driver.(drivers.Writer)
	if !ok {
		return nil, nil, fmt.Errorf("driver does not write: %w", drivers.ErrRefused)
	}
	var wrote, got drivers.Value
	err = l.request(ctx, turn, orDefault(d.cfg.Timeout, DefaultTimeout), func(ctx context.Context) (err error) {
		if wrote, err = d.undo(ctx, l, p, value); err != nil {
			return err
		}
		got, err = writer.Write(ctx, p.id, wrote)
		if errors.Is(err, drivers.ErrNotVerified) {
			err = &notVerified{actual: got, err: err}
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if got == nil {
		got = wrote
	}
	return wrote, got, nil
}

// undo returns the raw value to write. The bits outside a mask are those that the
// device has at this moment.
func (d *device) undo(ctx context.Context, l *life, p *point, value drivers.Value) (drivers.Value, error) {
	var present drivers.Value
	if p.way.Masked() {
		reader, ok := l.driver.(drivers.Reader)
		if !ok {
			return nil, fmt.Errorf("driver does not read what a mask keeps: %w", drivers.ErrRefused)
		}
		var err error
		if present, err = valueOf(p.id)(reader.Read(ctx, []string{p.id})); err != nil {
			return nil, fmt.Errorf("read what the mask keeps: %w", err)
		}
	}
	raw, why := p.way.Undo(value, present)
	if why != "" {
		return nil, fmt.Errorf("%s: %w", why, drivers.ErrRefused)
	}
	return raw, nil
}

// valueOf returns a function that takes the value of one point out of what a driver
// answers.
func valueOf(id string) func([]drivers.Reading, error) (drivers.Value, error) {
	return func(readings []drivers.Reading, err error) (drivers.Value, error) {
		if err != nil {
			return nil, err
		}
		for _, r := range readings {
			if r.Point == id && r.Quality <= drivers.Uncertain {
				return r.Value, nil
			}
		}
		return nil, fmt.Errorf("no value: %w", drivers.ErrTimeout)
	}
}

// readBack waits until the device reports the value written, for as long as the
// point's verify: it asks a device that can be asked, and listens to others. Other
// requests go on meanwhile. The error is a *notVerified.
func (d *device) readBack(ctx context.Context, l *life, p *point, want drivers.Value) (drivers.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, p.verify)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	reader, ask := l.driver.(drivers.Reader)
	var actual drivers.Value
	err := drivers.ErrNotVerified
	_, before, _ := d.listen(p)
	for {
		heard, words, said := d.listen(p)
		if ask {
			got, failed := valueOf(p.id)(d.read(ctx, l, reader, lane.Write, []string{p.id}))
			ask = !errors.Is(failed, errors.ErrUnsupported)
			switch {
			case failed == nil:
				actual, err = got, drivers.ErrNotVerified
			case ask && ctx.Err() == nil:
				err = fmt.Errorf("%w: %v", drivers.ErrNotVerified, failed)
			}
		} else if words != before {
			actual = said
		}
		if actual != nil && p.way.Equal(actual, want) {
			return actual, nil
		}
		if !d.awaitWord(ctx, heard, ask) {
			return nil, &notVerified{actual: actual, err: err}
		}
	}
}

// listen returns a channel that is closed when the driver next says something
// about the point, how often it has done so, and what it said last.
func (d *device) listen(p *point) (heard <-chan struct{}, words uint64, said drivers.Value) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.heard == nil {
		p.heard = make(chan struct{})
	}
	return p.heard, p.words, p.raw
}

// awaitWord waits for the next word of a device, or a moment where it has to be
// asked; false when ctx has ended.
func (d *device) awaitWord(ctx context.Context, heard <-chan struct{}, ask bool) bool {
	var pause <-chan time.Time
	if ask {
		heard = nil
		timer := time.NewTimer(verifyPause)
		defer timer.Stop()
		pause = timer.C
	}
	select {
	case <-heard:
	case <-pause:
	case <-ctx.Done():
		return false
	}
	return true
}

// notVerified carries what the device reports instead of the value written.
type notVerified struct {
	actual drivers.Value
	err    error
}

func (e *notVerified) Error() string { return e.err.Error() }
func (e *notVerified) Unwrap() error { return e.err }

// writeFailed answers a failed write. What the device reports instead of the
// wanted value is a reading like any other.
func (d *device) writeFailed(l *life, p *point, wanted drivers.Value, err error) error {
	d.count.errors.Add(1)
	answer := d.answer(err, p.id)
	var nv *notVerified
	if !errors.As(err, &nv) {
		return answer
	}
	details := wamp.Dict{"device": d.name, "point": p.id, "value": wanted}
	if nv.actual != nil {
		s, _ := d.deliver(l.ctx, drivers.Reading{Point: p.id, Value: nv.actual}, true)
		details["actual"] = s.Value
	}
	return wamp.NewError(wamp.ErrURINotVerified, p.id+": "+clip(err.Error(), 200), details)
}
