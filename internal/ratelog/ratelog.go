// Package ratelog writes log lines that outsiders can cause. Of each kind it writes
// one in a while, with the number of those that it has left out, so that nobody can
// fill the log or drown others in it.
package ratelog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Log writes at most one line of each text within a time. It is safe for
// concurrent use. A nil Log discards.
type Log struct {
	log   *slog.Logger
	every time.Duration
	now   func() time.Time

	mu    sync.Mutex // guards kinds
	kinds map[string]*kind
}

type kind struct {
	last   time.Time
	silent int // lines left out since then
}

// New returns a Log that writes to log. every is the least time between two lines
// of the same text, 0 = a second; now is the clock, nil = time.Now.
func New(log *slog.Logger, every time.Duration, now func() time.Time) *Log {
	if every <= 0 {
		every = time.Second
	}
	if now == nil {
		now = time.Now
	}
	return &Log{log: log, every: every, now: now, kinds: map[string]*kind{}}
}

// Info writes a line of level Info. See Log.
func (l *Log) Info(text string, args ...any) { l.Log(slog.LevelInfo, text, args...) }

// Warn writes a line of level Warn. See Log.
func (l *Log) Warn(text string, args ...any) { l.Log(slog.LevelWarn, text, args...) }

// Often is Info for lines that are so many that making the attributes would cost:
// args is called when one is written.
func (l *Log) Often(text string, args func() []any) {
	if l == nil || !l.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	if silent, ok := l.due(text); ok {
		l.write(slog.LevelInfo, text, silent, args())
	}
}

// Log writes a line, unless one of the same text was written shortly before. The
// text must be a constant: each one is remembered for good. The attribute
// "unlogged" says how many were left out before this one.
func (l *Log) Log(level slog.Level, text string, args ...any) {
	if l == nil || !l.log.Enabled(context.Background(), level) {
		return
	}
	if silent, ok := l.due(text); ok {
		l.write(level, text, silent, args)
	}
}

func (l *Log) write(level slog.Level, text string, silent int, args []any) {
	if silent > 0 {
		args = append(args[:len(args):len(args)], "unlogged", silent)
	}
	l.log.Log(context.Background(), level, text, args...)
}

// due says whether a line may be written, and how many were not.
func (l *Log) due(text string) (silent int, ok bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kinds[text]
	if k == nil {
		k = &kind{}
		l.kinds[text] = k
	} else if now.Sub(k.last).Abs() < l.every { // a clock that was set back does not silence it
		k.silent++
		return 0, false
	}
	silent = k.silent
	k.last, k.silent = now, 0
	return silent, true
}
