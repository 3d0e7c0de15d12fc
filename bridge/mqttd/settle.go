package mqttd

import (
	"context"
	"sync"

	"gantry/internal/ratelog"
)

// settler waits, for many acknowledgements at a time, until what the realm has taken is
// where it is kept.
type settler struct {
	settle func(ctx context.Context) error // nil: nothing keeps events
	rare   *ratelog.Log
	kick   chan struct{} // capacity 1: somebody waits; never closed

	mu      sync.Mutex // guards waiters
	waiters []func()
}

func newSettler(settle func(ctx context.Context) error, rare *ratelog.Log) *settler {
	return &settler{settle: settle, rare: rare, kick: make(chan struct{}, 1)}
}

// needed reports whether there is anything to wait for.
func (s *settler) needed() bool { return s.settle != nil }

// then calls f, later, once everything that the realm has taken by now is kept.
func (s *settler) then(f func()) {
	s.mu.Lock()
	s.waiters = append(s.waiters, f)
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// run settles until ctx ends. Who waits then is not called any more.
func (s *settler) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.kick:
		}
		s.mu.Lock()
		waiters := s.waiters
		s.waiters = nil
		s.mu.Unlock()
		for err := s.settle(ctx); err != nil; err = s.settle(ctx) {
			if ctx.Err() != nil {
				return
			}
			s.rare.Warn("mqtt messages stay unacknowledged, as they cannot be stored", "error", err, "hint", "an outbox cannot be written: is the disk full?")
			if !pause(ctx, retryDisk) {
				return
			}
		}
		for _, f := range waiters {
			f()
		}
	}
}
