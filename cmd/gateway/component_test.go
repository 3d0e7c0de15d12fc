package main

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gantry/internal/backoff"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/transport"
)

// TestComponentsOutliveTheGateway kills the program and starts it again, and once
// has it stop in order: a component joins anew, and a client has its subscription
// and registration restored.
func TestComponentsOutliveTheGateway(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\ngateway.name = \"barn\"\nmqtt.listen = \"\"\n"})
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	states := make(chan bool, 1024)
	joined := make(chan struct{}, 1024)
	cfg := client.Config{
		Dial:    client.URL("rs+unix://"+filepath.Join(state, "gantry.sock"), transport.DialConfig{}),
		Session: client.SessionConfig{Realm: "gantry"},
		Backoff: backoff.Config{Min: time.Millisecond, Max: 50 * time.Millisecond},
	}
	component := client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.RegisterWith(ctx, s, "com.example.double", wamp.RegisterOptions{ForceReregister: true},
			func(_ context.Context, n int) (int, error) { return 2 * n, nil })
		joined <- struct{}{}
		return err
	}}
	kept := cfg
	kept.OnState = func(up bool, _ error) { states <- up }
	c, err := client.New(kept, nil)
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan int, 16)
	if _, err := client.Subscribe(ctx, c, "com.example.<room>.count", func(n int, _ *wamp.Event) { events <- n }); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Register(ctx, c, "com.example.triple", func(_ context.Context, n int) (int, error) { return 3 * n, nil }); err != nil {
		t.Fatal(err)
	}
	rctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if err := client.Run(rctx, component, cfg); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() {
		if err := c.Run(rctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer stop()
	for round := 1; round <= 3; round++ {
		p := startProgram(t, config, state)
		await(ctx, t, joined, func(struct{}) bool { return true })
		await(ctx, t, states, func(up bool) bool { return up })
		s := p.join()
		if n, err := client.Call[int](ctx, s, "com.example.double", round); n != 2*round || err != nil {
			t.Errorf("round %d: double %d, %v", round, n, err)
		}
		if n, err := client.Call[int](ctx, s, "com.example.triple", round); n != 3*round || err != nil {
			t.Errorf("round %d: triple %d, %v", round, n, err)
		}
		if err := client.PublishWith(ctx, s, "com.example.hall.count", wamp.PublishOptions{Acknowledge: true}, round); err != nil {
			t.Fatal(err)
		}
		await(ctx, t, events, func(n int) bool { return n == round })
		if round == 2 {
			p.stop()
		} else {
			p.kill()
		}
		await(ctx, t, states, func(up bool) bool { return !up })
	}
}

// await reads from c until what comes is right.
func await[T any](ctx context.Context, t *testing.T, c <-chan T, right func(T) bool) {
	t.Helper()
	for {
		select {
		case v := <-c:
			if right(v) {
				return
			}
		case <-ctx.Done():
			t.Fatal("it did not come in time")
		}
	}
}
