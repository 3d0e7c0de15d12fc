package main

import (
	"bytes"
	"sync"
)

// tailBytes bounds the last lines of the log that a gateway keeps for a support bundle.
const tailBytes = 128 << 10

// logTail is a writer that keeps the end of what is written to it, in whole lines. It is
// safe for concurrent use.
type logTail struct {
	mu    sync.Mutex // guards lines
	lines []byte     // at most twice tailBytes
}

// Write takes whole lines and never fails.
func (t *logTail) Write(lines []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := lines[max(0, len(lines)-tailBytes):]
	if len(t.lines)+len(kept) > 2*tailBytes {
		t.lines = append(t.lines[:0], t.end()...)
	}
	t.lines = append(t.lines, kept...)
	return len(lines), nil
}

// end returns the last whole lines of at most tailBytes; mu is held.
func (t *logTail) end() []byte {
	if len(t.lines) <= tailBytes {
		return t.lines
	}
	b := t.lines[len(t.lines)-tailBytes:]
	return b[bytes.IndexByte(b, '\n')+1:]
}

// Bytes returns a copy of what is kept.
func (t *logTail) Bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.end())
}
