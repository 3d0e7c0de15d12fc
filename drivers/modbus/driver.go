package modbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gantry/drivers"
	"gantry/internal/lane"

	"golang.org/x/sync/errgroup"
)

// Driver is one unit on a bus.
type Driver struct {
	plain
	name  string
	buses *Buses
	now   func() time.Time
	log   *slog.Logger
	desc  drivers.Description

	mu      sync.Mutex // guards session
	session *session   // nil while Run does not run

	planning sync.Mutex // guards limits.cuts and reads
	reads    []*read    // plans made before, at most maxReads
}

var (
	_ drivers.Driver = (*Driver)(nil)
	_ drivers.Reader = (*Driver)(nil)
	_ drivers.Writer = (*Driver)(nil)
	_ drivers.Sharer = (*Driver)(nil)
)

// New checks cfg and returns a driver that has not been started. Errors are
// *drivers.ConfigError.
func New(cfg Config, env drivers.Env, buses *Buses, decode Decoder) (*Driver, error) {
	log := env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	profile := &Profile{}
	if cfg.Profile != "" {
		var err error
		if profile, err = LoadProfile(cfg.Profile, decode); err != nil {
			return nil, err
		}
	}
	p, err := cfg.prepare(profile)
	if err != nil {
		return nil, err
	}
	d := &Driver{plain: *p, name: env.Device, buses: buses, now: env.Now, log: log}
	if d.now == nil {
		d.now = time.Now
	}
	d.desc.Model = fmt.Sprintf("unit %d at %s", d.unit, d.bus.name())
	if d.describe != "" {
		d.desc.Model = d.describe + ", " + d.desc.Model
	}
	for _, pt := range d.points {
		if d.toAll() {
			pt.desc.Readable = false // nobody answers
			if !pt.desc.Writable || pt.write == writeModify || pt.write == writeReadback {
				return nil, bad("point."+pt.id+".write", "single, multiple, mask", "with unit_id 0, points are only written")
			}
		}
		d.desc.Points = append(d.desc.Points, pt.desc)
	}
	return d, nil
}

// Describe returns the points of profile and configuration.
func (d *Driver) Describe() drivers.Description {
	desc := d.desc
	desc.Points = slices.Clone(desc.Points)
	return desc
}

// Wire implements drivers.Sharer: the serial line or the TCP address.
func (d *Driver) Wire() string { return d.bus.name() }

// session is one run of the driver as requests see it.
type session struct {
	bus    *bus
	ctx    context.Context // the run's: this struct is the run
	cancel context.CancelFunc
	link   drivers.Link
	lost   chan error // capacity 1: why the run ends; more reasons than one are one

	missed atomic.Int32 // requests in a row without an answer

	mu       sync.Mutex // guards ended and orders it with requests.Add
	ended    bool
	requests sync.WaitGroup // under way
}

// Run implements drivers.Driver: it opens the bus, finds out whether the unit
// answers, and serves requests until ctx ends, the bus is gone or the unit has
// stopped answering.
func (d *Driver) Run(ctx context.Context, l drivers.Link) error {
	if ctx.Err() != nil {
		return nil
	}
	bus, release, err := d.buses.attach(d.bus, d.name, d.log)
	if err != nil {
		return err
	}
	defer release()
	own, cancel := context.WithCancel(ctx)
	s := &session{bus: bus, ctx: own, cancel: cancel, link: l, lost: make(chan error, 1)}
	defer s.end()
	g, gctx := errgroup.WithContext(own)
	if d.proxy != nil {
		g.Go(func() error {
			return drivers.Contain(func() error { return d.proxy.run(gctx, bus, d.log) })
		})
	}
	g.Go(func() error {
		return drivers.Contain(func() error { return d.serve(gctx, s) })
	})
	err = g.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (d *Driver) serve(ctx context.Context, s *session) error {
	if err := d.probe(ctx, s); err != nil {
		return err
	}
	d.attach(s)
	defer d.attach(nil)
	s.link.Up()
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.lost:
		return err
	}
}

func (d *Driver) attach(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session = s
}

// probe asks for the first point; a unit that refuses is there as well. Without
// points to read it only opens the bus.
func (d *Driver) probe(ctx context.Context, s *session) error {
	i := slices.IndexFunc(d.points, func(p *point) bool { return p.desc.Readable })
	if i < 0 {
		return s.bus.turn(ctx, d.request(lane.Poll), func(exchangeFunc) error { return nil })
	}
	w := d.points[i].where
	_, err := s.bus.do(ctx, d.request(lane.Poll), readPDU(w.table, uint16(w.at), uint16(w.n)))
	if errors.Is(err, errGarbled) {
		return nil // somebody is there; polls will tell
	}
	return err
}

func (d *Driver) request(p lane.Priority) request {
	return request{unit: d.unit, timeout: d.timeout, priority: p}
}

// end ends the run's requests and waits for them.
func (s *session) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.cancel()
	s.requests.Wait()
}

// begin notes a request. The context returned ends with the caller's and with the
// run; done must be called.
func (d *Driver) begin(ctx context.Context) (s *session, own context.Context, done func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, ended(ctx, err)
	}
	d.mu.Lock()
	s = d.session
	d.mu.Unlock()
	if s == nil {
		return nil, nil, nil, drivers.ErrOffline
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, nil, nil, drivers.ErrOffline
	}
	s.requests.Add(1)
	own, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return s, own, func() {
		stop()
		cancel()
		s.requests.Done()
	}, nil
}

// ask sends one PDU and returns what answers it, see checkResponse; resp says how
// to send it.
func (d *Driver) ask(s *session, pdu []byte, send func(pdu []byte) ([]byte, error)) ([]byte, error) {
	resp, err := send(pdu)
	if err == nil && !d.toAll() {
		resp, err = checkResponse(pdu, resp)
	}
	var g *garbledError
	switch {
	case err == nil, isException(err):
		s.missed.Store(0)
		// A gateway's word that the unit is silent is the unit's silence.
		if errors.Is(err, drivers.ErrTimeout) {
			d.missed(s, err)
		}
	case errors.As(err, &g):
		s.missed.Store(0)
		s.link.Garbage(g.why, g.sample)
	case errors.Is(err, drivers.ErrOffline):
		s.lose(err)
	case errors.Is(err, drivers.ErrTimeout):
		d.missed(s, err)
	}
	return resp, err
}

// missed counts a request without an answer.
func (d *Driver) missed(s *session, err error) {
	if int(s.missed.Add(1)) >= d.lost {
		s.lose(fmt.Errorf("unit %d does not answer: %w", d.unit, err))
	}
}

func (s *session) lose(err error) {
	select {
	case s.lost <- err:
	default:
	}
}

// Write implements drivers.Writer. It returns v when the unit has confirmed it, or
// what was read back. A write is sent once: if the answer is missing, nobody knows
// whether it was obeyed.
func (d *Driver) Write(ctx context.Context, id string, v drivers.Value) (drivers.Value, error) {
	i := slices.IndexFunc(d.points, func(p *point) bool { return p.id == id })
	if i < 0 || d.points[i].write == "" {
		return nil, fmt.Errorf("write %s: no such writable point", id)
	}
	s, ctx, done, err := d.begin(ctx)
	if err == nil {
		v, err = d.write(ctx, s, d.points[i], v)
		done()
	}
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", id, err)
	}
	return v, nil
}

func (d *Driver) write(ctx context.Context, s *session, p *point, v drivers.Value) (drivers.Value, error) {
	if p.write == writeModify {
		return v, d.modify(ctx, s, p, v)
	}
	pdu, err := p.pdu(v)
	if err != nil {
		return nil, err
	}
	data, err := d.ask(s, pdu, func(pdu []byte) ([]byte, error) { return s.bus.do(ctx, d.request(lane.Write), pdu) })
	if err != nil || p.write != writeReadback {
		return v, err
	}
	got, why := p.form.Read(data)
	if why != "" {
		return nil, fmt.Errorf("%w: %s", drivers.ErrNotVerified, why)
	}
	return got, nil
}

// modify reads a register, changes the point's part of it and writes it back, in
// one turn.
func (d *Driver) modify(ctx context.Context, s *session, p *point, v drivers.Value) error {
	and, or, err := writeBits(&p.form, v)
	if err != nil {
		return fmt.Errorf("value %w", err)
	}
	at := uint16(p.where.at)
	return s.bus.turn(ctx, d.request(lane.Write), func(exchange exchangeFunc) error {
		old, err := d.ask(s, readPDU(holding, at, 1), exchange)
		if err != nil {
			return err
		}
		_, err = d.ask(s, writeRegisterPDU(at, (uint16(old[0])<<8|uint16(old[1]))&and|or), exchange)
		return err
	})
}

// pdu returns the request that writes v.
func (p *point) pdu(v drivers.Value) ([]byte, error) {
	at := uint16(p.where.at)
	if p.write == writeMask {
		and, or, err := writeBits(&p.form, v)
		if err != nil {
			return nil, fmt.Errorf("value %w", err)
		}
		return maskPDU(at, and, or), nil
	}
	data, err := p.form.Write(v)
	if err != nil {
		return nil, fmt.Errorf("value %w", err)
	}
	switch {
	case p.where.table == coils && p.write == writeSingle:
		return writeCoilPDU(at, data[1] != 0), nil
	case p.where.table == coils:
		return writeCoilsPDU(at, 1, data[1:]), nil
	case p.write == writeSingle:
		return writeRegisterPDU(at, uint16(data[0])<<8|uint16(data[1])), nil
	case p.write == writeReadback:
		return readWritePDU(at, uint16(p.where.n), at, data), nil
	}
	return writeRegistersPDU(at, data), nil
}
