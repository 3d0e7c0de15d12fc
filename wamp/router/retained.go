package router

import (
	"sync"
	"time"

	"gantry/wamp"
)

// retained keeps the last value of topics (AP "Event Retention"), bounded by
// number and bytes. It has a lock of its own, taken inside the broker's.
type retained struct {
	maxCount, maxBytes int
	ttl                time.Duration // 0 = for ever

	mu      sync.Mutex
	values  map[wamp.URI]*retainedValue
	bytes   int
	refused uint64 // values not kept because of the bounds
	swept   time.Time
}

// retainedValue is the last publication of a topic. It owns its memory.
type retainedValue struct {
	publication wamp.ID
	details     wamp.EventDetails
	filter      *wamp.PublishFilter
	payload     wamp.Payload
	size        int
	kept        time.Time // since when; its monotonic reading counts
}

func (r *retained) put(topic wamp.URI, id wamp.ID, details wamp.EventDetails, m *wamp.Publish) {
	size := len(topic) + m.Payload.Size() + filterBytes(m.Options.Filter) + 128
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.values[topic]
	oldSize := 0
	if old != nil {
		oldSize = old.size
	}
	full := func() bool {
		return old == nil && len(r.values) >= r.maxCount || r.bytes-oldSize+size > r.maxBytes
	}
	if full() {
		r.expire()
		if old = r.values[topic]; old == nil {
			oldSize = 0
		}
	}
	if full() {
		r.refused++
		// A value that cannot be kept must not leave an older one to be taken for it.
		r.forget(topic)
		return
	}
	if r.values == nil {
		r.values = map[wamp.URI]*retainedValue{}
	}
	ev := wamp.Clone(&wamp.Event{Details: details, Payload: m.Payload}).(*wamp.Event)
	v := &retainedValue{publication: id, details: ev.Details, filter: m.Options.Filter, payload: ev.Payload, size: size, kept: time.Now()}
	if old != nil {
		// Not by assignment to the map, which would put the borrowed topic in the
		// place of the key.
		*old = *v
	} else {
		r.values[ownURI(topic)] = v
	}
	r.bytes += size - oldSize
}

func (r *retained) remove(topic wamp.URI) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(topic)
}

func (r *retained) forget(topic wamp.URI) {
	if v := r.values[topic]; v != nil {
		r.bytes -= v.size
		delete(r.values, topic)
	}
}

// expired reports whether a value has been kept for long enough.
func (r *retained) expired(v *retainedValue) bool { return r.ttl > 0 && time.Since(v.kept) >= r.ttl }

// sweepPause is how long expire does not look again: with all values at every
// publication that finds no room, one publisher would stop all others.
const sweepPause = time.Second

// expire forgets what is expired, unless it has looked just before.
func (r *retained) expire() {
	now := time.Now()
	if r.ttl == 0 || now.Sub(r.swept) < sweepPause {
		return
	}
	r.swept = now
	for topic, v := range r.values {
		if r.expired(v) {
			r.forget(topic)
		}
	}
}

// each calls f for every kept value that the pattern covers.
func (r *retained) each(m wamp.Match, pattern wamp.URI, f func(wamp.URI, *retainedValue)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m == wamp.MatchExact {
		if v := r.values[pattern]; v != nil && !r.expired(v) {
			f(pattern, v)
		}
		return
	}
	r.expire()
	for topic, v := range r.values {
		if pattern.Matches(m, topic) && !r.expired(v) {
			f(topic, v)
		}
	}
}
