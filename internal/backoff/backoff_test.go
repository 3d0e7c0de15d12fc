package backoff_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"gantry/internal/backoff"
)

// always returns a source of randomness that is stuck at f.
func always(f float64) func() float64 { return func() float64 { return f } }

func TestCeilingDoublesUntilMax(t *testing.T) {
	t.Parallel()
	almost := math.Nextafter(1, 0)
	b := backoff.New(backoff.Config{Min: 200 * time.Millisecond, Max: 5 * time.Second}, always(almost))
	want := []time.Duration{400, 800, 1600, 3200, 5000, 5000, 5000}
	for i, w := range want {
		got := b.Next()
		if d := got - w*time.Millisecond; d < -time.Microsecond || d > 0 {
			t.Errorf("wait %d = %v, want just under %v", i, got, w*time.Millisecond)
		}
	}
	b.Reset()
	if got := b.Next(); got > 400*time.Millisecond {
		t.Errorf("wait after Reset = %v, want at most 400ms", got)
	}
}

func TestWaitsStayInBounds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		cfg  backoff.Config
		min  time.Duration
		max  time.Duration
	}{
		{"defaults", backoff.Config{}, backoff.DefaultMin, backoff.DefaultMax},
		{"max below min counts as min", backoff.Config{Min: time.Minute, Max: time.Second}, time.Minute, time.Minute},
		{"max less than twice min", backoff.Config{Min: time.Second, Max: 1500 * time.Millisecond}, time.Second, 1500 * time.Millisecond},
		{"the longest duration there is", backoff.Config{Min: time.Hour, Max: math.MaxInt64}, time.Hour, math.MaxInt64},
	}
	for _, tt := range tests {
		for _, f := range []float64{0, 0.5, math.Nextafter(1, 0)} {
			b := backoff.New(tt.cfg, always(f))
			for i := range 200 {
				if d := b.Next(); d < tt.min || d > tt.max {
					t.Fatalf("%s: random %v: wait %d = %v, want %v..%v", tt.name, f, i, d, tt.min, tt.max)
				}
			}
		}
	}
}

func TestWaitTakesTheTimeOfNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := backoff.New(backoff.Config{Min: time.Second, Max: 4 * time.Second}, always(0))
		start := time.Now()
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got != time.Second {
			t.Errorf("waited %v, want 1s", got)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := backoff.New(backoff.Config{Min: time.Hour}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v, want deadline exceeded", err)
		}
		if got := time.Since(start); got != time.Second {
			t.Errorf("waited %v, want 1s", got)
		}
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error with an ended context = %v", err)
		}
	})
}
