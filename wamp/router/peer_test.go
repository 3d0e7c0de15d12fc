package router_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"gantry/wamp"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is a peer whose client side is the test: it says what it wants and
// keeps what it is told.
type scripted struct {
	t      *testing.T
	in     chan wamp.Message
	closed chan struct{}
	once   sync.Once
	info   wamp.PeerInfo

	request wamp.ID // the last one of asks

	mu   sync.Mutex
	out  []wamp.Message
	fail func(wamp.Message) error // decides on messages that cannot be queued
	room chan struct{}            // closed and replaced when there may be room again
}

func (p *scripted) Recv() (wamp.Message, error) {
	select {
	case m, ok := <-p.in:
		if !ok {
			return nil, io.EOF
		}
		if v, ok := m.(*violation); ok {
			return nil, &wamp.ProtocolError{Text: v.text}
		}
		return m, nil
	case <-p.closed:
		return nil, wamp.ErrClosed
	}
}

// violation stands for bytes that are no WAMP message.
type violation struct {
	wamp.Abort
	text string
}

func (p *scripted) TrySend(m wamp.Message) error {
	select {
	case <-p.closed:
		return wamp.ErrClosed
	default:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		if err := p.fail(m); err != nil {
			return err
		}
	}
	p.out = append(p.out, wamp.Clone(m))
	return nil
}

func (p *scripted) Send(ctx context.Context, m wamp.Message) error {
	for {
		p.mu.Lock()
		room := p.room
		p.mu.Unlock()
		err := p.TrySend(m)
		if err != wamp.ErrQueueFull {
			return err
		}
		select {
		case <-room:
		case <-p.closed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// takes makes the peer's queue take n more messages, or any number if n < 0.
func (p *scripted) takes(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = func(wamp.Message) error {
		if n == 0 {
			return wamp.ErrQueueFull
		}
		n--
		return nil
	}
	close(p.room)
	p.room = make(chan struct{})
}

func (p *scripted) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *scripted) Info() wamp.PeerInfo { return p.info }

// say hands messages to the router and waits until it has dealt with them.
func (p *scripted) say(msgs ...wamp.Message) {
	p.t.Helper()
	for _, m := range msgs {
		select {
		case p.in <- m:
		case <-p.closed:
			p.t.Fatalf("%s: the router has closed this peer", m.Type())
		}
	}
	synctest.Wait()
}

// heard returns what the router has sent since the last look.
func (p *scripted) heard() []wamp.Message {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.out
	p.out = nil
	return out
}

// hears fails the test unless exactly want was sent since the last look. IDs that
// the router draws at random, and texts for people, are not compared.
func (p *scripted) hears(want ...wamp.Message) {
	p.t.Helper()
	got := p.heard()
	for _, m := range got {
		normalize(m)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(wamp.Payload{}), cmpopts.EquateEmpty()); diff != "" {
		p.t.Fatalf("messages differ (-want +got):\n%s", diff)
	}
}

func normalize(m wamp.Message) {
	switch m := m.(type) {
	case *wamp.Event:
		m.Publication = 0
		if args, _ := m.Payload.Raw(); args != nil {
			if args, kwargs, err := serialize.Values(m.Payload); err == nil {
				m.Payload = wamp.Values(args, kwargs)
			}
		}
	case *wamp.Published:
		m.Publication = 0
	case *wamp.ErrorReply:
		if m.URI.Valid(true, wamp.MatchExact) && len(m.URI) > 5 && m.URI[:5] == "wamp." {
			m.Payload = wamp.Payload{}
		}
	case *wamp.Abort:
		m.Details = nil
	case *wamp.Goodbye:
		m.Details = nil
	}
}

// world is a router under test.
type world struct {
	t *testing.T
	*router.Router
	accepted sync.WaitGroup
}

// within runs f in a bubble of fake time with a router of one realm, and stops
// everything behind it.
func within(t *testing.T, realm router.RealmConfig, f func(w *world)) {
	t.Helper()
	realm.Name = "realm1"
	synctestRouter(t, router.Config{Realms: []router.RealmConfig{realm}}, f)
}

// synctestRouter is within for a router of any configuration.
func synctestRouter(t *testing.T, cfg router.Config, f func(w *world), edit ...func(*router.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		for _, e := range edit {
			e(&cfg) // inside, where time is fake
		}
		r, err := router.New(cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- r.Run(ctx) }()
		w := &world{t: t, Router: r}
		f(w)
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		w.accepted.Wait()
		if st := r.Stats("realm1"); st.Sessions != 0 {
			t.Errorf("%d sessions are left behind", st.Sessions)
		}
	})
}

// connect brings a peer to the router that has not said HELLO.
func (w *world) connect() *scripted { return w.connectBy("pipe") }

// connectBy is connect for a peer of a transport.
func (w *world) connectBy(transport string) *scripted {
	p := &scripted{
		t: w.t, in: make(chan wamp.Message), closed: make(chan struct{}), room: make(chan struct{}),
		info: wamp.PeerInfo{Transport: transport, Remote: "test", Local: true},
	}
	var peer wamp.Peer = p
	if transport == "roomy" {
		peer = roomy{p}
	}
	w.accepted.Go(func() { w.Accept(context.Background(), peer) })
	return p
}

// roomy is a peer that tells of room.
type roomy struct{ *scripted }

func (p roomy) Room() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.room
}

var allRoles = wamp.Dict{
	"publisher": wamp.Dict{}, "subscriber": wamp.Dict{"features": wamp.Dict{"subscription_revocation": true}},
	"caller": wamp.Dict{"features": wamp.Dict{"progressive_call_invocations": true}},
	"callee": wamp.Dict{"features": wamp.Dict{"call_canceling": true, "registration_revocation": true, "progressive_call_invocations": true, "call_reroute": true}},
}

// join brings a peer into the realm and returns it with its session ID.
func (w *world) join(authid string) (*scripted, wamp.ID) {
	w.t.Helper()
	p := w.connect()
	p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles, "authid": authid}})
	got := p.heard()
	if len(got) != 1 {
		w.t.Fatalf("HELLO was answered by %v", got)
	}
	welcome, ok := got[0].(*wamp.Welcome)
	if !ok || !welcome.Session.Valid() {
		w.t.Fatalf("HELLO was answered by %+v", got[0])
	}
	return p, welcome.Session
}

// isClosed reports whether the router has closed the peer.
func (p *scripted) isClosed() bool {
	synctest.Wait()
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}
