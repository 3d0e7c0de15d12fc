package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"reflect"
	"time"

	"gantry/drivers"
	"gantry/internal/backoff"
	"gantry/internal/ratelog"
	"gantry/wamp"
)

// DefaultCandidates is how many candidates a source may have.
const DefaultCandidates = 256

// maxCandidates bounds SourceConfig.Max.
const maxCandidates = 10_000

// findRetryMax is the longest wait before a source that was lost is tried again.
const findRetryMax = 15 * time.Second

// whyAbsent is the reason of a device whose candidate has not been found.
const whyAbsent = "not found yet"

// SourceConfig is what every table [discovery.KIND] may hold, whatever the kind.
type SourceConfig struct {
	// Accept says which devices become devices of the gateway without asking.
	Accept Accept `toml:"accept"`
	// Max bounds the devices that are there at a time. 0 = DefaultCandidates.
	Max int `toml:"max"`
}

// Validate checks the configuration. The error is a *drivers.ConfigError.
func (c *SourceConfig) Validate() error {
	if c.Max < 0 || c.Max > maxCandidates {
		return bad("max", fmt.Sprintf("0 (%d) to %d", DefaultCandidates, maxCandidates), "is %d", c.Max)
	}
	return nil
}

// Accept says which devices are accepted without asking.
type Accept string

// The choices. The zero value is AcceptNone.
const (
	AcceptNone Accept = "none" // people decide
	AcceptAll  Accept = "all"  // every one, under the name that it proposes
)

// UnmarshalText takes one of the choices.
func (a *Accept) UnmarshalText(text []byte) error {
	switch v := Accept(text); v {
	case AcceptNone, AcceptAll:
		*a = v
		return nil
	}
	return fmt.Errorf(`is %.32q; allowed: "none", "all"`, text)
}

// Source is where devices come from that appear by themselves.
type Source struct {
	// Name says which it is, for people.
	Name   string
	Finder drivers.Finder
	Config SourceConfig
}

// Decisions keeps what people decide about candidates, so that it survives a
// restart. Its errors tell people what to do.
type Decisions interface {
	// Accept keeps that a candidate is a device.
	Accept(a Acceptance) error
	// Forget undoes Accept. A device that Accept did not keep alone is refused.
	Forget(device string) error
	// Ignore keeps the keys of all candidates that are ignored, sorted, in place of
	// those kept before.
	Ignore(keys []string) error
}

// Acceptance is the decision that a candidate is a device.
type Acceptance struct {
	Device   string // its name
	Kind, ID string // of the candidate
	About    string // what it is, for people; any text
}

// The states of a candidate.
const (
	pending  = "pending"  // nobody has decided
	accepted = "accepted" // it is a device
	ignored  = "ignored"  // nobody wants to hear of it
)

// candidate is a device that is there.
type candidate struct {
	drivers.Candidate
	source *Source
	since  time.Time
	gone   bool   // it has vanished; it is kept because it is a device that returns
	bySelf bool   // accepted by the setting of its source
	why    string // why it is not a device although it is accepted; "" = it is
}

// finds keeps the candidates of all sources and what has been decided about them.
type finds struct {
	hub       *Hub
	sources   []Source
	decisions Decisions
	quiet     *ratelog.Log

	// turn serializes what changes candidates and decisions: one slot. It is held
	// while devices stop, so it is no mutex. It guards the fields below.
	turn     chan struct{}
	list     map[string]*candidate // by key
	accepted map[string]string     // names of devices, by key
	ignored  map[string]bool
}

func newFinds(h *Hub, deps *Deps) *finds {
	f := &finds{
		hub: h, sources: deps.Sources, decisions: deps.Decisions, quiet: ratelog.New(h.log, time.Minute, h.now),
		turn: make(chan struct{}, 1), list: make(map[string]*candidate), accepted: make(map[string]string), ignored: make(map[string]bool),
	}
	if f.decisions == nil {
		f.decisions = noDecisions{}
	}
	for _, key := range deps.Ignored {
		f.ignored[key] = true
	}
	return f
}

// noDecisions keeps nothing.
type noDecisions struct{}

func (noDecisions) Accept(Acceptance) error { return nil }
func (noDecisions) Forget(string) error     { return nil }
func (noDecisions) Ignore([]string) error   { return nil }

// enter waits for the turn. The function gives it back.
func (f *finds) enter(ctx context.Context) (leave func(), err error) {
	select {
	case f.turn <- struct{}{}:
		return func() { <-f.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// supervise runs a finder again and again until ctx ends.
func (f *finds) supervise(ctx context.Context, src *Source) {
	wait := backoff.New(backoff.Config{Max: findRetryMax}, f.hub.random)
	log := f.hub.log.With("source", src.Name)
	for {
		began := f.hub.now()
		err := drivers.Contain(func() error { return src.Finder.Run(ctx, &reporter{f, src}) })
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errEnded
		}
		var p *drivers.PanicError
		if errors.As(err, &p) {
			log.Error("finder panicked", "panic", p.Error(), "stack", string(p.Stack))
		} else {
			f.quiet.Warn("source of devices lost", "source", src.Name, "error", err)
		}
		if f.hub.now().Sub(began) >= DefaultStable {
			wait.Reset()
		}
		if wait.Wait(ctx) != nil {
			return
		}
	}
}

// reporter is the drivers.Found of one source.
type reporter struct {
	finds  *finds
	source *Source
}

var _ drivers.Found = (*reporter)(nil)

// Appeared implements drivers.Found.
func (r *reporter) Appeared(ctx context.Context, c drivers.Candidate) error {
	leave, err := r.finds.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return r.finds.appeared(ctx, r.source, c)
}

// Vanished implements drivers.Found.
func (r *reporter) Vanished(ctx context.Context, kind, id string) {
	leave, err := r.finds.enter(ctx)
	if err != nil {
		return
	}
	defer leave()
	r.finds.vanished(ctx, r.source, drivers.CandidateKey(kind, id))
}

func (f *finds) appeared(ctx context.Context, src *Source, found drivers.Candidate) error {
	if err := found.Validate(); err != nil {
		return err
	}
	key := found.Key()
	c := f.list[key]
	fresh := c == nil
	switch {
	case fresh:
		if n, most := f.count(src), cmp.Or(src.Config.Max, DefaultCandidates); n >= most {
			f.quiet.Warn("too many devices appear, others are left out", "source", src.Name, "most", most)
			return fmt.Errorf("%s: source %s has %d candidates already, the most that are allowed", key, src.Name, most)
		}
		c = &candidate{source: src, since: f.hub.now()}
		f.list[key] = c
	case c.source != src:
		return fmt.Errorf("%s: source %s has it already", key, c.source.Name)
	}
	found.Model, found.Description = clip(found.Model, 200), clip(found.Description, 400)
	c.Candidate = found
	fresh = fresh || c.gone
	c.gone = false
	switch name, known := f.accepted[key]; {
	case known:
		f.connect(c, name)
	case f.ignored[key]:
	case src.Config.Accept == AcceptAll:
		f.acceptBySelf(c)
	}
	if fresh {
		f.hub.log.Info("device appeared", "candidate", key, "source", src.Name, "state", f.state(key))
		f.tell(ctx, "appeared", key)
	}
	return nil
}

// count returns how many candidates a source has.
func (f *finds) count(src *Source) (n int) {
	for _, c := range f.list {
		if c.source == src {
			n++
		}
	}
	return n
}

func (f *finds) state(key string) string {
	switch _, is := f.accepted[key]; {
	case is:
		return accepted
	case f.ignored[key]:
		return ignored
	}
	return pending
}

// acceptBySelf makes a device of a candidate under the name that it proposes, or
// one made of that and of its identity where the name is another device's.
func (f *finds) acceptBySelf(c *candidate) {
	key := c.Key()
	name := c.Name
	if f.hub.device(name) != nil {
		name = fmt.Sprintf("%.55s_%08x", name, hashOf(key))
	}
	if f.hub.device(name) != nil {
		c.why = fmt.Sprintf("%s: %v", name, ErrExists)
		return
	}
	if err := f.admit(c, name); err != nil {
		c.why = err.Error()
		f.quiet.Warn("device that appeared does not run", "candidate", key, "error", err)
		return
	}
	c.bySelf = true
}

// hashOf tells apart candidates that propose the same name.
func hashOf(key string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return h.Sum32()
}

// admit adds the device that a candidate has become.
func (f *finds) admit(c *candidate, name string) error {
	dev, err := f.build(c, name, DeviceConfig{Driver: c.Kind})
	if err != nil {
		return err
	}
	if err := f.hub.AddDevice(dev); err != nil {
		return err
	}
	f.accepted[c.Key()], c.why = name, ""
	return nil
}

// build makes the device of a candidate.
func (f *finds) build(c *candidate, name string, cfg DeviceConfig) (Device, error) {
	env := drivers.Env{Device: name, Log: f.hub.log.With("device", name), Now: f.hub.now}
	make := c.New
	renew := func() (drivers.Driver, error) { return make(env) }
	var driver drivers.Driver
	err := drivers.Contain(func() (err error) {
		driver, err = renew()
		return err
	})
	if err == nil && driver == nil {
		err = errors.New("there is no driver for it")
	}
	if err != nil {
		return Device{}, fmt.Errorf("device %s: %w", name, err)
	}
	return Device{Name: name, Config: cfg, Driver: driver, Found: c.Key(), Renew: renew}, nil
}

// connect gives a device the driver of the candidate that it has been accepted as.
// One that cannot be says why and stays offline.
func (f *finds) connect(c *candidate, name string) {
	old := f.hub.device(name)
	if old == nil || old.found != c.Key() {
		c.why = fmt.Sprintf("device %s is no longer there", name)
		return
	}
	dev, err := f.build(c, name, old.cfg)
	if err == nil {
		if old.driver != nil && reflect.DeepEqual(old.desc, dev.Driver.Describe()) {
			c.why = ""
			return
		}
		err = f.hub.ReplaceDevice(dev)
	}
	c.why = ""
	if err != nil {
		c.why = err.Error()
		f.quiet.Warn("device that was found does not run", "device", name, "error", err)
		f.disconnect(old, c.why)
	}
}

// disconnect takes the driver away from a device that stays accepted.
func (f *finds) disconnect(old *device, why string) {
	err := f.hub.replace(Device{Name: old.name, Config: old.cfg, Found: old.found}, clip(why, 200))
	if err != nil {
		f.hub.log.Error("device not taken away", "device", old.name, "error", err)
	}
}

func (f *finds) vanished(ctx context.Context, src *Source, key string) {
	c := f.list[key]
	if c == nil || c.gone || c.source != src {
		return
	}
	f.tell(ctx, "vanished", key)
	f.hub.log.Info("device vanished", "candidate", key, "source", src.Name)
	name, is := f.accepted[key]
	if is && c.Returns {
		c.gone = true
		return
	}
	delete(f.list, key)
	if !is {
		return
	}
	old := f.hub.device(name)
	switch {
	case old == nil || old.found != key:
	case c.bySelf:
		f.remove(key)
	default:
		f.disconnect(old, "vanished")
	}
}

// remove takes the device of a candidate away.
func (f *finds) remove(key string) {
	name := f.accepted[key]
	delete(f.accepted, key)
	if c := f.list[key]; c != nil && c.gone {
		delete(f.list, key)
	}
	if d := f.hub.device(name); d == nil || d.found != key {
		return
	}
	if err := f.hub.RemoveDevice(name); err != nil {
		f.hub.log.Error("device not taken away", "device", name, "error", err)
	}
}

// tell publishes that a candidate has appeared or vanished.
func (f *finds) tell(ctx context.Context, verb, key string) {
	err := f.hub.sess.Publish(ctx, ArrivalTopic(f.hub.cfg.Gateway, verb), wamp.PublishOptions{}, wamp.Args(f.dict(key)))
	if err != nil {
		f.hub.log.Debug("event not published", "event", verb, "candidate", key, "error", err)
	}
}
