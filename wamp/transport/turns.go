package transport

import (
	"sync"
	"time"
)

// turns lets the goroutines that receive on a Server's connections do the
// writing as well. From the moment a read has returned until the next one, a
// goroutine has its turn: connections that get something to send meanwhile are
// put on a list, and whoever ends a turn first writes for all of them, without
// blocking. A request is thus answered without waking another goroutine, and a
// burst of requests that came with one read leaves with one write per receiver.
//
// Nothing depends on a turn ending soon: a list that has not moved for stuckTurn
// is written by a timer, and the turns of that time no longer count.
type turns struct {
	mu     sync.Mutex // guards what follows
	epoch  uint64     // of the turns that count; begins at 1
	active int        // turns of this epoch
	list   []*link    // connections to write for, none twice
	spare  []*link    // memory for the next list
	moved  uint64     // how often the list has been taken
	seen   uint64     // moved when the timer was set
	armed  bool
	timer  *time.Timer
}

const (
	// stuckTurn is how long a turn may last before others do its writing.
	stuckTurn = 10 * time.Millisecond
	// shareFrom is the number of connections from which the writing is shared
	// with another goroutine.
	shareFrom = 16
)

func newTurns() *turns {
	t := &turns{epoch: 1}
	t.timer = time.AfterFunc(time.Hour, t.expire)
	t.timer.Stop()
	return t
}

// begin starts a turn and returns its epoch.
func (t *turns) begin() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active++
	return t.epoch
}

// end ends the turn of epoch and writes what has gathered.
func (t *turns) end(epoch uint64) {
	t.mu.Lock()
	if epoch == t.epoch {
		t.active--
	}
	t.flush()
}

// add puts l on the list. It returns false if nobody has a turn: the caller
// looks for another writer.
func (t *turns) add(l *link) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.active == 0 {
		return false
	}
	t.list = append(t.list, l)
	if !t.armed {
		t.armed = true
		t.seen = t.moved
		t.timer.Reset(stuckTurn)
	}
	return true
}

// flush writes for all connections on the list. It is called with t.mu held and
// releases it.
func (t *turns) flush() {
	if len(t.list) == 0 {
		t.mu.Unlock()
		return
	}
	list := t.list
	t.list, t.spare = t.spare[:0], nil
	t.moved++
	t.mu.Unlock()
	if len(list) < shareFrom {
		flushAll(list)
	} else {
		var help sync.WaitGroup
		help.Go(func() { flushAll(list[len(list)/2:]) })
		flushAll(list[:len(list)/2])
		help.Wait()
	}
	clear(list)
	t.mu.Lock()
	if t.spare == nil {
		t.spare = list
	}
	t.mu.Unlock()
}

func flushAll(list []*link) {
	for _, l := range list {
		l.drain()
	}
}

// expire writes for a turn that does not end.
func (t *turns) expire() {
	t.mu.Lock()
	switch {
	case len(t.list) == 0:
		t.armed = false
	case t.moved != t.seen:
		t.seen = t.moved
		t.timer.Reset(stuckTurn)
	default:
		t.armed = false
		t.epoch++
		t.active = 0
		t.flush()
		return
	}
	t.mu.Unlock()
}

// hurry writes at once what waits for the end of a turn.
func (t *turns) hurry() {
	t.mu.Lock()
	t.flush()
}
