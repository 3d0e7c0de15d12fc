// Package lane lets one request at a time through to something that cannot serve
// two: a device, or the wire that several devices share.
package lane

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Priority says whose turn comes first among those that wait.
type Priority int

// The priorities, most urgent first.
const (
	Write Priority = iota // somebody wants something to happen
	Get                   // somebody waits for a value
	Poll                  // the schedule
	priorities
)

// key is that of the urgency in a context.
type key struct{}

// With returns a context that says how urgent is what is done under it: a request
// may pass several lanes on its way, that of its device and that of the wire.
func With(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, key{}, p)
}

// Of returns how urgent ctx says it is, or def where it says nothing.
func Of(ctx context.Context, def Priority) Priority {
	if p, ok := ctx.Value(key{}).(Priority); ok {
		return p
	}
	return def
}

// maxWaiting bounds the requests of one priority that wait.
const maxWaiting = 64

// ErrBusy says that too many requests wait already.
var ErrBusy = errors.New("device is busy with other requests")

// Lane lets one request at a time through. Among those that wait, the most urgent
// goes first, and the oldest of these. The zero value is free. It is safe for
// concurrent use.
type Lane struct {
	// mu guards the fields below.
	mu      sync.Mutex
	taken   bool
	waiting [priorities][]chan struct{} // closed by Leave: the lane is the waiter's
}

// Enter waits for the lane until ctx ends, then it returns ctx's error. Who gets
// nil calls Leave. It returns ErrBusy at once where 64 of the same priority wait.
func (l *Lane) Enter(ctx context.Context, priority Priority) error {
	l.mu.Lock()
	if !l.taken {
		l.taken = true
		l.mu.Unlock()
		return nil
	}
	if len(l.waiting[priority]) >= maxWaiting {
		l.mu.Unlock()
		return ErrBusy
	}
	turn := make(chan struct{})
	l.waiting[priority] = append(l.waiting[priority], turn)
	l.mu.Unlock()

	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	i := slices.Index(l.waiting[priority], turn)
	if i >= 0 {
		l.waiting[priority] = slices.Delete(l.waiting[priority], i, i+1)
	}
	l.mu.Unlock()
	if i < 0 {
		// The turn came at the same moment: hand it on.
		l.Leave()
	}
	return ctx.Err()
}

// Leave gives the lane to whoever is next.
func (l *Lane) Leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.waiting {
		if q := l.waiting[p]; len(q) > 0 {
			turn := q[0]
			l.waiting[p] = slices.Delete(q, 0, 1)
			close(turn)
			return
		}
	}
	l.taken = false
}
