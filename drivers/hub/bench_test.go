package hub_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/internal/lane"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/transport"
)

// sink is a session whose Publish costs nothing.
type sink struct{ *session }

func (sink) Publish(context.Context, wamp.URI, wamp.PublishOptions, wamp.Payload) error { return nil }

// BenchmarkEmit is the way of one reading from the driver's Emit to the end of
// the session's Publish.
func BenchmarkEmit(b *testing.B) {
	b.Run("session=none", func(b *testing.B) { benchmarkEmit(b, sink{newSession()}, hub.PointConfig{}) })
	b.Run("session=none/scaled", func(b *testing.B) { benchmarkEmit(b, sink{newSession()}, hub.PointConfig{Scale: ptr(0.1)}) })
	b.Run("session=none/suppressed", func(b *testing.B) { benchmarkEmit(b, sink{newSession()}, hub.PointConfig{Deadband: 1e12}) })
	b.Run("session=pipe", func(b *testing.B) {
		r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "gantry"}}}, nil)
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		ran, accepted := make(chan error, 1), make(chan struct{})
		go func() { ran <- r.Run(ctx) }()
		c, s := transport.Pipe(transport.PipeConfig{})
		go func() {
			defer close(accepted)
			r.Accept(ctx, s)
		}()
		sess, err := client.Join(ctx, c, client.SessionConfig{Realm: "gantry"})
		if err != nil {
			b.Fatal(err)
		}
		benchmarkEmit(b, sess, hub.PointConfig{})
		_ = sess.Close()
		cancel()
		<-ran
		<-accepted
	})
}

// BenchmarkSetToTheWire is the way of a local set, from the call of an application
// through router and hub to the moment at which the driver has the wire, while 40
// units keep that wire busy all the time with polls of 5 ms, and 200 more points of
// other devices are polled every 50 ms. It reports the wait in milliseconds; that of
// the poll under way, up to 5 ms, is in it.
func BenchmarkSetToTheWire(b *testing.B) {
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "gantry"}}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ran, served := make(chan error, 2), sync.WaitGroup{}
	go func() { ran <- r.Run(ctx) }()
	join := func() *client.Session {
		c, s := transport.Pipe(transport.PipeConfig{})
		served.Go(func() { r.Accept(ctx, s) })
		sess, err := client.Join(ctx, c, client.SessionConfig{Realm: "gantry"})
		if err != nil {
			b.Fatal(err)
		}
		return sess
	}
	var reached cell[time.Time]
	h, err := hub.New(hub.Config{Gateway: "barn", Epoch: 7}, busyDevices(&reached), join(), deps(), nil)
	if err != nil {
		b.Fatal(err)
	}
	go func() { ran <- h.Run(ctx) }()
	app := join()
	var took []time.Duration
	for ready := false; !ready; {
		_, err := app.Call(ctx, "gantry.barn.set.unit39.a", wamp.CallOptions{}, wamp.Args(1.0))
		ready = err == nil
	}
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		if _, err := app.Call(ctx, wamp.URI(fmt.Sprintf("gantry.barn.set.unit%d.a", i%40)), wamp.CallOptions{}, wamp.Args(1.0)); err != nil {
			b.Fatal(err)
		}
		took = append(took, reached.load().Sub(began))
	}
	slices.Sort(took)
	for name, d := range map[string]time.Duration{"p50": took[len(took)/2], "p99": took[len(took)*99/100], "max": took[len(took)-1]} {
		b.ReportMetric(float64(d.Microseconds())/1e3, name+"-ms")
	}
	b.ReportMetric(0, "ns/op")
	cancel()
	for range 2 {
		<-ran
	}
	served.Wait()
}

// busyDevices are 40 units on a wire that is never free and 20 devices beside it.
// reached is when the last write got the wire.
func busyDevices(reached *cell[time.Time]) []hub.Device {
	w := &wire{}
	var devices []hub.Device
	for i := range 40 {
		unit, _ := w.unit(5*time.Millisecond, 0)
		unit.write = func(ctx context.Context, _ string, v drivers.Value) (drivers.Value, error) {
			if err := w.lane.Enter(ctx, lane.Write); err != nil {
				return nil, err
			}
			defer w.lane.Leave()
			reached.store(time.Now())
			return v, nil
		}
		devices = append(devices, device(fmt.Sprintf("unit%d", i), unit, hub.DeviceConfig{Every: ptr(dur(20 * time.Millisecond))}))
	}
	for i := range 20 {
		var points []drivers.Point
		for j := range 10 {
			points = append(points, float(fmt.Sprintf("p%d", j)))
		}
		drv := newScript(points...).polled(func(_ context.Context, ids []string) ([]drivers.Reading, error) {
			var out []drivers.Reading
			for _, id := range ids {
				out = append(out, good(id, float64(time.Now().UnixMicro())))
			}
			return out, nil
		})
		devices = append(devices, device(fmt.Sprintf("beside%d", i), drv, hub.DeviceConfig{Every: ptr(dur(50 * time.Millisecond))}))
	}
	return devices
}

func benchmarkEmit(b *testing.B, sess wamp.Session, cfg hub.PointConfig) {
	drv := newScript(float("a"))
	links := make(chan drivers.Link)
	drv.run = func(ctx context.Context, link drivers.Link) error {
		link.Up()
		links <- link
		<-ctx.Done()
		return nil
	}
	dev := device("dev", drv, hub.DeviceConfig{Point: map[string]hub.PointConfig{"a": cfg}})
	h, err := hub.New(hub.Config{Gateway: "barn", Epoch: 7}, []hub.Device{dev}, sess, deps(), nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ran := make(chan error, 1)
	go func() { ran <- h.Run(ctx) }()
	link := <-links
	var value drivers.Value = 21.5
	b.ReportAllocs()
	for b.Loop() {
		link.Emit(drivers.Reading{Point: "a", Value: value})
	}
	b.StopTimer()
	cancel()
	if err := <-ran; err != nil {
		b.Error(err)
	}
}
