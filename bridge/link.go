package bridge

import (
	"context"
	"sync"
	"time"

	"gantry/wamp"
)

// The states of a link (docs/topics.md, section 3).
const (
	Online   = "online"
	Degraded = "degraded" // reachable, but something it was asked for is refused
	Offline  = "offline"
)

// LinkState is the state of a bridge's connection to the other world.
type LinkState struct {
	State  string    // Online, Degraded or Offline
	Since  time.Time // when the state began, by the clock of the process; a change of reason alone does not move it
	Reason string    // why it is not online
}

// Link holds the state of a bridge's connection and tells a realm about it. It
// is safe for concurrent use.
type Link struct {
	now func() time.Time

	mu      sync.Mutex // guards the rest
	state   LinkState
	changed chan struct{} // closed and replaced when state changes
}

// NewLink returns a link that is offline, "connecting". nil now = time.Now.
func NewLink(now func() time.Time) *Link {
	if now == nil {
		now = time.Now
	}
	return &Link{now: now, state: LinkState{Offline, now(), "connecting"}, changed: make(chan struct{})}
}

// Set notes the state and wakes those who wait for a change. reason is dropped
// for Online.
func (l *Link) Set(state, reason string) {
	if state == Online {
		reason = ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	since := l.state.Since
	if l.state.State != state {
		since = l.now()
	}
	l.state = LinkState{state, since, reason}
	close(l.changed)
	l.changed = make(chan struct{})
}

// State returns the state and a channel that is closed at the next Set.
func (l *Link) State() (LinkState, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state, l.changed
}

// Announce publishes the state on topic in sess, now and after every change, until
// ctx ends; then it returns nil. What could not be published is told to complain,
// and the next change tries again.
func (l *Link) Announce(ctx context.Context, sess wamp.Session, origin *Origin, topic wamp.URI, complain func(error)) error {
	// With IncludeMe an uplink carries its own state up as well.
	opts := wamp.PublishOptions{Retain: true, IncludeMe: true}
	var told LinkState
	for {
		now, changed := l.State()
		if now != told {
			kwargs, ok := origin.Stamp(topic)
			if !ok { // the topics of readings have used the numbers up
				kwargs = wamp.Dict{}
			}
			kwargs["since"] = origin.since(now.Since)
			if now.Reason != "" {
				kwargs["reason"] = now.Reason
			}
			if err := sess.Publish(ctx, topic, opts, wamp.Values(wamp.List{now.State}, kwargs)); err == nil {
				told = now
			} else if ctx.Err() == nil {
				complain(err)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
