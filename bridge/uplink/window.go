package uplink

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// minInFlight, which they begin with, and maxInFlight bound the bytes of records
	// that wait for their answer; a single larger record travels alone.
	minInFlight = 1 << 10
	maxInFlight = 4 << 20
	// queueing is how much longer than the quickest answer of late one may take
	// before less is sent at a time: what waits in the buffers of a slow link delays
	// everything behind it.
	queueing = 200 * time.Millisecond
	// memory is for how long the quickest answer is believed without one that is nearly
	// as quick: the way may have become another. Then the buffers are let run empty, and
	// the first answer after that counts: one that came through them would make more
	// and more wait there.
	memory = 30 * time.Second
	// nearly is how much slower such an answer may be.
	nearly = queueing / 8
	// probeTime bounds that.
	probeTime = 2 * time.Second
)

// window keeps the records that have been sent and not been answered, in the order
// of the queue. How many bytes they may have depends on how fast the answers come.
type window struct {
	max int // records

	mu      sync.Mutex // guards what follows
	flights []flight
	bytes   int
	limit   int           // of bytes
	room    chan struct{} // closed when there is more room; nil while nobody waits

	quickest time.Duration // answer
	noted    time.Time     // when the last one came that was nearly as quick
	shrunk   uint64        // the last record on its way when the limit was lowered
	moved    time.Time     // when the last answer came; zero before

	probe  time.Time // since when the buffers run empty; zero while they do not
	before int       // the limit then
	behind uint64    // the last record on its way then
}

type flight struct {
	seq  uint64
	size int
	sent time.Time
	done bool
}

func newWindow(records int) *window {
	return &window{max: records, limit: minInFlight}
}

// add enters the first records of a batch, at least one, as soon as there is room,
// and returns how many; or ctx's error.
func (w *window) add(ctx context.Context, batch []item) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.flights) > 0 && !w.fits(batch[0].size()) {
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
			return 0, err
		}
	}
	now, n := time.Now(), 0
	for n == 0 || n < len(batch) && w.fits(batch[n].size()) {
		w.flights = append(w.flights, flight{seq: batch[n].seq, size: batch[n].size(), sent: now})
		w.bytes += batch[n].size()
		n++
	}
	return n, nil
}

func (w *window) fits(size int) bool { return len(w.flights) < w.max && w.bytes+size <= w.limit }

// done notes that a record has been dealt with. cursor is the last record before
// which there is none that has not, if that is a new one, else 0.
func (w *window) done(seq uint64) (cursor uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for i := range w.flights {
		f := &w.flights[i]
		if f.seq == seq && !f.done {
			f.done = true
			w.bytes -= f.size
			w.adapt(f)
			w.freed()
		}
		if f.done && n == i {
			n++
			cursor = f.seq
		} else if f.seq >= seq {
			break
		}
	}
	// The front moves on; append makes a new array once it has reached the end.
	w.flights = w.flights[n:]
	return cursor
}

// freed lets those look again who wait for room, when mu is given up.
func (w *window) freed() {
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
}

// adapt learns from the time that an answer took: the limit doubles in the time of
// one answer while the way is free, and shrinks, once for all that was on its way, as
// soon as records wait in buffers. mu is held.
func (w *window) adapt(f *flight) {
	now := time.Now()
	took := max(now.Sub(f.sent), 1)
	w.moved = now
	if w.quickest == 0 || took < w.quickest {
		w.quickest = took
	}
	if took <= w.quickest+nearly {
		w.noted = now
	}
	if !w.probe.IsZero() {
		w.probed(f, now, took)
		return
	}
	switch {
	case now.Sub(w.noted) > memory:
		w.probe, w.before, w.behind = now, w.limit, w.last()
		w.limit = minInFlight
	case took <= w.quickest+queueing/2:
		w.limit = min(w.limit+f.size, maxInFlight)
	case took > w.quickest+queueing && f.seq > w.shrunk:
		w.limit = max(w.limit/2, minInFlight)
		w.shrunk = w.last()
	}
}

// probed looks at an answer while the buffers run empty. mu is held.
func (w *window) probed(f *flight, now time.Time, took time.Duration) {
	switch {
	case f.seq > w.behind:
		w.quickest = took
	case now.Sub(w.probe) <= probeTime:
		return
	}
	w.noted, w.probe, w.limit, w.shrunk = now, time.Time{}, w.before, w.last()
}

// last returns the last record on its way. mu is held, and there is one.
func (w *window) last() uint64 { return w.flights[len(w.flights)-1].seq }

// again notes that a record is sent once more.
func (w *window) again(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i, ok := slices.BinarySearchFunc(w.flights, seq, func(f flight, seq uint64) int { return cmp.Compare(f.seq, seq) })
	if ok {
		w.flights[i].sent = time.Now()
	}
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

// answering reports whether an answer has come, and no longer ago than the quickest one
// took and within.
func (w *window) answering(within time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.moved) < w.quickest+within
}
