package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// raider is an attacker's connection: RawSocket with JSON. It sends what it is
// told, right or wrong.
type raider struct {
	net.Conn
	r       *bufio.Reader
	web     bool // WebSocket in place of RawSocket
	hurried bool // has a deadline of its own for what it writes
	t       *testing.T
}

// knock opens a connection and says nothing. It ends with the attack.
func (s *siege) knock(addr string) net.Conn {
	s.t.Helper()
	c, err := dialPatiently(s.t.Context(), addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.open = append(s.open, c)
	_ = c.SetDeadline(time.Now().Add(patience)) // so that no attack hangs the test
	return c
}

// crowd opens connections that begin with what text says, n of them and once more so
// many until a metric tells that the program makes room: a busy machine may be so slow that
// the first ones have been given up when the last ones come.
func (s *siege) crowd(n int, addr, count string, text func(i int) string) {
	s.t.Helper()
	before := s.metric(count)
	for late := time.Now().Add(patience); ; {
		for i := range n {
			_, _ = io.WriteString(s.knock(addr), text(i))
		}
		if s.metric(count) > before || time.Now().After(late) {
			return
		}
	}
}

// again tries what the program may have hung up on for being slow: the limits are short
// here, and this machine may be busy.
func (s *siege) again(try func() error) {
	s.t.Helper()
	late := time.Now().Add(patience)
	for err := try(); err != nil; err = try() {
		if time.Now().After(late) {
			s.t.Fatal(err)
		}
	}
}

// dialPatiently tries again when this machine has run out of ports or places.
func dialPatiently(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: patience}
	for late := time.Now().Add(patience); ; {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil || time.Now().After(late) || !errors.Is(err, syscall.EADDRNOTAVAIL) && !errors.Is(err, syscall.ECONNRESET) {
			return c, err
		}
	}
}

// greeted opens a connection and says how it begins.
func (s *siege) greeted(text string) *raider {
	s.t.Helper()
	r := &raider{Conn: s.knock(s.host), t: s.t}
	r.r = bufio.NewReaderSize(r.Conn, 16<<10)
	_, _ = io.WriteString(r, text) // how it ends is seen by the one who reads
	return r
}

// raid opens a RawSocket connection.
func (s *siege) raid() (r *raider) {
	s.t.Helper()
	s.again(func() error {
		r = s.greeted("\x7f\xf1\x00\x00")
		var b [4]byte
		if _, err := io.ReadFull(r.r, b[:]); err != nil || b[1]&0x0f != 1 {
			return fmt.Errorf("RawSocket handshake: % x, %v", b, err)
		}
		return nil
	})
	return r
}

const raidHello = `[1,"gantry",{"roles":{"publisher":{},"subscriber":{},"caller":{"features":{"progressive_call_results":true}},"callee":{}}}]`

// infiltrate joins.
func (s *siege) infiltrate() (r *raider) {
	s.t.Helper()
	s.again(func() error {
		r = s.raid()
		r.send(raidHello)
		if m := r.recv(); len(m) == 0 || m[0] != 2.0 {
			return fmt.Errorf("no WELCOME: %.200v", m)
		}
		return nil
	})
	return r
}

// SetWriteDeadline bounds all that is written from now on.
func (r *raider) SetWriteDeadline(at time.Time) error {
	r.hurried = true
	return r.Conn.SetWriteDeadline(at)
}

// Write has patience each time it is called, without a deadline of the attack's own.
func (r *raider) Write(b []byte) (int, error) {
	if !r.hurried {
		_ = r.Conn.SetWriteDeadline(time.Now().Add(patience))
	}
	return r.Conn.Write(b)
}

// frames returns messages as they are on the wire.
func frames(messages ...string) []byte {
	var b []byte
	for _, m := range messages {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(m))), m...)
	}
	return b
}

// send sends messages. A connection that is gone is no fault: that is how the
// program may defend itself.
func (r *raider) send(messages ...string) { _, _ = r.Write(frames(messages...)) }

// each sends the messages that of returns for 0 to n-1, many in one call.
func (r *raider) each(n int, of func(i int) string) {
	w := bufio.NewWriterSize(r, 64<<10)
	for i := range n {
		if _, err := w.Write(frames(of(i))); err != nil {
			return
		}
	}
	_ = w.Flush()
}

// next returns the next message as it came, nil when the connection has ended.
func (r *raider) next() []byte {
	for {
		_ = r.SetReadDeadline(time.Now().Add(patience))
		var h [4]byte
		if _, err := io.ReadFull(r.r, h[:]); err != nil {
			return nil
		}
		n := int(h[1])<<16 | int(h[2])<<8 | int(h[3])
		b := make([]byte, n)
		if _, err := io.ReadFull(r.r, b); err != nil {
			return nil
		}
		switch h[0] {
		case 0:
			return b
		case 1: // a ping
			h[0] = 2
			_, _ = r.Write(append(h[:], b...))
		}
	}
}

// recv returns the next message, nil when the connection has ended.
func (r *raider) recv() []any {
	b := r.next()
	if b == nil {
		return nil
	}
	var m []any
	if err := json.Unmarshal(b, &m); err != nil {
		r.t.Fatalf("%.100q: %v", b, err)
	}
	return m
}

// count reads n messages and counts those that contain a text.
func (r *raider) count(counts map[string]int, n int, texts ...string) {
	r.t.Helper()
	for i := range n {
		b := r.next()
		if b == nil {
			r.t.Fatalf("the connection ended after %d of %d answers, %v", i, n, counts)
		}
		for _, text := range texts {
			if bytes.Contains(b, []byte(text)) {
				counts[text]++
			}
		}
	}
}

// drain reads until the connection ends.
func (r *raider) drain() {
	for r.next() != nil {
	}
}

// ended waits until the program has hung up.
func (r *raider) ended() { hungUp(r.t, r.Conn) }

func hungUp(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection stays open")
	}
}

// reset makes Close end the connection the hard way.
func (r *raider) reset() { _ = r.Conn.(*net.TCPConn).SetLinger(0) }

// fence waits until everything that was sent has been handled.
func (r *raider) fence() {
	r.t.Helper()
	const id int64 = 1 << 40
	r.send(fmt.Sprintf(`[48,%d,{},"wamp.session.get",[]]`, id))
	want := fmt.Appendf(nil, "%d", id)
	for b := r.next(); !bytes.Contains(b, want); b = r.next() {
		if b == nil {
			r.t.Fatal("the connection has ended")
		}
	}
}
