package store

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Outbox is a durable queue of records with one reader or several, each with a
// cursor of its own. Each record gets a sequence number, 1 for the first ever, each
// the successor of the one before. It is written once however many read it, and goes
// when the slowest of them has acknowledged it.
//
// There are two ways in. Append waits until the record is on disk. Enqueue does
// not: an urgent record is committed within the linger time, a sampled one is
// only committed when not every reader has acknowledged it within the sample
// interval, so that healthy uplinks cost no write but that of Enqueue at the first one of
// a run. In both cases the readers see the record at once.
//
// All methods are safe for concurrent use.
type Outbox struct {
	s     *Store
	name  string
	dir   string
	cfg   OutboxConfig
	epoch uint64
	start time.Time // what the times of entries count from

	// wake tells the committer, its only receiver, to look again. Capacity 1: one
	// pending hint is as good as many. Never closed.
	wake chan struct{}

	// toPack takes segments from the committer to the packer. Capacity 1: one may
	// wait, more are not packed. Never closed.
	toPack chan *segment

	readers []*Reader // as configured, at least one; never changed

	mu        sync.Mutex // guards what follows
	ram       []entry    // the newest records, consecutive, from ram[head]
	head      int
	slab      []byte // where the next records are copied to
	next      uint64 // next sequence number
	acked     uint64 // the cursor of the slowest reader
	settled   uint64 // the end of what needs no commit any more: committed or dropped
	durable   uint64 // the end of what was ever written to disk
	pending   int64  // bytes in ram above settled and acked
	kept      int64  // bytes in ram
	disk      int64  // bytes of the files
	drainAt   uint64 // cursor at which a file can be unlinked
	urgent    uint64 // last urgent record
	flush     uint64 // last record that Flush waits for
	urgentAt  time.Duration
	dirtyAt   time.Duration
	retryAt   time.Duration
	saveAt    time.Duration // when saving the state is tried again
	dropped   uint64
	rejected  uint64
	losses    [causes]uint64 // since the start
	failing   error          // why the last commit failed
	degraded  bool           // the event has been sent
	shutErr   error          // set once nothing can be appended any more
	gaps      []gap          // why records above the slowest cursor are missing, by from
	loose     bool           // sampled records may be in memory alone: meta.db is to say so
	crashes   uint64         // numbers that were ever given to crashes
	loosened  bool           // it has been told
	gapsSaved bool           // meta.db has gaps and loose as they are
	changed   chan struct{}  // closed by broadcast; nil while nobody waits

	dropMu sync.Mutex // one drops the oldest segment at a time
	saveMu sync.Mutex // one saves the state at a time

	segMu sync.Mutex // guards segs, never held across I/O
	segs  []*segment // oldest first

	// The committer's own.
	active   *segment // the one being written, also the last of segs; nil for none
	activeAt time.Duration
}

// entry is one record in memory.
type entry struct {
	data []byte
	at   time.Duration
	gone bool       // refused after its number was given: the reader sees a gap
	done chan error // of the Append that waits for it; capacity 1, never closed
}

func openOutbox(s *Store, name string, cfg OutboxConfig) (*Outbox, error) {
	o := &Outbox{
		s: s, name: name, dir: filepath.Join(s.cfg.Dir, name), cfg: cfg, epoch: s.epoch,
		start: time.Now(), wake: make(chan struct{}, 1), toPack: make(chan *segment, 1), drainAt: math.MaxUint64,
	}
	if err := s.disk.mkdir(o.dir); err != nil {
		return nil, err
	}
	known, kept, err := s.meta.outbox(name)
	if err != nil {
		return nil, err
	}
	before := unpackLosses(kept)
	o.gaps, o.crashes, o.gapsSaved = before.gaps, before.crashes, true
	if o.segs, err = listSegments(s.disk, o.dir); err != nil {
		return nil, err
	}
	end := o.openNewest()
	changed := o.resume(known, end)
	o.next = max(slices.Max(o.positions()), end.last) + 1
	for _, g := range o.gaps {
		o.next = max(o.next, g.to+1)
	}
	if before.loose {
		// Nobody knows how many: one number stands for all.
		o.note(gap{o.next, o.next, inCrash})
		o.next++
		o.crashes++
		o.losses[inCrash]++
	}
	o.settled, o.durable = o.next-1, o.next-1
	if changed || !o.gapsSaved {
		// A disk that does not take it now will later. Until then a restart finds the
		// readers that were there before, and gaps without their cause.
		_ = o.saveState()
	}
	for _, seg := range o.segs {
		o.disk += seg.bytes.Load()
	}
	return o, nil
}

// openNewest finds the end of the outbox in its newest segment. The older ones
// are checked when they are read, which keeps the start short.
func (o *Outbox) openNewest() segmentEnd {
	if len(o.segs) == 0 {
		return segmentEnd{}
	}
	seg := o.segs[len(o.segs)-1]
	end, err := seg.end()
	if err != nil {
		end = segmentEnd{last: o.repair(seg, err)}
	}
	seg.rest()
	end.last = max(end.last, seg.first)
	return end
}

func (o *Outbox) now() time.Duration { return time.Since(o.start) }

// first returns the sequence number of the oldest record in memory, next if
// there is none. Like all small helpers below it is called with mu held.
func (o *Outbox) first() uint64 { return o.next - uint64(len(o.ram)-o.head) }

func (o *Outbox) at(seq uint64) *entry { return &o.ram[o.head+int(seq-o.first())] }

// done is the end of what is committed, acknowledged or dropped.
func (o *Outbox) done() uint64 { return max(o.settled, o.acked, o.first()-1) }

// pop forgets the oldest record in memory.
func (o *Outbox) pop(err error) {
	e := &o.ram[o.head]
	if o.first() > o.settled {
		o.pending -= int64(len(e.data))
	}
	o.kept -= int64(len(e.data))
	e.answer(err)
	*e = entry{}
	o.head++
	if o.head > 64 && o.head > len(o.ram)/2 {
		n := copy(o.ram, o.ram[o.head:])
		clear(o.ram[n:])
		o.ram, o.head = o.ram[:n], 0
	}
}

func (e *entry) answer(err error) {
	if e.done != nil {
		// Whoever answers first is right; a second answer finds the channel full.
		select {
		case e.done <- err:
		default:
		}
	}
}

// trim forgets what no reader will ask for any more or can read from disk.
func (o *Outbox) trim() {
	for o.first() < o.next {
		f := o.first()
		if f > o.acked && (f > o.settled || o.kept <= keepTail) {
			return
		}
		o.pop(nil)
	}
}

func (o *Outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// broadcast wakes everybody who waits for a change.
func (o *Outbox) broadcast() {
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// wait gives up mu until the next broadcast or the end of ctx.
func (o *Outbox) wait(ctx context.Context) error {
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	ch := o.changed
	o.mu.Unlock()
	defer o.mu.Lock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Append adds a record, of which it keeps a copy, and returns its sequence number
// once the record is on disk or acknowledged by every reader. ErrFull: nothing was
// stored. When ctx ends or a commit fails for another reason the outcome is not
// known.
func (o *Outbox) Append(ctx context.Context, b []byte) (seq uint64, err error) {
	return o.AppendAll(ctx, b)
}

// AppendAll is Append for several records, which get consecutive sequence
// numbers; it returns the last one. After an error some of them may be stored.
func (o *Outbox) AppendAll(ctx context.Context, records ...[]byte) (last uint64, err error) {
	done := make(chan error, 1)
	for i, b := range records {
		var answer chan error
		if i == len(records)-1 {
			answer = done
		}
		if last, err = o.enqueue(ctx, b, true, answer); err != nil {
			return 0, err
		}
	}
	if len(records) == 0 {
		return 0, nil
	}
	select {
	case err := <-done:
		if err != nil {
			return 0, err
		}
		return last, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Enqueue adds a record, of which it keeps a copy, and returns its sequence
// number without waiting for a commit; it only waits, until ctx ends, while too
// much is uncommitted, and, unless ctx has ended, for a sync of meta.db at the first
// of a run that is not urgent. An urgent record is committed within the linger time, any
// other when it has not been acknowledged for the sample interval; what a crash has
// cost of those, readers are told. Confirm and Flush tell when it is on disk.
// ErrFull: the record was refused.
func (o *Outbox) Enqueue(ctx context.Context, b []byte, urgent bool) (seq uint64, err error) {
	return o.enqueue(ctx, b, urgent, nil)
}

func (o *Outbox) enqueue(ctx context.Context, b []byte, urgent bool, done chan error) (uint64, error) {
	if len(b) > o.cfg.MaxRecord {
		return 0, fmt.Errorf("outbox %s: %d bytes: %w", o.name, len(b), ErrTooLarge)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !urgent && !o.loosened && o.shutErr == nil {
		o.loosen(ctx)
	}
	if err := o.room(ctx, int64(len(b))); err != nil {
		return 0, err
	}
	now := o.now()
	seq := o.next
	o.ram = append(o.ram, entry{data: o.copy(b), at: now, done: done})
	o.next++
	o.pending += int64(len(b))
	o.kept += int64(len(b))
	if urgent {
		if o.urgent <= o.done() {
			o.urgentAt = now
			o.poke()
		}
		o.urgent = seq
	}
	if n := seq - o.done(); n == 1 || n == uint64(o.cfg.SampleRecords) || n == lingerRecords ||
		o.pending >= o.cfg.SampleBytes && o.pending-int64(len(b)) < o.cfg.SampleBytes ||
		o.pending >= lingerBytes && o.pending-int64(len(b)) < lingerBytes {
		o.poke()
	}
	o.broadcast()
	return seq, nil
}

// loosen has it on disk, once in a run, that sampled records may be lost in a crash, so
// that the next run can tell of it. It gives up mu meanwhile. When ctx has ended nobody
// may be held up, and the committer does it as its next.
func (o *Outbox) loosen(ctx context.Context) {
	o.loose, o.gapsSaved = true, false
	if ctx.Err() == nil {
		o.mu.Unlock()
		// A disk that cannot be written must not hold the record up.
		_ = o.saveState()
		o.mu.Lock()
	} else {
		o.poke()
	}
	o.loosened = true
}

// room waits until n bytes may be added.
func (o *Outbox) room(ctx context.Context, n int64) error {
	for {
		switch {
		case o.shutErr != nil:
			return o.shutErr
		case o.cfg.OnFull == RejectNew && o.disk+o.pending+n+slack > o.cfg.MaxBytes:
			o.rejected++
			return fmt.Errorf("outbox %s: %w", o.name, ErrFull)
		case o.pending == 0 || o.pending+n <= o.cfg.MaxPending:
			return nil
		case o.failing == nil:
			if err := o.wait(ctx); err != nil {
				return err
			}
		case o.cfg.OnFull == RejectNew:
			o.rejected++
			return fmt.Errorf("outbox %s: %w: %v", o.name, ErrFull, o.failing)
		default:
			if f := o.first(); f > max(o.settled, o.acked) {
				why := refusedOnce
				if !o.at(f).gone {
					why = givenUp
					o.lose(f, f)
				}
				o.note(gap{f, f, why})
				o.losses[why]++
			}
			o.pop(o.failing)
		}
	}
}

// copy copies b into a slab that many records share.
func (o *Outbox) copy(b []byte) []byte {
	if len(b) > cap(o.slab)-len(o.slab) {
		o.slab = make([]byte, 0, max(len(b), 16<<10))
	}
	n := len(o.slab)
	o.slab = append(o.slab, b...)
	return o.slab[n:len(o.slab):len(o.slab)]
}

// Flush returns once everything appended before it is committed or
// acknowledged, or with the error of the commit that failed.
func (o *Outbox) Flush(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	end := o.next - 1
	if o.done() < end {
		o.flush = max(o.flush, end)
		o.failing, o.retryAt = nil, 0
		o.poke()
	}
	return o.await(ctx, end)
}

// Confirm returns once every urgent record enqueued before it is committed or
// acknowledged, or with the error of the commit that failed. It makes nothing be
// committed that would not be anyway.
func (o *Outbox) Confirm(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.await(ctx, o.urgent)
}

// await waits until the records up to end are committed or acknowledged.
func (o *Outbox) await(ctx context.Context, end uint64) error {
	for o.done() < end {
		if o.failing != nil {
			return o.failing
		}
		if o.shutErr != nil {
			return o.shutErr
		}
		if err := o.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Writable returns nil when the next record can be expected to get onto the disk.
// Otherwise it tells why not: records wait and the last commit has failed, which is
// tried again by itself, or (ErrFull) the outbox is at its bound and refuses new
// records.
func (o *Outbox) Writable() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.shutErr != nil:
		return o.shutErr
	case o.failing != nil && o.done()+1 < o.next:
		return o.failing
	case o.cfg.OnFull == RejectNew && o.disk+o.pending+slack > o.cfg.MaxBytes:
		return fmt.Errorf("outbox %s: %w", o.name, ErrFull)
	}
	return nil
}

// shut refuses further appends and wakes everybody who waits.
func (o *Outbox) shut(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shutErr == nil {
		o.shutErr = fmt.Errorf("outbox %s: %w", o.name, err)
	}
	o.broadcast()
}

// Status is the state of an outbox.
type Status struct {
	Appended  uint64 // last sequence number given
	Committed uint64 // every record up to here is on disk, acknowledged or dropped
	Acked     uint64 // the cursor of the slowest reader
	Crashes   uint64 // of the numbers given, those that stand for what crashes may have cost
	Bytes     int64  // files on disk
	Pending   int64  // bytes in memory that are not committed
	Files     int    // segments
	Dropped   uint64 // records dropped at a bound since the outbox was made that not every reader had acknowledged
	Rejected  uint64 // records refused since Open
	Failing   error  // why the last commit failed; nil while all is well
}

// Status returns the present state.
func (o *Outbox) Status() Status {
	o.segMu.Lock()
	files := len(o.segs)
	o.segMu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.status(files)
}

// status is Status with mu held.
func (o *Outbox) status(files int) Status {
	return Status{
		Appended: o.next - 1, Committed: o.done(), Acked: o.acked, Crashes: o.crashes, Bytes: o.disk, Pending: o.pending,
		Files: files, Dropped: o.dropped, Rejected: o.rejected, Failing: o.failing,
	}
}

// Counters returns the counters of the reader without a name.
func (o *Outbox) Counters() map[string]uint64 { return o.readers[0].Counters() }

// Committed returns the sequence number up to which every record is on disk,
// acknowledged or dropped.
func (o *Outbox) Committed() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.done()
}

// ID returns the identity of the store and the outbox, "1f0a93bc-name": with
// epoch and sequence number it names a record for ever.
func (o *Outbox) ID() string { return o.s.ID() + "-" + o.name }
