// Package badline carries TCP connections between the peers of tests, and does so badly:
// it cuts them, stalls, and is slow.
package badline

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Line carries connections from its address to another one. Its methods are safe for
// concurrent use.
type Line struct {
	// Hole swallows what is sent, in both directions, and nobody is told.
	Hole atomic.Bool
	// Down ends new connections at once.
	Down atomic.Bool
	// Budget ends a connection that has carried so many bytes, in both directions
	// together; 0 = never.
	Budget atomic.Int64
	// Gate holds up what is sent, in both directions, while somebody has it locked.
	Gate sync.RWMutex
	// Made counts the connections, and Carried the bytes towards the other end.
	Made, Carried atomic.Uint64

	ln    net.Listener
	to    atomic.Pointer[string]
	rate  int
	delay time.Duration
	tasks sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// New returns a line to an address, host:port, that carries rate bytes a second in each
// direction; 0 = no limit. It ends with the test.
func New(t testing.TB, to string, rate int) *Line {
	t.Helper()
	return NewLong(t, to, rate, 0)
}

// NewLong is New for a line on which everything is under way for delay.
func NewLong(t testing.TB, to string, rate int, delay time.Duration) *Line {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Line{ln: ln, rate: rate, delay: delay, conns: map[net.Conn]struct{}{}}
	l.Lead(to)
	l.tasks.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			l.tasks.Go(func() { l.serve(c) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); l.Cut(); l.tasks.Wait() })
	return l
}

// Addr returns where the line begins, host:port.
func (l *Line) Addr() string { return l.ln.Addr().String() }

// Lead says where new connections lead.
func (l *Line) Lead(to string) { l.to.Store(&to) }

// Cut ends all connections.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
}

// enter makes Cut see connections. It returns what makes it forget them.
func (l *Line) enter(conns ...net.Conn) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		l.conns[c] = struct{}{}
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, c := range conns {
			delete(l.conns, c)
		}
	}
}

func (l *Line) serve(c net.Conn) {
	defer c.Close()
	if l.Down.Load() {
		return
	}
	b, err := net.Dial("tcp", *l.to.Load())
	if err != nil {
		return
	}
	defer b.Close()
	l.Made.Add(1)
	defer l.enter(c, b)()
	if l.rate > 0 {
		// Otherwise the kernel holds seconds of such a line.
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		_ = b.(*net.TCPConn).SetWriteBuffer(4096)
	}
	used := new(atomic.Int64)
	l.tasks.Go(func() { l.carry(c, b, new(atomic.Uint64), used) })
	l.carry(b, c, &l.Carried, used)
}

// late is what arrives later than it was sent.
type late struct {
	at    time.Time
	bytes []byte
}

// carry copies until an end closes. used counts for both directions.
func (l *Line) carry(to, from net.Conn, carried *atomic.Uint64, used *atomic.Int64) {
	defer to.Close()
	deliver := to.Write
	if l.delay > 0 {
		far := make(chan late, 1<<16) // of this goroutine; more than a connection holds
		defer close(far)
		l.tasks.Go(func() {
			for b := range far {
				time.Sleep(time.Until(b.at))
				_, _ = to.Write(b.bytes) // a line that is cut is seen by the reader
			}
		})
		deliver = func(b []byte) (int, error) {
			far <- late{time.Now().Add(l.delay), bytes.Clone(b)}
			return len(b), nil
		}
	}
	buf := make([]byte, 64<<10)
	if l.rate > 0 {
		buf = buf[:max(l.rate/50, 1)]
	}
	var next time.Time
	for {
		n, err := from.Read(buf)
		if n > 0 && !l.Hole.Load() {
			if l.rate > 0 {
				time.Sleep(time.Until(next))
				next = time.Now().Add(time.Duration(n) * time.Second / time.Duration(l.rate))
			}
			l.Gate.RLock()
			_, err := deliver(buf[:n])
			l.Gate.RUnlock()
			if err != nil {
				return
			}
			carried.Add(uint64(n))
			if budget := l.Budget.Load(); used.Add(int64(n)) >= budget && budget > 0 {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
