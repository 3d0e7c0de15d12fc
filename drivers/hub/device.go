package hub

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub/internal/filter"
	"gantry/internal/backoff"
	"gantry/wamp"
)

// Waits of a device's housekeeping.
const (
	idleWait  = 30 * time.Second // with nothing to do
	dirtyWait = time.Second      // before a failed publication is tried again
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

	// driver is used by supervise only.
	driver drivers.Driver

	// cancel and done are set when the device is started, under the hub's mutex.
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned
}

// take takes the token; false when ctx ended first.
func (d *device) take(ctx context.Context) bool {
	select {
	case d.token <- struct{}{}:
		return true
	default:
	}
	select {
	case d.token <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (d *device) give() { <-d.token }

// bell wakes one goroutine: one slot, more rings than one are one.
type bell chan struct{}

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// wake makes the housekeeping look again soon. Not at once: while the session is
// down, every reading wakes it.
func (d *device) wake() { d.wakeBy(d.hub.now().Add(dirtyWait)) }

// wakeBy makes the housekeeping look again at that time.
func (d *device) wakeBy(at time.Time) {
	d.mu.Lock()
	sooner := d.wakeAt.IsZero() || at.Before(d.wakeAt)
	if sooner {
		d.wakeAt = at
	}
	d.mu.Unlock()
	if sooner {
		d.kick.ring()
	}
}

// wanted returns for how long the housekeeping may sleep, at most the time given.
func (d *device) wanted(wait time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wakeAt.IsZero() {
		return wait
	}
	return min(wait, d.wakeAt.Sub(d.hub.now()))
}

// deliver takes one reading from the driver. force publishes it even if it is
// unchanged or the point is write-only, and past the filters. It returns what the
// reading says, before the filters, and the seq it was published with, 0 if it was
// not.
func (d *device) deliver(ctx context.Context, r drivers.Reading, force bool) (filter.Sample, int64) {
	d.count.readings.Add(1)
	p := d.byID[r.Point]
	if p == nil {
		d.count.garbage.Add(1)
		d.trouble(ctx, "unknown_point")
		return filter.Sample{Quality: drivers.Bad, Why: "unknown_point"}, 0
	}
	if !p.readable && !force {
		d.count.suppressed.Add(1)
		return filter.Sample{Quality: drivers.Bad, Why: "write_only"}, 0
	}
	now := d.hub.now()
	s := p.clean(&r, now)
	if s.Quality >= drivers.Bad {
		d.trouble(ctx, "bad_reading")
	}
	if !d.take(ctx) {
		return s, 0
	}
	defer d.give()
	if ctx.Err() != nil {
		// The device may have been reported lost while this reading waited: it
		// must not come after that.
		return s, 0
	}
	d.mu.Lock()
	p.hear(r.Value)
	out, publish := p.arrive(s, now, force)
	waits, due := p.filter.Next(), p.guard.Due()
	d.mu.Unlock()
	if !waits.IsZero() {
		d.wakeBy(waits)
	}
	if !due.IsZero() {
		d.rules.ring()
	}
	if !publish {
		d.count.suppressed.Add(1)
		return s, 0
	}
	seq := d.publish(ctx, p, out, wamp.PublishOptions{Retain: true})
	if seq == 0 {
		d.wake()
	}
	return s, seq
}

// publish sends one sample; the caller holds the token. It returns the event's
// seq, 0 if it was not sent. A seq is used up even then: a hole tells the
// receiver that something is missing, a second use would tell a lie.
func (d *device) publish(ctx context.Context, p *point, s filter.Sample, opts wamp.PublishOptions) int64 {
	seq := int64(p.stream.Add(1))
	kwargs := p.envelope(&s, d.hub.clk(), 7)
	kwargs["seq"] = seq
	kwargs["ep"] = d.hub.epoch
	err := d.hub.sess.Publish(ctx, p.topic, opts, wamp.Values(wamp.List{s.Value}, kwargs))
	d.mu.Lock()
	p.published(s, d.hub.now(), err == nil)
	d.mu.Unlock()
	if err != nil {
		d.count.dropped.Add(1)
		return 0
	}
	d.count.published.Add(1)
	return seq
}

// age publishes every point once as stale. The router forgets the points that
// keep denies; a nil keep denies none.
func (d *device) age(ctx context.Context, why string, keep func(string) bool) {
	for _, p := range d.points {
		if !d.take(ctx) {
			return
		}
		opts := wamp.PublishOptions{Retain: true}
		if keep != nil && !keep(p.id) {
			opts = wamp.PublishOptions{Unretain: true}
		}
		d.mu.Lock()
		publish := p.age(why, d.hub.now()) || p.some && opts.Unretain
		s := p.last
		d.mu.Unlock()
		if publish {
			d.publish(ctx, p, s, opts)
		}
		d.give()
	}
}

// forgotten makes everything known be published again: the router that kept it
// may be another one now.
func (d *device) forgotten() {
	d.mu.Lock()
	d.linkSent = linkState{}
	for _, p := range d.points {
		p.dirty = p.some
	}
	d.mu.Unlock()
	d.wake()
}

// keepHouse publishes what the passing of time asks for: what filters have held
// back, unchanged values after max_silence, stale ones, what could not be sent
// before, and recovery.
func (d *device) keepHouse(ctx context.Context) {
	timer := time.NewTimer(d.pause)
	defer timer.Stop()
	at := time.Now().Add(d.pause)
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.kick:
			if wait := d.wanted(time.Until(at)); wait < time.Until(at) {
				at = time.Now().Add(wait)
				timer.Reset(wait)
			}
			continue
		case <-timer.C:
		}
		d.mu.Lock()
		d.wakeAt = time.Time{}
		d.mu.Unlock()
		wait, silent := d.sweep(ctx)
		if silent {
			d.trouble(ctx, "silent")
		}
		now := d.hub.now()
		if next := d.recover(ctx, now); !next.IsZero() {
			wait = min(wait, next.Sub(now))
		}
		if !d.publishLink(ctx, false) {
			wait = min(wait, dirtyWait)
		}
		wait = max(d.wanted(wait), time.Millisecond)
		at = time.Now().Add(wait)
		timer.Reset(wait)
	}
}

// sweep looks at every point once. It returns when to look again and whether a
// point has fallen silent.
func (d *device) sweep(ctx context.Context) (wait time.Duration, silent bool) {
	wait = d.pause
	for _, p := range d.points {
		if !d.take(ctx) {
			return wait, silent
		}
		now := d.hub.now()
		d.mu.Lock()
		up := d.life != nil && d.life.isUp.Load()
		publish, next := p.dirty, time.Time{}
		if up {
			was := p.last.Quality
			publish, next = p.due(now)
			silent = silent || was != drivers.Stale && p.last.Quality == drivers.Stale
		}
		s := p.last
		d.mu.Unlock()
		if publish && d.publish(ctx, p, s, wamp.PublishOptions{Retain: true}) == 0 {
			next = now.Add(dirtyWait)
		}
		d.give()
		if !next.IsZero() {
			wait = min(wait, next.Sub(now))
		}
	}
	return wait, silent
}

// run supervises the device until ctx ends.
func (d *device) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { d.keepHouse(ctx) })
	wg.Go(func() { d.keepRules(ctx) })
	wg.Go(func() { d.hub.serve(ctx, d.procedures()) })
	if d.cfg.Disabled {
		d.change(ctx, nil, Parked, "disabled")
		<-ctx.Done()
	} else {
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
	d.link = linkState{state: Offline, reason: reason, since: d.hub.now().UnixMicro()}
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
	var p *panicError
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
	err := contain(func() (err error) {
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

// quietest returns the longest sleep of the housekeeping: as long as the
// shortest time that any point sets, so that no deadline which begins during a
// sleep is overslept.
func quietest(points []*point) time.Duration {
	pause := idleWait
	for _, p := range points {
		for _, v := range [...]time.Duration{p.maxSilence, p.staleAfter} {
			if v > 0 {
				pause = min(pause, v)
			}
		}
	}
	return max(pause, time.Millisecond)
}

// pollGroups returns the points that are polled together.
func (d *device) pollGroups() map[pollKey][]string {
	groups := make(map[pollKey][]string)
	for _, p := range d.points {
		if p.every > 0 {
			k := pollKey{group: p.group, every: p.every}
			groups[k] = append(groups[k], p.id)
		}
	}
	for _, ids := range groups {
		slices.Sort(ids)
	}
	return groups
}
