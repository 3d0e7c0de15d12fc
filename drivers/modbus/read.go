package modbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gantry/drivers"
	"gantry/internal/lane"
)

// maxReads is how many plans are kept: a hub reads in groups that stay the same.
const maxReads = 16

// read is how a set of points is read.
type read struct {
	ids    []string
	points []*point
	spans  []span
	blocks []span
}

// block is what a read of one block brought.
type block struct {
	span
	data []byte    // as registers, or bits
	err  error     // an exception, or why it was not read
	time time.Time // of the answer
}

// planOf returns the plan for a set of points.
func (d *Driver) planOf(ids []string) (*read, error) {
	d.planning.Lock()
	defer d.planning.Unlock()
	for _, r := range d.reads {
		if slices.Equal(r.ids, ids) {
			return r, nil
		}
	}
	r := &read{ids: slices.Clone(ids)}
	for _, id := range ids {
		i := slices.IndexFunc(d.points, func(p *point) bool { return p.id == id })
		if i < 0 || !d.points[i].desc.Readable {
			return nil, fmt.Errorf("read %.64q: no such readable point", id)
		}
		r.points = append(r.points, d.points[i])
		r.spans = append(r.spans, d.points[i].spans()...)
	}
	r.blocks = d.limits.plan(r.spans)
	if len(d.reads) >= maxReads {
		d.reads = slices.Delete(d.reads, 0, 1)
	}
	d.reads = append(d.reads, r)
	return r, nil
}

// split learns from the refusal of a block and forgets the plans that have it. It
// returns the reads that take its place, or nil if there are none.
func (d *Driver) split(b span, r *read) []span {
	d.planning.Lock()
	defer d.planning.Unlock()
	if !d.limits.split(b, r.spans) {
		return nil
	}
	d.reads = nil
	var in []span
	for _, s := range r.spans {
		if s.overlaps(b) {
			in = append(in, s)
		}
	}
	return d.limits.plan(in)
}

// Read implements drivers.Reader. Points that the unit refuses, and those whose
// registers hold no value, come with quality Bad and the reason; the error is for
// when the unit did not answer at all.
func (d *Driver) Read(ctx context.Context, ids []string) ([]drivers.Reading, error) {
	s, ctx, done, err := d.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	defer done()
	r, err := d.planOf(ids)
	if err != nil {
		return nil, err
	}
	blocks := d.fetch(ctx, s, r)
	if i := slices.IndexFunc(blocks, func(b block) bool { return b.err == nil || isException(b.err) }); i < 0 && len(blocks) > 0 {
		return nil, fmt.Errorf("read: %w", blocks[0].err)
	}
	readings := make([]drivers.Reading, 0, len(r.points))
	now := d.now()
	for _, p := range r.points {
		readings = append(readings, p.reading(blocks, now))
	}
	return readings, nil
}

// fetch reads all blocks. After the first one that is not answered the others are
// not tried: the bus is for those who answer.
func (d *Driver) fetch(ctx context.Context, s *session, r *read) []block {
	var out []block
	todo := slices.Clone(r.blocks)
	for len(todo) > 0 {
		b := block{span: todo[0]}
		todo = todo[1:]
		b.data, b.err = d.readBlock(ctx, s, b.span)
		b.time = d.now()
		var e *Exception
		if errors.As(b.err, &e) && (e.Code == illegalDataAddress || e.Code == illegalDataValue) {
			if parts := d.split(b.span, r); len(parts) > 1 {
				d.log.Debug("block refused, read apart from now on", "table", b.table.String(), "address", b.at, "count", b.n, "exception", e.Name())
				todo = append(parts, todo...)
				continue
			}
		}
		out = append(out, b)
		if b.err != nil && e == nil {
			for _, t := range todo {
				out = append(out, block{span: t, err: b.err})
			}
			return out
		}
	}
	return out
}

// readBlock asks for one block, and again after an answer that was garbled or did
// not come.
func (d *Driver) readBlock(ctx context.Context, s *session, b span) (data []byte, err error) {
	pdu := readPDU(b.table, uint16(b.at), uint16(b.n))
	for try := 0; ; try++ {
		data, err = d.ask(s, pdu, func(pdu []byte) ([]byte, error) { return s.bus.do(ctx, d.request(lane.Of(ctx, lane.Poll)), pdu) })
		again := errors.Is(err, errGarbled) || errors.Is(err, drivers.ErrTimeout) && !isException(err)
		if !again || try == d.retries || ctx.Err() != nil || len(s.lost) > 0 {
			return data, err
		}
	}
}

// reading returns what the blocks say about the point.
func (p *point) reading(blocks []block, now time.Time) drivers.Reading {
	r := drivers.Reading{Point: p.id, Time: now}
	data, at, err := extract(blocks, p.where)
	if err == nil {
		r.Time = at
		var exponent []byte
		if p.exponent != nil {
			exponent, _, err = extract(blocks, *p.exponent)
		}
		if err == nil {
			r.Value, r.Why = p.value(data, exponent)
		}
	}
	if err != nil {
		r.Why = whyOf(err)
	}
	if r.Why != "" {
		r.Quality = drivers.Bad
	}
	return r
}

// extract returns the data of a span: two bytes for each register, or one byte for
// a bit.
func extract(blocks []block, s span) (data []byte, at time.Time, err error) {
	for i := range blocks {
		b := &blocks[i]
		if b.table != s.table || s.at < b.at || s.end() > b.end() {
			continue
		}
		if b.err != nil {
			err = b.err
			continue
		}
		from := s.at - b.at
		if s.table.bits() {
			return []byte{b.data[from/8] >> (from % 8) & 1}, b.time, nil
		}
		return b.data[2*from : 2*(from+s.n)], b.time, nil
	}
	if err == nil {
		err = errGarbled // a plan holds all spans
	}
	return nil, at, err
}

// whyOf says in one word why there is no value.
func whyOf(err error) string {
	var e *Exception
	switch {
	case errors.As(err, &e):
		return e.Name()
	case errors.Is(err, errGarbled):
		return "garbled"
	}
	return drivers.Why(err)
}
