package hub_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/internal/wallclock"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// event is one publication as the fake session recorded it.
type event struct {
	topic  wamp.URI
	opts   wamp.PublishOptions
	value  any
	kwargs wamp.Dict
	at     time.Time
}

// session records what is published and calls what is registered. It is a
// wamp.Session without a router: no subscriptions.
type session struct {
	mu      sync.Mutex
	id      wamp.ID
	events  []event
	procs   map[wamp.URI]wamp.InvocationHandler
	opts    map[wamp.URI]wamp.RegisterOptions
	refuse  error                                      // of Publish
	deny    func(wamp.URI, wamp.RegisterOptions) error // of Register
	blocked chan struct{}                              // Publish waits until it is closed
	held    chan struct{}                              // Register waits until it is closed
	done    chan struct{}
}

func newSession() *session {
	return &session{id: 1, procs: map[wamp.URI]wamp.InvocationHandler{}, opts: map[wamp.URI]wamp.RegisterOptions{}, done: make(chan struct{})}
}

func (s *session) ID() wamp.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

func (s *session) Publish(ctx context.Context, topic wamp.URI, opts wamp.PublishOptions, p wamp.Payload) error {
	s.mu.Lock()
	blocked := s.blocked
	s.mu.Unlock()
	if blocked != nil {
		select {
		case <-blocked:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	args, kwargs := p.GoValues()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	s.events = append(s.events, event{topic: topic, opts: opts, value: args[0], kwargs: kwargs, at: time.Now()})
	return nil
}

func (s *session) Subscribe(context.Context, wamp.URI, wamp.SubscribeOptions, wamp.EventHandler) (func(context.Context) error, error) {
	return nil, errors.ErrUnsupported
}

func (s *session) Call(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload) (wamp.Payload, error) {
	return s.CallProgress(ctx, procedure, opts, p, nil)
}

func (s *session) CallProgress(ctx context.Context, procedure wamp.URI, _ wamp.CallOptions, p wamp.Payload, onProgress func(wamp.Payload)) (wamp.Payload, error) {
	s.mu.Lock()
	h := s.procs[procedure]
	if h == nil {
		for uri, o := range s.opts {
			if o.Match == wamp.MatchWildcard && uri.Matches(wamp.MatchWildcard, procedure) {
				h = s.procs[uri]
			}
		}
	}
	s.mu.Unlock()
	if h == nil {
		return wamp.Payload{}, wamp.NewError(wamp.ErrURINoSuchProcedure, string(procedure), nil)
	}
	inv := &wamp.Invocation{Payload: p, Details: wamp.InvocationDetails{Caller: 77, CallerAuthID: "anna", CallerAuthRole: "operator", Procedure: procedure}}
	return h(ctx, inv, func(p wamp.Payload) error {
		if onProgress == nil {
			return errors.New("no progress asked for")
		}
		onProgress(p)
		return nil
	})
}

func (s *session) Register(ctx context.Context, procedure wamp.URI, opts wamp.RegisterOptions, h wamp.InvocationHandler) (func(context.Context) error, error) {
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deny != nil {
		if err := s.deny(procedure, opts); err != nil {
			return nil, err
		}
	}
	if s.procs[procedure] != nil {
		return nil, wamp.NewError(wamp.ErrURIProcedureAlreadyExists, string(procedure), nil)
	}
	s.procs[procedure], s.opts[procedure] = h, opts
	return func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.procs, procedure)
		delete(s.opts, procedure)
		return nil
	}, nil
}

func (s *session) Done() <-chan struct{} { return s.done }

// on returns the events of one topic so far.
func (s *session) on(topic wamp.URI) []event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []event
	for _, e := range s.events {
		if e.topic == topic {
			list = append(list, e)
		}
	}
	return list
}

func (s *session) procedures() []wamp.URI {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.procs))
}

func (s *session) set(f func(*session)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// script is a driver that does what its test says. It is a Writer and a Doer,
// with polled() also a Reader.
type script struct {
	desc  drivers.Description
	run   func(ctx context.Context, link drivers.Link) error
	write func(ctx context.Context, point string, v drivers.Value) (drivers.Value, error)
	do    func(ctx context.Context, action string, args map[string]any, progress func(any)) (any, error)
	// readings and losses reach the driver while it runs. They are made on first
	// use, inside the bubble of the test.
	once     sync.Once
	readings chan drivers.Reading
	losses   chan error
}

func (s *script) open() {
	s.once.Do(func() { s.readings, s.losses = make(chan drivers.Reading), make(chan error) })
}

// send makes the driver emit a reading; it returns once the driver has taken it.
func (s *script) send(r drivers.Reading) {
	s.open()
	s.readings <- r
}

// lose ends the driver's run.
func (s *script) lose(err error) {
	s.open()
	s.losses <- err
}

func newScript(points ...drivers.Point) *script {
	return &script{desc: drivers.Description{Model: "script", Points: points}}
}

func (s *script) Describe() drivers.Description { return s.desc }

// Run is up at once and passes on what send and lose say, unless the script says
// otherwise.
func (s *script) Run(ctx context.Context, link drivers.Link) error {
	if s.run != nil {
		return s.run(ctx, link)
	}
	s.open()
	link.Up()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.losses:
			return err
		case r := <-s.readings:
			link.Emit(r)
		}
	}
}

func (s *script) Write(ctx context.Context, point string, v drivers.Value) (drivers.Value, error) {
	if s.write == nil {
		return v, nil
	}
	return s.write(ctx, point, v)
}

func (s *script) Do(ctx context.Context, action string, args map[string]any, progress func(any)) (any, error) {
	return s.do(ctx, action, args, progress)
}

// polledScript is a script that can be polled.
type polledScript struct {
	*script
	read func(ctx context.Context, points []string) ([]drivers.Reading, error)
}

func (s *polledScript) Read(ctx context.Context, points []string) ([]drivers.Reading, error) {
	return s.read(ctx, points)
}

func (s *script) polled(read func(ctx context.Context, points []string) ([]drivers.Reading, error)) *polledScript {
	return &polledScript{script: s, read: read}
}

// Shorthands for descriptions.
func float(id string) drivers.Point {
	return drivers.Point{ID: id, Type: drivers.Float, Unit: "Cel", Readable: true}
}

func writable(id string, t drivers.Type) drivers.Point {
	return drivers.Point{ID: id, Type: t, Readable: true, Writable: true}
}

func ptr[T any](v T) *T { return &v }

// cell is a variable that a test and its scripts share.
type cell[T any] struct {
	mu sync.Mutex
	v  T
}

func (c *cell[T]) load() T {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.v
}

func (c *cell[T]) store(v T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.v = v
}

// bench is a running hub on a recording session, in a bubble of fake time.
type bench struct {
	t    *testing.T
	sess *session
	hub  *hub.Hub
	stop func() error
}

func device(name string, drv drivers.Driver, cfg hub.DeviceConfig) hub.Device {
	if cfg.Driver == "" {
		cfg.Driver = "script"
	}
	return hub.Device{Name: name, Config: cfg, Driver: drv}
}

func deps() hub.Deps {
	return hub.Deps{Decode: serialize.Values, Random: func() float64 { return 0 }, Clock: wallclock.New(wallclock.Config{Synced: func() bool { return true }})}
}

// run runs a hub with the devices in a bubble, calls f and stops it.
func run(t *testing.T, devices []hub.Device, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newSession(), devices)
		f(b)
		if err := b.stop(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

func start(t *testing.T, sess *session, devices []hub.Device) *bench {
	t.Helper()
	return startWith(t, sess, devices, deps())
}

func startWith(t *testing.T, sess *session, devices []hub.Device, d hub.Deps) *bench {
	t.Helper()
	h, err := hub.New(hub.Config{Gateway: "barn", Epoch: 7}, devices, sess, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- h.Run(ctx) }()
	synctest.Wait()
	return &bench{t: t, sess: sess, hub: h, stop: func() error { cancel(); return <-ran }}
}

// point returns the events of a point of device dev.
func (b *bench) point(id string) []event { return b.sess.on(hub.PointTopic("barn", "dev", id)) }

// states returns the states that device dev went through.
func (b *bench) states() []string {
	var list []string
	for _, e := range b.sess.on(hub.LinkTopic("barn", "dev")) {
		list = append(list, e.value.(string))
	}
	return list
}

func (b *bench) reason() string {
	all := b.sess.on(hub.LinkTopic("barn", "dev"))
	why, _ := all[len(all)-1].kwargs["reason"].(string)
	return why
}

// pass lets fake time pass.
func (b *bench) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// call calls a procedure of the gateway.
func (b *bench) call(procedure wamp.URI, args wamp.List, kwargs wamp.Dict) (any, wamp.Dict, error) {
	b.t.Helper()
	p, err := b.sess.Call(b.t.Context(), procedure, wamp.CallOptions{}, wamp.Values(args, kwargs))
	if err != nil {
		return nil, nil, err
	}
	list, dict := p.GoValues()
	if len(list) == 0 {
		return nil, dict, nil
	}
	return list[0], dict, nil
}

// details returns the keyword arguments of a WAMP error.
func details(t *testing.T, err error, uri wamp.URI) wamp.Dict {
	t.Helper()
	var e *wamp.Error
	if !errors.As(err, &e) || e.URI != uri {
		t.Fatalf("error = %v, want %s", err, uri)
	}
	_, d := e.Payload.GoValues()
	return d
}

func good(id string, v any) drivers.Reading { return drivers.Reading{Point: id, Value: v} }
