package router

import (
	"context"
	"slices"
	"time"

	"gantry/wamp"
)

// What follows is why the next message of a session is read later than it could be:
// a lossless receiver is over its mark, the session sends too many messages, or it
// does not read the answers to those that it has sent.

// hold notes a lossless receiver: if it is over its mark, the session's next
// message is not read before it has recovered.
func (s *session) hold(g wamp.Congestible) {
	if !slices.Contains(s.held, g) {
		s.held = append(s.held, g)
	}
}

func (s *session) waitForHeld(ctx context.Context, done <-chan struct{}) {
	for _, g := range s.held {
		if ch := g.Congested(); ch != nil {
			select {
			case <-ch:
			case <-ctx.Done(): // whoever handed the peer over wants it back
			case <-done:
			}
		}
	}
	clear(s.held)
	s.held = s.held[:0]
}

// slowDown waits before the next message is read.
func (s *session) slowDown(ctx context.Context, wait time.Duration, done <-chan struct{}) {
	if wait <= 0 {
		return
	}
	s.realm.held.Add(1)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-done:
	}
}

// readerPatience is how long the router waits for a session that reads nothing at
// all before it handles one more of its messages. A client with one thread may read
// on only when what it is writing has been taken from it; so no two can wait for each
// other for long. Whoever does not read is ended by the transport's write timeout.
const readerPatience = time.Second

// waitForReader waits until the session has read most of its answers: few is closed
// then. Nothing else of the realm waits.
func (s *session) waitForReader(ctx context.Context, few, done <-chan struct{}) {
	s.realm.paused.Add(1)
	timer := time.NewTimer(readerPatience)
	defer timer.Stop()
	for had := s.traffic().sentBytes; ; {
		select {
		case <-few:
			return
		case <-ctx.Done():
			return
		case <-done:
			return
		case <-timer.C:
		}
		now := s.traffic().sentBytes
		if now == had {
			return
		}
		had = now
		timer.Reset(readerPatience)
	}
}
