package uplink

import (
	"slices"
	"sync"
	"time"

	"gantry/wamp"
)

// Sample thins out the topics that it matches: the table
// [[uplink.NAME.sample]].
type Sample struct {
	// Topic is a pattern as in include. Required.
	Topic string `toml:"topic"`
	// Every is the least time between two events of one topic; those between are
	// left out. 1 ms to 24 h. Required.
	Every time.Duration `toml:"every"`
}

// sampledTopics bounds the topics whose last event is remembered; beyond, all pass.
const sampledTopics = 16384

// filter decides which events go into the queue.
type filter struct {
	include, exclude []wamp.URI // patterns; no include = all
	samples          []sample

	mu   sync.Mutex // guards last
	last map[wamp.URI]time.Time
}

type sample struct {
	pattern wamp.URI
	every   time.Duration
}

// newFilter makes the filter of cfg, whose patterns lack prefix,
// "gantry.<gateway>.".
func newFilter(cfg Config, prefix wamp.URI) *filter {
	f := &filter{last: map[wamp.URI]time.Time{}}
	for _, p := range cfg.Include {
		f.include = append(f.include, prefix+wamp.URI(p))
	}
	for _, p := range cfg.Exclude {
		f.exclude = append(f.exclude, prefix+wamp.URI(p))
	}
	for _, s := range cfg.Sample {
		f.samples = append(f.samples, sample{prefix + wamp.URI(s.Topic), s.Every})
	}
	return f
}

// passes reports whether an event on topic goes up now.
func (f *filter) passes(topic wamp.URI) bool {
	if !f.wanted(topic) {
		return false
	}
	i := slices.IndexFunc(f.samples, func(s sample) bool { return s.pattern.Matches(wamp.MatchWildcard, topic) })
	return i < 0 || f.due(topic, f.samples[i].every)
}

// wanted reports whether include and exclude let a topic through.
func (f *filter) wanted(topic wamp.URI) bool {
	matches := func(p wamp.URI) bool { return p.Matches(wamp.MatchWildcard, topic) }
	return (len(f.include) == 0 || slices.ContainsFunc(f.include, matches)) && !slices.ContainsFunc(f.exclude, matches)
}

func (f *filter) due(topic wamp.URI, every time.Duration) bool {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	last, known := f.last[topic]
	switch {
	case known && now.Sub(last) < every:
		return false
	case known || len(f.last) < sampledTopics:
		f.last[topic] = now
	}
	return true
}
