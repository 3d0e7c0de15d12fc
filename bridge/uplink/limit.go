package uplink

import (
	"context"
	"sync"
	"time"
)

// burst is for how long an unused rate may be saved up.
const burst = time.Second

// limiter keeps the events and bytes of an uplink to a rate. Whoever takes may take
// more than there is, and the next one waits until that is made up for. So live
// values, which do not wait, go first, and the backlog pays for them.
type limiter struct {
	rates [2]float64 // events and bytes in a second; 0 = no limit

	mu    sync.Mutex // guards what follows
	saved [2]float64
	at    time.Time
}

func newLimiter(r Rate) *limiter {
	l := &limiter{rates: [2]float64{float64(r.Events), float64(r.Bytes)}, at: time.Now()}
	for i, rate := range l.rates {
		l.saved[i] = rate * burst.Seconds()
	}
	return l
}

// set reports whether there is a limit at all.
func (l *limiter) set() bool { return l.rates != [2]float64{} }

// take takes one event of so many bytes.
func (l *limiter) take(bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fill()
	for i, n := range [2]float64{1, float64(bytes)} {
		if l.rates[i] > 0 {
			l.saved[i] -= n
		}
	}
}

// wait waits until nothing is owed, or returns ctx's error.
func (l *limiter) wait(ctx context.Context) error {
	for {
		pause := l.owed()
		if pause <= 0 {
			return ctx.Err()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// owed returns how long it takes until nothing is.
func (l *limiter) owed() (pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fill()
	for i, saved := range l.saved {
		if l.rates[i] > 0 && saved < 0 {
			pause = max(pause, time.Duration(-saved/l.rates[i]*float64(time.Second))+1)
		}
	}
	return pause
}

// fill adds what the time since the last time allows. mu is held.
func (l *limiter) fill() {
	now := time.Now()
	passed := now.Sub(l.at).Seconds()
	l.at = now
	for i, rate := range l.rates {
		l.saved[i] = min(l.saved[i]+rate*passed, rate*burst.Seconds())
	}
}
