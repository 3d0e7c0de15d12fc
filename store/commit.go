package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// idle is how long the committer sleeps when nothing is due; then it looks for
// files that are too old.
const idle = time.Minute

// run is the committer: it writes what is due until ctx ends, and then the rest.
func (o *Outbox) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return o.finish()
		case <-o.wake:
		case <-timer.C:
		}
		timer.Reset(o.step())
	}
}

// step does what is due and returns for how long nothing will be, unless
// somebody pokes.
func (o *Outbox) step() time.Duration {
	for {
		o.mu.Lock()
		wait := o.due(o.now())
		o.mu.Unlock()
		if wait > 0 {
			break
		}
		o.commit()
	}
	o.mu.Lock()
	save := o.dirty() && o.now() >= o.dirtyAt+cursorPeriod || o.acked >= o.drainAt || !o.gapsSaved && o.now() >= o.saveAt
	o.mu.Unlock()
	if save && o.saveState() != nil {
		// Before a file goes the cursor must be safe, or its numbers would be given
		// again. An error leaves it for the next time.
		o.mu.Lock()
		o.saveAt = o.now() + cursorPeriod
		o.mu.Unlock()
	}
	o.sweep()
	o.mu.Lock()
	defer o.mu.Unlock()
	wait := o.due(o.now())
	if o.dirty() {
		wait = min(wait, max(o.dirtyAt+cursorPeriod-o.now(), retryPeriod))
	}
	if !o.gapsSaved {
		wait = min(wait, max(o.saveAt-o.now(), retryPeriod))
	}
	return max(wait, 0)
}

// due returns how long the next commit can wait; called with mu held.
func (o *Outbox) due(now time.Duration) time.Duration {
	done := o.done()
	n := o.next - 1 - done
	switch {
	case n == 0:
		return idle
	case o.degraded && now < o.retryAt:
		return o.retryAt - now
	case o.flush > done, n >= uint64(o.cfg.SampleRecords), o.pending >= o.cfg.SampleBytes:
		return 0
	}
	wait := o.at(done+1).at + o.cfg.SampleInterval - now
	if o.urgent > done {
		if n >= lingerRecords || o.pending >= lingerBytes {
			return 0
		}
		wait = min(wait, o.urgentAt+o.cfg.Linger-now)
	}
	return max(wait, 0)
}

// commit writes the oldest records that are neither committed nor acknowledged,
// up to maxTx bytes.
func (o *Outbox) commit() {
	o.mu.Lock()
	from, acked := o.done()+1, o.positions()
	size, n := 0, 0
	live := o.ram[o.head+int(from-o.first()):]
	for n < len(live) && size < maxTx && n < chunkMaxCount {
		size += len(live[n].data)
		n++
	}
	batch := append([]entry(nil), live[:n]...)
	o.mu.Unlock()
	if n == 0 {
		return
	}
	chunks := o.encode(from, acked, batch)
	if len(chunks) > 0 {
		chunks[len(chunks)-1].cursors = o.packCursors(acked)
	}
	err := o.write(chunks)
	o.settle(from, acked, batch, len(chunks) > 0, err)
}

// encode packs the records into chunks of consecutive numbers.
func (o *Outbox) encode(from uint64, acked []uint64, batch []entry) []foundChunk {
	var chunks []foundChunk
	c := chunk{epoch: o.epoch, acked: slices.Min(acked)}
	c.clock, c.quality = o.s.ageing.stamp()
	size := 0
	end := func() {
		if len(c.records) > 0 {
			head := chunkHead{first: c.first, count: uint32(len(c.records))}
			chunks = append(chunks, foundChunk{chunkHead: head, bytes: encodeChunk(&o.s.deflate, &c)})
			c.records, size = c.records[:0], 0
		}
	}
	for i, e := range batch {
		if e.gone {
			end()
			continue
		}
		if len(c.records) == 0 {
			c.first = from + uint64(i)
		}
		c.records = append(c.records, e.data)
		if size += len(e.data); size >= chunkTarget {
			end()
		}
	}
	end()
	return chunks
}

// write commits chunks to the active segment or a new one.
func (o *Outbox) write(chunks []foundChunk) error {
	if len(chunks) == 0 {
		return nil
	}
	size := int64(slack)
	for _, c := range chunks {
		size += int64(len(c.bytes))
	}
	if o.cfg.OnFull == DropOldest {
		for o.total()+size > o.cfg.MaxBytes && o.dropOldest(overBytes) {
		}
	}
	for {
		err := full(o.writeTo(chunks, size))
		if !errors.Is(err, ErrFull) || !o.cfg.Over.giveWay() && (o.cfg.OnFull != DropOldest || !o.dropOldest(diskFull)) {
			return err
		}
	}
}

func (o *Outbox) writeTo(chunks []foundChunk, size int64) error {
	if err := o.s.disk.room(o.dir, size); err != nil {
		return err
	}
	if o.active != nil && (o.active.bytes.Load()+size > o.cfg.SegmentBytes ||
		o.cfg.MaxAge > 0 && o.now()-o.activeAt > o.cfg.MaxAge/4) {
		o.roll()
	}
	if o.active != nil {
		if err := o.active.put(chunks); err == nil {
			o.active.newest = lastWrite{at: time.Now()}
			return nil
		}
		// What a failed commit has left on disk is not known, and the kernel may
		// believe pages clean that never got there. The file is not written again;
		// the records go into a new one, and readers prefer that.
		o.roll()
	}
	seg, err := bearSegment(o.s.disk, segmentPath(o.dir, chunks[0].first), o.name, 2*o.cfg.SegmentBytes, chunks)
	if err != nil {
		return err
	}
	seg.newest = lastWrite{at: time.Now()}
	o.active, o.activeAt = seg, o.now()
	o.segMu.Lock()
	defer o.segMu.Unlock()
	o.segs = append(o.segs[:len(o.segs):len(o.segs)], seg)
	return nil
}

// roll ends the writing of the active segment.
func (o *Outbox) roll() {
	if o.active == nil {
		return
	}
	o.active.seal()
	// Packing leaves the cursors of several readers out.
	if len(o.readers) == 1 || o.saveState() == nil {
		select {
		case o.toPack <- o.active:
		default: // files fill faster than they are packed
		}
	}
	o.active = nil
}

// settle records the outcome of a commit of the records from from on.
func (o *Outbox) settle(from uint64, acked []uint64, batch []entry, wrote bool, err error) {
	last := from + uint64(len(batch)) - 1
	disk := o.total()
	o.mu.Lock()
	o.disk = disk
	var event EventKind
	if err == nil {
		for seq := max(from, o.first()); seq <= last; seq++ {
			o.pending -= int64(len(o.at(seq).data))
		}
		o.settled = max(o.settled, last)
		if wrote {
			o.durable = max(o.durable, last)
			o.settlePositions(acked)
		}
		if o.degraded {
			event = Recovered
		}
		o.failing, o.degraded = nil, false
	} else {
		err = fmt.Errorf("outbox %s: %w", o.name, err)
		if !o.degraded {
			event = Degraded
		}
		o.failing, o.degraded, o.retryAt, o.flush = err, true, o.now()+retryPeriod, 0
	}
	for i := range batch {
		if batch[i].gone && err == nil && !o.noted(from+uint64(i)) {
			o.note(gap{from + uint64(i), from + uint64(i), refusedOnce})
			o.losses[refusedOnce]++
		}
		o.answer(from+uint64(i), &batch[i], err)
	}
	o.trim()
	o.broadcast()
	o.mu.Unlock()
	if event != 0 {
		o.s.cfg.Events(Event{Kind: event, Outbox: o.name, From: from, To: last, Err: err})
	}
}

// answer tells the Append that waits for a record. After an error the record is
// taken back: whoever was refused may try again. Called with mu held.
func (o *Outbox) answer(seq uint64, e *entry, err error) {
	if e.done == nil {
		return
	}
	if err != nil && seq >= o.first() {
		r := o.at(seq)
		o.pending -= int64(len(r.data))
		o.kept -= int64(len(r.data))
		r.data, r.gone = nil, true
	}
	e.answer(err)
}

// total returns the bytes of the files on disk.
func (o *Outbox) total() (n int64) {
	for _, s := range o.list() {
		n += s.bytes.Load()
	}
	return n
}

func (o *Outbox) list() []*segment {
	o.segMu.Lock()
	defer o.segMu.Unlock()
	return o.segs
}

// giveWay drops the oldest segment for an outbox of more weight, if there is one
// that may be dropped. It is called by that one's committer.
func (o *Outbox) giveWay() bool {
	return o != nil && o.cfg.OnFull == DropOldest && o.dropOldest(diskFull)
}

// dropOldest unlinks the oldest segment to make room. It reports false when
// there is none besides the one being written.
func (o *Outbox) dropOldest(why cause) bool {
	o.dropMu.Lock()
	defer o.dropMu.Unlock()
	segs := o.list()
	if len(segs) == 0 || segs[0].busy() {
		return false
	}
	o.mu.Lock()
	end := o.settled
	if len(segs) > 1 {
		end = segs[1].first - 1
	}
	from := max(o.acked+1, segs[0].first)
	lost := end >= from
	o.lose(segs[0].first, end)
	if lost {
		o.note(gap{from, end, why})
		o.losses[why] += end - from + 1
	}
	o.mu.Unlock()
	if lost {
		// Before the file goes, if the disk takes it; otherwise soon after.
		_ = o.saveState()
	}
	if !o.unlink(segs[0]) {
		return false
	}
	if lost {
		o.s.cfg.Events(Event{Kind: Dropped, Outbox: o.name, File: segs[0].path, From: from, To: end, Err: errors.New(why.String())})
	}
	return true
}

// unlink removes a segment.
func (o *Outbox) unlink(seg *segment) bool {
	o.replace(seg, nil)
	err := seg.drop()
	disk := o.total()
	o.mu.Lock()
	o.disk = disk
	o.broadcast()
	o.mu.Unlock()
	return err == nil
}

// sweep unlinks what has been acknowledged and what is too old, and notes when
// the next file can go.
func (o *Outbox) sweep() {
	for {
		segs := o.list()
		o.mu.Lock()
		o.drainAt = math.MaxUint64
		if len(segs) == 0 {
			o.mu.Unlock()
			return
		}
		end := o.settled
		if len(segs) > 1 {
			end = segs[1].first - 1
		}
		// The file being written stays until it is worth a new one.
		small := segs[0] == o.active && o.active.bytes.Load() < o.cfg.SegmentBytes/4
		drained := o.acked >= end && !small
		safe := o.saved(min(end, o.durable))
		if !small {
			o.drainAt = end
		}
		o.mu.Unlock()
		switch {
		case drained && safe:
			if segs[0] == o.active {
				o.active = nil
			}
			if !o.unlink(segs[0]) {
				return
			}
		case drained || !o.tooOld(segs[0]) || !o.dropOldest(overAge):
			return
		}
	}
}

func (o *Outbox) tooOld(seg *segment) bool {
	if o.cfg.MaxAge == 0 || seg == o.active {
		return false
	}
	now, known := o.s.ageing.now()
	return known && seg.age(now) > o.cfg.MaxAge
}

// finish commits what is left, saves the state and ends the outbox.
func (o *Outbox) finish() error {
	o.shut(ErrClosed)
	var err error
	for err == nil {
		o.mu.Lock()
		left := o.done()+1 < o.next
		o.mu.Unlock()
		if !left {
			break
		}
		o.commit()
		o.mu.Lock()
		err = o.failing
		o.mu.Unlock()
	}
	if err == nil {
		o.mu.Lock()
		o.loose = false
		o.mu.Unlock()
	}
	err = errors.Join(err, o.saveState())
	o.sweep()
	o.forget()
	return err
}

// forget drops what is in memory; whoever waits for it is told that the store
// is closed.
func (o *Outbox) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.first() < o.next {
		o.pop(o.shutErr)
	}
}

// closeFiles closes what is open.
func (o *Outbox) closeFiles() {
	for _, s := range o.list() {
		s.seal()
	}
}
