package modbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/tcp"
	"gantry/drivers/serialport"
	"gantry/internal/lane"
)

// Buses are the serial lines and TCP connections that are in use. Devices that
// name the same one share it. It is safe for concurrent use.
type Buses struct {
	wire func() stream // of tests: a line in place of a port; nil

	mu  sync.Mutex // guards all and the users of each bus
	all map[string]*bus
}

// NewBuses returns an empty set.
func NewBuses() *Buses { return &Buses{all: map[string]*bus{}} }

// bus is one serial line or one TCP connection with the units behind it. Requests
// take turns: writes first, then who has waited longest. It is opened by the first
// request, and closed while nobody uses it.
type bus struct {
	cfg   busConfig
	log   *slog.Logger
	wire  func() stream    // see Buses
	port  *serialport.Port // nil for TCP
	lane  lane.Lane
	users int    // guarded by Buses.mu
	first string // the device that it is set up for, for messages

	link   link        // owned by whoever has the lane; nil while it is not open
	silent int         // requests in a row without an answer; as link
	used   time.Time   // when the link was last used; as link
	idler  *time.Timer // closes the link when it has been idle; as link; nil for none

	mu     sync.Mutex      // guards the rest
	late   map[byte]lateOf // by unit
	echoes map[byte]int    // units known to answer echoes: silent ones in a row, see resync
}

// lateOf is the request that a unit has not answered and still may.
type lateOf struct {
	function byte
	until    time.Time // nothing is asked of the unit before
}

// attach returns the bus that cfg names. The caller calls release when it is done
// with it; that waits for the request under way.
func (b *Buses) attach(cfg busConfig, device string, log *slog.Logger) (*bus, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := cfg.key()
	use := b.all[key]
	if use != nil {
		diff := cfg.differs(use.cfg)
		if diff != "" && use.users > 0 {
			return nil, nil, fmt.Errorf("%s: %s differs from that of device %s on the same bus", cfg.name(), diff, use.first)
		}
		if diff != "" {
			use = nil // nobody uses it as it was
		}
	}
	if use == nil {
		use = &bus{cfg: cfg, log: log, wire: b.wire, first: device, late: map[byte]lateOf{}, echoes: map[byte]int{}}
		if cfg.address == "" {
			port, err := serialport.New(cfg.port, cfg.line, serialport.Roots{}, log)
			if err != nil {
				return nil, nil, err
			}
			use.port = port
		}
		b.all[key] = use
	}
	use.users++
	var once sync.Once
	return use, func() { once.Do(func() { b.release(use) }) }, nil
}

// release closes a bus that nobody uses any more. What is known about its units
// stays: an answer may be late by more than a device takes to start anew.
func (b *Buses) release(use *bus) {
	if !b.leave(use, 1) {
		return
	}
	if use.lane.Enter(context.Background(), lane.Write) != nil {
		return // others wait: it is used again
	}
	defer use.lane.Leave()
	if b.leave(use, 0) {
		use.shut()
	}
}

// leave takes n users away and reports whether none is left.
func (b *Buses) leave(use *bus, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	use.users -= n
	return use.users == 0
}

// rest closes the link later on, if nobody has used it by then; the caller has the
// lane.
func (u *bus) rest() {
	u.used = time.Now()
	switch {
	case u.cfg.idle == 0 || u.link == nil:
	case u.idler == nil:
		u.idler = time.AfterFunc(u.cfg.idle, u.tire)
	default:
		u.idler.Reset(u.cfg.idle)
	}
}

// tire closes the link if it has been idle.
func (u *bus) tire() {
	if u.lane.Enter(context.Background(), lane.Poll) != nil {
		return // others wait: it is not idle
	}
	defer u.lane.Leave()
	if time.Since(u.used) >= u.cfg.idle {
		u.shut()
	}
}

// shut closes the link; the caller has the lane.
func (u *bus) shut() {
	if u.idler != nil {
		u.idler.Stop()
	}
	if u.link != nil {
		u.link.close()
		u.link = nil
	}
}

// open opens the link if it is not; the caller has the lane.
func (u *bus) open(ctx context.Context) error {
	if u.link != nil {
		return nil
	}
	u.silent = 0
	if u.port != nil {
		return u.openPort(ctx)
	}
	s, err := tcp.Dial(ctx, u.cfg.address)
	if err != nil {
		return err
	}
	if u.cfg.rtu {
		u.link = &rtuLink{stream: s, log: u.log, gap: u.cfg.gap, turnaround: u.cfg.turnaround, echo: u.cfg.echo}
	} else {
		u.link = newTCPLink(s)
	}
	return nil
}

func (u *bus) openPort(ctx context.Context) error {
	var s stream
	if u.wire != nil {
		s = u.wire()
	} else {
		conn, err := u.port.Open(ctx)
		if err != nil {
			return err
		}
		s = conn
	}
	baud := u.port.Baud()
	u.link = &rtuLink{stream: s, log: u.log, baud: baud, gap: max(u.cfg.gap, frameGap(baud)), turnaround: u.cfg.turnaround, echo: u.cfg.echo}
	return nil
}

// request is what is asked of one unit.
type request struct {
	unit     byte
	timeout  time.Duration // for the answer to begin
	priority lane.Priority
}

// do sends one PDU in its turn and returns a copy of the answer, which may be an
// exception. See link.exchange for errors.
func (u *bus) do(ctx context.Context, r request, pdu []byte) (resp []byte, err error) {
	err = u.turn(ctx, r, func(exchange exchangeFunc) error {
		resp, err = exchange(pdu)
		resp = append([]byte(nil), resp...)
		return err
	})
	return resp, err
}

// exchangeFunc sends one PDU; the answer is valid until the next call.
type exchangeFunc func(pdu []byte) ([]byte, error)

// turn calls f, which may send several PDUs to one unit, when it is the caller's
// turn.
func (u *bus) turn(ctx context.Context, r request, f func(exchangeFunc) error) error {
	err := u.quiesce(ctx, r.unit)
	if err == nil {
		err = u.lane.Enter(ctx, r.priority)
	}
	switch {
	case errors.Is(err, lane.ErrBusy):
		return fmt.Errorf("%w: too many requests wait for the bus", drivers.ErrBusy)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: others had the bus for all the time", drivers.ErrBusy)
	case err != nil:
		return err
	}
	defer u.lane.Leave()
	if err := u.open(ctx); err != nil {
		return err
	}
	defer u.rest()
	return f(func(pdu []byte) ([]byte, error) {
		if err := u.resync(ctx, r, pdu[0]); err != nil {
			return nil, err
		}
		return u.exchange(ctx, r, pdu)
	})
}

// deaf is the number of requests in a row without an answer after which a TCP
// connection is opened anew: the peer may have forgotten it.
const deaf = 3

// exchange sends one PDU; the caller has the lane.
func (u *bus) exchange(ctx context.Context, r request, pdu []byte) ([]byte, error) {
	if u.link == nil {
		return nil, drivers.ErrOffline
	}
	resp, err := u.link.exchange(ctx, r.unit, pdu, r.timeout)
	switch {
	case err == nil:
		u.silent = 0
		u.settle(r.unit)
	case errors.Is(err, drivers.ErrOffline):
		u.shut()
	case errors.Is(err, errGarbled):
		u.silent = 0
		var g *garbledError
		if errors.As(err, &g) && g.short {
			u.miss(r, pdu[0], r.timeout) // what came was not the answer, which may still come
		}
	case errors.Is(err, drivers.ErrTimeout) && ctx.Err() == nil:
		u.miss(r, pdu[0], r.timeout)
		if u.silent++; u.silent >= deaf && u.cfg.address != "" {
			u.shut()
		}
	default:
		u.miss(r, pdu[0], 0) // the caller did not wait; the answer is on its way
	}
	return resp, err
}

// miss notes that a request was not answered, and for how long the unit is left
// alone. Over Modbus TCP answers carry the number of their request, so a late one
// does no harm.
func (u *bus) miss(r request, function byte, rest time.Duration) {
	if !u.cfg.serial() {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.late[r.unit] = lateOf{function, time.Now().Add(rest)}
}

// settle notes that a unit has answered: it answers in order, so nothing late can
// come any more.
func (u *bus) settle(unit byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.late, unit)
}

// quiesce waits until a unit that did not answer has had the same time once more.
// Others use the bus meanwhile: their answers carry another unit's number.
func (u *bus) quiesce(ctx context.Context, unit byte) error {
	u.mu.Lock()
	l, is := u.late[unit]
	u.mu.Unlock()
	if !is {
		return ctx.Err()
	}
	return pause(ctx, time.Until(l.until))
}

// mistrust is the number of echoes in a row that a unit known to answer them may
// leave unanswered before it is taken for another one, that does not.
const mistrust = 20

// resync makes sure that the answer to an earlier request cannot be taken for that
// to the next one. RTU answers do not say which request they belong to, so where
// the function is the same the unit is asked for an echo of a number first: it
// answers in order, if only by an exception. A unit that has never done so gets
// the next request after one echo without an answer: by then it has been silent
// for three times as long as an answer may take.
func (u *bus) resync(ctx context.Context, r request, function byte) error {
	u.mu.Lock()
	l, is := u.late[r.unit]
	u.mu.Unlock()
	if !is || l.function != function || function == fcDiagnostics {
		return nil
	}
	_, err := u.exchange(ctx, r, echoPDU(uint16(rand.Uint32())))
	if err != nil { // the earlier one is still open
		rest := r.timeout
		if ctx.Err() != nil {
			rest = 0
		}
		u.miss(r, function, rest)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	silent, known := u.echoes[r.unit]
	switch {
	case err == nil:
		u.echoes[r.unit] = 0
	case errors.Is(err, drivers.ErrTimeout) && ctx.Err() == nil:
		if !known || silent >= mistrust {
			delete(u.late, r.unit)
			delete(u.echoes, r.unit)
		} else {
			u.echoes[r.unit] = silent + 1
		}
	}
	return err
}
