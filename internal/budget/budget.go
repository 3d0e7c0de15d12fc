// Package budget bounds the memory that the messages of all connections take while
// they are on their way. Whoever serves connections gives each a share without
// asking, so that small messages always get through, and takes from the budget what
// goes beyond.
package budget

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// DefaultBytes is the size of a budget where none is configured.
const DefaultBytes = 64 << 20

// Budget is the memory of one process. It is safe for concurrent use.
type Budget struct {
	Arriving Pool // for messages that are being received
	Waiting  Pool // for messages that wait to be sent
}

// New returns a budget of n bytes, half of it for each direction; 0 = DefaultBytes.
func New(n int) *Budget {
	if n <= 0 {
		n = DefaultBytes
	}
	b := &Budget{}
	b.Arriving.init(n / 2)
	b.Waiting.init(n - n/2)
	return b
}

// Pool is memory that is taken and given back, first come, first served.
type Pool struct {
	size  int64
	free  *semaphore.Weighted
	taken atomic.Int64
}

func (p *Pool) init(n int) {
	p.size, p.free = int64(n), semaphore.NewWeighted(int64(n))
}

// Fit returns what is to be taken for a message of n bytes that arrives: one that
// is larger than the whole pool takes all of it.
func (p *Pool) Fit(n int) int { return int(min(int64(n), p.size)) }

// Try takes n bytes if there are so many and nobody waits for some.
func (p *Pool) Try(n int) bool {
	ok := p.free.TryAcquire(int64(n))
	if ok {
		p.taken.Add(int64(n))
	}
	return ok
}

// Take takes n bytes and waits for them until ctx ends, whose error it returns.
func (p *Pool) Take(ctx context.Context, n int) error {
	err := p.free.Acquire(ctx, int64(n))
	if err == nil {
		p.taken.Add(int64(n))
	}
	return err
}

// Give gives n bytes back.
func (p *Pool) Give(n int) {
	p.taken.Add(-int64(n))
	p.free.Release(int64(n))
}

// Taken returns how many bytes are taken.
func (p *Pool) Taken() int { return int(p.taken.Load()) }

// HalfFree reports whether half of the pool would be free after n more bytes.
func (p *Pool) HalfFree(n int) bool { return p.taken.Load()+int64(n) <= p.size/2 }
