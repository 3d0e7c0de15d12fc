// Package backoff spaces out retries: each wait is drawn between a lower bound
// and a ceiling that doubles with every failure, so that many clients that lost
// the same peer at the same moment do not come back at the same moment.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Default bounds, for a Config that leaves them out.
const (
	DefaultMin = 200 * time.Millisecond
	DefaultMax = 5 * time.Second
)

// Config bounds the waits. The zero value stands for the defaults.
type Config struct {
	// Min is the shortest wait. 0 = DefaultMin.
	Min time.Duration
	// Max is the longest wait. 0 = DefaultMax; a Max below Min counts as Min.
	Max time.Duration
}

// Backoff is a sequence of waits. It is not safe for concurrent use.
type Backoff struct {
	min, max, ceiling time.Duration
	random            func() float64
}

// New returns a Backoff at its shortest wait. random returns numbers in [0, 1);
// nil = math/rand/v2.
func New(cfg Config, random func() float64) *Backoff {
	if cfg.Min <= 0 {
		cfg.Min = DefaultMin
	}
	if cfg.Max <= 0 {
		cfg.Max = DefaultMax
	}
	if random == nil {
		random = rand.Float64
	}
	b := &Backoff{min: cfg.Min, max: max(cfg.Min, cfg.Max), random: random}
	b.Reset()
	return b
}

// Next returns the next wait: full jitter between Min and a ceiling that starts
// at twice Min, doubles with each call and ends at Max.
func (b *Backoff) Next() time.Duration {
	d := b.min + time.Duration(b.random()*float64(b.ceiling-b.min))
	if b.ceiling > b.max/2 {
		b.ceiling = b.max
	} else {
		b.ceiling *= 2
	}
	return min(d, b.max)
}

// Reset starts again at the shortest wait: the caller has succeeded.
func (b *Backoff) Reset() {
	if b.min > b.max/2 {
		b.ceiling = b.max
		return
	}
	b.ceiling = 2 * b.min
}

// Wait waits for Next, or returns ctx's error as soon as ctx ends.
func (b *Backoff) Wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := time.NewTimer(b.Next())
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
