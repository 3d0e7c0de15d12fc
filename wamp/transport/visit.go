package transport

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"gantry/internal/anteroom"
)

// reason is why a Server has refused or ended a connection.
type reason int

const (
	overLimit reason = iota
	notWelcomed
	noHandshake
	badHandshake
	tooLarge
	malformed
	silent
	stuck
	unfinished
	reasons // how many there are
)

// causes are the reasons as counters and log lines name them, with what to do.
var causes = [reasons]struct{ name, text, hint string }{
	overLimit:    {"over_limit", "connection refused: there are too many", "raise limits.connections if they are wanted"},
	notWelcomed:  {"half_open", "connection dropped: too many have not logged in", "something connects and does not join; raise limits.half_open if many join at a time"},
	noHandshake:  {"handshake_timeout", "connection dropped: no handshake in time", "something connects that speaks neither WAMP nor HTTP"},
	badHandshake: {"bad_handshake", "connection refused: bad handshake", "the error says what the client should do"},
	tooLarge:     {"too_large", "connection ended: message over the limit", "raise limits.message_bytes if such messages are wanted"},
	malformed:    {"protocol", "connection ended: it broke the protocol", "update or replace the client"},
	silent:       {"silent", "connection dropped: silent, and no answer to pings", "look at the network, or the client hangs"},
	stuck:        {"stuck", "connection dropped: it takes nothing of what is sent", "look at the network, or the client hangs"},
	unfinished:   {"unfinished", "connection ended: message not complete in time", "look at the network, or send smaller messages"},
}

// Stats are a server's counters since it was made, and its present size.
type Stats struct {
	Open        int    // connections now, plain HTTP included
	HalfOpen    int    // those of them that have not logged in
	Connections uint64 // ever accepted
	// Arriving and Waiting are the bytes of Memory taken for messages that arrive,
	// and for those that wait to be sent, by whomever it is shared with.
	Arriving, Waiting int
	// Refused counts the connections that were refused or ended, by why: over_limit,
	// half_open, handshake_timeout, bad_handshake, too_large, protocol, silent,
	// stuck, unfinished.
	Refused map[string]uint64
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	st := Stats{
		Open: int(s.conns.Load()), HalfOpen: s.anteroom.Len(), Connections: s.accepted.Load(),
		Arriving: s.cfg.Memory.Arriving.Taken(), Waiting: s.cfg.Memory.Waiting.Taken(),
		Refused: make(map[string]uint64, len(causes)),
	}
	for r, c := range causes {
		st.Refused[c.name] = s.refused[r].Load()
	}
	return st
}

// refuse counts and logs why a connection was refused or ended. err may be nil.
func (s *Server) refuse(why reason, remote string, err error) {
	s.refused[why].Add(1)
	c := causes[why]
	args := []any{"remote", remote, "hint", c.hint}
	if err != nil {
		args = append(args, "error", err)
	}
	s.rare.Warn(c.text, args...)
}

func remoteText(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok {
		at := tcp.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String() // as tcp.String, at a third of the cost
	}
	if a == nil || a.String() == "" || a.String() == "@" {
		return "unix"
	}
	return a.String()
}

// visit is one connection of a Server, from its acceptance to its end. The nil
// visit, of a client, does nothing.
type visit struct {
	server *Server
	addr   net.Addr       // of the other side
	guest  anteroom.Guest // of the anteroom until it has logged in
	gone   atomic.Bool    // done has been called
	ended  atomic.Bool    // why it ended has been counted
}

// receive begins the visit of a connection that has been counted. It ends with done.
func (s *Server) receive(conn net.Conn) *visit {
	v := &visit{server: s, addr: conn.RemoteAddr()}
	s.anteroom.Enter(&v.guest, conn.RemoteAddr(), func() {
		v.refuse(notWelcomed, nil)
		v.done()
		_ = conn.Close()
	})
	return v
}

func (v *visit) remote() string { return remoteText(v.addr) }

// refuse counts and logs, once, why the server ends the connection.
func (v *visit) refuse(why reason, err error) {
	if v != nil && !v.ended.Swap(true) {
		v.server.refuse(why, v.remote(), err)
	}
}

// handshakeFailed counts a connection that did not get as far as a message. Those
// who just go are not refused.
func (v *visit) handshakeFailed(err error) {
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
	case errors.Is(err, os.ErrDeadlineExceeded):
		v.refuse(noHandshake, nil)
	default:
		v.refuse(badHandshake, err)
	}
}

// settle notes that the client has logged in.
func (v *visit) settle() {
	if v != nil {
		v.guest.Leave()
	}
}

// done ends the visit. Later calls do nothing.
func (v *visit) done() {
	if v != nil && !v.gone.Swap(true) {
		v.guest.Leave()
		v.server.conns.Add(-1)
	}
}
