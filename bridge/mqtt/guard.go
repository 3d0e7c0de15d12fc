package mqtt

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge/internal/packet"
)

// Why a connection ends.
var (
	errSilent    = errors.New("the broker does not answer a ping")
	errUnwanted  = errors.New("packet is not for a broker to send")
	errSubscribe = errors.New("SUBACK does not fit the SUBSCRIBE")
	errEOF       = errors.New("the broker has closed the connection")
	errDeaf      = errors.New("the broker answers pings, but does not deliver")
)

// writeTimeout is how long the broker may take nothing that is sent to it.
const writeTimeout = 3 * time.Second

// guard is the connection as paho sees it. It lets only well-formed packets of a
// bounded size through, bounds every write (paho bounds only some), and says at
// once when the connection is lost: paho tells only when its handlers have
// returned, and a handler waits for just that.
type guard struct {
	net.Conn
	max   int
	end   context.CancelCauseFunc // told why the connection has ended
	codes *atomic.Int32           // return codes that the next SUBACK must have
	once  *exactlyOnce            // told what the broker has forgotten

	// Owned by paho's one reader.
	r      *bufio.Reader
	body   []byte // memory for bodies
	packet []byte // memory of rest
	rest   []byte // of the packet that is being handed out

	mu sync.Mutex // one write at a time, with its deadline
}

func newGuard(nc net.Conn, maxPacket int, codes *atomic.Int32, once *exactlyOnce, end context.CancelCauseFunc) *guard {
	return &guard{Conn: nc, max: maxPacket, end: end, codes: codes, once: once, r: bufio.NewReader(nc)}
}

// Read hands out one checked packet after the other.
func (g *guard) Read(p []byte) (int, error) {
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
func (g *guard) next() error {
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
	case packets.Connack:
		if f.Body[0]&1 == 0 { // no session present
			g.once.forget()
		}
	case packets.Pubrel:
		g.once.release(binary.BigEndian.Uint16(f.Body))
	case packets.Publish, packets.Puback, packets.Pubrec, packets.Pubcomp, packets.Unsuback, packets.Pingresp:
	case packets.Suback:
		// paho indexes its filters by the codes that come.
		if len(f.Body)-2 != int(g.codes.Load()) {
			return errSubscribe
		}
	default:
		return fmt.Errorf("%w: %s", errUnwanted, f.Name())
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

// Write writes p as a whole within writeTimeout.
func (g *guard) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails on a closed connection only, as the write will
	n, err := g.Conn.Write(p)
	if err != nil {
		g.end(err)
		_ = g.Conn.Close()
	}
	return n, err
}

// Close ends the connection. paho calls it without having seen a fault when a
// ping was not answered, and when the connection has ended in any other way.
func (g *guard) Close() error {
	g.end(errSilent)
	return g.Conn.Close()
}

// cut ends the connection at once, whatever paho does.
func (g *guard) cut() { _ = g.Conn.Close() }

// SetDeadline sets the deadline for reading; writes have one of their own.
func (g *guard) SetDeadline(t time.Time) error { return g.SetReadDeadline(t) }

// SetWriteDeadline does nothing: paho takes it back at the wrong time for a
// write in another goroutine.
func (g *guard) SetWriteDeadline(time.Time) error { return nil }
