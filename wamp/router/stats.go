package router

import (
	"maps"

	"gantry/wamp"
)

// Stats are a realm's counters since start and its present size.
type Stats struct {
	Sessions      int    // joined now
	Joined        uint64 // ever
	Published     uint64 // events routed
	Delivered     uint64 // events queued at subscribers
	Dropped       uint64 // events that a subscriber's queue did not take
	Duplicates    uint64 // publications skipped as sent before (wamp.Once)
	Calls         uint64
	CallsRefused  uint64 // calls that the dealer answered with an error
	Violations    uint64 // sessions ended for breaking the protocol
	Denied        uint64 // requests refused by the authorizer
	Undecided     uint64 // requests refused because the authorizer failed
	Held          uint64 // messages read later for MaxRate
	Paused        uint64 // messages read later because the session had not read its answers
	SlowConsumers uint64 // sessions ended because an answer could not be queued
	Retained      int    // last values kept
	RetainedBytes int
	NotRetained   uint64 // values not kept for the bounds
	Unrecorded    uint64 // events that their history could not take
	// Messages that sessions have sent to the router, and that were queued for them;
	// and the bytes of both on their connections, see wamp.Metered.
	Received, Sent           uint64
	ReceivedBytes, SentBytes uint64
	// Refused counts the requests that the router refused, by reason.
	Refused map[wamp.URI]uint64
}

// LoginsRefused counts those who were not admitted to any realm, by reason.
func (r *Router) LoginsRefused() map[wamp.URI]uint64 { return r.refused.counts() }

// Stats returns the counters of a realm; zero for one that does not exist.
func (r *Router) Stats(name wamp.URI) Stats {
	realm := r.find(name)
	if realm == nil {
		return Stats{}
	}
	return realm.stats()
}

// Total returns the sum over all realms, those included that were made on demand
// and have gone.
func (r *Router) Total() Stats {
	r.realmsMu.RLock()
	defer r.realmsMu.RUnlock()
	sum := r.gone
	sum.Refused = maps.Clone(r.gone.Refused)
	for _, realm := range r.realms {
		sum.add(realm.stats())
	}
	return sum
}

func (r *realm) stats() Stats {
	b, d := r.broker, r.dealer
	st := Stats{
		Joined: r.joined.Load(), Published: b.published.Load(), Delivered: b.delivered.Load(), Dropped: b.dropped.Load(),
		Calls: d.calls.Load(), CallsRefused: d.refused.Load(), Violations: r.violations.Load(), Denied: r.denied.Load(),
		Undecided: r.undecided.Load(), Held: r.held.Load(), Paused: r.paused.Load(), SlowConsumers: r.slow.Load(), Unrecorded: b.unrecorded.Load(),
		Refused: r.refused.counts(),
	}
	r.mu.Lock()
	st.Sessions = len(r.sessions)
	sum := r.past
	for _, s := range r.sessions {
		sum.add(s.traffic())
	}
	r.mu.Unlock()
	st.Received, st.Sent, st.ReceivedBytes, st.SentBytes = sum.received, sum.sent, sum.receivedBytes, sum.sentBytes
	b.marks.mu.Lock()
	st.Duplicates = b.marks.skipped
	b.marks.mu.Unlock()
	b.retained.mu.Lock()
	st.Retained, st.RetainedBytes, st.NotRetained = len(b.retained.values), b.retained.bytes, b.retained.refused
	b.retained.mu.Unlock()
	return st
}

func (s *Stats) add(o Stats) {
	s.Sessions += o.Sessions
	s.Joined += o.Joined
	s.Published += o.Published
	s.Delivered += o.Delivered
	s.Dropped += o.Dropped
	s.Duplicates += o.Duplicates
	s.Calls += o.Calls
	s.CallsRefused += o.CallsRefused
	s.Violations += o.Violations
	s.Denied += o.Denied
	s.Undecided += o.Undecided
	s.Held += o.Held
	s.Paused += o.Paused
	s.SlowConsumers += o.SlowConsumers
	s.Retained += o.Retained
	s.RetainedBytes += o.RetainedBytes
	s.NotRetained += o.NotRetained
	s.Unrecorded += o.Unrecorded
	s.Received += o.Received
	s.Sent += o.Sent
	s.ReceivedBytes += o.ReceivedBytes
	s.SentBytes += o.SentBytes
	if s.Refused == nil {
		s.Refused = map[wamp.URI]uint64{}
	}
	for uri, n := range o.Refused {
		s.Refused[uri] += n
	}
}
