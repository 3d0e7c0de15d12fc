package modbus

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/internal/config"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

// watched is a hub on a router, and the times at which its points were measured.
type watched struct {
	hub *hub.Hub

	mu    sync.Mutex // guards times and bad
	times map[string][]time.Time
	bad   map[string]int
}

// watch runs a hub with devices and gathers the readings of their points r0.
func watch(t testing.TB, devices []hub.Device) *watched {
	t.Helper()
	rt, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "gantry"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := rt.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	join := func() *client.Session {
		mine, routers := transport.Pipe(transport.PipeConfig{})
		running.Go(func() { rt.Accept(ctx, routers) })
		s, err := client.Join(ctx, mine, client.SessionConfig{Realm: "gantry"})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	own, reader := join(), join()
	w := &watched{times: map[string][]time.Time{}, bad: map[string]int{}}
	if _, err := reader.Subscribe(ctx, "gantry.gw.point..r0", wamp.SubscribeOptions{Match: wamp.MatchWildcard}, w.take); err != nil {
		t.Fatal(err)
	}
	if w.hub, err = hub.New(hub.Config{Gateway: "gw", Epoch: 1}, devices, own, hub.Deps{Decode: serialize.Values}, nil); err != nil {
		t.Fatal(err)
	}
	hubCtx, stop := context.WithCancel(ctx)
	var hubs sync.WaitGroup
	hubs.Go(func() {
		if err := w.hub.Run(hubCtx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		hubs.Wait()
		own.Close()
		reader.Close()
		cancel()
		running.Wait()
	})
	return w
}

func (w *watched) take(ev *wamp.Event) {
	_, kwargs, err := serialize.Values(ev.Payload)
	if err != nil {
		return
	}
	ts, _ := kwargs["ts"].(int64)
	name := strings.Split(string(ev.Details.Topic), ".")[3]
	w.mu.Lock()
	defer w.mu.Unlock()
	if kwargs["q"] != "good" {
		w.bad[name]++
		return
	}
	w.times[name] = append(w.times[name], time.UnixMicro(ts))
}

// take returns what came since the last call.
func (w *watched) since() (times map[string][]time.Time, bad map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	times, bad = w.times, w.bad
	w.times, w.bad = map[string][]time.Time{}, map[string]int{}
	return times, bad
}

// TestUnitsKeepTheirPeriod has 32 units on one line at real speed, each polled for
// ten registers by the hub. One dies and one becomes slow; the others must not
// notice.
func TestUnitsKeepTheirPeriod(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	const every, warm, span = 2 * time.Second, 3 * time.Second, 20 * time.Second
	for _, baud := range []int{19200, 115200} {
		t.Run(fmt.Sprint(baud), func(t *testing.T) {
			t.Parallel()
			units := map[byte]*unit{}
			for i := range byte(32) {
				units[i+1] = newUnit()
			}
			wire := newWire(t, baud, units)
			kind := NewKind(config.Decode)
			var devices []hub.Device
			for _, id := range slices.Sorted(maps.Keys(units)) {
				cfg := wire.config(id, regs(0, 1, 2, 3, 4, 5, 6, 7, 8, 9))
				cfg.Line.Baud, cfg.AnswerTimeout = uint32(baud), 0
				d, err := kind.New(&cfg, drivers.Env{Device: fmt.Sprintf("u%d", id), Now: time.Now})
				if err != nil {
					t.Fatal(err)
				}
				devices = append(devices, hub.Device{Name: fmt.Sprintf("u%d", id), Driver: d, Config: hub.DeviceConfig{
					Driver: "modbus", Every: ptr(drivers.Duration(every)), Retry: hub.RetryConfig{ParkAfter: ptr(3), ParkEvery: drivers.Duration(30 * time.Second)}}})
			}
			w := watch(t, devices)
			time.Sleep(warm)
			units[7].change(func(u *unit) { u.dead = true })
			units[13].change(func(u *unit) { u.delay = 200 * time.Millisecond })
			w.since()
			time.Sleep(span)
			times, bad := w.since()
			var single []float64 // how far each interval is off, as a part of the period
			worst := 0.0
			for id := range units {
				name := fmt.Sprintf("u%d", id)
				at := times[name]
				if id == 7 {
					if len(at) > 1 {
						t.Errorf("the dead unit was read %d times", len(at))
					}
					continue
				}
				if bad[name] > 0 || len(at) < int(span/every)-1 {
					t.Errorf("%s: %d readings, %d bad", name, len(at), bad[name])
					continue
				}
				// From the first to the last, so that one late reading counts for what it is.
				mean := at[len(at)-1].Sub(at[0]) / time.Duration(len(at)-1)
				off := math.Abs(float64(mean-every)) / float64(every)
				if id != 13 {
					worst = max(worst, off)
				}
				for i := range at[1:] {
					single = append(single, math.Abs(float64(at[i+1].Sub(at[i])-every))/float64(every))
				}
			}
			slices.Sort(single)
			if len(single) == 0 || worst > 0.05 {
				t.Errorf("the period of a unit is off by %.1f %%", 100*worst)
			}
			t.Logf("%d baud: periods of %v are off by %.2f %% at most; single intervals by %.1f %% (median), %.1f %% (95 of 100), %.1f %% (all)", baud, every,
				100*worst, 100*single[len(single)/2], 100*single[len(single)*95/100], 100*single[len(single)-1])
		})
	}
}
