// Package conformance proves the router's behaviour on the wire: every rule of
// the protocol that applies runs over every transport and serializer, against a
// peer that is no part of the product.
package conformance

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/wamp"
	"gantry/wamp/router"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const realm = "realm1"

// TestChecklist has one entry for each rule. The numbers are those of the list
// that the router is built by.
func TestChecklist(t *testing.T) {
	t.Parallel()
	keepTable(t)
	for _, it := range checklist() {
		t.Run(it.name, func(t *testing.T) {
			t.Parallel()
			it.run(t)
		})
	}
}

// item is one rule.
type item struct {
	name string // number and short name
	run  func(t *testing.T)
}

// checklist returns all items by their numbers.
func checklist() []item {
	all := slices.Concat(uris, sessions, serializers, framing, pubsub, stored, rpc, passthru, logins, metaAPI, refusals, traps)
	slices.SortFunc(all, func(a, b item) int { return cmp.Compare(a.name, b.name) })
	return all
}

// config is what an item needs that is not the default.
type config struct {
	realm  router.RealmConfig
	hello  time.Duration
	server transport.Options
	login  router.LoginConfig
	tls    *tls.Config  // peers connect with TLS
	far    bool         // peers come from another machine
	log    slog.Handler // of the router
}

// world is a router with a server in front.
type world struct {
	t    *testing.T
	link wamptest.Link // how peers connect unless said otherwise
	addr string
	tls  bool
	*router.Router
	stopRouter func() // ends the router, not the server; may be called twice
}

// patient does not hang up on a machine that is slow to bring the last word. Nor does
// it ping: a test that looks at frames would see one.
var patient = transport.Options{Linger: wamptest.Deadline, PingInterval: time.Minute}

func start(t *testing.T, l wamptest.Link, cfg config) *world {
	t.Helper()
	cfg.realm.Name = realm
	if cfg.server == (transport.Options{}) {
		cfg.server = patient
	}
	login, err := router.NewAuthenticator(cfg.login)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.log == nil {
		cfg.log = slog.DiscardHandler
	}
	r, err := router.New(router.Config{Realms: []router.RealmConfig{cfg.realm}, HelloTimeout: cfg.hello, Authenticate: login}, slog.New(cfg.log))
	if err != nil {
		t.Fatal(err)
	}
	accept := r.Admit
	if cfg.far {
		accept = func(ctx context.Context, p wamp.Peer) func() { return r.Admit(ctx, farPeer{p}) }
	}
	srv, err := transport.NewServer(transport.ServerConfig{Options: cfg.server, TLS: cfg.tls}, accept, nil)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	rctx, rcancel := context.WithCancel(ctx)
	var all, routing sync.WaitGroup
	routing.Go(func() { _ = r.Run(rctx) })
	all.Go(func() {
		if err := srv.Serve(ctx, ln); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, link: l, addr: ln.Addr().String(), tls: cfg.tls != nil, Router: r, stopRouter: rcancel}
	ranOver(t, l)
	t.Cleanup(func() {
		cancel()
		all.Wait()
		routing.Wait()
		if n := r.Stats(realm).Sessions; n != 0 {
			t.Errorf("%d sessions are left behind", n)
		}
	})
	return w
}

// farPeer is a peer that seems to be on another machine.
type farPeer struct{ wamp.Peer }

func (p farPeer) Info() wamp.PeerInfo {
	info := p.Peer.Info()
	info.Local, info.Remote = false, "192.0.2.1:4711"
	return info
}

// over runs f against a fresh router by each of links, side by side.
func over(t *testing.T, links []wamptest.Link, cfg config, f func(w *world)) {
	t.Helper()
	for _, l := range links {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			f(start(t, l, cfg))
		})
	}
}

// everywhere is over every way to reach a router.
func everywhere(t *testing.T, f func(w *world)) {
	t.Helper()
	over(t, wamptest.Links(), config{}, f)
}

// crossing runs f for every pair of serializers, on one transport each.
func crossing(t *testing.T, f func(w *world, from, to wamptest.Link)) {
	t.Helper()
	formats := []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR}
	for _, a := range formats {
		for _, b := range formats {
			from, to := wamptest.Link{Transport: "websocket", Format: a}, wamptest.Link{Transport: "rawsocket", Format: b}
			t.Run(a.String()+"-to-"+b.String(), func(t *testing.T) {
				t.Parallel()
				f(start(t, from, config{}), from, to)
			})
		}
	}
}

// meanwhile calls f over and over in a goroutine, which stop ends and waits for.
func meanwhile(f func()) (stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-over:
				return
			default:
				f()
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// connect brings a peer that has not said HELLO.
func (w *world) connect() *wamptest.Peer { return w.connectBy(w.link) }

func (w *world) connectBy(l wamptest.Link) *wamptest.Peer {
	w.t.Helper()
	ranOver(w.t, l)
	if l.Transport == "pipe" {
		return wamptest.Pipe(w.t, w.Accept)
	}
	if w.tls {
		p, _ := w.secure(l, nil)
		return p
	}
	return wamptest.Dial(w.t, "tcp", w.addr, l)
}

// peer brings a peer into the realm.
func (w *world) peer() *wamptest.Peer { return w.peerBy(w.link) }

func (w *world) peerBy(l wamptest.Link) *wamptest.Peer {
	w.t.Helper()
	p := w.connectBy(l)
	p.Join(realm)
	return p
}

// join brings a peer into the realm whose callee has no features.
func (w *world) plainPeer() *wamptest.Peer {
	w.t.Helper()
	p := w.connect()
	p.Send(`[1, "realm1", {"roles": {"publisher": {}, "subscriber": {}, "caller": {}, "callee": {}}}]`)
	p.Expect(`[2, "$session", {"...": 0}]`)
	return p
}

// subscribe subscribes p and stores the subscription's ID in the variable name.
func subscribe(p *wamptest.Peer, name, options, topic string) {
	p.Send(fmt.Sprintf(`[32, "+", %s, %q]`, options, topic))
	p.Expect(fmt.Sprintf(`[33, "=", "$%s"]`, name))
}

// register is subscribe for procedures.
func register(p *wamptest.Peer, name, options, procedure string) {
	p.Send(fmt.Sprintf(`[64, "+", %s, %q]`, options, procedure))
	p.Expect(fmt.Sprintf(`[65, "=", "$%s"]`, name))
}

func fences(peers ...*wamptest.Peer) {
	for _, p := range peers {
		p.Fence()
	}
}
