package uplink

import (
	"context"
	"sync"
	"time"
)

// maxInFlight bounds the bytes of records that wait for their answer; a single
// larger record travels alone.
const maxInFlight = 4 << 20

// window keeps the records that have been sent and not been answered, in the
// order of the queue.
type window struct {
	max int

	mu      sync.Mutex // guards what follows
	flights []flight
	bytes   int
	room    chan struct{} // closed when there is more room; nil while nobody waits
}

type flight struct {
	seq  uint64
	size int
	sent time.Time
	done bool
}

// add enters a record once there is room, or returns ctx's error.
func (w *window) add(ctx context.Context, seq uint64, size int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.flights) > 0 && (len(w.flights) >= w.max || w.bytes+size > maxInFlight) {
		if w.room == nil {
			w.room = make(chan struct{})
		}
		room := w.room
		w.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
		w.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	w.flights = append(w.flights, flight{seq: seq, size: size, sent: time.Now()})
	w.bytes += size
	return nil
}

// done notes that a record has been dealt with. cursor is the last record before
// which there is none that has not, if that is a new one, else 0.
func (w *window) done(seq uint64) (cursor uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for i := range w.flights {
		f := &w.flights[i]
		f.done = f.done || f.seq == seq
		if f.done && n == i {
			n++
			cursor = f.seq
			w.bytes -= f.size
		} else if f.seq >= seq {
			break
		}
	}
	// The front moves on; append makes a new array once it has reached the end.
	w.flights = w.flights[n:]
	if n > 0 && w.room != nil {
		close(w.room)
		w.room = nil
	}
	return cursor
}

// oldest returns how long the first record has been waiting, 0 when none is.
func (w *window) oldest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.flights) == 0 {
		return 0
	}
	return time.Since(w.flights[0].sent)
}
