package mqttd

import (
	"errors"
	"net"
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
	held, exhausted                                atomic.Uint64
	heldTime                                       atomic.Uint64 // nanoseconds
}

// count books why a connection was cut.
func (n *counters) count(why error) {
	var form *packet.FormError
	var reason *reasonError
	switch {
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
	Open        int    // connections now
	Connections uint64 // ever accepted
	OverLimit   uint64 // closed because there were too many
	HalfOpen    uint64 // closed because too many had not sent CONNECT
	Rejected    uint64 // without a valid CONNECT
	Memory      uint64 // ended because large packets took all memory meant for them
	NotAdmitted uint64 // refused by the router
	TakenOver   uint64 // ended by a newer connection with the same client id
	KeepAlive   uint64 // ended because the client was silent
	Malformed   uint64 // ended because the client broke the protocol
	Slow        uint64 // ended because the client fell behind at QoS 1
	Refused     uint64 // PUBLISHes that the router refused
	Full        uint64 // messages above QoS 0 that a kept session had no room for
	Unstored    uint64 // PUBLISHes refused because the disk failed
	Oversize    uint64 // messages larger than the client takes
	Held        uint64 // times that publishers were made to wait for a client
	HeldTime    time.Duration
	Exhausted   uint64 // times that a client behind above QoS 0 had no holding time left
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	n := &s.stats
	return Stats{
		Open: len(s.slots), Connections: n.connections.Load(), OverLimit: n.overLimit.Load(), HalfOpen: n.halfOpen.Load(), NotAdmitted: n.notAdmitted.Load(), Memory: n.memory.Load(), Rejected: n.rejected.Load(),
		TakenOver: n.takenOver.Load(), KeepAlive: n.keepAlive.Load(), Malformed: n.malformed.Load(), Slow: n.slow.Load(),
		Held: n.held.Load(), HeldTime: time.Duration(n.heldTime.Load()), Exhausted: n.exhausted.Load(),
		Refused: n.refused.Load(), Full: n.full.Load(), Oversize: n.oversize.Load(), Unstored: n.unstored.Load(),
	}
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
