// Package receipts gives acknowledgements once what they stand for is kept, many at a
// time.
package receipts

import (
	"context"
	"sync"
	"time"
)

// retry is the pause after what could not be kept.
const retry = time.Second

// Queue waits, for many acknowledgements at a time, until what has been taken is
// where it is kept. Its methods are safe for concurrent use.
type Queue struct {
	keep   func(ctx context.Context) error
	failed func(error)
	kick   chan struct{} // capacity 1: somebody waits; never closed

	mu      sync.Mutex // guards what follows
	waiters []func()
	taken   int // from waiters, and not all called yet
}

// New returns a queue that Run runs. keep returns once everything that was taken
// before is kept; it is asked again a second after an error, of which failed is told.
func New(keep func(ctx context.Context) error, failed func(error)) *Queue {
	return &Queue{keep: keep, failed: failed, kick: make(chan struct{}, 1)}
}

// Then has f called by Run, which it must not hold up, once everything that has been
// taken by now is kept. Calls come in the order of Then.
func (q *Queue) Then(f func()) {
	q.mu.Lock()
	q.waiters = append(q.waiters, f)
	q.mu.Unlock()
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// Waiting returns how many calls are owed.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiters) + q.taken
}

// Run works until ctx ends; then it returns nil, and who still waits is not called
// any more.
func (q *Queue) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.kick:
		}
		waiters := q.take()
		for err := q.keep(ctx); err != nil; err = q.keep(ctx) {
			if ctx.Err() != nil {
				return nil
			}
			q.failed(err)
			select {
			case <-time.After(retry):
			case <-ctx.Done():
				return nil
			}
		}
		for _, f := range waiters {
			f()
		}
		q.mu.Lock()
		q.taken = 0
		q.mu.Unlock()
	}
}

// take returns those who wait by now.
func (q *Queue) take() []func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiters := q.waiters
	q.waiters, q.taken = nil, len(waiters)
	return waiters
}
