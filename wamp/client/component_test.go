package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/transport"
)

// calculator is a component as applications write them: it knows its session only.
type calculator struct {
	prefix wamp.URI
	added  int
	seen   chan int
	life   []string
}

func (c *calculator) component() client.Component {
	return client.Component{
		OnConnect: func(_ context.Context, info wamp.PeerInfo, join *client.SessionConfig) error {
			c.life = append(c.life, "connect")
			if info.Transport == "" || join.Realm != "realm1" {
				return fmt.Errorf("connected to %+v, realm %s", info, join.Realm)
			}
			return nil
		},
		OnJoin: func(ctx context.Context, s *client.Session) error {
			c.life = append(c.life, "join")
			if _, err := client.Register(ctx, s, c.prefix+".add", func(_ context.Context, n int) (int, error) {
				c.added += n
				return c.added, nil
			}); err != nil {
				return err
			}
			if _, err := client.Subscribe(ctx, s, c.prefix+".added", func(n int, _ *wamp.Event) { c.seen <- n }); err != nil {
				return err
			}
			for range 2 {
				n, err := client.Call[int](ctx, s, c.prefix+".add", 20)
				if err != nil {
					return err
				}
				if err := client.PublishWith(ctx, s, c.prefix+".added", wamp.PublishOptions{IncludeMe: true, Acknowledge: true}, n); err != nil {
					return err
				}
			}
			if a, b := <-c.seen, <-c.seen; a != 20 || b != 40 {
				return fmt.Errorf("events %d, %d", a, b)
			}
			return s.Leave(ctx)
		},
		OnLeave:      func(reason error) { c.life = append(c.life, fmt.Sprint("leave ", reason)) },
		OnDisconnect: func(reason error) { c.life = append(c.life, fmt.Sprint("disconnect ", reason)) },
	}
}

func TestComponentRunsEverywhere(t *testing.T) {
	everywhere(t, func(t *testing.T, dial client.Dialer) {
		c := &calculator{prefix: unique(t, "calc"), seen: make(chan int, 2)}
		if err := client.Run(t.Context(), c.component(), client.Config{Dial: dial, Session: client.SessionConfig{Realm: "realm1"}}); err != nil {
			t.Fatal(err)
		}
		if want := []string{"connect", "join", "leave <nil>", "disconnect <nil>"}; !slices.Equal(c.life, want) {
			t.Errorf("life %q, expected %q", c.life, want)
		}
	})
}

func TestComponentComesBack(t *testing.T) {
	within(t, func(w *world) {
		var mu sync.Mutex
		var life []string
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			life = append(life, fmt.Sprintf(format, args...))
		}
		joins := 0
		c := client.Component{
			OnConnect: func(context.Context, wamp.PeerInfo, *client.SessionConfig) error { note("connect"); return nil },
			OnJoin: func(ctx context.Context, s *client.Session) error {
				joins++
				note("join %d", joins)
				if joins == 2 {
					return errors.New("not yet")
				}
				if joins == 3 {
					panic("oops")
				}
				<-ctx.Done() // a component may stay
				return ctx.Err()
			},
			OnLeave:      func(reason error) { note("leave: %v", reason) },
			OnDisconnect: func(reason error) { note("disconnect: %v", reason) },
		}
		ctx, cancel := context.WithCancel(w.t.Context())
		ran := make(chan error, 1)
		go func() {
			ran <- client.Run(ctx, c, client.Config{Dial: w.dial, Session: client.SessionConfig{Realm: "realm1"}})
		}()
		synctest.Wait()
		w.cut()
		time.Sleep(time.Minute)
		synctest.Wait()
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		want := []string{
			"connect", "join 1", "leave: EOF", "disconnect: EOF",
			"connect", "join 2", "leave: not yet", "disconnect: not yet",
			"connect", "join 3", "leave: the component failed inside: oops", "disconnect: the component failed inside: oops",
			"connect", "join 4", "leave: <nil>", "disconnect: <nil>",
		}
		if !slices.Equal(life, want) {
			t.Errorf("life %q", life)
		}
	})
}

func TestRunGivesUpWhenToldTo(t *testing.T) {
	within(t, func(w *world) {
		run := func(c client.Component, cfg client.Config) error {
			cfg.Dial = w.dial
			return client.Run(w.t.Context(), c, cfg)
		}
		attempts := 0
		err := run(client.Component{}, client.Config{Session: client.SessionConfig{Realm: "nowhere"},
			GiveUp: func(n int, err error) bool { attempts++; return n == 5 }})
		if !wamp.IsError(err, wamp.ErrURINoSuchRealm) || attempts != 5 {
			t.Errorf("an unknown realm: %v behind %d attempts", err, attempts)
		}
		failed := errors.New("no stock")
		err = run(client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
			return errors.Join(failed, s.Leave(ctx))
		}}, client.Config{Session: client.SessionConfig{Realm: "realm1"}})
		if !errors.Is(err, failed) {
			t.Errorf("a component that leaves with an error: %v", err)
		}
		refused := errors.New("not there")
		var told error
		err = run(client.Component{
			OnConnect:    func(context.Context, wamp.PeerInfo, *client.SessionConfig) error { return refused },
			OnDisconnect: func(err error) { told = err },
			OnLeave:      func(error) { t.Error("there was no session to leave") },
		}, client.Config{Session: client.SessionConfig{Realm: "realm1"}, GiveUp: func(int, error) bool { return true }})
		if !errors.Is(err, refused) || !errors.Is(told, refused) {
			t.Errorf("OnConnect refuses: %v, told %v", err, told)
		}
	})
}

// The context of OnJoin ends with the session, so also while Leave ends that.
func TestLeaveTakesTheContextOfOnJoin(t *testing.T) {
	t.Parallel()
	dial := places(t)[0].dial
	leave := client.Component{OnJoin: func(ctx context.Context, s *client.Session) error { return s.Leave(ctx) }}
	for range 500 {
		if err := client.Run(t.Context(), leave, client.Config{Dial: dial, Session: client.SessionConfig{Realm: "realm1"}}); err != nil {
			t.Fatal(err)
		}
	}
}

// Values go to components in the same process as they are: nothing is encoded.
func TestEmbeddedSessionsHandValuesOver(t *testing.T) {
	t.Parallel()
	s := connect(t, places(t)[0].dial, client.SessionConfig{})
	type opaque struct{ F func() int } // no serializer can express it
	if _, err := client.Register(t.Context(), s, "com.opaque", func(_ context.Context, v *opaque) (*opaque, error) { return v, nil }); err != nil {
		t.Fatal(err)
	}
	in := &opaque{func() int { return 7 }}
	out, err := client.Call[*opaque](t.Context(), s, "com.opaque", in)
	if err != nil || out != in {
		t.Errorf("came back as %p, %v; sent %p", out, err, in)
	}
}

func TestEmbeddedCloseWaitsForTheRouter(t *testing.T) {
	t.Parallel()
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		p, err := client.Embedded(r, transport.PipeConfig{})(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
