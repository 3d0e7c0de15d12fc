package router

import "gantry/wamp"

// traffic is what has gone over a session, or over all of them: messages and bytes.
type traffic struct {
	received, sent           uint64
	receivedBytes, sentBytes uint64
}

func (s *session) traffic() traffic {
	t := traffic{received: s.received.Load(), sent: s.sent.Load()}
	if m, ok := s.peer.(wamp.Metered); ok {
		t.receivedBytes, t.sentBytes = m.Traffic()
	}
	return t
}

func (t *traffic) add(o traffic) {
	t.received += o.received
	t.sent += o.sent
	t.receivedBytes += o.receivedBytes
	t.sentBytes += o.sentBytes
}

// count adds to the sums what a session, which is in the table no more, has sent
// and received since they had it last. mu is held.
func (r *realm) count(s *session) {
	now, old := s.traffic(), traffic{}
	if s.counted != nil {
		old = *s.counted
	}
	r.past.add(traffic{now.received - old.received, now.sent - old.sent, now.receivedBytes - old.receivedBytes, now.sentBytes - old.sentBytes})
	s.counted = &now
}
