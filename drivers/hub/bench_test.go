package hub_test

import (
	"context"
	"testing"

	"gantry/drivers"
	"gantry/drivers/hub"
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
