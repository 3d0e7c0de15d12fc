package hub_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/wamp"
)

func TestThousandPanicsDisturbNobody(t *testing.T) {
	t.Parallel()
	bad := newScript(float("a"))
	var runs atomic.Int64
	bad.run = func(_ context.Context, link drivers.Link) error {
		n := runs.Add(1)
		link.Up()
		link.Emit(good("a", float64(n)))
		var bus []int
		return fmt.Errorf("slot %d", bus[n])
	}
	calm := newScript(float("beat")).polled(func(context.Context, []string) ([]drivers.Reading, error) {
		return []drivers.Reading{good("beat", 1.0)}, nil
	})
	every := hub.DeviceConfig{Every: ptr(drivers.Duration(time.Second))}
	run(t, []hub.Device{device("bad", bad, hub.DeviceConfig{}), device("dev", calm, every)}, func(b *bench) {
		for runs.Load() < 1000 {
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		got := b.point("beat")
		for i := 1; i < len(got); i++ {
			if gap := got[i].at.Sub(got[i-1].at); gap != time.Second {
				t.Fatalf("gap of %v between beats %d and %d of the other device", gap, i-1, i)
			}
		}
		for _, s := range b.hub.Devices() {
			if s.Device == "bad" && s.Counters.Panics < 999 {
				t.Errorf("panics = %d", s.Counters.Panics)
			}
			if s.Device == "dev" && (s.State != hub.Online || s.Counters.Restarts != 0) {
				t.Errorf("the other device: %+v", s)
			}
		}
	})
}

// TestThousandPanicsInRequestsDisturbNobody does the same where a panic is met in a
// request: of the schedule, to write, to act.
func TestThousandPanicsInRequestsDisturbNobody(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"read", "write", "do"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			script := newScript(writable("a", drivers.Float))
			script.desc.Actions = []drivers.Action{{ID: "go"}}
			script.write = func(context.Context, string, drivers.Value) (drivers.Value, error) { panic("write") }
			script.do = func(context.Context, string, map[string]any, func(any)) (any, error) { panic("do") }
			bad := script.polled(func(context.Context, []string) ([]drivers.Reading, error) {
				if what == "read" {
					panic("read")
				}
				return nil, nil
			})
			calm := newScript(float("beat")).polled(func(context.Context, []string) ([]drivers.Reading, error) {
				return []drivers.Reading{good("beat", 1.0)}, nil
			})
			every := hub.DeviceConfig{Every: ptr(dur(time.Second))}
			run(t, []hub.Device{device("bad", bad, every), device("dev", calm, every)}, func(b *bench) {
				panics := func() uint64 { return b.hub.Devices()[0].Counters.Panics }
				for calls := 0; panics() < 1000 && calls < 1100; calls++ {
					switch what {
					case "write":
						_, _, _ = b.call("gantry.barn.set.bad.a", wamp.List{1.0}, nil)
					case "do":
						_, _, _ = b.call("gantry.barn.do.bad.go", nil, nil)
					}
					b.pass(2 * time.Second) // by then it runs again
				}
				if n := panics(); n < 1000 {
					t.Errorf("%d panics", n)
				}
				got := b.point("beat")
				for i := 1; i < len(got); i++ {
					if gap := got[i].at.Sub(got[i-1].at); gap != time.Second {
						t.Fatalf("gap of %v between beats %d and %d of the other device", gap, i-1, i)
					}
				}
				if s := b.hub.Devices()[1]; s.State != hub.Online || s.Counters.Restarts != 0 {
					t.Errorf("the other device: %+v", s)
				}
			})
		})
	}
}

// TestThousandTimesUnpluggedAndPluggedIn takes a device away for between a
// millisecond and half a minute; the hub's dice fall as badly as they can. It runs
// beside no other test: it counts what is open.
func TestThousandTimesUnpluggedAndPluggedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var unplugged cell[chan struct{}] // closed when the device is taken away; nil while it is away
		unplugged.store(make(chan struct{}))
		drv := newScript(float("a"))
		drv.run = func(ctx context.Context, link drivers.Link) error {
			gone := unplugged.load()
			if gone == nil {
				return fmt.Errorf("%w: no such file", drivers.ErrOffline)
			}
			port, err := os.Open(os.DevNull)
			if err != nil {
				return err
			}
			defer port.Close()
			link.Up()
			link.Emit(good("a", 1.0))
			select {
			case <-gone:
				return fmt.Errorf("%w: unplugged", drivers.ErrOffline)
			case <-ctx.Done():
				return nil
			}
		}
		polled := drv.polled(func(ctx context.Context, _ []string) ([]drivers.Reading, error) {
			return []drivers.Reading{good("a", 2.0)}, nil
		})
		sess, deps := newSession(), deps()
		deps.Random = func() float64 { return 0.999999 }
		h, err := hub.New(hub.Config{Gateway: "barn", Epoch: 7}, []hub.Device{device("dev", polled, hub.DeviceConfig{})}, sess, deps, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- h.Run(ctx) }()
		online := func() bool { return h.Devices()[0].State == hub.Online }
		var goroutines, descriptors int
		worst := time.Duration(0)
		for i := range 1000 {
			time.Sleep(time.Duration(i%7) * time.Second)
			close(unplugged.load())
			unplugged.store(nil)
			time.Sleep(time.Duration(1+i*i%30_000) * time.Millisecond)
			synctest.Wait()
			if i%3 > 0 && online() && i*i%30_000 > 0 {
				t.Fatalf("cycle %d: online without a device", i)
			}
			unplugged.store(make(chan struct{}))
			began := time.Now()
			for !online() && time.Since(began) < time.Minute {
				time.Sleep(10 * time.Millisecond)
				synctest.Wait()
			}
			worst = max(worst, time.Since(began))
			if i == 0 {
				goroutines, descriptors = bubbleGoroutines(), openFiles(t)
			}
		}
		synctest.Wait()
		if g, d := bubbleGoroutines(), openFiles(t); g > goroutines || d > descriptors {
			t.Errorf("%d goroutines and %d descriptors, %d and %d at first", g, d, goroutines, descriptors)
		}
		t.Logf("1000 cycles, back after %v at worst", worst)
		if worst > 2*time.Second {
			t.Errorf("back after %v", worst)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

// openFiles counts the descriptors of the process.
// bubbleGoroutines counts the goroutines of the synctest bubble. runtime.NumGoroutine
// has the runtime's own among them, at times: those that run finalizers.
func bubbleGoroutines() int {
	stacks := make([]byte, 1<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte(", synctest bubble "))
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
