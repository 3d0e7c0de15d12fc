package client_test

import (
	"context"
	"errors"
	"math"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/internal/backoff"
	"gantry/internal/mosquitto"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

// gateway is a router behind a port that can be killed and started again.
type gateway struct {
	addr string // free, kept for the gateway until the test ends
	kill func()
}

// start opens the port and serves it. Killing it cuts every connection: nothing is
// said and nothing flushed.
func (g *gateway) start(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	cut := &cutter{Listener: ln}
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := transport.NewServer(transport.ServerConfig{}, r.Admit, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(ctx, cut); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() { _ = r.Run(ctx) })
	g.kill = sync.OnceFunc(func() {
		cut.all()
		cancel()
		wg.Wait()
	})
	t.Cleanup(g.kill)
}

// cutter remembers the connections of a listener, to reset them.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns []*net.TCPConn
	dead  bool // nobody gets in any more
}

func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		_ = conn.Close()
	}
	c.conns = append(c.conns, conn.(*net.TCPConn))
	return conn, nil
}

func (c *cutter) all() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
	for _, conn := range c.conns {
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}

// text is the first argument of a payload, "" if it is none.
func text(p wamp.Payload) (s string) {
	if serialize.Arg(p, 0, &s) != nil {
		return ""
	}
	return s
}

func TestClientOutlivesItsRouter(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"ws", "rs"} {
		for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
			t.Run(scheme+"-"+f.String(), func(t *testing.T) {
				t.Parallel()
				outlives(t, scheme, f)
			})
		}
	}
}

// A request that could not be encoded was never sent: its ID goes to the next one,
// for routers may insist on an unbroken sequence.
func TestRequestThatCannotBeSentLeavesNoGap(t *testing.T) {
	t.Parallel()
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1", StrictRequestIDs: true}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := transport.NewServer(transport.ServerConfig{}, r.Admit, nil)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ctx, ln) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	p, err := transport.Dial(t.Context(), "ws://"+ln.Addr().String(), transport.DialConfig{Formats: []wamp.Format{wamp.JSON}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.Join(t.Context(), p, client.SessionConfig{Realm: "realm1"})
	if err != nil {
		t.Fatal(err)
	}
	nan := wamp.Args(math.NaN())
	var payload *wamp.PayloadError
	for range 3 {
		if err := s.Publish(t.Context(), "a.b", wamp.PublishOptions{}, nan); !errors.As(err, &payload) {
			t.Errorf("publish: %v", err)
		}
		if err := s.Publish(t.Context(), "a.b", wamp.PublishOptions{Acknowledge: true}, nan); !errors.As(err, &payload) {
			t.Errorf("acknowledged publish: %v", err)
		}
		if _, err := s.Call(t.Context(), "a.b", wamp.CallOptions{}, nan); !errors.As(err, &payload) {
			t.Errorf("call: %v", err)
		}
		if err := s.Publish(t.Context(), "a.b", wamp.PublishOptions{Acknowledge: true}, wamp.Args(1)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
	_ = s.Leave(t.Context())
}

func outlives(t *testing.T, scheme string, f wamp.Format) {
	g := &gateway{addr: mosquitto.FreeAddr(t)}
	g.start(t)
	dial := func(ctx context.Context) (wamp.Peer, error) {
		return transport.Dial(ctx, scheme+"://"+g.addr, transport.DialConfig{Formats: []wamp.Format{f}})
	}
	states := make(chan bool, 64)
	c, err := client.New(client.Config{
		Dial:    dial,
		Session: client.SessionConfig{Realm: "realm1"},
		Backoff: backoff.Config{Min: time.Millisecond, Max: 20 * time.Millisecond},
		OnState: func(connected bool, _ error) { states <- connected },
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan string, 16)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, sub := range []struct {
		topic wamp.URI
		opts  wamp.SubscribeOptions
	}{{"a.exact", wamp.SubscribeOptions{}}, {"a.p", wamp.SubscribeOptions{Match: wamp.MatchPrefix}}} {
		if _, err := c.Subscribe(ctx, sub.topic, sub.opts, func(ev *wamp.Event) { events <- text(ev.Payload) }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Register(ctx, "proc.a", wamp.RegisterOptions{}, echo); err != nil {
		t.Fatal(err)
	}
	drop, err := c.Register(ctx, "proc.dropped", wamp.RegisterOptions{}, echo)
	if err != nil {
		t.Fatal(err)
	}
	rctx, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- c.Run(rctx) }()
	until := func(want bool) {
		t.Helper()
		for {
			select {
			case got := <-states:
				if got == want {
					return
				}
			case <-ctx.Done():
				t.Fatalf("the client never was connected = %v", want)
			}
		}
	}
	works := func(round string) {
		t.Helper()
		p, err := dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		other, err := client.Join(ctx, p, client.SessionConfig{Realm: "realm1"})
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range []wamp.URI{"a.exact", "a.pattern.x"} {
			if err := other.Publish(ctx, topic, wamp.PublishOptions{Acknowledge: true}, wamp.Args(round+string(topic))); err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-events:
				if got != round+string(topic) {
					t.Errorf("event %q came, expected %q", got, round+string(topic))
				}
			case <-ctx.Done():
				t.Fatalf("%s: no event of %s", round, topic)
			}
		}
		if res, err := other.Call(ctx, "proc.a", wamp.CallOptions{}, wamp.Args(round)); err != nil || text(res) != round {
			t.Errorf("%s: the call returned %q, %v", round, text(res), err)
		}
		if round != "first " {
			if _, err := other.Call(ctx, "proc.dropped", wamp.CallOptions{}, wamp.Payload{}); !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
				t.Errorf("%s: a registration that was undone: %v", round, err)
			}
		}
		_ = other.Leave(ctx)
	}
	until(true)
	works("first ")
	if err := drop(ctx); err != nil {
		t.Fatal(err)
	}
	for _, round := range []string{"second ", "third "} {
		g.kill()
		until(false)
		if err := c.Publish(ctx, "a.b", wamp.PublishOptions{}, wamp.Payload{}); err == nil {
			t.Error("a publication without a router is taken")
		}
		g.start(t)
		until(true)
		works(round)
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if len(events) != 0 {
		t.Errorf("%d events too many", len(events))
	}
}

// A request that waits for room must not make the others wait beyond their own
// deadline.
func TestWaitingForRoomIsEachRequestsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := transport.Pipe(transport.PipeConfig{Requests: 1})
		go func() {
			_, _ = r.Recv()
			_ = r.TrySend(&wamp.Welcome{Session: 1})
		}()
		s, err := client.Join(t.Context(), c, client.SessionConfig{Realm: "realm1"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Publish(t.Context(), "a.b", wamp.PublishOptions{}, wamp.Payload{}); err != nil {
			t.Fatal(err)
		}
		blocked := make(chan error, 1)
		go func() { blocked <- s.Publish(t.Context(), "a.b", wamp.PublishOptions{}, wamp.Payload{}) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Publish(ctx, "a.b", wamp.PublishOptions{}, wamp.Payload{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("publish: %v", err)
		}
		if _, err := s.Call(ctx, "a.b", wamp.CallOptions{}, wamp.Payload{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("call: %v", err)
		}
		_ = r.Close()
		if err := <-blocked; !errors.Is(err, wamp.ErrClosed) {
			t.Errorf("the one that waited: %v", err)
		}
		_ = s.Close()
	})
}
