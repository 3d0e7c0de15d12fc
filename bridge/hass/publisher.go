package hass

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"gantry/bridge"
	"gantry/internal/ratelog"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// Origin is the origin of the gateway's discovery messages.
const Origin = "Gantry"

const (
	// settle is how long a device must not have changed before it is described anew.
	settle = 300 * time.Millisecond
	// callTime bounds a call of the gateway.
	callTime = 15 * time.Second
	// atOnce bounds the commands under way, maxWaiting those that wait besides.
	atOnce, maxWaiting = 4, 64
	// maxStates bounds the topics whose states wait to be sent.
	maxStates = 16384
)

// Config says what is published to a broker.
type Config struct {
	// Gateway is the gateway's name.
	Gateway string
	// Broker is the name that the devices that appear at this broker have it under:
	// they are not published back to it.
	Broker string
	// Prefix is the topic that Home Assistant looks for discovery messages below.
	Prefix string
	// Devices are the names of those that are published; "*" stands for all.
	Devices []string
	// Status is a topic on which the broker says "online" while the gateway is
	// connected, and by its will "offline"; "" = none.
	Status string
}

// Publisher publishes the devices of a gateway. Its methods are safe for concurrent
// use.
type Publisher struct {
	cfg  Config
	sess wamp.Session
	log  *slog.Logger
	rare *ratelog.Log
	wake chan struct{} // capacity 1; rung when there is something for Run
	work chan bridge.Message

	published, made, failed, retained, busy, unknown      atomic.Uint64
	tooMany, undecodable, badTopic, old, unsent, noEntity atomic.Uint64

	mu      sync.Mutex // guards what follows
	carrier bridge.Carrier
	fresh   bool               // the carrier has not been told anything yet
	dirty   map[string]bool    // devices to describe
	since   time.Time          // of the last change in dirty
	shown   map[string]*shown  // devices that are published
	states  map[string]message // to be sent, by topic
	foreign map[string]bool    // discovery topics at the broker that may be from before
}

type message struct {
	payload []byte
	retain  bool
}

// shown is a device that is published.
type shown struct {
	message  []byte
	entities map[string]entity
	online   bool
	last     map[string]string // the newest state of each point
}

var _ bridge.Guest = (*Publisher)(nil)

// New starts nothing. sess should be the publisher's alone: what it calls is called in
// its name. A nil log discards.
func New(cfg Config, sess wamp.Session, log *slog.Logger) *Publisher {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = log.With("broker", cfg.Broker)
	return &Publisher{
		cfg: cfg, sess: sess, log: log, rare: ratelog.New(log, time.Minute, nil), wake: make(chan struct{}, 1), work: make(chan bridge.Message, maxWaiting),
		dirty: map[string]bool{}, shown: map[string]*shown{}, states: map[string]message{}, foreign: map[string]bool{},
	}
}

// Stats are a publisher's counters since it was made.
type Stats struct {
	Published uint64 // messages that the broker has taken
	Made      uint64 // commands whose call returned
	Failed    uint64 // commands that are malformed, or whose call failed
	Retained  uint64 // commands that the broker kept, which are not carried out
	Busy      uint64 // commands that found too many before them
	Unknown   uint64 // commands for nothing that is published

	TooMany     uint64 // messages that were not sent, as too many waited
	Undecodable uint64 // readings and states that cannot be read
	BadTopic    uint64 // events whose topic names no device
	Old         uint64 // discovery messages from before that may stay at the broker, as there are too many
	Unsent      uint64 // messages that the broker did not take; they are sent again
	NoEntity    uint64 // points and actions of a device beyond the limit
}

// Stats returns the counters.
func (p *Publisher) Stats() Stats {
	return Stats{
		TooMany: p.tooMany.Load(), Undecodable: p.undecodable.Load(), BadTopic: p.badTopic.Load(), Old: p.old.Load(), Unsent: p.unsent.Load(), NoEntity: p.noEntity.Load(),
		Published: p.published.Load(), Made: p.made.Load(), Failed: p.failed.Load(),
		Retained: p.retained.Load(), Busy: p.busy.Load(), Unknown: p.unknown.Load(),
	}
}

// Broker returns the name of the broker.
func (p *Publisher) Broker() string { return p.cfg.Broker }

func (p *Publisher) base() string { return "gantry_" + p.cfg.Gateway }

// id identifies a device for Home Assistant.
func (p *Publisher) id(device string) string { return p.base() + "_" + device }

// topic is that of a point's state.
func (p *Publisher) topic(device, point string) string {
	return p.base() + "/" + device + "/" + point
}

func (p *Publisher) configTopic(device string) string {
	return p.cfg.Prefix + "/device/" + p.id(device) + "/config"
}

func (p *Publisher) uri(class, device, name string) wamp.URI {
	return wamp.URI("gantry." + p.cfg.Gateway + "." + class + "." + device + "." + name)
}

// Filters implements bridge.Guest: commands, and discovery messages of the gateway that
// the broker may have from before.
func (p *Publisher) Filters() []string {
	return []string{p.base() + "/+/+/set", p.base() + "/+/+/do", p.cfg.Prefix + "/device/+/config"}
}

// Connected implements bridge.Guest.
func (p *Publisher) Connected(c bridge.Carrier) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.carrier, p.fresh = c, true
	p.ring()
}

// Lost implements bridge.Guest.
func (p *Publisher) Lost(string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.carrier = nil
	clear(p.states)
}

// Receive implements bridge.Guest. Commands that the broker kept are not carried out.
func (p *Publisher) Receive(m bridge.Message) {
	if rest, ok := strings.CutPrefix(m.Topic, p.cfg.Prefix+"/device/"+p.base()+"_"); ok && strings.HasSuffix(rest, "/config") {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.before(strings.TrimSuffix(rest, "/config"), &m)
		return
	}
	if !strings.HasPrefix(m.Topic, p.base()+"/") || !strings.HasSuffix(m.Topic, "/set") && !strings.HasSuffix(m.Topic, "/do") {
		return
	}
	if m.Retained {
		p.retained.Add(1)
		p.rare.Warn("a command that the broker kept is not carried out", "topic", m.Topic)
		return
	}
	select {
	case p.work <- m:
	default:
		p.busy.Add(1)
		p.rare.Warn("too many commands wait, one is dropped", "topic", m.Topic)
	}
}

// before notes a discovery message of the gateway's that the broker has from before; p.mu is
// held.
func (p *Publisher) before(device string, m *bridge.Message) {
	switch {
	case !m.Retained || len(m.Payload) == 0 || p.shown[device] != nil || p.foreign[device]:
	case len(p.foreign) >= maxStates:
		p.lose(&p.old, "a discovery message of a device that may be gone stays at the broker: there are too many", "topic", m.Topic, "limit", maxStates)
	default:
		p.foreign[device] = true
		p.ring()
	}
}

// lose counts something that Home Assistant does not get, and logs a sample.
func (p *Publisher) lose(n *atomic.Uint64, text string, args ...any) {
	n.Add(1)
	p.rare.Warn(text, args...)
}

func (p *Publisher) ring() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run publishes until ctx ends; then it returns nil. It returns an error if the
// session ends before.
func (p *Publisher) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	h := bridge.NewHolder(p.sess, p.log)
	prefix := "gantry." + p.cfg.Gateway + "."
	h.Subscribe(wamp.URI(prefix+"state."), wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}, p.link)
	h.Subscribe(wamp.URI(prefix+"point."), wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}, p.point)
	g.Go(func() error { return h.Run(ctx) })
	for range atOnce {
		g.Go(func() error { p.commands(ctx); return nil })
	}
	g.Go(func() error {
		for {
			timer := time.NewTimer(p.turn(ctx))
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil
			case <-p.wake:
			case <-timer.C:
			}
			timer.Stop()
		}
	})
	return g.Wait()
}

// parts takes a topic of the gateway apart: device and name.
func parts(uri wamp.URI) (device, name string, ok bool) {
	levels := strings.Split(string(uri), ".")
	if len(levels) != 5 {
		return "", "", false
	}
	return levels[3], levels[4], true
}

// link takes the state of a device.
func (p *Publisher) link(ev *wamp.Event) {
	device, name, args, _, ok := p.read(ev)
	if !ok || name != "link" || !p.wanted(device) {
		return // an uplink's queue has a state, too
	}
	online := args[0] == bridge.Online || args[0] == bridge.Degraded
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty[device], p.since = true, time.Now()
	if d := p.shown[device]; d != nil {
		d.online = online
		p.availability(device, d)
	}
	p.ring()
}

// read takes an event of a device apart. ok is false for one that cannot be read.
func (p *Publisher) read(ev *wamp.Event) (device, name string, args wamp.List, kwargs wamp.Dict, ok bool) {
	if device, name, ok = parts(ev.Details.Topic); !ok {
		p.lose(&p.badTopic, "an event is not shown: its topic names no device", "topic", string(ev.Details.Topic))
		return
	}
	args, kwargs, err := serialize.Values(ev.Payload)
	if ok = err == nil && len(args) > 0; !ok {
		p.lose(&p.undecodable, "an event is not shown: it cannot be read, or has no value", "topic", string(ev.Details.Topic), "error", err)
	}
	return device, name, args, kwargs, ok
}

func (p *Publisher) wanted(device string) bool {
	return slices.Contains(p.cfg.Devices, "*") || slices.Contains(p.cfg.Devices, device)
}

// availability queues whether a device is there; p.mu is held.
func (p *Publisher) availability(device string, d *shown) {
	word := "offline"
	if d.online {
		word = "online"
	}
	p.queue(p.topic(device, "availability"), []byte(word), true)
}

// queue queues a message, in the place of an older one; p.mu is held.
func (p *Publisher) queue(topic string, payload []byte, retain bool) {
	if p.carrier == nil {
		return // the next connection begins with everything
	}
	p.put(topic, message{payload, retain})
	p.ring()
}

// put is queue for a message that has to wait for the next turn; p.mu is held.
func (p *Publisher) put(topic string, m message) {
	if _, waits := p.states[topic]; !waits && len(p.states) >= maxStates {
		p.lose(&p.tooMany, "a state is not sent: too many wait", "topic", topic, "limit", maxStates)
		return
	}
	p.states[topic] = m
}

// point takes a reading.
func (p *Publisher) point(ev *wamp.Event) {
	device, point, args, kwargs, ok := p.read(ev)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.shown[device]
	if d == nil {
		return // describe brings the last value
	}
	if _, has := d.entities[point]; !has {
		return
	}
	d.last[point] = state(args[0], text(kwargs, "q"))
	p.queue(p.topic(device, point), []byte(d.last[point]), true)
}

// turn does what is due and returns when there may be more, at the latest.
func (p *Publisher) turn(ctx context.Context) time.Duration {
	p.mu.Lock()
	c := p.carrier
	if c == nil {
		p.mu.Unlock()
		return time.Hour
	}
	if p.fresh {
		p.fresh = false
		for _, name := range slices.Sorted(maps.Keys(p.shown)) {
			p.all(name, p.shown[name])
		}
	}
	wait := time.Hour
	var describe []string
	if len(p.dirty) > 0 {
		if wait = settle - time.Since(p.since); wait <= 0 {
			describe, wait = slices.Sorted(maps.Keys(p.dirty)), time.Hour
			clear(p.dirty)
		}
	}
	p.mu.Unlock()
	for _, name := range describe {
		p.describe(ctx, name)
	}
	if unsent := p.send(ctx, c); len(unsent) > 0 && p.again(c, unsent) {
		wait = min(wait, callTime)
	}
	return wait
}

// again has messages that the broker has not taken sent anew, but for those in whose place
// there are newer ones, and reports whether the connection is still there.
func (p *Publisher) again(c bridge.Carrier, unsent map[string]message) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.carrier != c {
		return false // the next connection begins with everything
	}
	for t, m := range unsent {
		if _, newer := p.states[t]; !newer {
			p.put(t, m)
		}
	}
	return true
}

// all queues everything about a device; p.mu is held.
func (p *Publisher) all(name string, d *shown) {
	p.queue(p.configTopic(name), d.message, true)
	p.availability(name, d)
	for point, s := range d.last {
		p.queue(p.topic(name, point), []byte(s), true)
	}
}

// send sends what is queued, discovery messages first, and returns what is left behind an error.
func (p *Publisher) send(ctx context.Context, c bridge.Carrier) (unsent map[string]message) {
	p.mu.Lock()
	for device := range p.foreign {
		if p.shown[device] == nil && len(p.dirty) == 0 {
			p.queue(p.configTopic(device), nil, true)
			p.queue(p.topic(device, "availability"), nil, true)
			delete(p.foreign, device)
		}
	}
	states := p.states
	p.states = map[string]message{}
	p.mu.Unlock()
	topics := slices.SortedFunc(maps.Keys(states), func(a, b string) int {
		if x, y := strings.HasPrefix(a, p.cfg.Prefix+"/"), strings.HasPrefix(b, p.cfg.Prefix+"/"); x != y {
			if x {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, t := range topics {
		err := c.Send(ctx, bridge.Message{Topic: t, Payload: states[t].payload, Retained: states[t].retain, QoS: 1})
		if err != nil {
			p.unsent.Add(uint64(len(states)))
			if ctx.Err() == nil {
				p.rare.Warn("messages to Home Assistant are not taken; they are sent again", "topic", t, "messages", len(states), "error", err)
			}
			return states
		}
		delete(states, t)
		p.published.Add(1)
	}
	return nil
}

// call calls a procedure of the gateway.
func (p *Publisher) call(ctx context.Context, uri wamp.URI, args wamp.List) (wamp.List, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := p.sess.Call(ctx, uri, wamp.CallOptions{}, wamp.Values(args, nil))
	if err != nil {
		return nil, err
	}
	list, _, err := serialize.Values(out)
	return list, err
}

// describe publishes a device as it is now, or takes it back.
func (p *Publisher) describe(ctx context.Context, name string) {
	list, err := p.call(ctx, p.uri("sys", "device", "describe"), wamp.List{name})
	var e *wamp.Error
	gone := errors.As(err, &e) && e.URI == wamp.ErrURIInvalidArgument // such as a link that is no device
	if err != nil && !gone {
		if ctx.Err() == nil {
			p.rare.Warn("device not described", "device", name, "error", err)
			p.mu.Lock()
			p.dirty[name], p.since = true, time.Now().Add(callTime)
			p.ring()
			p.mu.Unlock()
		}
		return
	}
	var d wamp.Dict
	if len(list) > 0 {
		d, _ = list[0].(wamp.Dict)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if gone || d == nil || p.own(text(d, "found")) {
		if p.shown[name] != nil {
			delete(p.shown, name)
			p.queue(p.configTopic(name), nil, true)
			p.queue(p.topic(name, "availability"), nil, true)
		}
		return
	}
	fresh := &shown{online: text(d, "state") == bridge.Online || text(d, "state") == bridge.Degraded, last: map[string]string{}}
	fresh.message, fresh.entities = p.discovery(d)
	points, _ := d["points"].(wamp.List)
	for _, x := range points {
		point, _ := x.(wamp.Dict)
		last, ok := point["last"].(wamp.Dict)
		if _, has := fresh.entities[text(point, "point")]; ok && has {
			fresh.last[text(point, "point")] = state(last["value"], text(last, "q"))
		}
	}
	old := p.shown[name]
	p.shown[name] = fresh
	delete(p.foreign, name)
	if old == nil || !bytes.Equal(old.message, fresh.message) {
		p.all(name, fresh)
		return
	}
	p.availability(name, fresh)
}

// own reports whether a device appeared at this very broker.
func (p *Publisher) own(found string) bool {
	shape, rest, _ := strings.Cut(found, ":")
	return slices.Contains(bridge.Shapes, shape) && strings.HasPrefix(rest, p.cfg.Broker+"/")
}

// commands carries out commands until ctx ends.
func (p *Publisher) commands(ctx context.Context) {
	for {
		select {
		case m := <-p.work:
			p.command(ctx, m)
		case <-ctx.Done():
			return
		}
	}
}

// command carries out a command. One that fails makes Home Assistant show the state as
// it is.
func (p *Publisher) command(ctx context.Context, m bridge.Message) {
	levels := strings.Split(m.Topic, "/")
	if len(levels) != 4 {
		p.lose(&p.unknown, "a command for nothing that is published", "topic", m.Topic)
		return
	}
	device, name, verb := levels[1], levels[2], levels[3]
	p.mu.Lock()
	d := p.shown[device]
	key := name
	if verb == "do" {
		key = "do " + name
	}
	var e entity
	known := false
	if d != nil {
		e, known = d.entities[key]
	}
	p.mu.Unlock()
	if !known {
		p.lose(&p.unknown, "a command for nothing that is published", "topic", m.Topic)
		return
	}
	var args wamp.List
	var err error
	if verb == "set" {
		var v any
		v, err = e.value(m.Payload)
		args = wamp.List{v}
	}
	if err == nil {
		_, err = p.call(ctx, p.uri(verb, device, name), args)
	}
	switch {
	case err == nil:
		p.made.Add(1)
		return
	case ctx.Err() != nil:
		p.failed.Add(1)
		return
	}
	p.lose(&p.failed, "command of Home Assistant failed", "topic", m.Topic, "error", err)
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := d.last[name]; ok {
		p.queue(p.topic(device, name), []byte(s), true)
	}
}
