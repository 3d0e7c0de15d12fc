package line

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"gantry/drivers"
	"gantry/drivers/serialport"
)

// session is one opening of the port as writers see it.
type session struct {
	conn  *serialport.Conn
	ready chan struct{} // closed by Run when the device can take commands
	done  chan struct{} // closed by Run when the port is lost
	turn  chan struct{} // holds one token: who has taken it may send a command

	mu      sync.Mutex // guards the rest
	waiting *waiting   // the command whose answer is waited for; nil if none
	late    *waiting   // a command whose answer did not come in time but still may
	until   time.Time  // when late is given up
}

// waiting is a command that was sent.
type waiting struct {
	ack, nack *regexp.Regexp // nack may be nil
	reply     chan *reply    // capacity 1: Run's goroutine sends one reply and goes on
}

// reply is a line that answers a command.
type reply struct {
	line    string
	pattern *regexp.Regexp // the one that matched
	refused bool
}

// group returns the text of the pattern's group named, if it took part.
func (r *reply) group(name string) (string, bool) {
	if r == nil || name == "" {
		return "", false
	}
	i := r.pattern.SubexpIndex(name)
	if i < 0 {
		return "", false
	}
	m := r.pattern.FindStringSubmatchIndex(r.line)
	if m == nil || m[2*i] < 0 {
		return "", false
	}
	return r.line[m[2*i]:m[2*i+1]], true
}

func newSession(conn *serialport.Conn) *session {
	s := &session{conn: conn, ready: make(chan struct{}), done: make(chan struct{}), turn: make(chan struct{}, 1)}
	s.release()
	return s
}

func (s *session) open() { close(s.ready) }
func (s *session) end()  { close(s.done) }

// match returns the reply that line is, or nil. A line that both patterns match
// counts as a refusal.
func (w *waiting) match(line []byte) *reply {
	for _, re := range []*regexp.Regexp{w.nack, w.ack} {
		if re != nil && re.Match(line) {
			return &reply{line: string(line), pattern: re, refused: re == w.nack}
		}
	}
	return nil
}

// take reports whether line answers a command, and hands it to whom it concerns.
func (s *session) take(line []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range []**waiting{&s.late, &s.waiting} {
		if *w == nil {
			continue
		}
		if r := (*w).match(line); r != nil {
			(*w).reply <- r
			*w = nil
			return true
		}
	}
	return false
}

// exchange sends a command in its turn and waits for the answer. The reply is nil
// if the device does not answer.
func (d *Driver) exchange(ctx context.Context, c *command, values map[string]string) (*reply, error) {
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	if s == nil {
		return nil, drivers.ErrOffline
	}
	w := &waiting{reply: make(chan *reply, 1)}
	var err error
	if w.ack, err = c.ack.pattern(values); err != nil {
		return nil, err
	}
	if w.nack, err = c.nack.pattern(values); err != nil {
		return nil, err
	}
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if w.ack != nil {
		s.expect(w)
	}
	if err := s.conn.Write(ctx, c.template.fill(values)); err != nil {
		s.forget(w, c.timeout)
		return nil, ended(ctx, err)
	}
	if w.ack == nil {
		return nil, nil
	}
	return s.await(ctx, w, c.timeout)
}

// acquire waits until the device can take commands and it is the caller's turn,
// and until no answer to an earlier command can be taken for the next one's.
func (s *session) acquire(ctx context.Context) error {
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

func (s *session) release() { s.turn <- struct{}{} }

func (s *session) wait(ctx context.Context, c <-chan struct{}) error {
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
func (s *session) quiesce(ctx context.Context) error {
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

func (s *session) expect(w *waiting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = w
}

// forget gives up waiting for w's answer. It may still come within the time given.
func (s *session) forget(w *waiting, still time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.ack == nil || s.waiting != w {
		return
	}
	s.waiting = nil
	s.late, s.until = w, time.Now().Add(still)
}

func (s *session) await(ctx context.Context, w *waiting, timeout time.Duration) (*reply, error) {
	select {
	case r := <-w.reply:
		return r.result()
	case <-s.done:
		return nil, drivers.ErrOffline
	case <-ctx.Done():
	}
	s.forget(w, timeout)
	select {
	case r := <-w.reply: // it came at the last moment
		return r.result()
	default:
	}
	// What the port has not sent by now must not be obeyed later.
	s.conn.DropOutput()
	return nil, ended(ctx, drivers.ErrTimeout)
}

func (r *reply) result() (*reply, error) {
	if r.refused {
		return nil, fmt.Errorf("%w: %q", drivers.ErrRefused, clip(r.line))
	}
	return r, nil
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
