package hub

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// The priorities of requests to a device, most urgent first. Beside goes past
// the lane altogether.
const (
	beside    = -1
	prioWrite = iota - 1
	prioGet
	prioPoll
	priorities
)

// maxWaiting bounds the requests of one priority that wait for one device.
const maxWaiting = 64

// errLaneBusy says that the device is occupied: too many requests wait, or one
// has waited for too long.
var errLaneBusy = errors.New("device is busy with other requests")

// lane lets one request at a time through to a device. Among those that wait,
// the most urgent goes first, and the oldest of these.
type lane struct {
	// mu guards the fields below.
	mu      sync.Mutex
	taken   bool
	waiting [priorities][]chan struct{} // closed by leave: the lane is the waiter's
}

// enter waits for the lane until ctx ends.
func (l *lane) enter(ctx context.Context, priority int) error {
	l.mu.Lock()
	if !l.taken {
		l.taken = true
		l.mu.Unlock()
		return nil
	}
	if len(l.waiting[priority]) >= maxWaiting {
		l.mu.Unlock()
		return errLaneBusy
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
		l.leave()
	}
	return ctx.Err()
}

// leave gives the lane to whoever is next.
func (l *lane) leave() {
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
