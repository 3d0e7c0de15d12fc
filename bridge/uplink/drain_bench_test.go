package uplink_test

import (
	"context"
	"testing"
	"time"

	"gantry/bridge/uplink"
	"gantry/wamp"
)

// BenchmarkDrain sends a queue that is there when the far router comes, to a router
// in the same process.
func BenchmarkDrain(b *testing.B) {
	far := newRealm(b, nil)
	defer far.stop()
	open := make(chan struct{})
	dial := func(ctx context.Context) (wamp.Peer, error) {
		select {
		case <-open:
			return far.pipe(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s := newSetup(b, b.TempDir(), uplink.Config{Forward: []string{"point"}, Buffer: uplink.Buffer{MaxBytes: 1 << 30}}, dial)
	defer s.stop()
	s.publish("temp", 1, b.N)
	b.ResetTimer()
	began := time.Now()
	close(open)
	s.acknowledged(uint64(b.N))
	if lost := s.up.Status()["lost"]; lost != uint64(0) {
		b.Errorf("%d events are lost", lost)
	}
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "events/s")
}
