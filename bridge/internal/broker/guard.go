package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge/internal/packet"
)

// Why a connection ends.
var (
	errSilent   = errors.New("the broker does not answer a ping")
	errUnwanted = errors.New("packet is not for a broker to send")
	errEOF      = errors.New("the broker has closed the connection")
)

// WriteTimeout is how long the broker may take nothing that is sent to it.
const WriteTimeout = 3 * time.Second

// Guard is the connection as paho sees it. It lets only well-formed packets of a
// bounded size through, bounds every write (paho bounds only some), and says at
// once when the connection is lost: paho tells only when its handlers have
// returned, and a handler waits for just that.
type Guard struct {
	net.Conn
	max  int
	end  context.CancelCauseFunc // told why the connection has ended
	look func(packet.Frame) error

	// Owned by paho's one reader.
	r      *bufio.Reader
	body   []byte // memory for bodies
	packet []byte // memory of rest
	rest   []byte // of the packet that is being handed out

	mu sync.Mutex // one write at a time, with its deadline
}

// NewGuard guards nc. Packets from the broker may have up to maxPacket bytes without
// their fixed header; look is told of each before paho is, and its error ends the
// connection. end is told why the connection has ended.
func NewGuard(nc net.Conn, maxPacket int, look func(packet.Frame) error, end context.CancelCauseFunc) *Guard {
	return &Guard{Conn: nc, max: maxPacket, end: end, look: look, r: bufio.NewReader(nc)}
}

// Read hands out one checked packet after the other.
func (g *Guard) Read(p []byte) (int, error) {
	if len(g.rest) == 0 {
		if err := g.next(); err != nil {
			g.end(err)
			_ = g.Conn.Close()
			return 0, err
		}
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// next reads a packet into rest.
func (g *Guard) next() error {
	first, err := g.r.ReadByte()
	if err != nil {
		return lost(err)
	}
	f, err := packet.Read(g.r, first, g.max, g.body, nil)
	if err != nil {
		return lost(err)
	}
	if err := packet.Check(f); err != nil {
		return err
	}
	switch f.Type() {
	case packets.Connack, packets.Pubrel, packets.Publish, packets.Puback, packets.Pubrec, packets.Pubcomp,
		packets.Suback, packets.Unsuback, packets.Pingresp:
	default:
		return fmt.Errorf("%w: %s", errUnwanted, f.Name())
	}
	if err := g.look(f); err != nil {
		return err
	}
	g.body = f.Body[:0]
	g.packet = packet.AppendFrame(g.packet[:0], f)
	g.rest = g.packet
	if cap(g.body) > keepBuffer {
		g.body, g.packet = nil, nil
	}
	return nil
}

// keepBuffer is the size up to which buffers are kept while nothing comes.
const keepBuffer = 16 << 10

func lost(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errEOF
	}
	return err
}

// Write writes p as a whole within WriteTimeout.
func (g *Guard) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.Conn.SetWriteDeadline(time.Now().Add(WriteTimeout)) // fails on a closed connection only, as the write will
	n, err := g.Conn.Write(p)
	if err != nil {
		g.end(err)
		_ = g.Conn.Close()
	}
	return n, err
}

// Close ends the connection. paho calls it without having seen a fault when a
// ping was not answered, and when the connection has ended in any other way.
func (g *Guard) Close() error {
	g.end(errSilent)
	return g.Conn.Close()
}

// Cut ends the connection at once, whatever paho does.
func (g *Guard) Cut() { _ = g.Conn.Close() }

// SetDeadline sets the deadline for reading; writes have one of their own.
func (g *Guard) SetDeadline(t time.Time) error { return g.SetReadDeadline(t) }

// SetWriteDeadline does nothing: paho takes it back at the wrong time for a
// write in another goroutine.
func (g *Guard) SetWriteDeadline(time.Time) error { return nil }
