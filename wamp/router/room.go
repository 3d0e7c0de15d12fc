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
// registrations, its calls in progress, its testaments, its descriptions. share is
// what each session may take of it even when it is full. The lock of those that it
// counts guards it.
type room struct{ max, share, used int }

func (r *RealmConfig) room(bytes int) room { return room{max: bytes, share: r.SessionBytes} }

// full reports whether a session that has taken so much may not have n more. The
// gateway's own components may at any time.
func (r *room) full(s *session, has, n int) bool {
	return n > 0 && r.used+n > r.max && has+n > r.share && !s.internal()
}
