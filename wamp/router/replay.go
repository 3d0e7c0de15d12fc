package router

import (
	"errors"
	"slices"
	"time"

	"gantry/wamp"
)

// replay is what a session gets of the last values that a subscription covers.
type replay struct {
	sub  *subscription
	from retainedCursor
}

// replaySlots is how many values are looked at before others get at the broker.
const replaySlots = 1024

// roomPatience is how long a replay waits at most before it tries again: what lacks may be
// memory that other sessions use.
const roomPatience = time.Second

// sendRetained queues the last values that a new subscription covers. The caller holds mu,
// so no live event overtakes them. For a peer that tells of room the values that do not
// fit are sent later; the newer ones among them have come as live events by then.
func (b *broker) sendRetained(s *session, sub *subscription) {
	peer, roomy := s.peer.(wamp.Roomy)
	if !roomy {
		b.retained.each(sub.match, sub.topic, func(topic wamp.URI, v *retainedValue) {
			if receives(s, v.filter) {
				ev := b.lastValue(sub, v)
				b.delivered.Add(b.deliver(s, sub, &ev, &ev, topic))
			}
		})
		return
	}
	s.forgetReplay(sub)
	s.replays = append(s.replays, replay{sub, b.retained.cursor(sub.match, sub.topic)})
	if !s.replaying && b.replay(s) != replayDone {
		s.replaying = true
		s.closers.Go(func() { b.replayLater(s, peer) })
	}
}

// lastValue is a value as an event for those who have subscribed.
func (b *broker) lastValue(sub *subscription, v *retainedValue) wamp.Event {
	ev := wamp.Event{Subscription: sub.id, Publication: v.publication, Details: v.details, Payload: v.payload}
	ev.Details.Retained = true
	if ev.Details.Passthru == nil {
		ev.Payload, _ = b.cfg.Amend(v.topic, ev.Payload)
	}
	if sub.match != wamp.MatchExact {
		ev.Details.Topic = v.topic
	}
	return ev
}

// What has become of an attempt to send the last values.
const (
	replayDone  = iota
	replayOn    // there is more
	replayStuck // there is no room
)

// replay sends some of the last values that a session waits for. mu is held.
func (b *broker) replay(s *session) (state int) {
	if len(s.replays) == 0 {
		return replayDone
	}
	r := &s.replays[0]
	var err error
	b.retained.read(&r.from, replaySlots, func(v *retainedValue) bool {
		if !receives(s, v.filter) {
			return true
		}
		ev := b.lastValue(r.sub, v)
		switch err = s.offer(&ev); {
		case errors.Is(err, wamp.ErrQueueFull), errors.Is(err, wamp.ErrClosed):
			return false
		}
		b.count(s, err)
		return true
	})
	switch {
	case errors.Is(err, wamp.ErrClosed):
		s.replays = nil
	case r.from.end:
		s.replays = slices.Delete(s.replays, 0, 1)
	case errors.Is(err, wamp.ErrQueueFull):
		return replayStuck
	}
	if len(s.replays) == 0 {
		return replayDone
	}
	return replayOn
}

// replayLater sends the last values that a session waits for as there is room.
func (b *broker) replayLater(s *session, peer wamp.Roomy) {
	for {
		room := peer.Room()
		b.mu.Lock()
		state := b.replay(s)
		s.replaying = state != replayDone
		b.mu.Unlock()
		switch state {
		case replayDone:
			return
		case replayStuck:
			late := time.NewTimer(roomPatience)
			select {
			case <-room:
			case <-late.C:
			}
			late.Stop()
		}
	}
}

// forgetReplay takes back what has not been sent of a subscription. broker.mu is held.
func (s *session) forgetReplay(sub *subscription) {
	s.replays = slices.DeleteFunc(s.replays, func(r replay) bool { return r.sub == sub })
}
