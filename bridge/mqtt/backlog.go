package mqtt

import (
	"sync/atomic"
	"time"
)

const (
	// A broker that has kept the session sends at once what it has queued. That is over
	// when nothing has come for backlogPause, not before backlogLeast, and after
	// backlogMost at the latest.
	backlogLeast = 5 * time.Second
	backlogMost  = time.Minute
	backlogPause = time.Second
)

// backlog is what a broker has kept while the client was away. MQTT 3.1.1 does not
// tell which messages those are.
type backlog struct {
	since atomic.Int64 // when the broker said that it has kept the session, in nanoseconds since 1970; 0 = it has not
	over  bool         // owned by paho's goroutine
}

// queued reports whether a message that comes now may have been kept.
func (x *connection) queued(now time.Time) bool {
	return x.backlog.holds(time.Unix(0, x.heard.Load()), now)
}

// holds reports whether a message that comes now, the last one before having been dealt
// with at heard, may have been kept.
func (b *backlog) holds(heard, now time.Time) bool {
	since := b.since.Load()
	if since == 0 || b.over {
		return false
	}
	began := time.Unix(0, since)
	if heard.Before(began) {
		heard = began
	}
	age := now.Sub(began)
	b.over = age >= backlogMost || age >= backlogLeast && now.Sub(heard) >= backlogPause
	return !b.over
}
