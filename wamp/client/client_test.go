package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a router with in-process connections, in a bubble of fake time.
type world struct {
	t        *testing.T
	router   *router.Router
	accepted sync.WaitGroup
	mu       sync.Mutex
	peers    []wamp.Peer // router's ends, for cutting connections
	refuse   bool        // Dial fails
}

func within(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1"}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error, 1)
		go func() { ran <- r.Run(ctx) }()
		w := &world{t: t, router: r}
		f(w)
		cancel()
		<-ran
		w.accepted.Wait()
	})
}

func (w *world) dial(context.Context) (wamp.Peer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse {
		return nil, errors.New("connection refused")
	}
	c, r := transport.Pipe(transport.PipeConfig{})
	w.peers = append(w.peers, r)
	w.accepted.Go(func() { w.router.Accept(context.Background(), r) })
	return c, nil
}

// cut breaks every connection.
func (w *world) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.peers {
		_ = p.Close()
	}
	w.peers = nil
}

func (w *world) setRefuse(v bool) {
	w.mu.Lock()
	w.refuse = v
	w.mu.Unlock()
}

func (w *world) join() *client.Session {
	w.t.Helper()
	p, _ := w.dial(w.t.Context())
	s, err := client.Join(w.t.Context(), p, client.SessionConfig{Realm: "realm1"})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) leave(sessions ...*client.Session) {
	w.t.Helper()
	for _, s := range sessions {
		if err := s.Leave(w.t.Context()); err != nil {
			w.t.Errorf("leave: %v", err)
		}
		if err := s.Err(); err != nil {
			w.t.Errorf("ended by %v", err)
		}
	}
}

func echo(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
	return inv.Payload, nil
}

func first(p wamp.Payload) any {
	args, _ := p.GoValues()
	if len(args) == 0 {
		return nil
	}
	return args[0]
}

func TestFourRoles(t *testing.T) {
	within(t, func(w *world) {
		ctx := w.t.Context()
		a, b := w.join(), w.join()
		var got []any
		unsubscribe, err := a.Subscribe(ctx, "x.y", wamp.SubscribeOptions{}, func(ev *wamp.Event) { got = append(got, first(ev.Payload)) })
		if err != nil {
			t.Fatal(err)
		}
		second, err := a.Subscribe(ctx, "x.y", wamp.SubscribeOptions{}, func(*wamp.Event) { got = append(got, "second") })
		if err != nil {
			t.Fatal(err)
		}
		publish := func(v any) {
			if err := b.Publish(ctx, "x.y", wamp.PublishOptions{Acknowledge: true}, wamp.Args(v)); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		publish(1)
		if err := second(ctx); err != nil {
			t.Error(err)
		}
		publish(2)
		if err := unsubscribe(ctx); err != nil {
			t.Error(err)
		}
		publish(3)
		if fmt.Sprint(got) != "[1 second 2]" {
			t.Errorf("events %v", got)
		}
		unregister, err := a.Register(ctx, "echo", wamp.RegisterOptions{}, echo)
		if err != nil {
			t.Fatal(err)
		}
		p, err := b.Call(ctx, "echo", wamp.CallOptions{}, wamp.Args("hi"))
		if err != nil || first(p) != "hi" {
			t.Errorf("call: %v, %v", p, err)
		}
		if err := unregister(ctx); err != nil {
			t.Error(err)
		}
		if _, err := b.Call(ctx, "echo", wamp.CallOptions{}, wamp.Payload{}); !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
			t.Errorf("call behind unregister: %v", err)
		}
		w.leave(a, b)
		if err := b.Publish(ctx, "x", wamp.PublishOptions{}, wamp.Payload{}); !errors.Is(err, wamp.ErrClosed) {
			t.Errorf("publish behind leave: %v", err)
		}
	})
}

func TestRefusalsAreTyped(t *testing.T) {
	within(t, func(w *world) {
		p, _ := w.dial(w.t.Context())
		if _, err := client.Join(w.t.Context(), p, client.SessionConfig{Realm: "nowhere"}); !wamp.IsError(err, wamp.ErrURINoSuchRealm) {
			t.Errorf("join: %v", err)
		}
		s := w.join()
		if _, err := s.Subscribe(w.t.Context(), "a b", wamp.SubscribeOptions{}, nil); !wamp.IsError(err, wamp.ErrURIInvalidURI) {
			t.Errorf("subscribe: %v", err)
		}
		if _, err := s.Register(w.t.Context(), "wamp.x", wamp.RegisterOptions{}, echo); !wamp.IsError(err, wamp.ErrURIInvalidURI) {
			t.Errorf("register: %v", err)
		}
		w.leave(s)
	})
}

func TestErrorsOfHandlersReachTheCaller(t *testing.T) {
	within(t, func(w *world) {
		s := w.join()
		handlers := map[wamp.URI]wamp.InvocationHandler{
			"plain": func(context.Context, *wamp.Invocation, func(wamp.Payload) error) (wamp.Payload, error) {
				return wamp.Payload{}, errors.New("no luck")
			},
			"typed": func(context.Context, *wamp.Invocation, func(wamp.Payload) error) (wamp.Payload, error) {
				return wamp.Payload{}, fmt.Errorf("set: %w", wamp.NewError(wamp.ErrURIOutOfRange, "too hot", wamp.Dict{"max": 30}))
			},
			"panic": func(context.Context, *wamp.Invocation, func(wamp.Payload) error) (wamp.Payload, error) { panic("boom") },
		}
		for uri, h := range handlers {
			if _, err := s.Register(w.t.Context(), uri, wamp.RegisterOptions{}, h); err != nil {
				t.Fatal(err)
			}
		}
		for uri, want := range map[wamp.URI]wamp.URI{
			"plain": wamp.ErrURIRuntimeError, "typed": wamp.ErrURIOutOfRange, "panic": wamp.ErrURIRuntimeError,
		} {
			_, err := s.Call(w.t.Context(), uri, wamp.CallOptions{}, wamp.Payload{})
			var e *wamp.Error
			if !errors.As(err, &e) || e.URI != want || e.Text == "" {
				t.Errorf("%s: %v", uri, err)
			}
		}
		w.leave(s)
	})
}

func TestProgressAndCancelReachTheHandler(t *testing.T) {
	within(t, func(w *world) {
		callee, caller := w.join(), w.join()
		stopped := make(chan error, 1)
		_, err := callee.Register(w.t.Context(), "slow", wamp.RegisterOptions{}, func(ctx context.Context, _ *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
			for i := 1; ; i++ {
				select {
				case <-time.After(time.Second):
					if err := progress(wamp.Args(i)); err != nil {
						stopped <- err
						return wamp.Payload{}, err
					}
				case <-ctx.Done():
					stopped <- ctx.Err()
					return wamp.Payload{}, ctx.Err()
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), 3500*time.Millisecond)
		defer cancel()
		var seen []any
		_, err = caller.CallProgress(ctx, "slow", wamp.CallOptions{}, wamp.Payload{}, func(p wamp.Payload) { seen = append(seen, first(p)) })
		if !errors.Is(err, context.DeadlineExceeded) || fmt.Sprint(seen) != "[1 2 3]" {
			t.Errorf("call: %v, progress %v", err, seen)
		}
		if err := <-stopped; !errors.Is(err, context.Canceled) {
			t.Errorf("the handler was stopped by %v", err)
		}
		if _, err := caller.Call(w.t.Context(), "slow", wamp.CallOptions{Timeout: 500}, wamp.Payload{}); !wamp.IsError(err, wamp.ErrURITimeout) {
			t.Errorf("call with timeout: %v", err)
		}
		<-stopped
		w.leave(caller, callee)
	})
}

func TestLostConnectionReleasesEverybody(t *testing.T) {
	within(t, func(w *world) {
		callee, caller := w.join(), w.join()
		_, err := callee.Register(w.t.Context(), "hang", wamp.RegisterOptions{}, func(ctx context.Context, _ *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
			<-ctx.Done()
			return wamp.Payload{}, ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := caller.Call(context.Background(), "hang", wamp.CallOptions{}, wamp.Payload{})
			ended <- err
		}()
		synctest.Wait()
		w.cut()
		if err := <-ended; !errors.Is(err, wamp.ErrClosed) {
			t.Errorf("call: %v", err)
		}
		<-callee.Done()
		<-caller.Done()
		if callee.Err() == nil {
			t.Error("a lost connection is no orderly end")
		}
	})
}

func TestClientRestoresWhatItHad(t *testing.T) {
	within(t, func(w *world) {
		var mu sync.Mutex
		var states []bool
		c, err := client.New(client.Config{Dial: w.dial, Session: client.SessionConfig{Realm: "realm1"},
			OnState: func(up bool, _ error) { mu.Lock(); states = append(states, up); mu.Unlock() }}, nil)
		if err != nil {
			t.Fatal(err)
		}
		events := make(chan any, 10)
		ctx, cancel := context.WithCancel(w.t.Context())
		// Wished before there is a connection, and after.
		if _, err := c.Subscribe(ctx, "x", wamp.SubscribeOptions{}, func(ev *wamp.Event) { events <- first(ev.Payload) }); err != nil {
			t.Fatal(err)
		}
		if err := c.Publish(ctx, "x", wamp.PublishOptions{}, wamp.Payload{}); !errors.Is(err, wamp.ErrNotConnected) {
			t.Errorf("publish without a connection: %v", err)
		}
		ran := make(chan error, 1)
		go func() { ran <- c.Run(ctx) }()
		if _, err := c.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Register(ctx, "echo", wamp.RegisterOptions{}, echo); err != nil {
			t.Fatal(err)
		}
		drop, err := c.Register(ctx, "dropped", wamp.RegisterOptions{}, echo)
		if err != nil {
			t.Fatal(err)
		}
		if err := drop(ctx); err != nil {
			t.Error(err)
		}
		for round := range 5 {
			if round == 3 {
				w.setRefuse(true)
			}
			w.cut()
			time.Sleep(10 * time.Minute)
			w.setRefuse(false)
			if round == 3 {
				time.Sleep(2 * time.Minute)
			}
			synctest.Wait()
			other := w.join()
			if err := other.Publish(ctx, "x", wamp.PublishOptions{}, wamp.Args(round)); err != nil {
				t.Error(err)
			}
			if v := <-events; v != round {
				t.Errorf("round %d: event %v", round, v)
			}
			if _, err := other.Call(ctx, "echo", wamp.CallOptions{}, wamp.Payload{}); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
			if _, err := other.Call(ctx, "dropped", wamp.CallOptions{}, wamp.Payload{}); !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
				t.Errorf("round %d: a dropped registration was restored: %v", round, err)
			}
			w.leave(other)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(states) < 10 || !states[0] || states[1] {
			t.Errorf("states %v", states)
		}
	})
}

// What another session holds is asked for until it is free.
func TestClientInsistsOnWhatItHad(t *testing.T) {
	within(t, func(w *world) {
		c, err := client.New(client.Config{Dial: w.dial, Session: client.SessionConfig{Realm: "realm1"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(w.t.Context())
		if _, err := client.Register(ctx, c, "com.mine", func(context.Context, struct{}) (string, error) { return "mine", nil }); err != nil {
			t.Fatal(err)
		}
		holder := w.join()
		undo, err := client.Register(ctx, holder, "com.mine", func(context.Context, struct{}) (string, error) { return "theirs", nil })
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() { ran <- c.Run(ctx) }()
		time.Sleep(time.Minute)
		if who, err := client.Call[string](ctx, holder, "com.mine"); who != "theirs" || err != nil {
			t.Errorf("%s, %v", who, err)
		}
		if err := undo(ctx); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if who, err := client.Call[string](ctx, holder, "com.mine"); who != "mine" || err != nil {
			t.Errorf("%s, %v", who, err)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		w.leave(holder)
	})
}

func TestSlowReaderOfProgressIsTold(t *testing.T) {
	within(t, func(w *world) {
		ctx, s := w.t.Context(), w.join()
		stopped := make(chan error, 1)
		if _, err := client.Register(ctx, s, "com.flood", func(ctx context.Context, _ struct{}) (struct{}, error) {
			for {
				if err := client.Progress(ctx, 1); err != nil {
					stopped <- err
					return struct{}{}, err
				}
				time.Sleep(time.Microsecond)
			}
		}); err != nil {
			t.Fatal(err)
		}
		var last error
		n := 0
		for _, err := range client.Results[int](ctx, s, "com.flood") {
			if n++; n == 1 {
				// A call in the loop is no reason to stop.
				if _, err := client.Call[int](ctx, s, "wamp.session.count"); err != nil {
					t.Error(err)
				}
				if err := <-stopped; !errors.Is(err, context.Canceled) {
					t.Errorf("the callee was stopped by %v", err)
				}
			}
			last = err
		}
		if !errors.Is(last, client.ErrTooSlow) || n < 1000 || n > 1100 {
			t.Errorf("behind %d results: %v", n, last)
		}
		w.leave(s)
	})
}

func TestHandlerOwnsItsEvent(t *testing.T) {
	within(t, func(w *world) {
		s := w.join()
		var kept []*wamp.Event
		if _, err := s.Subscribe(w.t.Context(), "x", wamp.SubscribeOptions{Match: wamp.MatchPrefix}, func(ev *wamp.Event) { kept = append(kept, ev) }); err != nil {
			t.Fatal(err)
		}
		other := w.join()
		raw := []byte(`["one"]`)
		for range 2 {
			if err := other.Publish(w.t.Context(), "x.y", wamp.PublishOptions{Acknowledge: true}, wamp.RawPayload(wamp.JSON, raw, nil)); err != nil {
				t.Fatal(err)
			}
			copy(raw, `["two"]`)
		}
		synctest.Wait()
		for i, want := range []string{`["one"]`, `["two"]`} {
			if args, _ := kept[i].Payload.Raw(); string(args) != want {
				t.Errorf("event %d holds %s", i, args)
			}
		}
		w.leave(s, other)
	})
}
