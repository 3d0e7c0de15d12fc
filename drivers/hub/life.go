package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gantry/drivers"
	"gantry/internal/lane"
)

// stopGrace is how long a driver may take to return once its context has ended.
const stopGrace = 2 * time.Second

// answerGrace is how long a request may take to return with the driver's own
// error once its deadline has passed.
const answerGrace = 250 * time.Millisecond

// beside is the priority of a request that goes past the lane altogether. On a wire
// that is shared it counts as a write.
const beside lane.Priority = -1

// Reasons for which the hub itself ends a life.
var (
	errRestart = errors.New("restart")
	errStuck   = errors.New("driver does not return from a request")
	errEnded   = errors.New("driver ended by itself")
)

// life is one run of a driver: from the call of its Run until that, and
// everything the hub started for it, has returned. It implements drivers.Link.
type life struct {
	d      *device
	driver drivers.Driver
	ctx    context.Context // the run's: this struct is the run
	kill   context.CancelCauseFunc
	lane   lane.Lane
	// ahead is the lane of writes and gets where the driver shares a wire: they do
	// not wait for a poll that waits for the wire. Elsewhere it is &lane.
	ahead  *lane.Lane
	once   sync.Once
	isUp   atomic.Bool
	up     chan struct{} // closed by Up once the device has been reported online
	acting chan struct{} // one token: held by the progressive action that runs

	// mu guards ended and orders it with requests.Add.
	mu       sync.Mutex
	ended    bool
	requests sync.WaitGroup // calls into the driver that have not returned
}

var _ drivers.Link = (*life)(nil)

func newLife(ctx context.Context, d *device, driver drivers.Driver) *life {
	l := &life{d: d, driver: driver, up: make(chan struct{}), acting: make(chan struct{}, 1)}
	l.ahead = &l.lane
	if _, shares := driver.(drivers.Sharer); shares {
		l.ahead = new(lane.Lane)
	}
	l.ctx, l.kill = context.WithCancelCause(ctx)
	return l
}

// turn returns the lane for requests of a priority, nil for those that take none.
func (l *life) turn(priority lane.Priority) *lane.Lane {
	switch priority {
	case beside:
		return nil
	case lane.Poll:
		return &l.lane
	}
	return l.ahead
}

// Up implements drivers.Link. It returns once the device is reported online. Safe
// values that wait to be written go before all other requests.
func (l *life) Up() {
	l.once.Do(func() {
		if l.ctx.Err() != nil {
			return
		}
		l.d.securely(l)
		// Who hears that it is online may call it.
		select {
		case <-l.d.tried:
		case <-l.ctx.Done():
			return
		}
		l.isUp.Store(true)
		l.d.rules.ring()
		l.d.change(l.ctx, l, Online, "")
		close(l.up)
	})
}

// Emit implements drivers.Link. A reading that was measured is proof that the
// device is there.
func (l *life) Emit(r drivers.Reading) {
	if l.ctx.Err() != nil {
		return
	}
	if r.Quality <= drivers.Uncertain {
		l.Up()
	}
	l.d.deliver(l.ctx, r, false)
}

// Garbage implements drivers.Link.
func (l *life) Garbage(why string, sample []byte) {
	if l.ctx.Err() != nil {
		return
	}
	d := l.d
	d.count.garbage.Add(1)
	d.mu.Lock()
	d.lastGarbage = clip(fmt.Sprintf("%s: %q", clip(why, 64), sample[:min(len(sample), 64)]), 400)
	d.mu.Unlock()
	d.trouble(l.ctx, "garbage")
}

// begin notes a call into the driver; false when the life is over.
func (l *life) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.requests.Add(1)
	return true
}

// end lets no further request begin and returns a channel that is closed when
// run and all requests have returned.
func (l *life) end(run <-chan error) <-chan struct{} {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		for range run {
		}
		l.requests.Wait()
		close(gone)
	}()
	return gone
}

// request runs f against the device: in its turn, one at a time, for at most
// timeout. f runs in a goroutine of its own, so that a driver that ignores its
// deadline blocks nobody but itself: what f writes must only be read when request
// returns nil or an error of f's.
func (l *life) request(ctx context.Context, priority lane.Priority, timeout time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	in := l.turn(priority)
	if in != nil {
		turn, stop := context.WithTimeoutCause(ctx, timeout, lane.ErrBusy)
		err := in.Enter(turn, priority)
		cause := context.Cause(turn)
		stop()
		switch {
		case err == nil:
		case errors.Is(cause, lane.ErrBusy):
			return lane.ErrBusy
		default:
			return l.cause(ctx, err)
		}
	}
	if !l.begin() {
		if in != nil {
			in.Leave()
		}
		return drivers.ErrOffline
	}
	ctx, stop := context.WithTimeout(lane.With(ctx, max(priority, lane.Write)), timeout)
	defer stop()
	done := make(chan error, 1) // the request's result; its only sender never blocks
	start := l.d.hub.now()
	go func() {
		defer l.requests.Done()
		err := drivers.Contain(func() error { return f(ctx) })
		l.d.count.request(l.d.hub.now().Sub(start))
		if in != nil {
			in.Leave()
		}
		var p *drivers.PanicError
		if errors.As(err, &p) {
			l.d.log.Error("driver panicked", "panic", p.Error(), "stack", string(p.Stack))
			l.kill(p)
		}
		done <- err
		close(done)
	}()
	select {
	case err := <-done:
		return l.cause(ctx, err)
	case <-ctx.Done():
	}
	grace := time.NewTimer(answerGrace)
	defer grace.Stop()
	select {
	case err := <-done:
		return l.cause(ctx, err)
	case <-grace.C:
	}
	// Who only cancelled leaves the driver the rest of its time.
	deadline, _ := ctx.Deadline()
	time.AfterFunc(time.Until(deadline)+stopGrace, func() {
		if len(done) == 0 {
			l.kill(errStuck)
		}
	})
	return l.cause(ctx, ctx.Err())
}

// cause replaces the bare error of a context by what ended it.
func (l *life) cause(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case l.ctx.Err() != nil && errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %v", drivers.ErrOffline, context.Cause(l.ctx))
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %v", drivers.ErrTimeout, err)
	}
	return err
}

// run runs the driver until it is lost, ctx ends or somebody kills the life. It
// returns for how long the device was up, 0 for not at all, a channel that is
// closed when the driver has really returned, and the cause of the end.
func (l *life) run(log *slog.Logger) (upFor time.Duration, gone <-chan struct{}, cause error) {
	exit := make(chan error, 1) // the driver's result; its only sender never blocks
	go func() {
		exit <- drivers.Contain(func() error { return l.driver.Run(l.ctx, l) })
		close(exit)
	}()
	var pollers sync.WaitGroup
	var upAt time.Time
	up := l.up
	err := errEnded
	for running := true; running; {
		select {
		case <-up:
			up, upAt = nil, l.d.hub.now()
			l.d.poll(l, &pollers)
		case e := <-exit:
			if e != nil {
				err = e
			}
			l.kill(err)
			running = false
		case <-l.ctx.Done():
			running = false
		}
	}
	cause = context.Cause(l.ctx)
	if !upAt.IsZero() {
		upFor = max(l.d.hub.now().Sub(upAt), 1)
	}
	pollers.Wait()
	var p *drivers.PanicError
	if errors.As(err, &p) {
		log.Error("driver panicked", "panic", p.Error(), "stack", string(p.Stack))
	}
	return upFor, l.end(exit), cause
}
