// Package dialog sends commands to a device that also talks by itself, one at a
// time, and finds their answers in what it sends. An answer that comes too late is
// never taken for that of the next command.
package dialog

import (
	"context"
	"errors"
	"sync"
	"time"

	"gantry/drivers"
)

// Conn is what commands go out by; *serialport.Conn is one.
type Conn interface {
	// Write hands all of p to the device, or returns why not.
	Write(ctx context.Context, p []byte) error
	// DropOutput throws away what was written and not yet sent.
	DropOutput()
}

// Session is one opening of a port as those who send commands see it. A is what an
// answer is made into. The goroutine that reads the port calls Open, Take and End;
// Exchange is safe for concurrent use.
type Session[A any] struct {
	conn  Conn
	ready chan struct{} // closed when the device can take commands
	done  chan struct{} // closed when the port is lost
	turn  chan struct{} // holds one token: who has taken it may send a command

	tagged bool // a late answer cannot be taken for another's

	mu      sync.Mutex  // guards the rest
	waiting *waiting[A] // the command whose answer is waited for; nil if none
	late    *waiting[A] // a command whose answer did not come in time but still may
	until   time.Time   // when late is given up
}

// Match says whether b, a line or a frame, is the answer to a command, and what it
// says. b is not kept.
type Match[A any] func(b []byte) (A, bool)

// waiting is a command that was sent.
type waiting[A any] struct {
	match Match[A] // nil if there is no answer
	reply chan A   // capacity 1: the reader sends one reply and goes on
}

// New returns a session that does not take commands before Open.
func New[A any](conn Conn) *Session[A] {
	s := &Session[A]{conn: conn, ready: make(chan struct{}), done: make(chan struct{}), turn: make(chan struct{}, 1)}
	s.release()
	return s
}

// NewTagged is New for a device whose answers say which command they answer: after
// one that did not come in time, nobody waits for it.
func NewTagged[A any](conn Conn) *Session[A] {
	s := New[A](conn)
	s.tagged = true
	return s
}

// Open lets commands through. It is called once.
func (s *Session[A]) Open() { close(s.ready) }

// End makes all commands, and those to come, return drivers.ErrOffline. It is
// called once.
func (s *Session[A]) End() { close(s.done) }

// Take reports whether b answers a command, and hands it to whom it concerns.
func (s *Session[A]) Take(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range []**waiting[A]{&s.late, &s.waiting} {
		if *w == nil {
			continue
		}
		if a, ok := (*w).match(b); ok {
			(*w).reply <- a
			*w = nil
			return true
		}
	}
	return false
}

// Exchange sends a command in its turn and waits for the answer, both within
// timeout; with match nil it returns once the command is out. Errors match
// drivers.ErrOffline, drivers.ErrTimeout (no answer), drivers.ErrBusy (ctx was over
// before the command was sent), or ctx's own if it was cancelled.
func (s *Session[A]) Exchange(ctx context.Context, out []byte, timeout time.Duration, match Match[A]) (none A, err error) {
	w := &waiting[A]{match: match, reply: make(chan A, 1)}
	if err := s.acquire(ctx); err != nil {
		return none, err
	}
	defer s.release()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if match != nil {
		s.expect(w)
	}
	if err := s.conn.Write(ctx, out); err != nil {
		s.forget(w, timeout)
		return none, ended(ctx, err)
	}
	if match == nil {
		return none, nil
	}
	return s.await(ctx, w, timeout)
}

// acquire waits until the device can take commands and it is the caller's turn,
// and until no answer to an earlier command can be taken for the next one's.
func (s *Session[A]) acquire(ctx context.Context) error {
	if err := s.wait(ctx, s.ready); err != nil {
		return err
	}
	if err := s.wait(ctx, s.turn); err != nil {
		return err
	}
	if err := s.quiesce(ctx); err != nil {
		s.release()
		return err
	}
	return nil
}

func (s *Session[A]) release() { s.turn <- struct{}{} }

func (s *Session[A]) wait(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-s.done:
		return drivers.ErrOffline
	default:
	}
	select {
	case <-c:
		return nil
	case <-s.done:
		return drivers.ErrOffline
	case <-ctx.Done():
		return busy(ctx)
	}
}

// busy is the error of one whose time ran out before anything was sent.
func busy(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return drivers.ErrBusy
}

// quiesce waits for the answer to a command that timed out, or until it is not to
// be expected any more.
func (s *Session[A]) quiesce(ctx context.Context) error {
	s.mu.Lock()
	late, until := s.late, s.until
	s.mu.Unlock()
	if late == nil {
		return nil
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-late.reply:
	case <-timer.C:
	case <-s.done:
		return drivers.ErrOffline
	case <-ctx.Done():
		return busy(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = nil
	return nil
}

func (s *Session[A]) expect(w *waiting[A]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = w
}

// forget gives up waiting for w's answer. It may still come within the time given.
func (s *Session[A]) forget(w *waiting[A], still time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.match == nil || s.waiting != w {
		return
	}
	s.waiting = nil
	if s.tagged {
		return
	}
	s.late, s.until = w, time.Now().Add(still)
}

func (s *Session[A]) await(ctx context.Context, w *waiting[A], timeout time.Duration) (none A, err error) {
	select {
	case a := <-w.reply:
		return a, nil
	case <-s.done:
		return none, drivers.ErrOffline
	case <-ctx.Done():
	}
	s.forget(w, timeout)
	select {
	case a := <-w.reply: // it came at the last moment
		return a, nil
	default:
	}
	// What the port has not sent by now must not be obeyed later.
	s.conn.DropOutput()
	return none, ended(ctx, drivers.ErrTimeout)
}

// ended returns the error of a command that was not answered: err, or that of a
// caller who does not want it any more.
func ended(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return drivers.ErrTimeout
	}
	return err
}
