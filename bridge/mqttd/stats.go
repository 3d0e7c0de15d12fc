package mqttd

import (
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"gantry/bridge/internal/packet"
)

// counters are the figures behind Stats.
type counters struct {
	connections, overLimit, halfOpen, rejected     atomic.Uint64
	notAdmitted, memory                            atomic.Uint64
	takenOver, keepAlive, malformed, slow, refused atomic.Uint64
	full, oversize, unstored                       atomic.Uint64
	expired, unmappable, away, abandoned           atomic.Uint64
	filters, repeated, noSession, stalled          atomic.Uint64
	unstoredEnd, sessionsExpired                   atomic.Uint64
	held, exhausted, cut                           atomic.Uint64
	heldTime                                       atomic.Uint64 // nanoseconds
}

// report counts and logs why a connection, or a session without one, has ended.
func (c *client) report(why error) {
	c.srv.stats.count(why)
	switch {
	case errors.Is(why, io.EOF), errors.Is(why, errExpired):
		c.log.Debug("mqtt client gone", "reason", why)
	case errors.Is(why, errSlow):
		c.srv.rare.Warn("mqtt client disconnected", "client", c.session.id, "remote", c.info.Remote, "reason", why, "hint", "raise mqtt.queue_bytes, or subscribe to less")
	default:
		c.srv.rare.Info("mqtt client lost", "client", c.session.id, "remote", c.info.Remote, "reason", why)
	}
}

// count books why a connection, or a session without one, has ended.
func (n *counters) count(why error) {
	var form *packet.FormError
	var reason *reasonError
	switch {
	case errors.Is(why, errExpired):
		n.sessionsExpired.Add(1)
	case errors.Is(why, errUnstored):
		n.unstoredEnd.Add(1)
	case errors.Is(why, os.ErrDeadlineExceeded):
		n.stalled.Add(1)
	case errors.Is(why, errTakenOver):
		n.takenOver.Add(1)
	case errors.Is(why, errKeepAlive):
		n.keepAlive.Add(1)
	case errors.Is(why, errSlow):
		n.slow.Add(1)
	case errors.Is(why, errMemory):
		n.memory.Add(1)
	case errors.As(why, &form), errors.Is(why, packet.ErrTooLarge), errors.Is(why, errConnect),
		errors.Is(why, errUnexpected), errors.As(why, &reason):
		n.malformed.Add(1)
	}
}

// Stats are a server's counters since it was made, and its present size.
type Stats struct {
	Open         int           // connections now
	Sessions     int           // sessions now, without those that are joining
	Away         int           // of those, without a connection
	AwayMessages int           // that wait in them
	AwayBytes    int           // of those messages
	LongestAway  time.Duration // since the first of them was left

	Connections uint64 // ever accepted
	OverLimit   uint64 // closed because there were too many
	HalfOpen    uint64 // closed because too many had not sent CONNECT
	Rejected    uint64 // without a valid CONNECT
	Memory      uint64 // ended because large packets took all memory meant for them
	NotAdmitted uint64 // refused by the router
	NoSession   uint64 // refused because there were too many sessions
	TakenOver   uint64 // ended by a newer connection with the same client id
	KeepAlive   uint64 // ended because the client was silent
	Malformed   uint64 // ended because the client broke the protocol
	Slow        uint64 // ended because the client fell behind above QoS 0
	Stalled     uint64 // ended because the client read nothing
	UnstoredEnd uint64 // ended, in MQTT 3.1.1, because the disk failed

	SessionsExpired uint64 // sessions to which nobody came back
	Filters         uint64 // topic filters that were refused
	Refused         uint64 // PUBLISHes that the router refused
	Repeated        uint64 // PUBLISHes at QoS 2 that had come before
	Unstored        uint64 // PUBLISHes refused because the disk failed
	Full            uint64 // messages above QoS 0 that a kept session had no room for
	Oversize        uint64 // messages larger than the client takes
	Expired         uint64 // messages that expired before they were sent
	Unmappable      uint64 // events that MQTT has no topic or payload for
	Missed          uint64 // messages at QoS 0 while nobody was connected
	Abandoned       uint64 // messages above QoS 0 unacknowledged at the end of their session
	Cut             uint64 // properties that messages went without, as MQTT does not take them

	Held      uint64 // times that publishers were made to wait for a client
	HeldTime  time.Duration
	Exhausted uint64 // times that a client behind above QoS 0 had no holding time left
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	n := &s.stats
	out := Stats{
		Open: len(s.slots), Connections: n.connections.Load(), OverLimit: n.overLimit.Load(), HalfOpen: n.halfOpen.Load(), Rejected: n.rejected.Load(),
		Memory: n.memory.Load(), NotAdmitted: n.notAdmitted.Load(), NoSession: n.noSession.Load(), TakenOver: n.takenOver.Load(),
		KeepAlive: n.keepAlive.Load(), Malformed: n.malformed.Load(), Slow: n.slow.Load(), Stalled: n.stalled.Load(), UnstoredEnd: n.unstoredEnd.Load(),
		SessionsExpired: n.sessionsExpired.Load(), Filters: n.filters.Load(), Refused: n.refused.Load(), Repeated: n.repeated.Load(),
		Unstored: n.unstored.Load(), Full: n.full.Load(), Oversize: n.oversize.Load(), Expired: n.expired.Load(), Unmappable: n.unmappable.Load(),
		Missed: n.away.Load(), Abandoned: n.abandoned.Load(),
		Held: n.held.Load(), HeldTime: time.Duration(n.heldTime.Load()), Exhausted: n.exhausted.Load(),
		Cut: n.cut.Load(),
	}
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.clients))
	s.mu.Unlock()
	out.Sessions = len(all)
	for _, c := range all {
		c.waiting(&out)
	}
	return out
}

// waiting adds a session that has no connection.
func (c *client) waiting(out *Stats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.session
	if c.link != nil || !s.kept {
		return
	}
	out.Away++
	out.AwayMessages += len(s.unacked)
	out.AwayBytes += s.waitSize
	out.LongestAway = max(out.LongestAway, s.clock.Since(s.saved.Gone))
}

// meter is a connection that counts its bytes.
type meter struct {
	net.Conn
	in, out atomic.Uint64
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	m.in.Add(uint64(n))
	return n, err
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.Conn.Write(b)
	m.out.Add(uint64(n))
	return n, err
}
