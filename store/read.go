package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Read hands the records that follow after, oldest first and at most limit of
// them, to each; it waits until there is at least one or ctx ends. Records at or
// below the cursor are passed over.
//
// With lost = 0, record is the record seq of epoch; it may be kept and must not
// be changed. With lost > 0 there is no record: the lost records that end with
// seq are gone, and record is the reason in a word or two: max_bytes, max_age, disk
// full, damaged, crash (records that were not on disk yet; how many is not known),
// not written (given up in memory while the disk failed), refused (by an error that
// was returned for them), unknown. Both are to be acknowledged alike.
func (r *Reader) Read(ctx context.Context, after uint64, limit int, each func(epoch, seq uint64, record []byte, lost uint64)) error {
	o := r.o
	o.mu.Lock()
	for {
		if err := ctx.Err(); err != nil {
			o.mu.Unlock()
			return err
		}
		after = max(after, r.acked)
		if after+1 < o.next {
			break
		}
		if o.shutErr != nil {
			defer o.mu.Unlock()
			return o.shutErr
		}
		if err := o.wait(ctx); err != nil {
			o.mu.Unlock()
			return err
		}
	}
	first := o.first()
	if after+1 >= first {
		return r.readRAM(after, limit, each)
	}
	o.mu.Unlock()
	return r.readDisk(after, first, limit, each)
}

// readRAM hands out records from memory; it is called with mu held and gives it
// up.
func (r *Reader) readRAM(after uint64, limit int, each func(epoch, seq uint64, record []byte, lost uint64)) error {
	o := r.o
	n := min(o.next-1-after, uint64(max(limit, 1)))
	entries := make([]entry, n)
	copy(entries, o.ram[o.head+int(after+1-o.first()):])
	o.mu.Unlock()
	var gone uint64
	for i, e := range entries {
		seq := after + 1 + uint64(i)
		if e.gone {
			gone++
			continue
		}
		if gone > 0 {
			each(o.epoch, seq-1, []byte(refusedOnce.String()), gone)
			gone = 0
		}
		each(o.epoch, seq, e.data, 0)
	}
	if gone > 0 {
		each(o.epoch, after+n, []byte(refusedOnce.String()), gone)
	}
	return nil
}

// readDisk hands out records between after and first, which is in memory.
func (r *Reader) readDisk(after, first uint64, limit int, each func(epoch, seq uint64, record []byte, lost uint64)) error {
	r.diskMu.Lock()
	defer r.diskMu.Unlock()
	c, end, err := r.locate(after, first)
	if err != nil {
		return err
	}
	if c == nil || c.first >= end {
		r.o.tellGap(r.o.epoch, after+1, end-1, each)
		return nil
	}
	if c.first > after+1 {
		r.o.tellGap(c.epoch, after+1, c.first-1, each)
		after = c.first - 1
	}
	stop := min(c.last()+1, end, after+1+uint64(max(limit, 1)))
	for seq := after + 1; seq < stop; seq++ {
		each(c.epoch, seq, c.records[seq-c.first], 0)
	}
	return nil
}

// locate finds the chunk with the record that follows after, or the next one.
// Only what lies before end counts: there the next segment, or the memory,
// begins. A nil chunk says that there is nothing up to end.
func (r *Reader) locate(after, first uint64) (c *chunk, end uint64, err error) {
	o := r.o
	for {
		seg, end := o.segmentFor(after, first)
		if seg == nil || seg.first > after+1 {
			return nil, end, nil
		}
		if c := r.cached; r.open == seg && c != nil && c.first <= after+1 && after < c.last() {
			return c, end, nil
		}
		if r.open != seg && r.open != nil {
			r.open.rest()
		}
		r.open, r.cached = seg, nil
		c, bad, err := seg.after(after)
		if bad != nil {
			to := end - 1
			if c != nil {
				to = min(to, c.first-1)
			}
			o.noteDamage(after+1, to)
			o.s.cfg.Events(Event{Kind: DamagedChunk, Outbox: o.name, File: seg.path, From: after + 1, To: to, Err: bad})
		}
		switch {
		case err == nil && c.first < end:
			r.cached = c
			return c, end, nil
		case err == nil || errors.Is(err, errLast):
			return nil, end, nil
		case o.s.closed.Load():
			return nil, 0, fmt.Errorf("outbox %s: %w", o.name, ErrClosed)
		}
		r.open = nil
		o.repair(seg, err)
	}
}

// segmentFor returns the segment that would hold the record that follows after,
// else the next one, else nil, and where the next segment or the memory begins;
// for a later segment that is the segment itself.
func (o *Outbox) segmentFor(after, first uint64) (seg *segment, end uint64) {
	o.segMu.Lock()
	defer o.segMu.Unlock()
	for _, s := range o.segs {
		if s.first > after+1 {
			if seg == nil {
				seg = s
			}
			return seg, min(s.first, first)
		}
		seg = s
	}
	return seg, first
}

// repair sets a damaged segment aside, saves the chunks that are whole into a
// new one in its place, and reports it. It returns the last sequence number
// saved. The segment is out of the list afterwards in any case.
func (o *Outbox) repair(seg *segment, cause error) (last uint64) {
	seg.abandon()
	end := o.endOf(seg)
	event := Event{Kind: DamagedFile, Outbox: o.name, File: seg.path, Err: cause}
	aside, err := o.s.disk.setAside(seg.path)
	if errors.Is(err, os.ErrNotExist) {
		// Dropped meanwhile: nothing is left to repair.
		o.replace(seg, nil)
		return 0
	}
	if err == nil {
		event.File = aside
	} else {
		event.Err = errors.Join(cause, err)
	}
	var heir *segment
	if err == nil {
		event.From, event.To, err = o.s.disk.rescueOutbox(aside, o.dir, o.name, seg.first, o.cfg.SegmentBytes+maxTx+maxRecord)
		last = event.To
		if err != nil {
			event.Err = errors.Join(cause, err)
		} else if last > 0 {
			heir = &segment{disk: o.s.disk, first: event.From, path: segmentPath(o.dir, event.From), newest: lastWrite{at: time.Now(), ask: true}}
			heir.measure()
		}
	}
	if !o.replace(seg, heir) && heir != nil {
		_ = heir.drop()
	}
	o.noteDamage(seg.first, max(end, last, seg.first))
	o.s.cfg.Events(event)
	return last
}

// endOf returns the last number that a segment can have, 0 where that is not known: in
// the newest one of a store that is being opened.
func (o *Outbox) endOf(seg *segment) uint64 {
	segs := o.list()
	if i := slices.Index(segs, seg); i >= 0 && i+1 < len(segs) {
		return segs[i+1].first - 1
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.settled
}

// noteDamage remembers that what is missing among the records from..to fell to damage,
// to which a reader may come again and again.
func (o *Outbox) noteDamage(from, to uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if g := (gap{from, to, inDamage}); to > o.acked && !slices.Contains(o.gaps, g) {
		o.note(g)
		o.poke()
	}
}

// replace puts heir, nil for none, in the place of seg in the list. It reports
// whether seg was there.
func (o *Outbox) replace(seg, heir *segment) bool {
	o.segMu.Lock()
	defer o.segMu.Unlock()
	i := slices.Index(o.segs, seg)
	if i < 0 {
		return false
	}
	// The list is replaced, not changed: others may be reading a copy of it.
	o.segs = slices.Concat(o.segs[:i], o.segs[i+1:])
	if heir != nil {
		o.segs = slices.Insert(o.segs, i, heir)
	}
	return true
}

// readWhat returns what can be read of a file, up to limit bytes, with zeros in
// place of what cannot.
func readWhat(path string, limit int64) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	b := make([]byte, min(info.Size(), limit))
	if _, err := f.ReadAt(b, 0); err == nil {
		return b
	}
	for at := 0; at < len(b); at += page {
		part := b[at:min(at+page, len(b))]
		if _, err := f.ReadAt(part, int64(at)); err != nil {
			clear(part)
		}
	}
	return b
}
