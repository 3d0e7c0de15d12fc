package websocket

import (
	"context"
	"errors"
	"time"

	"gantry/internal/backoff"
)

// Phase is what a Redialer does.
type Phase int

// The phases of a Redialer.
const (
	Connecting Phase = iota
	Connected
	Waiting // before the next attempt
	Stopped
)

// String returns the phase in a word.
func (p Phase) String() string {
	return [...]string{"connecting", "connected", "waiting", "stopped"}[p]
}

// RedialState is a change of phase.
type RedialState struct {
	Phase   Phase
	Attempt int           // how many connections have failed in a row, with Connecting and Waiting
	Err     error         // why, with Waiting and Stopped; nil if it ended in order
	Wait    time.Duration // with Waiting
}

// ErrStop ends a Redialer when its handle returns it.
var ErrStop = errors.New("websocket: stop")

// Redialer keeps a client connected.
type Redialer struct {
	// Dialer opens the connections. nil means the zero Dialer.
	Dialer *Dialer
	// URL is dialled.
	URL string
	// MinWait and MaxWait bound the waits between attempts: each is drawn evenly
	// between MinWait and a ceiling that doubles up to MaxWait, so that many clients
	// of one server do not come back at one moment. 0 means 200 ms and 5 s.
	MinWait, MaxWait time.Duration
	// MaxAttempts is after how many failures in a row Run gives up; 0 means never.
	MaxAttempts int
	// State, if not nil, is told of every change. It must not block.
	State func(RedialState)
}

// Run connects and calls handle with each connection, again and again, until ctx
// ends, when it returns nil, or handle returns ErrStop, when it returns nil as
// well. Run closes the connection when handle returns. It also ends, with the
// error, for a URL that is wrong and after MaxAttempts failures. The waits begin
// anew after a connection over which a message came or that has lasted for MaxWait.
func (r *Redialer) Run(ctx context.Context, handle func(ctx context.Context, c *Conn) error) error {
	d := r.Dialer
	if d == nil {
		d = &Dialer{}
	}
	stopped := func(err error) error {
		r.tell(RedialState{Phase: Stopped, Err: err})
		return err
	}
	if _, err := ParseURL(r.URL); err != nil {
		return stopped(err)
	}
	pause := backoff.New(backoff.Config{Min: r.MinWait, Max: r.MaxWait}, nil)
	for failures := 0; ; {
		r.tell(RedialState{Phase: Connecting, Attempt: failures})
		good, err := r.once(ctx, d, handle)
		switch {
		case ctx.Err() != nil, errors.Is(err, ErrStop):
			return stopped(nil)
		case good:
			failures = 0
			pause.Reset()
		}
		failures++
		if r.MaxAttempts > 0 && failures >= r.MaxAttempts {
			return stopped(err)
		}
		wait := pause.Next()
		r.tell(RedialState{Phase: Waiting, Attempt: failures, Err: err, Wait: wait})
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return stopped(nil)
		}
	}
}

// once makes one connection and reports whether it was a success.
func (r *Redialer) once(ctx context.Context, d *Dialer, handle func(context.Context, *Conn) error) (good bool, err error) {
	c, err := d.Dial(ctx, r.URL)
	if err != nil {
		return false, err
	}
	r.tell(RedialState{Phase: Connected})
	begin := time.Now()
	long := r.MaxWait
	if long <= 0 {
		long = backoff.DefaultMax
	}
	err = handle(ctx, c)
	good = c.Stats().MessagesIn > 0 || time.Since(begin) >= long
	_ = c.Close(CloseNormal, "")
	return good, err
}

func (r *Redialer) tell(s RedialState) {
	if r.State != nil {
		r.State(s)
	}
}
