package hub

import (
	"context"
	"sync/atomic"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub/internal/filter"
	"gantry/wamp"
)

// State is what a device's link is like.
type State uint8

// The states. The zero value is Offline.
const (
	Offline  State = iota // not there; it is tried again by itself
	Online                // there
	Degraded              // there, but some of what it says is unusable
	Parked                // not tried, or not often: disabled, stuck, or failed too often
)

var stateNames = [...]string{"offline", "online", "degraded", "parked"}

// String returns the name on the wire: offline, online, degraded, parked.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "invalid"
}

// troubleHold is how long nothing must have gone wrong before a degraded device
// is online again, so that a device that fails now and then does not flap.
const troubleHold = 10 * time.Second

// linkState is the state of a device's link with its reason and age.
type linkState struct {
	state  State
	reason string
	since  time.Time // of the state, not of the reason; with a monotonic reading
}

// counters count what happened to one device since the hub was made.
type counters struct {
	readings, published, suppressed, dropped atomic.Uint64
	garbage, errors, restarts, panics        atomic.Uint64
	polls, missed, requests                  atomic.Uint64
	latency                                  atomic.Int64 // of the last request: microseconds
	took                                     atomic.Int64 // all requests together: microseconds
}

// request counts a request to the driver.
func (c *counters) request(took time.Duration) {
	c.requests.Add(1)
	c.latency.Store(took.Microseconds())
	c.took.Add(took.Microseconds())
}

// Counters are the counts of one device since it was added.
type Counters struct {
	Readings   uint64 // readings from the driver
	Published  uint64 // events handed to the session
	Suppressed uint64 // readings not published: within the deadband, or not readable
	Dropped    uint64 // events that the session refused
	Garbage    uint64 // input that could not be decoded
	Errors     uint64 // failed requests, and losses of the device
	Restarts   uint64 // starts of the driver after the first
	Panics     uint64 // panics of the driver
	Polls      uint64 // requests of the schedule
	Missed     uint64 // polls left out: the one before took too long, or others had the device
	Requests   uint64 // requests to the driver, polls and commands
}

func (c *counters) read() Counters {
	return Counters{
		Readings: c.readings.Load(), Published: c.published.Load(), Suppressed: c.suppressed.Load(),
		Dropped: c.dropped.Load(), Garbage: c.garbage.Load(), Errors: c.errors.Load(),
		Restarts: c.restarts.Load(), Panics: c.panics.Load(),
		Polls: c.polls.Load(), Missed: c.missed.Load(), Requests: c.requests.Load(),
	}
}

// Status tells how one device is.
type Status struct {
	Device   string
	Label    string
	Driver   string // the kind
	Model    string
	Wire     string // what it shares with others; "" = nothing
	Found    string // key of the candidate that it is; "" = configured
	State    State
	Reason   string // of the state; "" when online
	Since    time.Time
	Points   int
	Actions  int
	Counters Counters
	Latency  time.Duration // of the last request to the driver
	Took     time.Duration // all requests to the driver together
}

// status returns a snapshot.
func (d *device) status() Status {
	d.mu.Lock()
	link := d.link
	d.mu.Unlock()
	return Status{
		Device: d.name, Label: d.cfg.Label, Driver: d.cfg.Driver, Model: d.desc.Model, Wire: d.wire, Found: d.found,
		State: link.state, Reason: link.reason, Since: time.UnixMicro(d.hub.clock.Stamp(link.since).TS),
		Points: len(d.points), Actions: len(d.desc.Actions),
		Counters: d.count.read(),
		Latency:  time.Duration(d.count.latency.Load()) * time.Microsecond,
		Took:     time.Duration(d.count.took.Load()) * time.Microsecond,
	}
}

// change sets the link's state and publishes it. A change that a life asks for
// has no effect once that life is over; nil is the supervisor.
func (d *device) change(ctx context.Context, by *life, state State, reason string) {
	now := d.hub.now()
	d.mu.Lock()
	if by != nil && d.life != by {
		d.mu.Unlock()
		return
	}
	old := d.link
	d.link.state, d.link.reason = state, reason
	if old.state != state || old.since.IsZero() {
		d.link.since = now
	}
	d.mu.Unlock()
	if old.state != state {
		d.log.Info("device state", "state", state.String(), "reason", reason)
	}
	if !d.publishLink(ctx, false) {
		d.wake()
	}
}

// trouble notes that something about a device that is there is unusable.
func (d *device) trouble(ctx context.Context, reason string) {
	now := d.hub.now()
	d.mu.Lock()
	d.troubleAt = now
	degrade := d.link.state == Online
	if degrade {
		d.link = linkState{state: Degraded, reason: reason, since: now}
	}
	d.mu.Unlock()
	if degrade {
		d.log.Warn("device state", "state", Degraded.String(), "reason", reason)
		d.publishLink(ctx, false)
		d.wake()
	}
}

// unusable reports whether a value is missing that the device has.
func unusable(s *filter.Sample) bool {
	return s.Quality >= drivers.Bad && s.Why != drivers.WhyUnsupported
}

// recover brings a degraded device back to online once nothing has been wrong for
// a while and every point has a usable value. next is when to ask again, zero for
// not before more trouble.
func (d *device) recover(ctx context.Context, now time.Time) (next time.Time) {
	d.mu.Lock()
	if d.link.state != Degraded {
		d.mu.Unlock()
		return next
	}
	next = d.troubleAt.Add(troubleHold)
	if now.Before(next) {
		d.mu.Unlock()
		return next
	}
	for _, p := range d.points {
		if p.some && unusable(&p.last) {
			d.mu.Unlock()
			return now.Add(troubleHold)
		}
	}
	d.link = linkState{state: Online, since: now}
	d.mu.Unlock()
	d.log.Info("device state", "state", Online.String())
	d.publishLink(ctx, false)
	return time.Time{}
}

// publishLink publishes the link's state if it differs from what was published
// last. With forget the router is asked not to keep it. It reports whether
// subscribers know the state now.
func (d *device) publishLink(ctx context.Context, forget bool) bool {
	if !d.take(ctx) {
		return false
	}
	defer d.give()
	d.mu.Lock()
	link := d.link
	known := d.linkSent == link
	d.mu.Unlock()
	if known && !forget {
		return true
	}
	args, kwargs := d.linkEvent(link)
	kwargs["seq"] = int64(d.linkStream.Add(1))
	kwargs["ep"] = d.hub.epoch
	opts := wamp.PublishOptions{Retain: !forget, Unretain: forget}
	err := d.hub.sess.Publish(ctx, d.linkTopic, opts, wamp.Values(args, kwargs))
	d.mu.Lock()
	if err == nil {
		d.linkSent = link
	}
	d.mu.Unlock()
	if err != nil {
		d.count.dropped.Add(1)
		return false
	}
	d.count.published.Add(1)
	return true
}

// linkEvent returns the content of a state event.
func (d *device) linkEvent(link linkState) (wamp.List, wamp.Dict) {
	kwargs := wamp.Dict{"since": d.hub.clock.Stamp(link.since).TS}
	d.hub.date(kwargs, d.hub.clock.Stamp(time.Time{}))
	if link.reason != "" {
		kwargs["reason"] = link.reason
	}
	return wamp.List{link.state.String()}, kwargs
}
