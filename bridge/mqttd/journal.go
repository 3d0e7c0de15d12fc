package mqttd

import (
	"context"
	"sync"
	"time"

	"gantry/internal/ratelog"
)

// Change is one change of a Table: Key gets Value; a nil Value removes Key.
type Change struct{ Key, Value []byte }

// Table keeps what must survive a restart.
type Table interface {
	// Each calls fn for every entry, in the order of the keys, until it fails.
	Each(fn func(key, value []byte) error) error
	// Apply makes all the changes, in their order, or none, and returns once they are
	// on disk.
	Apply(ctx context.Context, changes []Change) error
}

// journal brings the changes of all sessions to disk, many at a time, and calls those
// who wait for it.
type journal struct {
	table Table // nil: nothing survives
	rare  *ratelog.Log
	kick  chan struct{} // capacity 1: something is to be written; never closed

	// whole is held for reading between the routing of a message at QoS 2 and its
	// receipt: both are to be on disk, or none.
	whole sync.RWMutex

	mu      sync.Mutex // guards the rest
	changes []Change
	waiters []func() // for changes and those being written
	writing []func() // the waiters of what is being written
	busy    bool
}

func newJournal(t Table, rare *ratelog.Log) *journal {
	return &journal{table: t, rare: rare, kick: make(chan struct{}, 1)}
}

// durable reports whether there is a disk to wait for.
func (j *journal) durable() bool { return j.table != nil }

func (j *journal) add(c Change) {
	if j.table == nil {
		return
	}
	j.mu.Lock()
	j.changes = append(j.changes, c)
	j.mu.Unlock()
	select {
	case j.kick <- struct{}{}:
	default:
	}
}

// then calls f, later, once all that has been added is on disk, and reports true; it
// reports false, and calls nothing, if it is there already.
func (j *journal) then(f func()) bool {
	if j.table == nil {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case len(j.changes) > 0:
		j.waiters = append(j.waiters, f)
	case j.busy:
		j.writing = append(j.writing, f)
	default:
		return false
	}
	return true
}

// run writes until ctx ends, and then what is left.
func (j *journal) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-j.kick:
			j.flush(ctx)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	j.flush(last)
}

const (
	lastFlush = time.Second
	retryDisk = time.Second
)

// flush writes what has been added. While the disk fails, nobody is told that it has
// not: acknowledgements wait.
func (j *journal) flush(ctx context.Context) {
	j.whole.Lock()
	j.mu.Lock()
	changes := j.changes
	j.changes, j.writing, j.waiters = nil, append(j.writing, j.waiters...), nil
	j.busy = len(changes) > 0
	j.mu.Unlock()
	j.whole.Unlock()
	for len(changes) > 0 {
		err := j.table.Apply(ctx, changes)
		if err == nil {
			break
		}
		j.rare.Warn("mqtt sessions cannot be written", "error", err, "hint", "messages at QoS 1 and 2 are not acknowledged until the disk works")
		if !pause(ctx, retryDisk) {
			return
		}
	}
	j.mu.Lock()
	done := j.writing
	j.writing, j.busy = nil, false
	j.mu.Unlock()
	for _, f := range done {
		f()
	}
}
