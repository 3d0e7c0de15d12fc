package dialog

import (
	"context"
	"errors"
	"sync"
	"time"

	"gantry/drivers"
)

// Life holds the session of a driver's present run. Its zero value has none. It is
// safe for concurrent use.
type Life[A any] struct {
	mu      sync.Mutex  // guards session
	session *Session[A] // nil while Serve does not run
}

// Phases are what a run goes through, in this order.
type Phases struct {
	Join   func(ctx context.Context) error // finds the beginning of what the device sends
	Listen func(ctx context.Context) error // takes what it sends, until ctx ends or the port is lost
	Settle time.Duration                   // how long Listen runs before the device takes commands
	Up     func()                          // told when it does; Listen runs again from then on
}

// Serve makes s the present session and goes through its phases. When it returns s
// has ended.
func (l *Life[A]) Serve(ctx context.Context, s *Session[A], p Phases) error {
	l.set(s)
	defer func() {
		l.set(nil)
		s.End()
	}()
	if err := p.Join(ctx); err != nil {
		return err
	}
	if p.Settle > 0 {
		wait, cancel := context.WithTimeout(ctx, p.Settle)
		err := p.Listen(wait)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	s.Open()
	p.Up()
	return p.Listen(ctx)
}

func (l *Life[A]) set(s *Session[A]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
}

// Session returns the present session, or drivers.ErrOffline.
func (l *Life[A]) Session() (*Session[A], error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil {
		return nil, drivers.ErrOffline
	}
	return l.session, nil
}
