package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"gantry/wamp"
)

// greet serves a connection up to the end of the handshake and of the login. These
// need a large stack, and a session, which may never do anything, would keep it:
// sessions have goroutines of their own.
func (v *service) greet(conn net.Conn, visitor *visit, refuse bool) {
	limit := v.cfg.HandshakeTimeout
	if refuse {
		limit = min(limit, time.Second)
	}
	raw, due := conn, time.Now().Add(limit)
	err := conn.SetDeadline(due)
	if err == nil && v.tls != nil {
		tc := tls.Server(conn, v.tls)
		err = tc.HandshakeContext(v.ctx)
		conn = tc
	}
	first := getBuffer(smallBuffer)
	if err == nil {
		err = readMore(conn, first)
	}
	var refusal *RawSocketError
	switch {
	case err != nil:
		first.release()
	case refuse:
		visitor.refuse(overLimit, nil)
		err = refuseConn(conn, first)
		first.release()
		v.dismiss(conn)
	case first.b[0] == rawMagic:
		if err = v.startRaw(conn, raw, first, visitor); err == nil {
			return
		}
		if errors.As(err, &refusal) {
			v.dismiss(conn)
		}
	default:
		// Out of the list first: a server that stops meanwhile would close what may
		// have become a session already, without a close frame.
		v.leave(raw)
		if v.upgradeAtOnce(conn, first, visitor) {
			return
		}
		w := &webConn{Conn: conn, held: first, visit: visitor, due: due}
		if err = conn.SetDeadline(time.Time{}); err == nil && v.web.hand(w) {
			return
		}
	}
	if v.ctx.Err() == nil {
		visitor.handshakeFailed(err)
	}
	v.leave(raw)
	visitor.done()
	_ = conn.Close()
}

// readMore reads once into the rest of b.
func readMore(conn net.Conn, b *buffer) error {
	n, err := conn.Read(b.b[len(b.b):cap(b.b)])
	b.b = b.b[:len(b.b)+n]
	if n > 0 {
		return nil
	}
	return err
}

// readAtLeast reads until there are n bytes in b.
func readAtLeast(conn net.Conn, b *buffer, n int) error {
	for len(b.b) < n {
		if err := readMore(conn, b); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// refuseConn tells a connection over the limit, which has begun with first, that
// there are too many.
func refuseConn(conn net.Conn, first *buffer) error {
	tooMany := errors.New("too many connections")
	if first.b[0] == rawMagic {
		if err := readAtLeast(conn, first, rawHello); err != nil {
			return err
		}
		_, err := conn.Write([]byte{rawMagic, RawTooManyConnections << 4, 0, 0})
		return errors.Join(err, tooMany)
	}
	_, err := conn.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"))
	return errors.Join(err, tooMany)
}

// dismiss ends a connection that has been told no and waits until it has been
// read: closing with input unread would reset the connection and destroy what is
// on its way.
func (v *service) dismiss(conn net.Conn) {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || conn.SetReadDeadline(time.Now().Add(min(v.cfg.Linger, time.Second))) != nil {
		return
	}
	// How the reading ends does not matter.
	_, _ = io.CopyN(io.Discard, conn, maxScrap)
}

// maxScrap is how much a refused connection may still send.
const maxScrap = 64 << 10

// startRaw finishes the RawSocket handshake, of which first has arrived, and starts
// the session.
func (v *service) startRaw(conn, raw net.Conn, first *buffer, visitor *visit) error {
	f, maxSend, err := rawAccept(conn, first, v.cfg.Formats, v.cfg.MaxMessage)
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		first.release()
		return err
	}
	p := newRawPeer(conn, f, maxSend, &v.cfg.Options, v.turns)
	p.visit, p.memory, p.welcomed = visitor, v.cfg.Memory, visitor.settle
	if len(first.b) > rawHello {
		p.in, p.pos = first, rawHello
		p.arrived.Store(uint64(len(first.b) - rawHello))
	} else {
		first.release()
	}
	p.begin()
	v.leave(raw) // before there is a session, as in greet
	if !v.enter(p) {
		p.fail(wamp.ErrClosed)
		return wamp.ErrClosed
	}
	v.session(p, visitor)
	return nil
}

// session has p admitted, and starts what serves it in a goroutine with a fresh
// stack.
func (v *service) session(p wamp.Peer, visitor *visit) {
	serve := v.accept(v.ctx, p)
	if serve == nil {
		v.end(p, visitor)
		return
	}
	if v.ctx.Err() != nil {
		_ = p.Close() // it may have come after all others were closed
	}
	go func() {
		serve()
		v.end(p, visitor)
	}()
}

// end closes the peer of a session that is over and takes it out of the list.
func (v *service) end(p wamp.Peer, visitor *visit) {
	_ = p.Close()
	v.leave(p)
	visitor.done()
	v.wg.Done()
}

// webListener hands connections to the HTTP server.
type webListener struct {
	conns chan net.Conn   // unbuffered; nobody closes it
	done  <-chan struct{} // the service ends
	addr  net.Addr
}

func (l *webListener) hand(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.done:
		return false
	}
}

// Accept returns the next connection that speaks HTTP.
func (l *webListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close does nothing: the listener ends with the service.
func (l *webListener) Close() error { return nil }

// Addr returns the address of the true listener.
func (l *webListener) Addr() net.Addr { return l.addr }

// webConn is a connection of the HTTP server, with what has been read of it put
// back.
type webConn struct {
	net.Conn
	held  *buffer // has not been read yet; nil = nothing
	at    int     // where the rest of it begins
	taken bool    // by a WebSocket; the HTTP server does not close it any more
	visit *visit
	due   time.Time   // when the first request should have come
	asked atomic.Bool // it has
}

// Read returns what has been put back, then the rest.
func (c *webConn) Read(b []byte) (int, error) {
	if c.held == nil {
		return c.Conn.Read(b)
	}
	n := copy(b, c.held.b[c.at:])
	if c.at += n; c.at == len(c.held.b) {
		c.held.release()
		c.held = nil
	}
	return n, nil
}

// Close ends the connection, unless it has been taken over.
func (c *webConn) Close() error {
	if !c.asked.Load() && !time.Now().Before(c.due) {
		c.visit.refuse(noHandshake, nil)
	}
	c.visit.done()
	return c.Conn.Close()
}
