package modbus

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

// virtual is a line with units that lives in the time of a synctest bubble.
type virtual struct {
	wire
	in chan []byte // answers
}

func newVirtual(baud int, units map[byte]*unit) *virtual {
	v := &virtual{wire: wire{baud: baud, units: units, stop: make(chan struct{})}, in: make(chan []byte, 16)}
	v.send = func(frame []byte) { v.in <- frame }
	return v
}

func (v *virtual) Write(_ context.Context, p []byte) error {
	frame := append([]byte(nil), p...)
	v.done.Go(func() {
		v.rest(v.takes(len(frame)))
		v.serve(frame)
	})
	return nil
}

func (v *virtual) Read(ctx context.Context, p []byte) (int, error) {
	select {
	case b := <-v.in:
		return copy(p, b), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (v *virtual) DropInput() {
	for len(v.in) > 0 {
		<-v.in
	}
}

func (v *virtual) Close() error { return nil }

const period = 2 * time.Second

// onLine returns 32 units and the devices that a hub polls each of them by, for
// ten registers in every period.
func onLine(t testing.TB, kind drivers.Kind, path string, baud int) (map[byte]*unit, []hub.Device) {
	t.Helper()
	units := map[byte]*unit{}
	var devices []hub.Device
	for id := byte(1); id <= 32; id++ {
		units[id] = newUnit()
		w := wire{path: path}
		cfg := w.config(id, regs(0, 1, 2, 3, 4, 5, 6, 7, 8, 9))
		cfg.Line.Baud, cfg.AnswerTimeout = uint32(baud), 0
		name := fmt.Sprintf("u%d", id)
		d, err := kind.New(&cfg, drivers.Env{Device: name, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, hub.Device{Name: name, Driver: d, Config: hub.DeviceConfig{Driver: "modbus",
			Every: ptr(drivers.Duration(period)), Retry: hub.RetryConfig{ParkAfter: ptr(3), ParkEvery: drivers.Duration(30 * time.Second)}}})
	}
	return units, devices
}

const (
	dying   = 7
	slowing = 13
)

// spoil lets one unit die and another become slow.
func spoil(units map[byte]*unit) {
	units[dying].change(func(u *unit) { u.dead = true })
	units[slowing].change(func(u *unit) { u.delay = 200 * time.Millisecond })
}

// judge compares the periods of all but the dead unit with what they should be. It
// returns by how much the worst is off, and how far single intervals are, sorted,
// both as parts of the period.
func judge(t testing.TB, w *watched, span time.Duration) (worst float64, single []float64) {
	t.Helper()
	times, bad := w.since()
	off := func(d time.Duration) float64 { return math.Abs(float64(d-period)) / float64(period) }
	for id := 1; id <= 32; id++ {
		name := fmt.Sprintf("u%d", id)
		at := times[name]
		switch {
		case id == dying && len(at) > 1:
			t.Errorf("the dead unit was read %d times", len(at))
		case id == dying:
		case bad[name] > 0 || len(at) < int(span/period)-1:
			t.Errorf("%s: %d readings, %d bad", name, len(at), bad[name])
		default:
			worst = max(worst, off(at[len(at)-1].Sub(at[0])/time.Duration(len(at)-1)))
			for i := range at[1:] {
				single = append(single, off(at[i+1].Sub(at[i])))
			}
		}
	}
	slices.Sort(single)
	if worst > 0.05 || len(single) == 0 {
		t.Errorf("the period of a unit is off by %.1f %%", 100*worst)
	}
	return worst, single
}

// TestUnitsKeepTheirPeriod has 32 units on one line, where bytes take their time
// and the time is the bubble's. One dies and one becomes slow.
func TestUnitsKeepTheirPeriod(t *testing.T) {
	t.Parallel()
	for _, baud := range []int{19200, 115200} {
		t.Run(fmt.Sprint(baud), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				buses := NewBuses()
				kind := newKind(buses, config.Decode)
				units, devices := onLine(t, kind, "/dev/ttyVIRTUAL", baud)
				line := newVirtual(baud, units)
				buses.wire = func() stream { return line }
				w := watch(t, devices)
				defer line.done.Wait()
				defer close(line.stop)
				time.Sleep(3 * time.Second)
				spoil(units)
				synctest.Wait()
				w.since()
				const span = 2 * time.Minute
				time.Sleep(span)
				synctest.Wait()
				worst, single := judge(t, w, span)
				t.Logf("%d baud: off by %.2f %% at most; single intervals by %.1f %% (median), %.1f %% (all)", baud, 100*worst,
					100*single[len(single)/2], 100*single[len(single)-1])
			})
		})
	}
}

// BenchmarkUnitsOnALine does the same in real time over a pseudo terminal.
func BenchmarkUnitsOnALine(b *testing.B) {
	for _, baud := range []int{19200, 115200} {
		b.Run(fmt.Sprint(baud), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "line")
			units, devices := onLine(b, NewKind(config.Decode), path, baud)
			line := newWire(b, baud, units)
			if err := os.Symlink(line.path, path); err != nil {
				b.Fatal(err)
			}
			w := watch(b, devices)
			time.Sleep(3 * time.Second)
			spoil(units)
			w.since()
			for b.Loop() {
				const span = 20 * time.Second
				time.Sleep(span)
				worst, single := judge(b, w, span)
				if len(single) > 0 {
					b.ReportMetric(100*worst, "%off")
					b.ReportMetric(100*single[len(single)/2], "%off-single-median")
					b.ReportMetric(100*single[len(single)-1], "%off-single-max")
				}
			}
		})
	}
}
