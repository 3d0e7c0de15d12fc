package hub

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gantry/drivers"
	"gantry/internal/backoff"
	"gantry/wamp"
)

// flushTime bounds what a device still publishes and unregisters when it stops.
const flushTime = time.Second

// device is one supervised device.
type device struct {
	hub        *Hub
	name       string
	cfg        DeviceConfig
	desc       drivers.Description
	renew      func() (drivers.Driver, error)
	log        *slog.Logger
	points     []*point
	byID       map[string]*point
	actions    map[string]*action
	found      string // key of the candidate that it is; "" = configured
	absent     string // why there is no driver
	linkTopic  wamp.URI
	linkStream *atomic.Uint64
	retry      RetryConfig
	parkAfter  int           // failed starts in a row; 0 = never
	wire       string        // what the device shares with others; "" = nothing
	pause      time.Duration // longest sleep of the housekeeping
	count      counters

	// token serializes what is published, so that the seq of a stream grows in
	// the order of the events. One slot, taken by take and freed by give. A
	// mutex would not do: a publication blocks while the session is congested,
	// and who waits must be able to give up.
	token chan struct{}
	kick  bell // wakes the housekeeping
	rules bell // wakes keepRules
	again bell // ends a wait before a restart

	// mu guards the fields below and the points' states.
	mu          sync.Mutex
	wakeAt      time.Time // when the housekeeping is wanted; zero = no sooner than it wants itself
	life        *life     // nil while no driver runs
	link        linkState
	linkSent    linkState
	troubleAt   time.Time
	lastGarbage string
	farewell    string                  // reason published when the device is stopped
	woken       chan struct{}           // closed when a point's demand changes; nil while nobody waits
	keep        func(point string) bool // which topics stay retained, "" for the link's; nil = all

	// tried is made by run, and closed when the device's procedures have been
	// registered or refused.
	tried chan struct{}

	// driver is used by supervise only. nil = the candidate has not been found.
	driver drivers.Driver

	// cancel and done are set when the device is started, under the hub's mutex.
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned
}

// run supervises the device until ctx ends.
func (d *device) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { d.keepHouse(ctx) })
	wg.Go(func() { d.keepRules(ctx) })
	d.tried = make(chan struct{})
	wg.Go(func() { d.hub.serve(ctx, d.procedures(), func() { close(d.tried) }, func() {}) })
	switch {
	case d.cfg.Disabled:
		d.change(ctx, nil, Parked, "disabled")
		<-ctx.Done()
	case d.driver == nil:
		d.change(ctx, nil, Offline, d.absent)
		<-ctx.Done()
	default:
		d.supervise(ctx)
	}
	wg.Wait()
	d.sayFarewell(ctx)
}

// sayFarewell publishes the end of the device.
func (d *device) sayFarewell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	d.mu.Lock()
	reason, keep := d.farewell, d.keep
	d.link = linkState{state: Offline, reason: reason, since: d.hub.now()}
	d.mu.Unlock()
	d.age(ctx, reason, keep)
	d.publishLink(ctx, keep != nil && !keep(""))
}

// supervise runs the driver again and again until ctx ends.
func (d *device) supervise(ctx context.Context) {
	retry := d.retry
	wait := backoff.New(backoff.Config{Min: time.Duration(retry.Min), Max: time.Duration(retry.Max)}, d.hub.random)
	failed := 0
	d.change(ctx, nil, Offline, "starting")
	for {
		upFor, gone, cause := d.live(ctx)
		if ctx.Err() != nil {
			d.settle(ctx, gone)
			return
		}
		if upFor >= time.Duration(retry.Stable) {
			wait.Reset()
		}
		failed++
		if upFor > 0 {
			failed = 0
		}
		delay, state := wait.Next(), Offline
		switch {
		case errors.Is(cause, errRestart):
			wait.Reset()
			failed, delay = 0, 0
		case d.parkAfter > 0 && failed >= d.parkAfter:
			delay, state = time.Duration(retry.ParkEvery), Parked
		}
		d.lost(ctx, state, cause)
		d.settle(ctx, gone)
		if other := (*drivers.OtherError)(nil); errors.As(cause, &other) {
			if err := d.become(ctx, other.Driver); err != nil {
				d.change(ctx, nil, state, reasonOf(err))
			}
		}
		if !d.sleep(ctx, delay) {
			return
		}
		d.count.restarts.Add(1)
	}
}

// sleep waits for a restart; false when ctx ended first.
func (d *device) sleep(ctx context.Context, delay time.Duration) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.again:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// live runs the driver once, from start to end.
// See life.run for what it returns.
func (d *device) live(ctx context.Context) (upFor time.Duration, gone <-chan struct{}, cause error) {
	// It outlasts ctx by the time that safe values take.
	l := newLife(context.WithoutCancel(ctx), d, d.driver)
	secured := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(secured)
		d.secure(l)
		l.kill(context.Cause(ctx))
	})
	d.mu.Lock()
	d.life = l
	d.mu.Unlock()
	upFor, gone, cause = l.run(d.log)
	if !stop() {
		<-secured
	}
	d.mu.Lock()
	d.life = nil
	d.mu.Unlock()
	return upFor, gone, cause
}

// lost reports the loss of the device.
func (d *device) lost(ctx context.Context, state State, cause error) {
	var p *drivers.PanicError
	if errors.As(cause, &p) {
		d.count.panics.Add(1)
		d.replaceDriver()
	}
	reason := reasonOf(cause)
	if !errors.Is(cause, errRestart) {
		d.count.errors.Add(1)
		d.log.Debug("device lost", "reason", reason)
	}
	d.change(ctx, nil, state, reason)
	d.age(ctx, "offline", nil)
}

// settle waits for the driver to return. One that does not is reported as
// parked and waited for: a second one beside it would fight for the same wire.
// When ctx ends it is left alone.
func (d *device) settle(ctx context.Context, gone <-chan struct{}) {
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-gone:
		return
	case <-grace.C:
	}
	d.log.Error("driver does not return", "after_ms", stopGrace.Milliseconds())
	if ctx.Err() != nil {
		return
	}
	d.change(ctx, nil, Parked, "stuck")
	select {
	case <-gone:
	case <-ctx.Done():
	}
}

// replaceDriver puts a fresh driver in the place of one that panicked and may
// have left a lock taken.
func (d *device) replaceDriver() {
	if d.renew == nil {
		return
	}
	var fresh drivers.Driver
	err := drivers.Contain(func() (err error) {
		fresh, err = d.renew()
		return err
	})
	if err != nil || fresh == nil {
		d.log.Warn("driver not renewed", "error", err)
		return
	}
	d.driver = fresh
}

// restart ends the current life, or the wait for the next.
func (d *device) restart() {
	d.mu.Lock()
	l := d.life
	d.mu.Unlock()
	if l != nil {
		l.kill(errRestart)
		return
	}
	d.again.ring()
}

// current returns the life that can be asked something.
func (d *device) current() (*life, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life == nil || !d.life.isUp.Load() {
		return nil, drivers.ErrOffline
	}
	return d.life, nil
}

// reasonOf returns an error as the reason of a state.
func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	return clip(err.Error(), 200)
}
