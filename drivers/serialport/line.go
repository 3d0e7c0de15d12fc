package serialport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"gantry/drivers"
)

// FrameConfig is how bytes are cut into lines. The zero value of each field stands
// for its default.
type FrameConfig struct {
	Kind string            `toml:"kind"` // "line", which is the default
	End  string            `toml:"end"`  // what ends a line; default "\n", before which "\r" is dropped too
	Max  uint32            `toml:"max"`  // longest line in bytes without its end; 16 to 65536, default 1024
	Idle *drivers.Duration `toml:"idle"` // pause after which an unfinished line is given up; default 3 s, 0: never
}

// Defaults and bounds of a frame.
const (
	DefaultMax  = 1024
	DefaultIdle = 3 * time.Second
	minMax      = 16
	maxMax      = 65536
	maxEnd      = 8
)

// Validate checks the keys. Errors are *drivers.ConfigError with keys below
// "frame".
func (c FrameConfig) Validate() error {
	switch {
	case c.Kind != "" && c.Kind != "line":
		return &drivers.ConfigError{Key: "frame.kind", Text: fmt.Sprintf("%.20q is unknown", c.Kind), Allowed: `"line"`}
	case len(c.End) > maxEnd:
		return &drivers.ConfigError{Key: "frame.end", Text: "is too long", Allowed: fmt.Sprintf("up to %d bytes", maxEnd)}
	case c.Max != 0 && (c.Max < minMax || c.Max > maxMax):
		return &drivers.ConfigError{Key: "frame.max", Text: fmt.Sprintf("%d is out of range", c.Max),
			Allowed: fmt.Sprintf("%d to %d bytes", minMax, maxMax)}
	}
	return nil
}

// Source is where a [LineReader] gets its bytes; *Conn is one.
type Source interface {
	// Read waits for at least one byte, until ctx ends; then it returns an error
	// that matches ctx's.
	Read(ctx context.Context, p []byte) (int, error)
}

// FrameError tells of bytes that are no line. Reading goes on after it.
type FrameError struct {
	Why    string // "too_long" or "unfinished"
	Sample []byte // the first bytes, at most 64
}

// Error returns why, and the sample.
func (e *FrameError) Error() string { return fmt.Sprintf("%s line: %q", e.Why, e.Sample) }

// LineReader cuts what a port sends into lines, in memory of fixed size whatever
// arrives.
type LineReader struct {
	src  Source
	end  []byte
	trim bool // drop a "\r" before the end
	idle time.Duration
	buf  []byte // buf[start:stop] is received and not yet handed out
	max  int

	start, stop int
	scanned     int  // buf[start:scanned] holds no end
	skipping    bool // the rest of the present line is dropped
	skipped     int  // bytes dropped since the last report
}

const (
	sampleBytes = 64
	// A device that sends nothing for this long after opening is between two
	// lines. Longer than the 16 ms for which USB adapters hold bytes back.
	quiet = 50 * time.Millisecond
)

// NewLineReader returns a reader of src's lines. cfg has been validated.
func NewLineReader(src Source, cfg FrameConfig) *LineReader {
	r := &LineReader{src: src, end: []byte(cfg.End), idle: DefaultIdle, max: int(cfg.Max)}
	if len(r.end) == 0 {
		r.end, r.trim = []byte{'\n'}, true
	}
	if r.max == 0 {
		r.max = DefaultMax
	}
	if cfg.Idle != nil {
		r.idle = cfg.Idle.Std()
	}
	if r.idle == 0 {
		r.idle = time.Duration(1<<63 - 1)
	}
	r.buf = make([]byte, r.max+len(r.end)+1)
	return r
}

// Join finds out whether the port was opened in the middle of a line. If bytes
// arrive within 50 ms, what comes before the next end is dropped without being
// counted: half a line can look like a whole one with another value. It returns
// after 50 ms at the latest, so that a device which speaks only when asked loses
// nothing.
func (r *LineReader) Join(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	n, err := r.src.Read(wait, r.buf)
	r.stop = n
	if err != nil {
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		return err
	}
	r.skipping = true
	return nil
}

// Next returns the next line without its end; empty lines are left out. The line
// is valid until the following call. A *FrameError says that bytes were dropped;
// after any other error the source is at its end.
func (r *LineReader) Next(ctx context.Context) ([]byte, error) {
	for {
		line, whole, err := r.cut()
		if err != nil {
			return nil, err
		}
		if whole {
			if len(line) > 0 {
				return line, nil
			}
			continue
		}
		if err := r.fill(ctx); err != nil {
			return nil, err
		}
	}
}

// cut takes one line out of the buffer, if a whole one is there.
func (r *LineReader) cut() (line []byte, whole bool, err error) {
	from := max(r.start, r.scanned-len(r.end)+1)
	i := bytes.Index(r.buf[from:r.stop], r.end)
	if i < 0 {
		r.scanned = r.stop
		return nil, false, r.overlong()
	}
	line = r.buf[r.start : from+i]
	r.start = from + i + len(r.end)
	r.scanned = r.start
	if r.skipping {
		r.skipping, r.skipped = false, 0
		return nil, true, nil
	}
	if r.trim {
		line = bytes.TrimSuffix(line, []byte{'\r'})
	}
	if len(line) > r.max {
		return nil, false, r.damage("too_long", line)
	}
	return line, true, nil
}

// overlong drops what belongs to a line that is too long, or to be skipped, but
// for what may be the first bytes of an end.
func (r *LineReader) overlong() error {
	have := r.stop - r.start
	if !r.skipping {
		if have < len(r.buf) {
			return nil
		}
		err := r.damage("too_long", r.buf[r.start:r.stop])
		r.skipping = true
		r.keep(len(r.end) - 1)
		return err
	}
	keep := min(have, len(r.end)-1)
	r.skipped += have - keep
	var err error
	// Skipping without end is worth another report now and then.
	if r.skipped > len(r.buf) {
		err = r.damage("too_long", r.buf[r.start:r.stop])
		r.skipped = 0
	}
	r.keep(keep)
	return err
}

// keep drops all but the last n bytes.
func (r *LineReader) keep(n int) {
	copy(r.buf, r.buf[r.stop-n:r.stop])
	r.start, r.stop, r.scanned = 0, n, n
}

func (r *LineReader) damage(why string, b []byte) *FrameError {
	return &FrameError{Why: why, Sample: bytes.Clone(b[:min(len(b), sampleBytes)])}
}

// fill reads more bytes behind those that are there.
func (r *LineReader) fill(ctx context.Context) error {
	have := r.stop - r.start
	if r.start > 0 {
		copy(r.buf, r.buf[r.start:r.stop])
		r.scanned -= r.start
		r.start, r.stop = 0, have
	}
	wait, cancel := ctx, context.CancelFunc(func() {})
	if have > 0 && !r.skipping && r.idle < time.Duration(1<<63-1) {
		wait, cancel = context.WithTimeout(ctx, r.idle)
	}
	n, err := r.src.Read(wait, r.buf[r.stop:])
	cancel()
	r.stop += n
	if n > 0 {
		return nil
	}
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		// Should the rest arrive after all, it is no line of its own.
		e := r.damage("unfinished", r.buf[r.start:r.stop])
		r.keep(0)
		r.skipping = true
		return e
	}
	return err
}
