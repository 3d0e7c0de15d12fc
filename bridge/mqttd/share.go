package mqttd

import (
	"slices"
	"sync"

	"gantry/wamp"
)

// shares are the groups of shared subscriptions (4.8.2). Every member has the
// subscription in the realm, whose broker offers an event to all of them one after the
// other; the first that is asked settles who takes it.
type shares struct {
	mu     sync.Mutex // guards groups
	groups map[string]*sharing
}

type sharing struct {
	members []*session
	next    int
	takers  map[wamp.ID]*session
	recent  [recentTakers]wamp.ID // whose takers are known, a ring
	at      int
}

// depart takes a session out of all groups.
func (h *shares) depart(s *session) {
	for _, f := range s.filters {
		h.leave(f, s)
	}
}

// recentTakers is how many events may be on their way to a group at a time: there are
// no more than publishers.
const recentTakers = 1024

func newShares() *shares { return &shares{groups: map[string]*sharing{}} }

// join enters a member. The broker's tables are locked meanwhile, as in leave, so that
// a group has just those members to whom it offers an event.
func (h *shares) join(f *filter, s *session) {
	if f.group == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.groups[f.text]
	if g == nil {
		g = &sharing{takers: map[wamp.ID]*session{}}
		h.groups[f.text] = g
	}
	if !slices.Contains(g.members, s) {
		g.members = append(g.members, s)
	}
}

func (h *shares) leave(f *filter, s *session) {
	if f.group == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.groups[f.text]
	if g == nil {
		return
	}
	g.members = slices.DeleteFunc(g.members, func(m *session) bool { return m == s })
	if len(g.members) == 0 {
		delete(h.groups, f.text)
	}
}

// takes reports whether it is s that gets an event.
func (h *shares) takes(f *filter, s *session, event wamp.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.groups[f.text]
	if g == nil {
		return true // left meanwhile
	}
	if who, settled := g.takers[event]; settled {
		return who == s
	}
	delete(g.takers, g.recent[g.at])
	g.recent[g.at] = event
	g.at = (g.at + 1) % recentTakers
	who := g.pick()
	g.takers[event] = who
	return who == s
}

// pick returns the next member in turn, of those that are connected if there are any.
func (g *sharing) pick() *session {
	for range g.members {
		g.next = (g.next + 1) % len(g.members)
		if m := g.members[g.next]; m.present.Load() {
			return m
		}
	}
	g.next = (g.next + 1) % len(g.members)
	return g.members[g.next]
}
