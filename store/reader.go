package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"sync"
)

// Reader is one of those who read an outbox, with a cursor of its own. All methods
// are safe for concurrent use.
type Reader struct {
	o    *Outbox
	name string

	// The outbox's mu guards these.
	acked   uint64 // the cursor
	saved   uint64 // the cursor on disk
	dropped uint64

	diskMu sync.Mutex // one reads from disk at a time; guards what follows
	cached *chunk     // the chunk read last
	open   *segment   // the segment read last
}

// Reader returns the reader of that name: "" or one in OutboxConfig.Readers, nil for
// any other.
func (o *Outbox) Reader(name string) *Reader {
	for _, r := range o.readers {
		if r.name == name {
			return r
		}
	}
	return nil
}

// Read is that of the reader without a name.
func (o *Outbox) Read(ctx context.Context, after uint64, limit int, each func(epoch, seq uint64, record []byte, lost uint64)) error {
	return o.readers[0].Read(ctx, after, limit, each)
}

// Ack is that of the reader without a name.
func (o *Outbox) Ack(ctx context.Context, seq uint64) error { return o.readers[0].Ack(ctx, seq) }

// Acked is that of the reader without a name.
func (o *Outbox) Acked() uint64 { return o.readers[0].Acked() }

// resume gives each reader its cursor and reports whether there are others than before.
// One that is new begins where the slowest of those before stood: what is kept for anybody is there
// for it, too, so that a reader may also be renamed and loses nothing. What was kept
// for a reader that is no more goes.
func (o *Outbox) resume(known map[string]cursor, end segmentEnd) (changed bool) {
	lost := len(known) == 0 // with meta.db, or there never was any
	for name, acked := range end.cursors {
		if c, ok := known[name]; ok || lost {
			c.acked = max(c.acked, acked)
			known[name] = c
		}
	}
	oldest := slowestOf(known)
	for _, name := range slices.Concat([]string{""}, o.cfg.Readers) {
		c, ok := known[name]
		if !ok {
			c = oldest
			changed = len(known) > 0
		}
		delete(known, name)
		r := &Reader{o: o, name: name, acked: max(c.acked, end.head.acked), saved: c.acked, dropped: c.dropped}
		o.readers = append(o.readers, r)
		o.dropped = max(o.dropped, r.dropped)
	}
	o.acked = o.slowest()
	return changed || len(known) > 0
}

// slowestOf returns the least of some cursors, the zero one for none.
func slowestOf(all map[string]cursor) cursor {
	slowest := cursor{acked: math.MaxUint64}
	for _, c := range all {
		if c.acked < slowest.acked {
			slowest = c
		}
	}
	if len(all) == 0 {
		return cursor{}
	}
	return slowest
}

// slowest returns the cursor of the slowest reader. Like all small helpers below it
// is called with the outbox's mu held.
func (o *Outbox) slowest() uint64 {
	slowest := o.readers[0].acked
	for _, r := range o.readers[1:] {
		slowest = min(slowest, r.acked)
	}
	return slowest
}

// dirty reports whether a crash would make records appear again.
func (o *Outbox) dirty() bool {
	return slices.ContainsFunc(o.readers, func(r *Reader) bool { return min(r.acked, o.durable) > r.saved })
}

// saved reports whether it is safe on disk that every reader has passed seq.
func (o *Outbox) saved(seq uint64) bool {
	return !slices.ContainsFunc(o.readers, func(r *Reader) bool { return r.saved < seq })
}

// positions returns the cursors of the readers, in their order.
func (o *Outbox) positions() []uint64 {
	at := make([]uint64, len(o.readers))
	for i, r := range o.readers {
		at[i] = r.acked
	}
	return at
}

// settlePositions notes that these cursors are on disk. What has been acknowledged
// meanwhile has its time before it: the next commit is likely to carry it.
func (o *Outbox) settlePositions(at []uint64) {
	o.dirtyAt = o.now()
	for i, r := range o.readers {
		r.saved = max(r.saved, at[i])
	}
}

// saveState writes the cursors and the gaps to meta.db.
func (o *Outbox) saveState() error {
	o.saveMu.Lock()
	defer o.saveMu.Unlock()
	o.mu.Lock()
	o.forgetGaps()
	at, kept := o.positions(), losses{o.loose, o.crashes, o.gaps}.pack()
	o.gapsSaved = true
	all := make(map[string]cursor, len(at))
	for _, r := range o.readers {
		all[r.name] = cursor{acked: r.acked, dropped: r.dropped}
	}
	o.mu.Unlock()
	err := o.s.meta.setOutbox(o.name, all, kept)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.gapsSaved = false
		return fmt.Errorf("outbox %s: cursors: %w", o.name, err)
	}
	o.settlePositions(at)
	return nil
}

// lose counts records that are dropped for those who have not acknowledged them.
func (o *Outbox) lose(from, to uint64) {
	if to > o.acked {
		o.dropped += to - max(o.acked, from-1)
	}
	for _, r := range o.readers {
		if to > r.acked {
			r.dropped += to - max(r.acked, from-1)
		}
	}
}

// Ack moves the cursor: the reader has dealt with every record up to seq and will
// not ask for them again. It returns at once; the cursor is on disk within a
// second, or earlier with the next commit. A cursor lost in a crash means that
// records are read again, never that they are lost.
func (r *Reader) Ack(_ context.Context, seq uint64) error {
	o := r.o
	o.mu.Lock()
	defer o.mu.Unlock()
	if seq >= o.next {
		return fmt.Errorf("outbox %s: acknowledgement of %d, the last record is %d", o.name, seq, o.next-1)
	}
	if seq <= r.acked {
		return nil
	}
	clean := !o.dirty()
	r.acked = seq
	if clean && o.dirty() {
		o.dirtyAt = o.now()
		o.poke()
	}
	if slowest := o.slowest(); slowest > o.acked {
		o.acked = slowest
		o.trim()
		if slowest >= o.drainAt {
			o.poke()
		}
		o.broadcast()
	}
	return nil
}

// Acked returns the cursor, the place to start reading from.
func (r *Reader) Acked() uint64 {
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	return r.acked
}

// Counters returns the numbers of Status by name as this reader has them: appended,
// committed, acknowledged (its cursor), crashes and crashes_waiting (numbers that stand
// for what crashes may have cost, in all and above its cursor), bytes, pending, files,
// dropped (what it has missed at a bound), rejected, and failing (0 or 1).
func (r *Reader) Counters() map[string]uint64 {
	o := r.o
	files := len(o.list())
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.status(files)
	c := map[string]uint64{
		"appended": s.Appended, "committed": s.Committed, "acknowledged": r.acked, "crashes": s.Crashes, "crashes_waiting": o.crashesAfter(r.acked),
		"bytes": uint64(s.Bytes), "pending": uint64(s.Pending), "files": uint64(s.Files), "dropped": r.dropped, "rejected": s.Rejected, "failing": 0,
	}
	if s.Failing != nil {
		c["failing"] = 1
	}
	return c
}

// packCursors returns the cursors of several readers in the form that is kept beside
// a chunk: of each, the length of its name as uvarint, the name, and its cursor as
// uvarint; behind them the CRC32C of it all, little-endian. One reader alone has its
// cursor in the chunk's header.
func (o *Outbox) packCursors(at []uint64) []byte {
	if len(o.readers) < 2 {
		return nil
	}
	var b []byte
	for i, r := range o.readers {
		b = binary.AppendUvarint(b, uint64(len(r.name)))
		b = append(b, r.name...)
		b = binary.AppendUvarint(b, at[i])
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unpackCursors reads what packCursors has written; nil for anything else.
func unpackCursors(b []byte) map[string]uint64 {
	if len(b) < 4 || crc32.Checksum(b[:len(b)-4], castagnoli) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return nil
	}
	all := map[string]uint64{}
	for b = b[:len(b)-4]; len(b) > 0; {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return nil
		}
		name := string(b[w : w+int(n)])
		b = b[w+int(n):]
		seq, w := binary.Uvarint(b)
		if w <= 0 {
			return nil
		}
		all[name], b = seq, b[w:]
	}
	return all
}
