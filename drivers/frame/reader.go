package frame

import (
	"context"
	"errors"
	"sync"
	"time"

	"gantry/drivers/serialport"
)

const (
	sampleBytes = 64
	// Garbage without end is reported each time that so much has come.
	garbageBytes = 256
	// A device that sends nothing for this long after opening is between two frames.
	quiet = 50 * time.Millisecond
)

// reader takes frames out of what a port sends, in memory of fixed size whatever
// arrives.
type reader struct {
	src serialport.Source
	cutter
	buf         []byte // buf[start:stop] is received and not yet dealt with
	start, stop int
	over        bool // nothing came for a while

	junk    garbage // that has not been handed out
	dropped int     // bytes of it
}

// garbage tells of bytes that are no frame.
type garbage struct {
	why    string
	sample []byte // the first bytes, at most 64
}

func newReader(src serialport.Source, s *shape) *reader {
	return &reader{src: src, cutter: cutter{shape: s}, buf: make([]byte, 2*s.max+sampleBytes)}
}

// join finds out whether the port was opened in the middle of a frame, where nothing
// in the frame would show it: then the rest of it is passed over.
func (r *reader) join(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	n, err := r.src.Read(wait, r.buf[:1])
	r.stop = n
	switch {
	case err == nil:
		r.skipping = r.kind == kindSilence || r.kind == kindDelimiter && len(r.cutter.start) == 0
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return nil
	}
	return err
}

// next returns the next frame, valid until the following call, or garbage, or both:
// then the garbage came first.
func (r *reader) next(ctx context.Context) (frame []byte, g *garbage, err error) {
	for {
		frame, n, why := r.cut(r.buf[r.start:r.stop], r.over)
		if why != "" {
			r.spoil(why, r.buf[r.start:r.start+n])
		}
		r.start += n
		switch {
		case frame != nil, r.dropped >= garbageBytes, why != "" && why != whyStart && n > 1:
			return frame, r.flush(), nil
		case n > 0:
			continue
		case r.over && r.dropped > 0:
			return nil, r.flush(), nil
		}
		if err := r.fill(ctx); err != nil {
			return nil, nil, err
		}
	}
}

func (r *reader) spoil(why string, b []byte) {
	if r.dropped == 0 {
		r.junk.why = why
	}
	r.dropped += len(b)
	r.junk.sample = append(r.junk.sample, b[:min(len(b), sampleBytes-len(r.junk.sample))]...)
}

func (r *reader) flush() *garbage {
	if r.dropped == 0 {
		return nil
	}
	g := r.junk
	r.junk, r.dropped = garbage{}, 0
	return &g
}

// fill reads more bytes, or finds that none come.
func (r *reader) fill(ctx context.Context) error {
	if r.start > 0 {
		r.stop = copy(r.buf, r.buf[r.start:r.stop])
		r.start = 0
	}
	wait, cancel := ctx, context.CancelFunc(func() {})
	if !r.over && (r.stop > 0 || r.dropped > 0 || r.skipping && r.kind == kindSilence) {
		wait, cancel = context.WithTimeout(ctx, r.idle)
	}
	n, err := r.src.Read(wait, r.buf[r.stop:])
	cancel()
	r.stop += n
	r.over = false
	if n > 0 {
		return nil
	}
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		r.over = true
		return nil
	}
	return err
}

// wire is a port or connection on which what is sent may come back.
type wire struct {
	conn
	echo bool

	mu      sync.Mutex // guards pending
	pending []byte     // what was sent and has not come back yet
}

// Write implements dialog.Conn.
func (w *wire) Write(ctx context.Context, p []byte) error {
	if w.echo {
		w.mu.Lock()
		w.pending = append([]byte(nil), p...)
		w.mu.Unlock()
	}
	return w.conn.Write(ctx, p)
}

// Read implements serialport.Source; it leaves echoes out.
func (w *wire) Read(ctx context.Context, p []byte) (int, error) {
	for {
		n, err := w.conn.Read(ctx, p)
		rest := w.strip(p[:n])
		if rest > 0 || err != nil {
			return rest, err
		}
	}
}

// strip removes the echo that b begins with, and returns how much is left.
func (w *wire) strip(b []byte) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(b) && n < len(w.pending) && b[n] == w.pending[n] {
		n++
	}
	if n < len(b) {
		w.pending = nil // whole, or disturbed
	} else {
		w.pending = w.pending[n:]
	}
	return copy(b, b[n:])
}
