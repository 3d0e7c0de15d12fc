package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"gantry/bridge"
	"gantry/bridge/fleet"
	"gantry/bridge/hass"
	"gantry/bridge/later"
	"gantry/bridge/mqtt"
	"gantry/bridge/mqttd"
	"gantry/bridge/uplink"
	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/internal/budget"
	"gantry/internal/config"
	"gantry/internal/receipts"
	"gantry/internal/wallclock"
	"gantry/store"
	"gantry/systemd"
	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

// How long each part of the shutdown may take beside what those before it have left; 5 s
// in all.
const (
	frontLimit = 2 * time.Second         // clients of brokers; then listeners, devices, bridges
	flushLimit = 1500 * time.Millisecond // what is not on disk yet
	backLimit  = 500 * time.Millisecond  // uplinks; then router; then store
)

// Options are what a Gateway needs.
type Options struct {
	// Config is the configuration, as config.Load returns it.
	Config *config.Config
	// State is the directory for what must survive a restart; made if missing.
	State string
	// Apart is store.Config.Apart; nil = no other process opens files first.
	Apart func(args []string) ([]byte, error)
	// Notify is told of readiness and shutdown; nil = nobody.
	Notify *systemd.Notifier
	// Log receives the log; nil discards.
	Log *slog.Logger
	// Tail has the end of the log for support bundles; nil = they go without.
	Tail *logTail

	clock wallclock.Config // tests move it; zero = the machine's
}

// Gateway is the composition root: one whole gateway as a value. NewGateway
// builds it, Run runs it.
type Gateway struct {
	cfg     *config.Config
	state   string
	apart   func(args []string) ([]byte, error)
	notify  *systemd.Notifier
	log     *slog.Logger
	tail    *logTail
	clock   *wallclock.Clock
	started time.Time

	router  *router.Router
	memory  *budget.Budget // of messages on their way
	server  *transport.Server
	routes  *routes         // of devices that come to the gateway
	mqttd   *mqttd.Server   // nil: no MQTT listener
	mqttEnd context.Context // of MQTT's connections; set before anything is served
	devices []hub.Device
	sources []hub.Source // of devices that appear by themselves
	hosts   hosts        // those that announce themselves over MQTT

	programs   *programs
	allow      router.Authorizer // who may do what; nil: everybody everything
	authorizer authorizer
	finder     finder
	histories  []*historyLog
	receipts   *receipts.Queue // nil: no history is confirmed

	origin atomic.Pointer[bridge.Origin] // nil until Run has made it

	hub   atomic.Pointer[hub.Hub]          // nil until Run has made it
	all   atomic.Pointer[[]*uplink.Uplink] // nil until Run has made them
	ready chan struct{}                    // closed once everything runs
	addrs Addresses                        // written before ready is closed

	brokers atomic.Pointer[[]*mqtt.Client] // nil until Run has made them
	local   atomic.Pointer[bridge.Local]   // the rules of the own listener, alike
	guests  atomic.Pointer[[]*bridge.Realm]
	shown   atomic.Pointer[[]*hass.Publisher]
	later   atomic.Pointer[later.Later] // nil until Run has made it
	fleet   atomic.Pointer[fleet.Fleet] // nil: no hub, or not made yet
	stored  atomic.Pointer[store.Store] // nil until Run has opened it
	kept    atomic.Pointer[[]*queued]   // nil until Run has started the uplinks
	health  *storeHealth
}

// Addresses are where a running gateway listens. Empty = off.
type Addresses struct {
	HTTP string // host:port
	Unix string // path
	MQTT string // host:port
	// MQTTS is MQTT's with TLS, host:port.
	MQTTS string
}

// NewGateway builds a gateway. It starts nothing and opens nothing.
func NewGateway(o Options) (*Gateway, error) {
	g := &Gateway{cfg: o.Config, state: o.State, apart: o.Apart, notify: o.Notify, log: o.Log, tail: cmp.Or(o.Tail, &logTail{}), ready: make(chan struct{}), started: time.Now(), health: newStoreHealth()}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	o.clock.Floor = buildTime()
	g.clock = wallclock.New(o.clock)
	if g.notify == nil {
		g.notify = &systemd.Notifier{}
	}
	if g.state == "" {
		return nil, errors.New("no state directory is given")
	}
	g.programs = &programs{g: g, tickets: map[string]*auth.Principal{}}
	if err := g.newRouter(); err != nil {
		return nil, err
	}
	g.memory = budget.New(g.cfg.Limits.MemoryBytes)
	g.routes = newRoutes(g.cfg.Listen.Origins)
	if err := g.newServer(); err != nil {
		return nil, err
	}
	var err error
	if g.speaksMQTT() {
		g.mqttd, err = mqttd.New(g.cfg.MQTT.Config, g.memory, g.clock, g.router.Admit, g.settleMQTT(), g.log.With("room", "mqttd"))
		if err != nil {
			return nil, err
		}
	}
	for i := range g.cfg.Devices {
		dev, err := g.cfg.Devices[i].Build(drivers.Env{Log: g.log, Now: time.Now, Mount: g.routes.mount, Programs: g.programs})
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", g.cfg.Devices[i].Name, err)
		}
		g.devices = append(g.devices, dev)
	}
	for i := range g.cfg.Sources {
		src, err := g.cfg.Sources[i].Build(g.log, time.Now)
		if err != nil {
			return nil, fmt.Errorf("discovery of %s: %w", g.cfg.Sources[i].Kind.Name, err)
		}
		g.sources = append(g.sources, src)
	}
	return g, g.newHosts()
}

// newRouter makes the router with its realms.
func (g *Gateway) newRouter() error {
	policy, err := newPolicy(g.cfg, g.authorizer.ask)
	if err != nil {
		return err
	}
	authorize, err := boxed(g.cfg)
	if err != nil {
		return err
	}
	if g.allow = authorize; policy != nil {
		g.allow = policy.Authorize
	}
	login, err := g.newAuthenticator()
	if err != nil {
		return err
	}
	l, c := g.cfg.Limits, g.cfg.Realm
	like := func(name wamp.URI) router.RealmConfig {
		rules := c.For(string(name))
		// The configuration has checked the policy.
		overflow, _ := wamp.ParseOverflow(rules.Overflow)
		return router.RealmConfig{
			Name: name, Policy: policy, Authorize: authorize, StrictURIs: rules.StrictURIs, StrictRequestIDs: rules.StrictRequestIDs,
			Overflow: overflow, RetainedTTL: rules.RetainedTTL, TellOrigin: g.speaksMQTT() || g.cfg.Gateway.Hub,
			MaxSubscriptions: l.Subscriptions, MaxRegistrations: l.Registrations, MaxCalls: l.Calls, MaxTableBytes: l.TableBytes, MaxCallBytes: l.CallBytes,
			MaxRate: l.MessageRate, MaxRetained: l.Retained, MaxRetainedBytes: l.RetainedBytes, MaxStreams: l.Streams,
			MaxBacklogBytes: l.BacklogBytes, MaxBacklogSum: l.BacklogTotalBytes,
			MaxTestaments: l.Testaments, MaxTestamentBytes: l.TestamentBytes, MaxDefinitionBytes: l.DescriptionBytes, SessionBytes: l.SessionBytes,
		}
	}
	own := like(g.realm())
	own.History, g.histories = historyRules(g.cfg.History)
	own.Keep = g.keeps
	if g.newReceipts(); g.receipts != nil {
		own.Settle = g.settles
	}
	own.Now, own.Amend = g.clock.Now, g.restamp
	cfg := router.Config{
		Agent: "gantry " + version, Realms: []router.RealmConfig{own}, Authenticate: login, HelloTimeout: g.cfg.Listen.HelloTimeout, MaxRealms: c.MaxOnDemand,
	}
	for _, name := range c.Names(g.cfg.Gateway.Realm) {
		cfg.Realms = append(cfg.Realms, like(wamp.URI(name)))
	}
	if c.OnDemand != "" {
		cfg.OnDemand = func(name wamp.URI) (router.RealmConfig, bool) {
			return like(name), wamp.URI(c.OnDemand).Matches(wamp.MatchPrefix, name)
		}
	}
	g.router, err = router.New(cfg, g.log.With("room", "router"))
	return err
}

func (g *Gateway) realm() wamp.URI { return wamp.URI(g.cfg.Gateway.Realm) }

// Ready is closed once the gateway accepts clients and its devices have been
// started. It stays open when Run fails before that.
func (g *Gateway) Ready() <-chan struct{} { return g.ready }

// Addresses tells where the gateway listens, with the ports that were chosen for
// port 0. It may be called once Ready is closed.
func (g *Gateway) Addresses() Addresses {
	<-g.ready
	return g.addrs
}

// Run runs the gateway until ctx ends, then shuts it down in order and returns
// nil, or until a part of it fails. It runs once.
func (g *Gateway) Run(outer context.Context) error {
	ctx, fail := context.WithCancelCause(outer)
	defer fail(nil)
	if err := os.MkdirAll(g.state, 0o750); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	st, err := store.Open(store.Config{Dir: filepath.Join(g.state, "store"), Now: g.clock.Now, Synced: g.clock.Synced, Events: g.storeEvent, Apart: g.apart})
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	g.stored.Store(st)
	r := g.newRun(ctx, st, fail)
	err = r.start(ctx)
	if err == nil {
		g.log.Info("ready", "http", g.addrs.HTTP, "unix", g.addrs.Unix, "mqtt", g.addrs.MQTT, "mqtts", g.addrs.MQTTS, "devices", len(g.devices),
			"start_ms", time.Since(g.started).Milliseconds())
		close(g.ready)
		g.tell(g.notify.Ready())
		<-ctx.Done()
		g.log.Info("stopping")
		g.tell(g.notify.Stopping())
	}
	if cause := context.Cause(ctx); err == nil && cause != context.Cause(outer) {
		err = cause // a part failed; otherwise somebody wished the end
	}
	return errors.Join(err, r.stop(ctx))
}

// tell logs a failed word to the service manager, which changes nothing else.
func (g *Gateway) tell(err error) {
	if err != nil {
		g.log.Warn("service manager not told", "error", err)
	}
}

func (g *Gateway) storeEvent(e store.Event) {
	g.health.note(e)
	args := []any{"event", e.Kind.String()}
	if e.Outbox != "" {
		args = append(args, "outbox", e.Outbox)
	}
	if e.Table != "" {
		args = append(args, "table", e.Table)
	}
	if e.File != "" {
		args = append(args, "file", e.File)
	}
	if e.To != 0 {
		args = append(args, "from", e.From, "to", e.To)
	}
	if e.Err != nil {
		args = append(args, "error", e.Err)
	}
	g.log.Warn("store", args...)
}

// run is one run of a gateway. Its stages are stopped from inlet to keep.
type run struct {
	*Gateway
	store *store.Store
	keep  *stage // the store's committing
	core  *stage // the router and the in-process sessions
	back  *stage // uplinks, and what keeps what the front has taken
	front *stage // everything that brings something in, but
	inlet *stage // clients of brokers

	queues        []*queued                // one for each uplink
	parked        map[string]*store.Outbox // by broker
	listeners     []net.Listener           // not served yet
	mqttListeners []net.Listener           // the same
	mqttTable     *store.Table             // nil: no MQTT listener
	jobs          *store.Table             // queued commands
	marks         *store.Table             // of other gateways' streams; nil: no hub
	onceTable     *store.Table             // how far streams of uplinks have been routed
	once          *onceMarks               // nil until they are restored
	lastTable     *store.Table             // last values
	last          *lastValues              // nil until they are restored
	sessions      []*client.Session
}

func (g *Gateway) newRun(ctx context.Context, st *store.Store, fail context.CancelCauseFunc) *run {
	return &run{
		Gateway: g, store: st,
		keep:  newStage(ctx, "store", fail, g.log),
		core:  newStage(ctx, "router", fail, g.log),
		back:  newStage(ctx, "uplinks", fail, g.log),
		front: newStage(ctx, "listeners and devices", fail, g.log),
		inlet: newStage(ctx, "clients of brokers", fail, g.log),
	}
}

// start starts everything, from the store to the listeners.
func (r *run) start(ctx context.Context) error {
	if err := r.listen(ctx); err != nil {
		return err
	}
	if err := errors.Join(r.outboxes(), r.openHistories(), r.openJobs(), r.openFleet(), r.openMQTT(), r.openOnceMarks()); err != nil {
		return err
	}
	var err error
	if r.lastTable, err = r.store.Table("last", store.TableConfig{}); err != nil {
		return err
	}
	r.startClock()
	origin, err := bridge.NewOrigin(bridge.OriginConfig{Gateway: r.cfg.Gateway.Name, Epoch: r.store.Epoch(), Clock: r.clock})
	if err != nil {
		return err
	}
	r.origin.Store(origin)
	r.keep.run("store", r.store.Run)
	if r.receipts != nil {
		r.core.run("acknowledgements", r.receipts.Run)
	}
	r.core.run("router", r.router.Run)
	if err := r.startOnceMarks(); err != nil {
		return err
	}
	if err := r.startLastValues(ctx); err != nil {
		return err
	}
	if err := errors.Join(r.startAuthorizer(ctx), r.startFinder(ctx), r.restoreMQTT()); err != nil {
		return err
	}
	// Before the hub, so that no event passes them by.
	if err := r.uplinks(ctx, origin); err != nil {
		return err
	}
	if err := r.announceStore(ctx, origin); err != nil {
		return err
	}
	if err := r.startHub(ctx); err != nil {
		return err
	}
	if err := errors.Join(r.startLater(ctx), r.startFleet(ctx, origin), r.startFiles(ctx)); err != nil {
		return err
	}
	if err := r.localRules(ctx, origin); err != nil {
		return err
	}
	if err := errors.Join(r.startLocalHost(ctx), r.startBrokers(ctx, origin)); err != nil {
		return err
	}
	r.serveMQTT()
	for _, ln := range r.listeners {
		r.front.run("listener "+ln.Addr().String(), func(ctx context.Context) error { return r.server.Serve(ctx, ln) })
	}
	r.listeners = nil
	if r.notify.Watchdog() > 0 {
		return r.watchdog(ctx)
	}
	return nil
}

// join makes an in-process session, which lasts until the end of the run.
func (r *run) join(ctx context.Context, name string, pipe transport.PipeConfig) (*client.Session, error) {
	s, err := client.Connect(ctx, client.Embedded(r.router, pipe), client.SessionConfig{Realm: r.realm(), AuthID: name, Log: r.log.With("session", name)})
	if err != nil {
		return nil, fmt.Errorf("session %s: %w", name, err)
	}
	r.sessions = append(r.sessions, s)
	return s, nil
}

func (r *run) startHub(ctx context.Context) error {
	s, err := r.join(ctx, "hub", transport.PipeConfig{})
	if err != nil {
		return err
	}
	h, err := hub.New(hub.Config{Gateway: r.cfg.Gateway.Name, Epoch: r.store.Epoch()}, r.devices, s,
		hub.Deps{
			Decode: serialize.Values, Clock: r.clock,
			Sources: r.sources, Decisions: r.cfg.Decisions(), Ignored: r.cfg.Ignored,
		}, r.log.With("room", "hub"))
	if err != nil {
		return err
	}
	r.hub.Store(h)
	r.front.run("hub", h.Run)
	return awaitReady(ctx, h.Ready())
}

// watchdog reports the gateway alive for as long as the router carries events.
func (r *run) watchdog(ctx context.Context) error {
	s, err := r.join(ctx, "watchdog", transport.PipeConfig{})
	if err != nil {
		return err
	}
	topic := wamp.URI("gantry." + r.cfg.Gateway.Name + ".sys.watchdog.tick")
	r.core.run("watchdog", func(ctx context.Context) error {
		return r.notify.Run(ctx, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, r.notify.Watchdog()/3)
			defer cancel()
			return s.Publish(ctx, topic, wamp.PublishOptions{Acknowledge: true}, wamp.Payload{})
		})
	})
	return nil
}

// stop stops everything in the opposite order. Nothing new comes in before what
// is there has been brought to disk.
func (r *run) stop(ctx context.Context) error {
	for _, ln := range append(r.listeners, r.mqttListeners...) {
		// Not served: the start failed.
		_ = ln.Close()
	}
	end := time.Now().Add(frontLimit)
	// left gives a part its own time on top of what is left.
	left := func(own time.Duration) time.Duration {
		end = end.Add(own)
		return max(time.Until(end), own)
	}
	// Before those are dismissed who are to get what a broker is told that it has been
	// taken.
	ok := r.inlet.stop(frontLimit / 2)
	// Before the listeners close everybody's connection.
	r.router.Dismiss()
	ok = r.front.stop(time.Until(end)) && ok
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), left(flushLimit))
	defer cancel()
	err := r.flush(ctx)
	ok = r.back.stop(left(backLimit)) && ok
	for _, s := range r.sessions {
		// The router is about to end them all.
		r.core.serve(func(context.Context) { _ = s.Close() })
	}
	ok = r.core.stop(left(backLimit)) && ok
	kept := r.keep.stop(left(backLimit))
	if !ok || !kept {
		err = errors.Join(err, errors.New("shutdown: some tasks did not stop in time"))
	}
	if !kept {
		// A commit is under way, on a disk that takes its time. The end of the process
		// leaves it whole or undone; closing its file below it would do neither.
		return err
	}
	return errors.Join(err, r.store.Close())
}
