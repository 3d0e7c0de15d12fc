package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gantry/drivers"
	"gantry/internal/wallclock"
	"gantry/wamp"
)

// watchTime is how often the hub looks whether the session has become another.
const watchTime = time.Second

// registerMax is the longest wait before a refused registration is tried again:
// the procedure may still belong to a session that the router has not yet found
// dead.
const registerMax = 15 * time.Second

// Errors of the methods that change the set of devices.
var (
	// ErrExists: there is a device with this name.
	ErrExists = errors.New("a device with this name exists")
	// ErrNoDevice: there is no device with this name.
	ErrNoDevice = errors.New("there is no device with this name")
)

// Config is what the hub itself has to know.
type Config struct {
	// Gateway is the gateway's name, see ValidName.
	Gateway string
	// Epoch must be higher at each start of the gateway, 1..2^53: with it and the
	// seq of its stream, an event is identified for ever.
	Epoch uint64
}

// Validate checks the configuration. The error is a *drivers.ConfigError.
func (c *Config) Validate() error {
	if !ValidName(c.Gateway) {
		return bad("gateway.name", allowedName, "%.80q is not a name", c.Gateway)
	}
	if c.Epoch < 1 || c.Epoch > uint64(wamp.MaxID) {
		return bad("epoch", "1 to 2^53", "is %d", c.Epoch)
	}
	return nil
}

// Deps are what the hub gets from its surroundings.
type Deps struct {
	// Decode returns the values of any payload, raw or not (serialize.Values).
	// Required.
	Decode func(wamp.Payload) (wamp.List, wamp.Dict, error)
	// Clock is the time of day of events; nil = the machine's, which nobody trusts.
	Clock *wallclock.Clock
	// Random returns numbers in [0, 1) and is safe for concurrent use;
	// nil = math/rand/v2.
	Random func() float64
	// Audit receives a line for every command: who, what, with which outcome.
	// nil = the hub's log.
	Audit *slog.Logger
	// Sources are where devices come from that appear by themselves.
	Sources []Source
	// Decisions keeps what people decide about them. nil = it is kept until the hub
	// ends.
	Decisions Decisions
	// Ignored are the keys of the candidates that are ignored, see
	// drivers.Candidate.Key.
	Ignored []string
}

// Device is one device to supervise.
type Device struct {
	// Name is the device's name, see ValidName.
	Name string
	// Config holds the generic keys of its table.
	Config DeviceConfig
	// Driver speaks to it. It belongs to the hub from now on. nil = it is built of
	// the candidate Found, once that has been found.
	Driver drivers.Driver
	// Found is the key of the candidate that the device is; "" = it was not found but
	// configured.
	Found string
	// Renew builds a driver of the same description, to replace one that
	// panicked and cannot be trusted any more. nil = the same one is run again.
	Renew func() (drivers.Driver, error)
}

// Hub supervises devices. Its methods are safe for concurrent use.
type Hub struct {
	cfg    Config
	epoch  any // cfg.Epoch as it goes on the wire, boxed once
	sess   wamp.Session
	decode func(wamp.Payload) (wamp.List, wamp.Dict, error)
	clock  *wallclock.Clock
	now    func() time.Time // of this process, with a monotonic reading
	random func() float64
	log    *slog.Logger
	audit  *slog.Logger
	mute   atomic.Bool   // the router takes no descriptions
	demand bell          // wakes watchDemand
	ready  chan struct{} // closed once the own procedures are registered

	finds *finds

	// changes are devices that have turned out to be others; never closed.
	changes chan *change

	// admin serializes the methods that change the set of devices: one slot. They
	// wait for devices to stop, so it is no mutex.
	admin chan struct{}

	// deciding serializes decisions about interlocks. It is taken before mu and the
	// devices' mutexes.
	deciding sync.Mutex

	// mu guards the fields below.
	mu      sync.Mutex
	devices map[string]*device
	rivals  map[string][]string         // what may not be on together with a point, by "device.point"
	streams map[wamp.URI]*atomic.Uint64 // seq of each topic's last event; outlives devices
	start   func(*device)               // starts a device; nil while Run does not run
	ran     bool
}

// New returns a hub for the devices that publishes and registers on sess. It
// starts nothing. An error names the key at fault as *drivers.ConfigError. log
// may be nil.
func New(cfg Config, devices []Device, sess wamp.Session, deps Deps, log *slog.Logger) (*Hub, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if sess == nil || deps.Decode == nil {
		return nil, errors.New("hub: session and Deps.Decode are required")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	h := &Hub{
		cfg: cfg, epoch: int64(cfg.Epoch), sess: sess, decode: deps.Decode, clock: deps.Clock, now: time.Now,
		random: deps.Random, log: log, audit: deps.Audit,
		admin: make(chan struct{}, 1), changes: make(chan *change), demand: make(bell, 1), ready: make(chan struct{}), devices: make(map[string]*device), streams: make(map[wamp.URI]*atomic.Uint64),
	}
	if h.clock == nil {
		h.clock = wallclock.New(wallclock.Config{Synced: func() bool { return false }})
	}
	if h.random == nil {
		h.random = rand.Float64
	}
	if h.audit == nil {
		h.audit = log.With("log", "audit")
	}
	h.finds = newFinds(h, &deps)
	for _, dev := range devices {
		if err := h.AddDevice(dev); err != nil {
			return nil, err
		}
		if dev.Found != "" {
			h.finds.accepted[dev.Found] = dev.Name
		}
	}
	return h, nil
}

// Values of clk, boxed once.
var (
	clkSync  any = "sync"
	clkGuess any = "guess"
)

// date puts an instant into the keyword arguments of an event: ts and clk, and up
// where ts is a guess. One of before the clock was set is put right.
func (h *Hub) date(d wamp.Dict, at wallclock.Stamp) {
	if at.Up != 0 {
		if ts, ok := h.clock.Right(h.cfg.Epoch, at.Up); ok {
			at = wallclock.Stamp{TS: ts}
		}
	}
	d["ts"], d["clk"] = at.TS, clkGuess
	switch {
	case at.Up != 0:
		d["up"] = at.Up
	case h.clock.Synced(): // a device's own time is as good as the gateway's
		d["clk"] = clkSync
	}
}

// CheckDevice reports what is wrong with a device, without adding it. The error
// is a *drivers.ConfigError where a key is at fault.
func CheckDevice(dev Device) error {
	h := &Hub{cfg: Config{Gateway: "check"}, now: time.Now, streams: make(map[wamp.URI]*atomic.Uint64)}
	_, err := h.newDevice(dev)
	return err
}

// newDevice validates and prepares a device.
func (h *Hub) newDevice(dev Device) (*device, error) {
	if !ValidName(dev.Name) {
		return nil, bad("device."+clip(dev.Name, 64), allowedName, "is not a name")
	}
	if err := dev.Config.Validate(); err != nil {
		return nil, err
	}
	if dev.Driver == nil && dev.Found == "" {
		return nil, fmt.Errorf("device %s has no driver", dev.Name)
	}
	d := &device{
		hub: h, name: dev.Name, cfg: dev.Config, driver: dev.Driver, renew: dev.Renew, found: dev.Found, absent: whyAbsent,
		retry: dev.Config.Retry.withDefaults(), byID: make(map[string]*point), farewell: "stopped",
		linkTopic: LinkTopic(h.cfg.Gateway, dev.Name),
		token:     make(chan struct{}, 1), kick: make(bell, 1), rules: make(bell, 1), again: make(bell, 1),
	}
	if h.log != nil {
		d.log = h.log.With("device", dev.Name)
	}
	if dev.Driver == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		d.linkStream, d.pause = h.stream(d.linkTopic), idleWait
		return d, nil
	}
	if err := checkDemand(&d.cfg, dev.Driver); err != nil {
		return nil, err
	}
	if err := drivers.Contain(func() error { d.desc = dev.Driver.Describe(); return nil }); err != nil {
		return nil, fmt.Errorf("describe device %s: %w", dev.Name, err)
	}
	_, polled := dev.Driver.(drivers.Reader)
	if shares, ok := dev.Driver.(drivers.Sharer); ok {
		d.wire, d.parkAfter = shares.Wire(), DefaultParkAfter
	}
	if d.retry.ParkAfter != nil {
		d.parkAfter = *d.retry.ParkAfter
	}
	if _, pushes := dev.Driver.(drivers.Pusher); pushes && d.cfg.Every == nil {
		d.cfg.Every = new(drivers.Duration)
	}
	specs, err := newSpecs(h.cfg.Gateway, dev.Name, &d.cfg, &d.desc, polled)
	if err != nil {
		return nil, err
	}
	if d.actions, err = newActions(d.desc.Actions); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d.linkStream = h.stream(d.linkTopic)
	for _, s := range specs {
		p := newPoint(s, h.stream(s.topic), h.now())
		d.points = append(d.points, p)
		d.byID[s.id] = p
	}
	d.pause = quietest(d.points)
	return d, nil
}

// stream returns the counter of a topic; h.mu is held.
func (h *Hub) stream(topic wamp.URI) *atomic.Uint64 {
	s := h.streams[topic]
	if s == nil {
		s = new(atomic.Uint64)
		h.streams[topic] = s
	}
	return s
}

// AddDevice adds a device and, while the hub runs, starts it. It returns
// ErrExists where the name is taken, and what is wrong with the device otherwise.
func (h *Hub) AddDevice(dev Device) error {
	h.admin <- struct{}{}
	defer func() { <-h.admin }()
	if h.device(dev.Name) != nil {
		return fmt.Errorf("%s: %w", dev.Name, ErrExists)
	}
	d, err := h.newDevice(dev)
	if err != nil {
		return err
	}
	h.put(d)
	return nil
}

// put adds a device and starts it while the hub runs.
func (h *Hub) put(d *device) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.devices[d.name] = d
	h.rivals = rivalsOf(h.devices)
	if h.start != nil {
		h.start(d)
	}
	h.demand.ring()
}

// RemoveDevice stops a device, waits for it, and takes its topics and procedures
// away. It takes a few seconds at most: a driver that does not return by then is
// left alone. It returns ErrNoDevice where there is none.
func (h *Hub) RemoveDevice(name string) error {
	h.admin <- struct{}{}
	defer func() { <-h.admin }()
	d := h.device(name)
	if d == nil {
		return fmt.Errorf("%s: %w", name, ErrNoDevice)
	}
	h.halt(d, "removed", func(string) bool { return false })
	h.mu.Lock()
	delete(h.devices, name)
	h.rivals = rivalsOf(h.devices)
	h.mu.Unlock()
	return nil
}

// ReplaceDevice puts dev in the place of the device of the same name, or adds
// it: this is what a changed configuration file calls. The device that is there
// goes on if dev is not valid; the error says why.
func (h *Hub) ReplaceDevice(dev Device) error { return h.replace(dev, whyAbsent) }

// replace is ReplaceDevice; absent is the reason of a device without a driver.
func (h *Hub) replace(dev Device, absent string) error {
	h.admin <- struct{}{}
	defer func() { <-h.admin }()
	d, err := h.newDevice(dev)
	if err != nil {
		return err
	}
	d.absent = absent
	if old := h.device(dev.Name); old != nil {
		h.halt(old, "restart", func(id string) bool { return id == "" || d.byID[id] != nil })
	}
	h.put(d)
	return nil
}

// RestartDevice ends the driver's run and starts it again at once.
func (h *Hub) RestartDevice(name string) error {
	d := h.device(name)
	if d == nil {
		return fmt.Errorf("%s: %w", name, ErrNoDevice)
	}
	d.restart()
	return nil
}

// halt stops a device and waits for it.
func (h *Hub) halt(d *device, reason string, keep func(string) bool) {
	h.mu.Lock()
	cancel, done := d.cancel, d.done
	h.mu.Unlock()
	if cancel == nil {
		return
	}
	d.mu.Lock()
	d.farewell, d.keep = reason, keep
	d.mu.Unlock()
	cancel()
	<-done
}

func (h *Hub) device(name string) *device {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.devices[name]
}

// names returns the devices' names, sorted.
func (h *Hub) names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.devices))
}

// Devices tells how each device is, sorted by name.
func (h *Hub) Devices() []Status {
	var list []Status
	for _, name := range h.names() {
		if d := h.device(name); d != nil {
			list = append(list, d.status())
		}
	}
	return list
}

// Ready is closed once the hub's own procedures are there, and so each procedure of a
// device: what the device itself has not registered yet, the hub answers in its place.
func (h *Hub) Ready() <-chan struct{} { return h.ready }

// Run serves the devices until ctx ends, then it returns nil, or until the
// session has ended for good. It returns when every device has stopped; drivers
// that do not stop within seconds are left alone. It runs once.
func (h *Hub) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	h.mu.Lock()
	if h.ran {
		h.mu.Unlock()
		return errors.New("hub: Run was called before")
	}
	h.ran = true
	h.start = func(d *device) {
		var own context.Context
		own, d.cancel = context.WithCancel(ctx)
		d.done = make(chan struct{})
		wg.Go(func() {
			defer close(d.done)
			defer d.cancel()
			d.run(own)
		})
	}
	for _, name := range slices.Sorted(maps.Keys(h.devices)) {
		h.start(h.devices[name])
	}
	h.mu.Unlock()
	wg.Go(func() { h.serve(ctx, h.procedures(), func() {}, func() { close(h.ready) }) })
	wg.Go(func() { h.watchDemand(ctx) })
	wg.Go(func() { h.exchange(ctx) })
	for i := range h.finds.sources {
		wg.Go(func() { h.finds.supervise(ctx, &h.finds.sources[i]) })
	}

	err := h.watch(ctx)

	h.mu.Lock()
	h.start = nil
	h.mu.Unlock()
	cancel()
	wg.Wait()
	return err
}

// watch waits for the end of ctx or of the session. When a reconnecting session
// got another ID, everything is published again: the router may be another.
func (h *Hub) watch(ctx context.Context) error {
	tick := time.NewTicker(watchTime)
	defer tick.Stop()
	id := h.sess.ID()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.sess.Done():
			return fmt.Errorf("hub's session: %w", wamp.ErrClosed)
		case <-tick.C:
		}
		now := h.sess.ID()
		if now == 0 || now == id {
			continue
		}
		h.demand.ring()
		if id != 0 {
			for _, name := range h.names() {
				if d := h.device(name); d != nil {
					d.forgotten()
					for _, p := range d.procedures() {
						h.reflect(ctx, &p)
					}
				}
			}
		}
		id = now
	}
}
