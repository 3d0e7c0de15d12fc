package uplink_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy carries TCP connections, and can do so badly.
type proxy struct {
	ln    net.Listener
	to    string
	tasks sync.WaitGroup
	rate  int           // bytes a second in each direction; 0 = no limit
	hole  atomic.Bool   // nothing passes, and nobody is told
	made  atomic.Uint64 // connections

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newProxy(t testing.TB, to string, rate int) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, to: to, rate: rate, conns: map[net.Conn]struct{}{}}
	p.tasks.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.tasks.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); p.cut(); p.tasks.Wait() })
	return p
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	b, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer b.Close()
	p.made.Add(1)
	p.mu.Lock()
	p.conns[c], p.conns[b] = struct{}{}, struct{}{}
	p.mu.Unlock()
	if p.rate > 0 {
		// Otherwise the kernel holds seconds of such a line.
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		_ = b.(*net.TCPConn).SetWriteBuffer(4096)
	}
	p.tasks.Go(func() { p.carry(c, b) })
	p.carry(b, c)
	p.mu.Lock()
	delete(p.conns, c)
	delete(p.conns, b)
	p.mu.Unlock()
}

// carry copies until an end closes.
func (p *proxy) carry(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	if p.rate > 0 {
		buf = buf[:max(p.rate/50, 1)]
	}
	var next time.Time
	for {
		n, err := from.Read(buf)
		if n > 0 && !p.hole.Load() {
			if p.rate > 0 {
				time.Sleep(time.Until(next))
				next = time.Now().Add(time.Duration(n) * time.Second / time.Duration(p.rate))
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
