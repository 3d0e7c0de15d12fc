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
	waiters []waiter // for changes and those being written
	writing []waiter // the waiters of what is being written
	busy    bool
	failing bool   // the disk has refused the same for some time
	added   uint64 // values ever added
}

// waiter is called once what it waits for is on disk. One that has no patience is told
// instead when the disk fails.
type waiter struct{ done, failed func() }

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
	if c.Value != nil {
		j.added++
	}
	j.mu.Unlock()
	select {
	case j.kick <- struct{}{}:
	default:
	}
}

// crowdedFrom is how many changes may wait for the disk before last values do.
const crowdedFrom = 4096

// crowded reports whether so much waits for the disk that what can come later should.
func (j *journal) crowded() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.changes) >= crowdedFrom
}

// mark returns how many values have been added.
func (j *journal) mark() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.added
}

// then calls w.done, later, once all that has been added is on disk, and reports true; it
// reports false, and calls nothing, if it is there already. While the disk fails, whoever
// has w.failed waits for nothing if no value has been added since the mark, and is told
// that it failed, a little later, if one has.
func (j *journal) then(w waiter, mark uint64) bool {
	if j.table == nil {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.failing && w.failed != nil && j.added == mark:
		return false
	case len(j.changes) > 0:
		j.waiters = append(j.waiters, w)
	case j.busy:
		j.writing = append(j.writing, w)
	default:
		return false
	}
	return true
}

// run writes until ctx ends, and then what is left. What is being written then gets
// lastFlush to get there.
func (j *journal) run(ctx context.Context) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var ending sync.WaitGroup
	defer ending.Wait()
	defer cancel()
	ending.Go(func() {
		<-ctx.Done()
		pause(late, lastFlush)
		cancel()
	})
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-j.kick:
			j.flush(late)
		}
	}
	j.flush(late)
}

const (
	lastFlush = time.Second
	retryDisk = time.Second
	diskTries = 3 // failed ones, until publishers are refused
)

// flush writes what has been added. What the disk refuses is tried again together with
// what is added meanwhile: removals make room for it.
func (j *journal) flush(ctx context.Context) {
	changes := j.cut(nil)
	for tries := 1; len(changes) > 0; tries++ {
		err := j.table.Apply(ctx, changes)
		if err == nil {
			break
		}
		j.rare.Warn("mqtt sessions cannot be written", "error", err, "hint", "messages at QoS 1 and 2 are refused where a kept session waits for them, until the disk works or clients fetch theirs")
		if tries >= diskTries {
			j.refuse()
		}
		if !pause(ctx, retryDisk) {
			return
		}
		changes = j.cut(changes)
	}
	j.mu.Lock()
	done := j.writing
	j.writing, j.busy, j.failing = nil, false, false
	j.mu.Unlock()
	for _, w := range done {
		w.done()
	}
}

// cut takes what has been added behind rest, and of each key the last change.
func (j *journal) cut(rest []Change) []Change {
	j.whole.Lock()
	j.mu.Lock()
	changes := append(rest, j.changes...)
	j.changes, j.writing, j.waiters = nil, append(j.writing, j.waiters...), nil
	j.busy = len(changes) > 0
	j.mu.Unlock()
	j.whole.Unlock()
	if rest == nil {
		return changes
	}
	last := map[string]int{}
	for i, c := range changes {
		last[string(c.Key)] = i
	}
	kept := changes[:0]
	for i, c := range changes {
		if last[string(c.Key)] == i {
			kept = append(kept, c)
		}
	}
	clear(changes[len(kept):])
	return kept
}

// refuse tells those without patience that the disk fails.
func (j *journal) refuse() {
	j.mu.Lock()
	j.failing = true
	var told, rest []waiter
	for _, w := range append(j.writing, j.waiters...) {
		if w.failed != nil {
			told = append(told, w)
		} else {
			rest = append(rest, w)
		}
	}
	j.writing, j.waiters = rest, nil
	j.mu.Unlock()
	for _, w := range told {
		w.failed()
	}
}
