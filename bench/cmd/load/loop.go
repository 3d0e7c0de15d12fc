package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// loop drives all connections from one thread: it costs one system call to wait,
// one to read and one to write, however many messages these carry.
type loop struct {
	ctx    context.Context
	ep     int
	conns  map[int32]*conn
	dirty  []*conn
	buf    []byte
	events []unix.EpollEvent
	now    time.Time // when the last read returned
	after  func()    // called after each round of reading; may be nil
	inflater
	err error // what went wrong in a connection
}

func newLoop(ctx context.Context) (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &loop{
		ctx: ctx, ep: ep, conns: map[int32]*conn{}, buf: make([]byte, 256<<10),
		events: make([]unix.EpollEvent, 256), now: time.Now(),
	}, nil
}

// close ends all connections.
func (l *loop) close() {
	for _, c := range l.conns {
		c.close()
	}
	_ = unix.Close(l.ep)
}

// run works until stop says so, and fails after limit.
func (l *loop) run(limit time.Duration, what string, stop func() bool) error {
	end := time.Now().Add(limit)
	for {
		switch {
		case l.err != nil:
			return l.err
		case l.ctx.Err() != nil:
			return l.ctx.Err()
		case stop():
			return nil
		case l.now.After(end):
			return fmt.Errorf("%s: not done after %s", what, limit)
		}
		if err := l.step(); err != nil {
			return err
		}
	}
}

// step is one round: reads, what follows from them, writes.
func (l *loop) step() error {
	l.flush()
	n, err := unix.EpollWait(l.ep, l.events, 20)
	if err != nil && err != unix.EINTR {
		return err
	}
	for _, e := range l.events[:max(n, 0)] {
		c := l.conns[e.Fd]
		if c == nil {
			continue
		}
		if e.Events&unix.EPOLLOUT != 0 {
			c.flush()
		}
		if e.Events&^unix.EPOLLOUT != 0 {
			c.read()
		}
	}
	if n <= 0 {
		l.now = time.Now()
	}
	if l.after != nil {
		l.after()
	}
	l.flush()
	return nil
}

func (l *loop) flush() {
	for i := 0; i < len(l.dirty); i++ {
		l.dirty[i].dirty = false
		l.dirty[i].flush()
	}
	l.dirty = l.dirty[:0]
}

// link is a transport with a serializer.
type link struct {
	name    string
	raw     bool
	tls     bool
	deflate bool
	format  format
}

// variant says how a router has to be started for the link; "" = as usual.
func (k *link) variant() string {
	switch {
	case k.tls:
		return "tls"
	case k.deflate:
		return "deflate"
	}
	return ""
}

// conn is one connection.
type conn struct {
	*link
	l       *loop
	fd      int
	out     []byte // not written yet
	rest    []byte // of a frame that is not complete
	greeted bool   // the handshake is over
	dirty   bool
	full    bool // waits for EPOLLOUT
	closed  bool
	lastID  uint64 // of requests

	hello   func()                          // called after the handshake
	message func(kind, id uint64, b []byte) // called with each message
}

// dial opens a connection; the handshake follows in the loop.
func (l *loop) dial(k *link, port, rcvbuf int) (*conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if rcvbuf > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		err = unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("connect to port %d: %w", port, err)
	}
	c := &conn{link: k, l: l, fd: fd}
	l.conns[int32(fd)] = c
	if k.raw {
		c.out = append(c.out, 0x7F, 0xF0|byte(k.format), 0, 0)
	} else {
		name := map[format]string{formatJSON: "json", formatMsgPack: "msgpack", formatCBOR: "cbor"}[k.format]
		c.out = fmt.Appendf(c.out, "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: wamp.2.%s\r\n", port, name)
		if k.deflate {
			c.out = append(c.out, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"...)
		}
		c.out = append(c.out, "\r\n"...)
	}
	c.touch()
	return c, nil
}

func (c *conn) close() {
	if c.closed {
		return
	}
	c.closed = true
	delete(c.l.conns, int32(c.fd))
	_ = unix.Close(c.fd)
}

// stop has the connection not read any more.
func (c *conn) stop() error {
	return unix.EpollCtl(c.l.ep, unix.EPOLL_CTL_DEL, c.fd, nil)
}

func (c *conn) fail(err error) {
	if c.l.err == nil {
		c.l.err = err
	}
}

func (c *conn) touch() {
	if !c.dirty && !c.full {
		c.dirty = true
		c.l.dirty = append(c.l.dirty, c)
	}
}

// flush writes what waits.
func (c *conn) flush() {
	if c.closed {
		return
	}
	b := c.out
	for len(b) > 0 {
		n, err := unix.Write(c.fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil && err != unix.EAGAIN {
			c.fail(fmt.Errorf("write: %w", err))
			return
		}
		if err != nil {
			break
		}
		b = b[n:]
	}
	c.out = c.out[:copy(c.out, b)]
	if full := len(c.out) > 0; full != c.full {
		c.full = full
		e := &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.fd)}
		if full {
			e.Events |= unix.EPOLLOUT
		}
		_ = unix.EpollCtl(c.l.ep, unix.EPOLL_CTL_MOD, c.fd, e)
	}
}

// read reads once and handles what has come.
func (c *conn) read() {
	n, err := unix.Read(c.fd, c.l.buf)
	c.l.now = time.Now()
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err != nil:
		c.fail(fmt.Errorf("read: %w", err))
		return
	case n == 0:
		c.fail(errors.New("the router has closed a connection"))
		return
	}
	b := c.l.buf[:n]
	if len(c.rest) > 0 {
		c.rest = append(c.rest, b...)
		b = c.rest
	}
	left := c.take(b)
	c.rest = append(c.rest[:0], left...)
	if len(c.rest) == 0 && cap(c.rest) > 64<<10 {
		c.rest = nil
	}
}

// take handles the whole frames in b and returns what is left.
func (c *conn) take(b []byte) []byte {
	for !c.closed && c.l.err == nil {
		if !c.greeted {
			n := c.greet(b)
			if n == 0 {
				return b
			}
			b = b[n:]
			c.greeted = true
			c.hello()
			continue
		}
		kind, at, size := c.frame(b)
		if size == 0 || size > len(b) {
			return b
		}
		body := b[at:size]
		deflated := !c.raw && b[0]&0x40 != 0
		b = b[size:]
		if deflated {
			var err error
			if body, err = c.l.inflate(body); err != nil {
				c.fail(fmt.Errorf("inflate: %w", err))
				return b
			}
		}
		switch kind {
		case frameMessage:
			m, id := head(c.format, body)
			if m == 3 || m == 6 || m == 8 {
				c.fail(fmt.Errorf("the router says %q", body[:min(len(body), 300)]))
				return b
			}
			c.message(m, id, body)
		case framePing:
			c.control(framePong, body)
		case frameClose:
			c.fail(fmt.Errorf("the router closes with %q", body))
		case framePong:
		default:
			c.fail(errors.New("a frame of an unexpected kind"))
		}
	}
	return b
}

// greet returns the length of the answer to the handshake, 0 while incomplete.
func (c *conn) greet(b []byte) int {
	if c.raw {
		if len(b) < 4 {
			return 0
		}
		if b[0] != 0x7F || b[1]&0x0F != byte(c.format) {
			c.fail(fmt.Errorf("rawsocket handshake answered with % x", b[:4]))
		}
		return 4
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")) {
		c.fail(fmt.Errorf("websocket handshake answered with %q", b[:min(end, 100)]))
	}
	return end + 4
}

// The kinds of frames that matter here.
const (
	frameMessage = iota
	framePing
	framePong
	frameClose
	frameOther
)

// frame returns where the payload of the first frame begins and ends; size is 0
// while that cannot be told.
func (c *conn) frame(b []byte) (kind, at, size int) {
	if c.raw {
		if len(b) < 4 {
			return 0, 0, 0
		}
		n := int(binary.BigEndian.Uint32(b) & 0xFFFFFF)
		if b[0]&0x08 != 0 {
			n |= 1 << 24
		}
		return int(b[0] & 7), 4, 4 + n
	}
	if len(b) < 2 {
		return 0, 0, 0
	}
	at, n := 2, int(b[1]&0x7F)
	switch n {
	case 126:
		if at = 4; len(b) < at {
			return 0, 0, 0
		}
		n = int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if at = 10; len(b) < at {
			return 0, 0, 0
		}
		n = int(binary.BigEndian.Uint64(b[2:]))
	}
	kind = frameOther
	switch b[0] {
	case 0x81, 0x82, 0xC1, 0xC2:
		kind = frameMessage
	case 0x88:
		kind = frameClose
	case 0x89:
		kind = framePing
	case 0x8A:
		kind = framePong
	}
	return kind, at, at + n
}

// header appends the header of a frame with n bytes. WebSocket frames are masked,
// with a key of zeros: the router has the same work and the payload can be copied.
func (c *conn) header(kind, n int) {
	if c.raw {
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(kind)<<24|uint32(n)) // 2^24-1 at most
		return
	}
	op := byte(0x82)
	switch {
	case kind == framePong:
		op = 0x8A
	case c.format == formatJSON:
		op = 0x81
	}
	switch {
	case n < 126:
		c.out = append(c.out, op, 0x80|byte(n))
	case n < 1<<16:
		c.out = binary.BigEndian.AppendUint16(append(c.out, op, 0x80|126), uint16(n))
	default:
		c.out = binary.BigEndian.AppendUint64(append(c.out, op, 0x80|127), uint64(n))
	}
	c.out = append(c.out, 0, 0, 0, 0)
}

func (c *conn) control(kind int, body []byte) {
	c.header(kind, len(body))
	c.out = append(c.out, body...)
	c.touch()
}

// send queues a message.
func (c *conn) send(t *template, id, mark uint64) {
	var space [24]byte
	n := appendInt(space[:0], c.format, id)
	c.header(frameMessage, len(t.before)+len(n)+len(t.after))
	c.out = append(c.out, t.before...)
	c.out = append(c.out, n...)
	c.out = append(c.out, t.after...)
	if t.mark > 0 {
		putHex(c.out[len(c.out)-t.mark:], mark)
	}
	c.touch()
}

// request sends a message with the next request ID.
func (c *conn) request(t *template, mark uint64) (id uint64) {
	c.lastID++
	c.send(t, c.lastID, mark)
	return c.lastID
}

// whole queues a message that is sent once.
func (c *conn) whole(b []byte) {
	c.header(frameMessage, len(b))
	c.out = append(c.out, b...)
	c.touch()
}
