package uplink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gantry/bridge"
	"gantry/bridge/uplink"
	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// realm is a router with one realm, and the sessions of the test in it.
type realm struct {
	t      testing.TB
	r      *router.Router
	ctx    context.Context
	cancel context.CancelFunc
	tasks  *sync.WaitGroup
}

func newRealm(t testing.TB, authorize router.Authorizer) *realm {
	t.Helper()
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "gantry", Authorize: authorize}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	x := &realm{t: t, r: r, tasks: new(sync.WaitGroup)}
	x.ctx, x.cancel = context.WithCancel(context.Background())
	x.tasks.Go(func() {
		if err := r.Run(x.ctx); err != nil {
			t.Error(err)
		}
	})
	return x
}

func (x *realm) stop() {
	x.cancel()
	x.tasks.Wait()
}

// pipe returns a new connection to the router.
func (x *realm) pipe() wamp.Peer {
	c, r := transport.Pipe(transport.PipeConfig{Lossless: true})
	x.tasks.Go(func() { x.r.Accept(x.ctx, r) })
	return c
}

func (x *realm) join() *client.Session {
	x.t.Helper()
	s, err := client.Join(context.Background(), x.pipe(), client.SessionConfig{Realm: "gantry"})
	if err != nil {
		x.t.Fatal(err)
	}
	return s
}

// event is what the far side sees of one.
type event struct {
	topic  wamp.URI
	value  any
	kwargs wamp.Dict
	ret    bool
}

// collector keeps what a session receives.
type collector struct {
	mu     sync.Mutex
	events []event
	more   chan struct{} // capacity 1
}

func (x *realm) collect(s wamp.Session, prefix wamp.URI, opts wamp.SubscribeOptions) *collector {
	x.t.Helper()
	c := &collector{more: make(chan struct{}, 1)}
	opts.Match = wamp.MatchPrefix
	_, err := s.Subscribe(context.Background(), prefix, opts, func(ev *wamp.Event) {
		args, kwargs, err := serialize.Values(ev.Payload)
		if err != nil || len(args) == 0 {
			x.t.Errorf("%s: %v %v", ev.Details.Topic, args, err)
			return
		}
		c.mu.Lock()
		c.events = append(c.events, event{ev.Details.Topic, args[0], kwargs, ev.Details.Retained})
		c.mu.Unlock()
		select {
		case c.more <- struct{}{}:
		default:
		}
	})
	if err != nil {
		x.t.Fatal(err)
	}
	return c
}

// wait returns the first n events, or fails after a minute.
func (c *collector) wait(t testing.TB, n int) []event {
	t.Helper()
	return c.waitLong(t, n, time.Minute)
}

func (c *collector) waitLong(t testing.TB, n int, patience time.Duration) []event {
	t.Helper()
	timeout := time.After(patience)
	for {
		c.mu.Lock()
		events := append([]event(nil), c.events...)
		c.mu.Unlock()
		if len(events) >= n {
			return events
		}
		select {
		case <-c.more:
		case <-timeout:
			t.Fatalf("%d events of %d", len(events), n)
		}
	}
}

// setup is a gateway with an uplink.
type setup struct {
	t            testing.TB
	local        *realm
	hub          *client.Session // who publishes
	up           *uplink.Uplink
	queue        *store.Outbox
	acks         *acks
	urgent, dead *store.Outbox
	origin       *bridge.Origin
	others       []*uplink.Uplink // that run, too
	kv           *store.Store
	own          *client.Session // the uplink's local session

	stopUplink, stopStore context.CancelFunc
	tasks                 *sync.WaitGroup
}

// acks is a queue that tells how far it has been acknowledged.
type acks struct {
	*store.Outbox
	moved chan struct{} // capacity 1: the cursor has moved
}

func (a *acks) Ack(ctx context.Context, seq uint64) error {
	err := a.Outbox.Ack(ctx, seq)
	select {
	case a.moved <- struct{}{}:
	default:
	}
	return err
}

// acknowledged waits until the far world has the first n records of the queue.
func (s *setup) acknowledged(n uint64) {
	s.t.Helper()
	late := time.After(10 * time.Minute)
	for s.queue.Acked() < n {
		select {
		case <-s.acks.moved:
		case <-late:
			s.t.Fatalf("%d of %d are acknowledged", s.queue.Acked(), n)
		}
	}
}

// newSetup has an uplink to the router that dial connects to.
func newSetup(t testing.TB, dir string, cfg uplink.Config, dial func(context.Context) (wamp.Peer, error)) *setup {
	t.Helper()
	if cfg.URL == "" {
		cfg.URL = "ws://far/ws"
	}
	return newSetupOf(t, dir, cfg, wampSink(dial))
}

// newSetupOf has an uplink to the far world that makes returns.
func newSetupOf(t testing.TB, dir string, cfg uplink.Config, makes func(*setup, *uplink.Commands) (uplink.Sink, error)) *setup {
	t.Helper()
	s := prepare(t, dir, cfg, makes)
	s.run()
	return s
}

// prepare makes an uplink, and a queue that further readers have, and starts nothing.
func prepare(t testing.TB, dir string, cfg uplink.Config, makes func(*setup, *uplink.Commands) (uplink.Sink, error), readers ...string) *setup {
	t.Helper()
	s := &setup{t: t, local: newRealm(t, nil), tasks: new(sync.WaitGroup)}
	s.hub, s.own = s.local.join(), s.local.join()
	var err error
	if s.kv, err = store.Open(store.Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	s.origin, err = bridge.NewOrigin(bridge.OriginConfig{Gateway: "g1", Epoch: s.kv.Epoch()})
	if err != nil {
		t.Fatal(err)
	}
	var err1, err2, err3 error
	s.queue, err1 = s.kv.Outbox("hq", store.OutboxConfig{MaxBytes: max(cfg.Buffer.MaxBytes, 1<<20), Readers: readers})
	s.urgent, err3 = s.kv.Outbox("hq-urgent", store.OutboxConfig{MaxBytes: 1 << 20, Readers: readers})
	s.dead, err2 = s.kv.Outbox("hq_dead", store.OutboxConfig{MaxBytes: 4 << 20})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	s.acks = &acks{s.queue, make(chan struct{}, 1)}
	sink, err := makes(s, uplink.NewCommands("g1", cfg.WithDefaults().Serve, s.own))
	if err != nil {
		t.Fatal(err)
	}
	s.up, err = uplink.New("hq", cfg, uplink.Deps{Origin: s.origin, Local: s.own, Sink: sink, Queue: s.acks, Urgent: s.urgent, DeadLetters: s.dead}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run starts the store and the uplinks.
func (s *setup) run() {
	var storing, running context.Context
	storing, s.stopStore = context.WithCancel(context.Background())
	s.tasks.Go(func() {
		if err := s.kv.Run(storing); err != nil {
			s.t.Error(err)
		}
	})
	running, s.stopUplink = context.WithCancel(context.Background())
	var uplinks sync.WaitGroup
	for _, u := range append([]*uplink.Uplink{s.up}, s.others...) {
		uplinks.Go(func() {
			if err := u.Run(running); err != nil {
				s.t.Error(err)
			}
		})
	}
	s.tasks.Go(func() {
		uplinks.Wait()
		s.stopStore()
	})
	<-s.up.Ready()
}

func (s *setup) stop() {
	s.t.Helper()
	s.stopUplink()
	s.tasks.Wait()
	if err := s.kv.Close(); err != nil {
		s.t.Error(err)
	}
	s.local.stop()
}

// publish sends readings first..last of a point.
func (s *setup) publish(point string, first, last int) {
	s.t.Helper()
	for i := first; i <= last; i++ {
		err := s.hub.Publish(context.Background(), wamp.URI("gantry.g1.point.dev."+point),
			wamp.PublishOptions{Acknowledge: i == last, Retain: true},
			wamp.Values(wamp.List{int64(i)}, wamp.Dict{"seq": int64(i), "q": "good"}))
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// stored waits until n readings are in the queue.
func (s *setup) stored(n int) { s.await(s.queue, ".point.", n) }

// raised waits until n alarms are in the urgent queue.
func (s *setup) raised(n int) { s.await(s.urgent, ".alarm.", n) }

func (s *setup) await(box *store.Outbox, class string, n int) {
	s.t.Helper()
	for after, seen := uint64(0), 0; seen < n; {
		err := box.Read(context.Background(), after, 100, func(_, seq uint64, b []byte, _ uint64) {
			after = seq
			if bytes.Contains(b, []byte(class)) {
				seen++
			}
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func always(x *realm) func(context.Context) (wamp.Peer, error) {
	return func(context.Context) (wamp.Peer, error) { return x.pipe(), nil }
}

func TestEventsArriveInOrder(t *testing.T) {
	t.Parallel()
	far := newRealm(t, nil)
	defer far.stop()
	watcher := far.join()
	c := far.collect(watcher, "gantry.g1.point.", wamp.SubscribeOptions{})
	links := far.collect(watcher, "gantry.g1.state.uplink_hq.link", wamp.SubscribeOptions{})
	s := newSetup(t, t.TempDir(), uplink.Config{NoLive: true}, always(far))
	defer s.stop()
	s.publish("temp", 1, 3000)
	for i, e := range c.wait(t, 3000) {
		if e.topic != "gantry.g1.point.dev.temp" || e.value != int64(i+1) || e.kwargs["q"] != "good" {
			t.Fatalf("%d: %+v", i, e)
		}
	}
	if e := links.wait(t, 1)[0]; e.topic != "gantry.g1.state.uplink_hq.link" {
		t.Errorf("%+v", e)
	}
	late := far.collect(far.join(), "gantry.g1.point.", wamp.SubscribeOptions{GetRetained: true})
	if e := late.wait(t, 1)[0]; e.value != int64(3000) || !e.ret {
		t.Errorf("last value %+v", e)
	}
}

func TestOtherClassesAndGatewaysStay(t *testing.T) {
	t.Parallel()
	far := newRealm(t, nil)
	defer far.stop()
	c := far.collect(far.join(), "", wamp.SubscribeOptions{})
	s := newSetup(t, t.TempDir(), uplink.Config{Forward: []string{"alarm"}}, always(far))
	defer s.stop()
	for _, topic := range []wamp.URI{"gantry.g1.point.a.b", "gantry.g2.alarm.a.b", "gantry.g1.alarms", "x.y", "gantry.g1.alarm.a.b"} {
		if err := s.hub.Publish(t.Context(), topic, wamp.PublishOptions{Acknowledge: true}, wamp.Args("v")); err != nil {
			t.Fatal(err)
		}
	}
	if all := c.wait(t, 1); len(all) != 1 || all[0].topic != "gantry.g1.alarm.a.b" {
		t.Fatal(all)
	}
}

func TestValuesPublishedBeforeTheStartAreForwarded(t *testing.T) {
	t.Parallel()
	far := newRealm(t, nil)
	defer far.stop()
	c := far.collect(far.join(), "gantry.g1.point.", wamp.SubscribeOptions{})
	started := make(chan struct{})
	s := newSetup(t, t.TempDir(), uplink.Config{NoLive: true}, func(ctx context.Context) (wamp.Peer, error) {
		select {
		case <-started:
			return far.pipe(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	defer s.stop()
	s.publish("temp", 1, 5)
	s.stored(5)
	close(started)
	for i, e := range c.wait(t, 5) {
		if e.value != int64(i+1) || e.kwargs["replay"] != true {
			t.Errorf("%+v", e)
		}
	}
	s.publish("temp", 6, 6)
	if e := c.wait(t, 6)[5]; e.kwargs["replay"] != nil || e.value != int64(6) {
		t.Errorf("news is marked as history: %+v", e)
	}
}

// flaky is a connection that loses answers and breaks.
type flaky struct {
	wamp.Peer
	mu    sync.Mutex
	rnd   *rand.Rand
	life  int  // messages until it breaks
	quiet bool // answers to publications are lost from now on
}

func (f *flaky) Recv() (wamp.Message, error) {
	for {
		m, err := f.Peer.Recv()
		if err != nil {
			return nil, err
		}
		f.mu.Lock()
		f.life--
		dead, lose := f.life < 0, f.quiet
		f.quiet = f.quiet || f.rnd.IntN(20) == 0
		f.mu.Unlock()
		if dead {
			_ = f.Close()
			return nil, io.ErrUnexpectedEOF
		}
		if _, is := m.(*wamp.Published); is && lose {
			continue
		}
		return m, nil
	}
}

// fuse lets a test break the connections that a function makes.
type fuse struct {
	to   func(context.Context) (wamp.Peer, error)
	mu   sync.Mutex
	peer wamp.Peer // the last one
}

func newFuse(to func(context.Context) (wamp.Peer, error)) *fuse { return &fuse{to: to} }

func (f *fuse) dial(ctx context.Context) (wamp.Peer, error) {
	p, err := f.to(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.peer = p
	return p, err
}

func (f *fuse) blow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.peer.Close()
}

func TestEachEventHasItsEffectOnce(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				far := newRealm(t, nil)
				defer far.stop()
				c := far.collect(far.join(), "gantry.g1.point.", wamp.SubscribeOptions{})
				// One for the dialer's goroutine and one for this.
				rnd, pauses := rand.New(rand.NewPCG(seed, 9)), rand.New(rand.NewPCG(seed, 10))
				connections := 0
				dial := func(context.Context) (wamp.Peer, error) {
					if connections++; rnd.IntN(4) == 0 {
						return nil, errors.New("no way")
					}
					return &flaky{Peer: far.pipe(), rnd: rand.New(rand.NewPCG(seed, rnd.Uint64())), life: 10 + rnd.IntN(300)}, nil
				}
				dir := t.TempDir()
				const n, rounds = 600, 3
				for round := range rounds {
					s := newSetup(t, dir, uplink.Config{}, dial)
					for i := range 6 {
						s.publish("temp", round*n+i*n/6+1, round*n+(i+1)*n/6)
						time.Sleep(time.Duration(pauses.IntN(3000)) * time.Millisecond)
					}
					if round == rounds-1 {
						c.waitLong(t, rounds*n, 10*time.Hour)
					}
					// A restart of the gateway: the outbox goes on where it was.
					s.stop()
				}
				for i, e := range c.wait(t, rounds*n) {
					if e.value != int64(i+1) {
						t.Fatalf("event %d: %+v", i+1, e)
					}
				}
				if len(c.events) != rounds*n || connections < 10 {
					t.Errorf("%d events over %d connections", len(c.events), connections)
				}
			})
		})
	}
}

func TestRefusedEventsAreSetAside(t *testing.T) {
	for name, c := range map[string]struct {
		uri   error
		tries int
	}{
		"not authorized":     {nil, 5},
		"authorizer is down": {errors.New("down"), 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				asked := 0
				far := newRealm(t, func(_ router.Identity, action router.Action, uri wamp.URI, _ wamp.Match) (bool, error) {
					if action != router.ActionPublish || uri != "gantry.g1.point.dev.bad" {
						return true, nil
					}
					mu.Lock()
					defer mu.Unlock()
					asked++
					return false, c.uri
				})
				defer far.stop()
				got := far.collect(far.join(), "gantry.g1.point.", wamp.SubscribeOptions{})
				s := newSetup(t, t.TempDir(), uplink.Config{}, always(far))
				defer s.stop()
				s.publish("temp", 1, 10)
				s.publish("bad", 1, 1)
				s.publish("temp", 11, 500)
				for i, e := range got.wait(t, 500) {
					if e.topic != "gantry.g1.point.dev.temp" || e.value != int64(i+1) {
						t.Fatalf("%d: %+v", i, e)
					}
				}
				time.Sleep(time.Minute)
				st := s.up.Status()
				if asked != c.tries || st["dead_letters"] != uint64(1) || st["depth"] != uint64(0) || st["refused"] != uint64(5) {
					t.Errorf("asked %d times, %v", asked, st)
				}
			})
		})
	}
}

func TestRefusedEventIsDeliveredWhenTheRouterRelents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := 0
		far := newRealm(t, func(_ router.Identity, action router.Action, uri wamp.URI, _ wamp.Match) (bool, error) {
			if action != router.ActionPublish || uri != "gantry.g1.point.dev.bad" {
				return true, nil
			}
			mu.Lock()
			defer mu.Unlock()
			if asked++; asked < 3 {
				return false, errors.New("down")
			}
			return true, nil
		})
		defer far.stop()
		got := far.collect(far.join(), "gantry.g1.point.", wamp.SubscribeOptions{})
		s := newSetup(t, t.TempDir(), uplink.Config{}, always(far))
		defer s.stop()
		s.publish("bad", 7, 7)
		s.publish("temp", 1, 300)
		all := got.wait(t, 301)
		next := int64(1)
		for _, e := range all {
			if e.topic == "gantry.g1.point.dev.temp" && e.value == next {
				next++
			} else if e.topic != "gantry.g1.point.dev.bad" || e.value != int64(7) {
				t.Errorf("%+v", e)
			}
		}
		if st := s.up.Status(); st["dead_letters"] != uint64(0) {
			t.Error(st)
		}
	})
}

// TestLostEventsAreReported fills a small queue while the far router is away.
func TestLostEventsAreReported(t *testing.T) {
	t.Parallel()
	far := newRealm(t, nil)
	defer far.stop()
	watcher := far.join()
	c := far.collect(watcher, "gantry.g1.", wamp.SubscribeOptions{})
	away := make(chan struct{})
	s := newSetup(t, t.TempDir(), uplink.Config{Forward: []string{"point"}, NoLive: true, Buffer: uplink.Buffer{Commit: "confirmed"}}, func(ctx context.Context) (wamp.Peer, error) {
		select {
		case <-away:
			return far.pipe(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	defer s.stop()
	const n = 700
	for i := range n {
		noise := make([]byte, 4000)
		for j := range noise {
			noise[j] = byte(rand.Uint32())
		}
		err := s.hub.Publish(t.Context(), "gantry.g1.point.dev.blob", wamp.PublishOptions{Acknowledge: true}, wamp.Values(wamp.List{int64(i + 1)}, wamp.Dict{"b": noise}))
		if err != nil {
			t.Fatal(err)
		}
		// The answer comes behind the event, so the event is in the queue by then:
		// nothing is dropped any more once the far router is back.
		if err := s.own.Publish(t.Context(), "gantry.g1.sys.queue.flush", wamp.PublishOptions{Acknowledge: true}, wamp.Payload{}); err != nil {
			t.Fatal(err)
		}
		if err := s.queue.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(away)
	first := c.wait(t, 1)[0]
	lost, _ := first.kwargs["count"].(int64)
	if first.topic != "gantry.g1.alarm.uplink_hq.gap" || lost == 0 || first.kwargs["from"] != int64(1) || first.kwargs["to"] != lost {
		t.Fatalf("%+v", first)
	}
	rest := c.wait(t, 1+n-int(lost))[1:]
	for i, e := range rest {
		if e.value != lost+int64(i)+1 {
			t.Fatalf("%d: %v", i, e.value)
		}
	}
	if st := s.up.Status(); st["lost"] != uint64(lost) || st["dropped"] != uint64(lost) {
		t.Error(st)
	}
}

// TestEachQueueTellsItsGaps fills both queues of an uplink while the far router is away:
// what is lost of each has numbers of its own, and so a name of its own.
func TestEachQueueTellsItsGaps(t *testing.T) {
	t.Parallel()
	far := newRealm(t, nil)
	defer far.stop()
	c := far.collect(far.join(), "gantry.g1.alarm.uplink_hq.", wamp.SubscribeOptions{})
	dial, open := later(far)
	s := newSetup(t, t.TempDir(), uplink.Config{Forward: []string{"point", "alarm"}, Buffer: uplink.Buffer{Commit: "confirmed"}}, dial)
	defer s.stop()
	noise := make([]byte, 50_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for _, q := range []struct {
		topic wamp.URI
		box   *store.Outbox
	}{{"gantry.g1.point.dev.blob", s.queue}, {"gantry.g1.alarm.dev.blob", s.urgent}} {
		for i := 0; q.box.Status().Dropped == 0; i++ {
			err := s.hub.Publish(t.Context(), q.topic, wamp.PublishOptions{Acknowledge: true}, wamp.Values(wamp.List{"raised"}, wamp.Dict{"i": int64(i), "b": noise}))
			if err != nil {
				t.Fatal(err)
			}
			// The answer comes behind the event, which is in the queue by then.
			if err := s.own.Publish(t.Context(), "gantry.g1.sys.queue.flush", wamp.PublishOptions{Acknowledge: true}, wamp.Payload{}); err != nil {
				t.Fatal(err)
			}
			if err := q.box.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	open()
	names := map[wamp.URI]int{}
	for _, e := range c.wait(t, 2) {
		if names[e.topic]++; e.value != "raised" || e.kwargs["from"] != int64(1) {
			t.Errorf("%+v", e)
		}
	}
	if names["gantry.g1.alarm.uplink_hq.gap"] != 1 || names["gantry.g1.alarm.uplink_hq.gap_urgent"] != 1 {
		t.Error(names)
	}
}

// silent is a far router that welcomes and never answers a publication.
func silent(p wamp.Peer, count func(*wamp.Publish)) {
	for {
		m, err := p.Recv()
		if err != nil {
			_ = p.Close()
			return
		}
		switch m := m.(type) {
		case *wamp.Hello:
			_ = p.TrySend(&wamp.Welcome{Session: 1, Details: wamp.Dict{"roles": wamp.Dict{}}})
		case *wamp.Register:
			_ = p.TrySend(&wamp.Registered{Request: m.Request, Registration: m.Request})
		case *wamp.Publish:
			count(m)
		case *wamp.Goodbye:
			_ = p.TrySend(&wamp.Goodbye{Reason: wamp.CloseURIGoodbyeAndOut})
		}
	}
}

func TestWindowAndSilentRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen [][]uint64
		dial := func(context.Context) (wamp.Peer, error) {
			c, r := transport.Pipe(transport.PipeConfig{})
			mu.Lock()
			i := len(seen)
			seen = append(seen, nil)
			mu.Unlock()
			go silent(r, func(m *wamp.Publish) {
				if m.Topic == "gantry.g1.state.uplink_hq.queue" {
					return // tells of the queue, past it
				}
				mu.Lock()
				defer mu.Unlock()
				if !m.Options.Acknowledge || m.Options.Once == nil || !m.Options.Retain {
					t.Errorf("%+v", m.Options)
				}
				seen[i] = append(seen[i], m.Options.Once.Seq)
			})
			return c, nil
		}
		s := newSetup(t, t.TempDir(), uplink.Config{Window: 10}, dial)
		defer s.stop()
		s.publish("temp", 1, 200)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		mu.Lock()
		if len(seen) != 1 || len(seen[0]) != 10 {
			t.Fatal(seen)
		}
		mu.Unlock()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(seen) != 2 || len(seen[1]) != 10 || seen[1][0] != seen[0][0] {
			t.Fatal("the same records are not sent again:", seen)
		}
	})
}
