package transport

import (
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// endless takes everything and brings something new with every write.
type endless struct {
	l      *link
	null   *os.File // takes what is written
	writes atomic.Int32
	limit  int32         // of writes that bring something new
	pause  int32         // the write that waits for resume
	resume chan struct{} // closed by the test
}

func (e *endless) Control(func(uintptr)) error   { return nil }
func (e *endless) Read(func(uintptr) bool) error { return nil }

func (e *endless) Write(write func(uintptr) bool) error {
	write(e.null.Fd())
	n := e.writes.Add(1)
	if n == e.pause {
		<-e.resume
	}
	if n < e.limit {
		return e.l.control([]byte("more"), false)
	}
	return nil
}

func TestATurnIsNotHeldUpByOneBusyConnection(t *testing.T) {
	t.Parallel()
	opts, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	l := &link{}
	l.init(a, &opts, nil)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	e := &endless{l: l, null: null, limit: 3 * maxFlights, pause: 2 * maxFlights, resume: make(chan struct{})}
	l.raw = e
	l.mu.Lock()
	if kick, err := l.putControl([]byte("first")); !kick || err != nil {
		t.Fatal(kick, err)
	}
	l.mu.Unlock()
	done := make(chan struct{})
	go func() { defer close(done); l.drain() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("drain goes on for as long as others add something")
	}
	close(e.resume)
	l.wg.Wait()
	if n := e.writes.Load(); n != e.limit || l.size != 0 {
		t.Errorf("%d writes, %d bytes are left", n, l.size)
	}
}
