package hub_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

// realm is a router of its own with sessions over the in-process pipe.
type realm struct {
	t      *testing.T
	router *router.Router
	peers  sync.WaitGroup
	stop   func()
}

func newRealm(t *testing.T) *realm {
	t.Helper()
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "gantry"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	w := &realm{t: t, router: r}
	w.stop = func() {
		cancel()
		<-ran
		w.peers.Wait()
	}
	return w
}

func (w *realm) join() *client.Session {
	w.t.Helper()
	c, r := transport.Pipe(transport.PipeConfig{})
	w.peers.Go(func() { w.router.Accept(context.Background(), r) })
	s, err := client.Join(w.t.Context(), c, client.SessionConfig{Realm: "gantry"})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// TestThroughARealRouter takes a reading and commands all the way through
// router, client and pipe.
func TestThroughARealRouter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newRealm(t)
		drv := newScript(float("temperature"), writable("led", drivers.Bool))
		drv.desc.Actions = []drivers.Action{{ID: "move", Progressive: true}}
		drv.do = func(ctx context.Context, _ string, _ map[string]any, progress func(any)) (any, error) {
			for i := range 3 {
				select {
				case <-time.After(time.Second):
					progress(int64(i))
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			return "done", nil
		}
		own := w.join()
		h, err := hub.New(hub.Config{Gateway: "barn", Epoch: 7}, []hub.Device{device("dev", drv, hub.DeviceConfig{})}, own, deps(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- h.Run(ctx) }()
		synctest.Wait()
		drv.send(good("temperature", 21.5))
		synctest.Wait()

		app := w.join()
		var mu sync.Mutex
		var events []string
		for _, pattern := range []wamp.URI{"gantry..point..", "gantry..state..link"} {
			_, err := app.Subscribe(ctx, pattern, wamp.SubscribeOptions{Match: wamp.MatchWildcard, GetRetained: true}, func(ev *wamp.Event) {
				args, kwargs, err := serialize.Values(ev.Payload)
				if err != nil {
					t.Error(err)
				}
				q, _ := kwargs["q"].(string)
				mu.Lock()
				defer mu.Unlock()
				events = append(events, string(ev.Details.Topic)+" "+fmt.Sprint(args[0])+" "+q)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		mu.Lock()
		want := []string{"gantry.barn.point.dev.temperature 21.5 good", "gantry.barn.state.dev.link online "}
		if d := cmp.Diff(want, events); d != "" {
			t.Errorf("retained (-want +got):\n%s", d)
		}
		mu.Unlock()

		p, err := app.Call(ctx, "gantry.barn.set.dev.led", wamp.CallOptions{}, wamp.Args(true))
		if err != nil {
			t.Fatal(err)
		}
		if args, _, _ := serialize.Values(p); args[0] != true {
			t.Errorf("set = %v", args)
		}
		_, err = app.Call(ctx, "gantry.barn.set.dev.temperature", wamp.CallOptions{}, wamp.Args(1.0))
		if !wamp.IsError(err, wamp.ErrURIReadOnly) {
			t.Errorf("set of a sensor = %v", err)
		}
		_, err = app.Call(ctx, "gantry.barn.get.nobody.x", wamp.CallOptions{}, wamp.Payload{})
		if !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
			t.Errorf("get of nobody = %v", err)
		}
		var progress []any
		p, err = app.CallProgress(ctx, "gantry.barn.do.dev.move", wamp.CallOptions{}, wamp.Payload{}, func(p wamp.Payload) {
			args, _, _ := serialize.Values(p)
			progress = append(progress, args...)
		})
		if args, _, _ := serialize.Values(p); err != nil || args[0] != "done" || len(progress) != 3 {
			t.Errorf("do = %v, %v, progress %v", args, err, progress)
		}
		p, err = app.Call(ctx, "gantry.barn.sys.device.list", wamp.CallOptions{}, wamp.Payload{})
		if args, _, _ := serialize.Values(p); err != nil || len(args[0].(wamp.List)) != 1 {
			t.Errorf("list = %v, %v", args, err)
		}

		for procedure, want := range map[string]string{
			"gantry.barn.set.dev.led": "type bool", "gantry.barn.do.dev.move": "progressive true", "gantry.barn.get.dev.nothing": "",
		} {
			p, err := app.Call(ctx, "wamp.reflection.procedure.describe", wamp.CallOptions{}, wamp.Args(procedure))
			args, _, _ := serialize.Values(p)
			d, _ := args[0].(wamp.Dict)
			key, value, _ := strings.Cut(want, " ")
			if err != nil || (d == nil) != (want == "") || want != "" && fmt.Sprint(d[key]) != value {
				t.Errorf("%s is described as %v, %v", procedure, args, err)
			}
		}

		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run = %v", err)
		}
		synctest.Wait()
		mu.Lock()
		for _, e := range []string{"gantry.barn.point.dev.led true good", "gantry.barn.point.dev.temperature 21.5 stale", "gantry.barn.state.dev.link offline "} {
			if !slices.Contains(events, e) {
				t.Errorf("no event %q among %q", e, events)
			}
		}
		mu.Unlock()
		for _, s := range []*client.Session{app, own} {
			if err := s.Leave(t.Context()); err != nil {
				t.Errorf("leave: %v", err)
			}
		}
		w.stop()
	})
}
