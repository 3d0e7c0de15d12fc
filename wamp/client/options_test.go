package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/wamp"
	"gantry/wamp/client"
)

func TestOptionsOfPublications(t *testing.T) {
	everywhere(t, func(t *testing.T, dial client.Dialer) {
		ctx := t.Context()
		a, b := connect(t, dial, client.SessionConfig{}), connect(t, dial, client.SessionConfig{})
		type got struct {
			value int
			to    string
			ev    *wamp.Event
		}
		events := make(chan got, 16)
		for name, s := range map[string]*client.Session{"a": a, "b": b} {
			if _, err := client.Subscribe(ctx, s, unique(t, "x"), func(v int, ev *wamp.Event) { events <- got{v, name, ev} }); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		check := func(opts wamp.PublishOptions, to ...string) *wamp.Event {
			t.Helper()
			n++
			opts.Acknowledge = true
			id, err := a.PublishAcknowledged(ctx, unique(t, "x"), opts, wamp.Args(n))
			if err != nil || id == 0 {
				t.Fatalf("publication %d: %v", id, err)
			}
			var last *wamp.Event
			var seen []string
			for range to {
				g := <-events
				if g.value != n || g.ev.Publication != id {
					t.Errorf("event %d of publication %d, expected %d of %d", g.value, g.ev.Publication, n, id)
				}
				seen, last = append(seen, g.to), g.ev
			}
			if slices.Sort(seen); !slices.Equal(seen, to) {
				t.Errorf("publication %d went to %v, expected %v", n, seen, to)
			}
			return last
		}
		check(wamp.PublishOptions{}, "b")
		check(wamp.PublishOptions{IncludeMe: true}, "a", "b")
		check(wamp.PublishOptions{IncludeMe: true, Filter: &wamp.PublishFilter{Eligible: []wamp.ID{a.ID()}}}, "a")
		check(wamp.PublishOptions{IncludeMe: true, Filter: &wamp.PublishFilter{Exclude: []wamp.ID{a.ID()}}}, "b")
		check(wamp.PublishOptions{Filter: &wamp.PublishFilter{Eligible: []wamp.ID{}}})
		if ev := check(wamp.PublishOptions{DiscloseMe: true}, "b"); ev.Details.Publisher != a.ID() {
			t.Errorf("publisher %d, expected %d", ev.Details.Publisher, a.ID())
		}
		check(wamp.PublishOptions{Retain: true}, "b")
		late := make(chan bool, 1)
		if _, err := client.SubscribeWith(ctx, a, unique(t, "<any>"), wamp.SubscribeOptions{GetRetained: true},
			func(_ int, ev *wamp.Event) { late <- ev.Details.Retained }); err != nil {
			t.Fatal(err)
		}
		if !<-late {
			t.Error("the event is not marked as retained")
		}
	})
}

func TestOptionsOfCalls(t *testing.T) {
	everywhere(t, func(t *testing.T, dial client.Dialer) {
		ctx := t.Context()
		a, b, caller := connect(t, dial, client.SessionConfig{}), connect(t, dial, client.SessionConfig{}), connect(t, dial, client.SessionConfig{})
		name := func(s string) func(context.Context, struct{}) (string, error) {
			return func(context.Context, struct{}) (string, error) { return s, nil }
		}
		for s, opts := range map[*client.Session]string{a: "a", b: "b"} {
			if _, err := client.RegisterWith(ctx, s, unique(t, "shared"), wamp.RegisterOptions{Invoke: wamp.InvokeRoundRobin}, name(opts)); err != nil {
				t.Fatal(err)
			}
		}
		var seen []string
		for range 4 {
			who, err := client.Call[string](ctx, caller, unique(t, "shared"))
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, who)
		}
		if seen[0] == seen[1] || seen[0] != seen[2] || seen[1] != seen[3] {
			t.Errorf("round robin went to %v", seen)
		}
		if _, err := client.Register(ctx, a, unique(t, "single"), name("a")); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Register(ctx, caller, unique(t, "single"), name("c")); !wamp.IsError(err, wamp.ErrURIProcedureAlreadyExists) {
			t.Errorf("a second registration: %v", err)
		}
		if _, err := client.RegisterWith(ctx, b, unique(t, "single"), wamp.RegisterOptions{ForceReregister: true}, name("b")); err != nil {
			t.Error(err)
		}
		if who, err := client.Call[string](ctx, caller, unique(t, "single")); who != "b" || err != nil {
			t.Errorf("behind force_reregister: %s, %v", who, err)
		}
		if _, err := client.Register(ctx, a, unique(t, "who"), func(ctx context.Context, _ struct{}) (uint64, error) {
			return uint64(client.InvocationOf(ctx).Details.Caller), nil
		}); err != nil {
			t.Fatal(err)
		}
		if id, err := client.CallWith[uint64](ctx, caller, unique(t, "who"), wamp.CallOptions{DiscloseMe: true}); id != uint64(caller.ID()) || err != nil {
			t.Errorf("caller %d, %v", id, err)
		}
		scheme := &wamp.Passthru{Scheme: "x_test", Serializer: "cbor"}
		if _, err := client.Register(ctx, a, unique(t, "through"), func(ctx context.Context, p wamp.Payload) (wamp.Payload, error) {
			client.PassThrough(ctx, client.InvocationOf(ctx).Details.Passthru)
			return p, nil
		}); err != nil {
			t.Fatal(err)
		}
		r, err := caller.CallResult(ctx, unique(t, "through"), wamp.CallOptions{Passthru: scheme}, wamp.Args([]byte{1, 2}), nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(scheme, r.Details.Passthru); d != "" {
			t.Errorf("passthru: %s", d)
		}
	})
}

func TestCancelModes(t *testing.T) {
	everywhere(t, func(t *testing.T, dial client.Dialer) {
		callee, caller := connect(t, dial, client.SessionConfig{}), connect(t, dial, client.SessionConfig{})
		begun, told := make(chan struct{}), make(chan bool)
		release := make(chan struct{})
		if _, err := client.Register(t.Context(), callee, unique(t, "slow"), func(ctx context.Context, _ struct{}) (struct{}, error) {
			begun <- struct{}{}
			select {
			case <-ctx.Done():
				told <- true
				return struct{}{}, ctx.Err()
			case <-release:
				told <- false
				return struct{}{}, nil
			}
		}); err != nil {
			t.Fatal(err)
		}
		for mode, interrupts := range map[wamp.CancelMode]bool{wamp.CancelKillNoWait: true, wamp.CancelKill: true, wamp.CancelSkip: false} {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := client.CallWith[struct{}](ctx, caller, unique(t, "slow"), wamp.CallOptions{Cancel: mode})
				ended <- err
			}()
			<-begun
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("%v: %v", mode, err)
			}
			if !interrupts {
				release <- struct{}{}
			}
			if got := <-told; got != interrupts {
				t.Errorf("%v: the callee was told = %v", mode, got)
			}
		}
	})
}

func TestRouterEndsTheTimeOfACall(t *testing.T) {
	everywhere(t, func(t *testing.T, dial client.Dialer) {
		s := connect(t, dial, client.SessionConfig{})
		if _, err := client.Register(t.Context(), s, unique(t, "slow"), func(ctx context.Context, _ struct{}) (struct{}, error) {
			<-ctx.Done()
			return struct{}{}, ctx.Err()
		}); err != nil {
			t.Fatal(err)
		}
		_, err := client.CallWith[struct{}](t.Context(), s, unique(t, "slow"), wamp.CallOptions{Timeout: uint64(10 * time.Millisecond / time.Millisecond)})
		if !wamp.IsError(err, wamp.ErrURITimeout) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a timeout of the call's own: %v", err)
		}
	})
}
