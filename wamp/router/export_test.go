package router

import (
	"fmt"

	"gantry/wamp"
)

// Leftovers says what a realm's dealer and broker still hold, "" when nothing.
func (r *Router) Leftovers(name wamp.URI) string {
	realm := r.find(name)
	d, b := realm.dealer, realm.broker
	d.mu.Lock()
	defer d.mu.Unlock()
	b.mu.RLock()
	defer b.mu.RUnlock()
	regs, subs := &d.registrations, &b.subscriptions
	if n := len(d.byID) + len(regs.exact) + len(regs.prefix) + len(regs.lengths) + len(regs.wildcard.children) + regs.patterns; n > 0 {
		return fmt.Sprintf("%d registrations", n)
	}
	if n := len(b.byID) + len(subs.exact) + len(subs.prefix) + len(subs.lengths) + len(subs.wildcard.children) + subs.patterns; n > 0 {
		return fmt.Sprintf("%d subscriptions", n)
	}
	if n := len(realm.definitions.byURI["procedure"]) + realm.definitions.room.used; n > 0 {
		return fmt.Sprintf("%d definitions", n)
	}
	if n := len(realm.sessions); n > 0 {
		return fmt.Sprintf("%d sessions", n)
	}
	if d.invocation.Payload.Empty() && d.result.Payload.Empty() {
		return ""
	}
	return "a message"
}

// InProgress counts the calls of a realm's sessions and checks that both ends know
// the same ones.
func (r *Router) InProgress(name wamp.URI) (int, error) {
	realm := r.find(name)
	realm.mu.Lock()
	defer realm.mu.Unlock()
	d := realm.dealer
	d.mu.Lock()
	defer d.mu.Unlock()
	callers, active := 0, map[*callee]uint32{}
	for _, s := range realm.sessions {
		callers += len(s.calls)
		for id, c := range s.invocations {
			if c.callee.session != s || c.invocation != id || c.caller.calls[c.request] != c {
				return 0, fmt.Errorf("invocation %d of session %d belongs to no call", id, s.id)
			}
			active[c.callee]++
		}
	}
	n := 0
	for c, k := range active {
		n += int(k)
		if c.active != k || c.concurrency != 0 && k > c.concurrency {
			return 0, fmt.Errorf("a callee of session %d has %d calls, counts %d and takes %d", c.session.id, k, c.active, c.concurrency)
		}
	}
	if n != callers {
		return 0, fmt.Errorf("%d calls at callers, %d at callees", callers, n)
	}
	return n, nil
}

// SetLastInvocation makes a session's next INVOCATION follow id.
func (r *Router) SetLastInvocation(name wamp.URI, session, id wamp.ID) {
	realm := r.find(name)
	d := realm.dealer
	d.mu.Lock()
	defer d.mu.Unlock()
	realm.sessions[session].lastInvocation = id
}

// SetRandom replaces what chooses among callees at random.
func (r *Router) SetRandom(name wamp.URI, f func(n int) int) { r.find(name).dealer.random = f }
