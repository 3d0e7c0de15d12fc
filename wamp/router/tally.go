package router

import (
	"maps"
	"sync"

	"gantry/wamp"
)

// tally counts refusals by their URI. The URIs are the router's own, so they are
// few.
type tally struct {
	mu sync.Mutex
	n  map[wamp.URI]uint64
}

func (t *tally) add(uri wamp.URI) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[wamp.URI]uint64{}
	}
	t.n[uri]++
}

func (t *tally) counts() map[wamp.URI]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.n)
}
