package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/hub"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

// TestAThousandReplugs unplugs a node and plugs it in again at another pseudo
// terminal, under the hub's supervision. Only the pauses are shorter than those of
// a gateway.
func TestAThousandReplugs(t *testing.T) {
	cycles := 1000
	if testing.Short() {
		cycles = 100
	}
	w := newWorld(t)
	n := &fakeNode{serial: "1", version: version}
	var longest time.Duration
	var goroutines, descriptors int
	for i := range cycles {
		if i == 20 {
			w.settle(t)
			goroutines, descriptors = runtime.NumGoroutine(), countDescriptors(t)
		}
		began := time.Now()
		n.plug(t, filepath.Join(w.dir, fmt.Sprintf("tty%d", i%7)))
		w.await(t, "online")
		took := time.Since(began)
		longest = max(longest, took)
		if took > 2*time.Second {
			t.Errorf("cycle %d: back after %v, allowed: 2 s", i, took)
		}
		if i%100 == 0 {
			if _, err := w.app.Call(t.Context(), "gantry.barn.set.dev.led", wamp.CallOptions{}, wamp.Args(true)); err != nil {
				t.Errorf("cycle %d: set: %v", i, err)
			}
		}
		n.unplug(t)
		w.await(t, "offline")
	}
	w.settle(t)
	for late := time.Now().Add(drivertest.Patience); ; time.Sleep(time.Millisecond) {
		g, d := runtime.NumGoroutine(), countDescriptors(t)
		if g <= goroutines+2 && d <= descriptors+2 {
			break
		}
		if time.Now().After(late) {
			t.Errorf("from %d to %d goroutines, from %d to %d descriptors", goroutines, g, descriptors, d)
			break
		}
	}
	t.Logf("%d cycles, the longest until online took %v", cycles, longest)
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// world is a hub on a router, with a finder of the ports dir/tty* and a device file
// for the node 1, and an application.
type world struct {
	dir    string
	app    *client.Session
	finder *finder
	states chan string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), states: make(chan string, 64)}
	found, err := New(Config{Ports: []string{filepath.Join(w.dir, "tty*")}}, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	w.finder = found.(*finder)
	w.finder.every = time.Millisecond
	rt, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "gantry"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	run := func(f func(context.Context) error) {
		running.Go(func() {
			if err := f(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	run(rt.Run)
	join := func() *client.Session {
		mine, routers := transport.Pipe(transport.PipeConfig{})
		running.Go(func() { rt.Accept(ctx, routers) })
		s, err := client.Join(ctx, mine, client.SessionConfig{Realm: "gantry"})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	own := join()
	w.app = join()
	if _, err := w.app.Subscribe(ctx, "gantry.barn.state.dev.link", wamp.SubscribeOptions{}, func(ev *wamp.Event) {
		args, _, _ := serialize.Values(ev.Payload)
		state, _ := args[0].(string)
		w.states <- state
	}); err != nil {
		t.Fatal(err)
	}
	device := hub.Device{Name: "dev", Found: "node:1", Config: hub.DeviceConfig{
		Driver: "node", Retry: hub.RetryConfig{Min: drivers.Duration(time.Millisecond), Max: drivers.Duration(5 * time.Millisecond)},
	}}
	h, err := hub.New(hub.Config{Gateway: "barn", Epoch: 1}, []hub.Device{device}, own,
		hub.Deps{Decode: serialize.Values, Sources: []hub.Source{{Name: "node", Finder: found}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	stopHub := make(chan struct{})
	hubCtx, stop := context.WithCancel(ctx)
	go func() {
		defer close(stopHub)
		if err := h.Run(hubCtx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		stop()
		for done := false; !done; {
			select {
			case <-w.states: // nobody else takes them
			case <-stopHub:
				done = true
			}
		}
		w.app.Close()
		own.Close()
		cancel()
		running.Wait()
	})
	return w
}

// await waits for a state of the device.
func (w *world) await(t *testing.T, state string) {
	t.Helper()
	late := time.After(drivertest.Patience)
	for {
		select {
		case s := <-w.states:
			if s == state {
				return
			}
		case <-late:
			t.Fatalf("the device is not %s", state)
		}
	}
}

// settle waits until the finder has left the last port.
func (w *world) settle(t *testing.T) {
	t.Helper()
	late := time.After(drivertest.Patience)
	for {
		w.finder.mu.Lock()
		open := len(w.finder.open)
		w.finder.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-late:
			t.Fatalf("%d ports are still open", open)
		case <-time.After(time.Millisecond):
		}
	}
}
