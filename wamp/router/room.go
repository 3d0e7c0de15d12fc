package router

import (
	"strings"

	"gantry/wamp"
)

// What things take in memory, in bytes and about: realms bound the sum, so that
// many sessions together cannot fill it within the limits of each.
const (
	entrySize     = 640 // a subscription or registration, without its URI
	memberSize    = 240 // a session's part in one
	componentSize = 320 // a component of a wildcard pattern, which none shares with it
	callSize      = 512 // a call in progress
)

// entryBytes is what a subscription or registration takes.
func entryBytes(uri wamp.URI, m wamp.Match) int {
	n := entrySize + len(uri)
	if m == wamp.MatchWildcard {
		n += componentSize * (1 + strings.Count(string(uri), "."))
	}
	return n
}

// filterBytes is what the lists of a publication take.
func filterBytes(f *wamp.PublishFilter) int {
	if f == nil {
		return 0
	}
	n := 256 + 8*(len(f.Exclude)+len(f.Eligible))
	for _, list := range [][]string{f.ExcludeAuthID, f.EligibleAuthID, f.ExcludeAuthRole, f.EligibleAuthRole} {
		for _, text := range list {
			n += 16 + len(text)
		}
	}
	return n
}

// room is the memory that something of a realm takes: its subscriptions, its
// registrations, its calls in progress. The lock of the broker or the dealer guards
// it.
type room struct{ max, used int }

// sessionShare is what each session may take of each room, full or not, so that
// those who take it all keep nobody else from a few subscriptions and calls.
const sessionShare = 16 << 10

// full reports whether a session that has taken so much may not have n more. The
// gateway's own components may at any time.
func (r *room) full(s *session, has, n int) bool {
	return r.used+n > r.max && has+n > sessionShare && !s.internal()
}
