package store

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// cause says why records are missing.
type cause uint8

// The causes. Their numbers are on disk.
const (
	notKnown  cause = iota
	overBytes       // MaxBytes
	overAge         // MaxAge
	diskFull
	inDamage    // of a file
	inCrash     // sampled records that were not on disk yet; how many is not known
	givenUp     // in memory, while the disk could not be written
	refusedOnce // the outcome of a commit was told as an error
	causes
)

var causeNames = [causes]string{"unknown", "max_bytes", "max_age", "disk full", "damaged", "crash", "not written", "refused"}

// String returns the cause as readers get it.
func (c cause) String() string {
	if c < causes {
		return causeNames[c]
	}
	return causeNames[notKnown]
}

// gap is a range of records that are missing, and why.
type gap struct {
	from, to uint64
	why      cause
}

// maxGaps bounds the gaps of an outbox whose cause is remembered: beyond, the oldest
// are gaps without a known cause.
const maxGaps = 1024

// note remembers why records are missing. It is called with mu held.
func (o *Outbox) note(g gap) {
	o.gapsSaved = false
	if n := len(o.gaps); n > 0 && o.gaps[n-1].why == g.why && o.gaps[n-1].to+1 == g.from {
		o.gaps[n-1].to = g.to
		return
	}
	i, _ := slices.BinarySearchFunc(o.gaps, g.from, func(g gap, from uint64) int { return cmp.Compare(g.from, from) })
	o.gaps = slices.Insert(o.gaps, i, g)
	o.gaps = slices.Delete(o.gaps, 0, max(len(o.gaps)-maxGaps, 0))
}

// noted reports whether it is known why a record is missing. It is called with mu held.
func (o *Outbox) noted(seq uint64) bool {
	return slices.ContainsFunc(o.gaps, func(g gap) bool { return g.from <= seq && seq <= g.to })
}

// forgetGaps forgets those that every reader has passed. It is called with mu held.
func (o *Outbox) forgetGaps() {
	o.gaps = slices.DeleteFunc(o.gaps, func(g gap) bool { return g.to <= o.acked })
}

// eachGap calls fn for the records from..to, which are missing, part by part as the
// cause is another one.
func (o *Outbox) eachGap(from, to uint64, fn func(from, to uint64, why cause)) {
	o.mu.Lock()
	gaps := slices.Clone(o.gaps)
	o.mu.Unlock()
	for _, g := range gaps {
		if g.to < from || g.from > to {
			continue
		}
		if g.from > from {
			fn(from, g.from-1, notKnown)
			from = g.from
		}
		end := min(g.to, to)
		fn(from, end, g.why)
		if from = end + 1; from > to {
			return
		}
	}
	fn(from, to, notKnown)
}

// tellGap tells a reader of the missing records from..to.
func (o *Outbox) tellGap(epoch, from, to uint64, each func(epoch, seq uint64, record []byte, lost uint64)) {
	o.eachGap(from, to, func(from, to uint64, why cause) { each(epoch, to, []byte(why.String()), to-from+1) })
}

// packGaps returns what meta.db keeps of an outbox beside its cursors: version 1; flags
// (1: sampled records may be in memory alone); of each gap from and to as uint64,
// big-endian, and the cause. Nil says that there is nothing to keep.
func packGaps(loose bool, gaps []gap) []byte {
	if !loose && len(gaps) == 0 {
		return nil
	}
	b := []byte{1, 0}
	if loose {
		b[1] = 1
	}
	for _, g := range gaps {
		b = binary.BigEndian.AppendUint64(b, g.from)
		b = binary.BigEndian.AppendUint64(b, g.to)
		b = append(b, byte(g.why))
	}
	return b
}

// unpackGaps reads what packGaps has written; anything else is as nothing.
func unpackGaps(b []byte) (loose bool, gaps []gap) {
	if len(b) < 2 || b[0] != 1 || (len(b)-2)%17 != 0 {
		return false, nil
	}
	loose = b[1]&1 != 0
	for b = b[2:]; len(b) > 0; b = b[17:] {
		g := gap{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), cause(b[16])}
		if g.from == 0 || g.to < g.from || len(gaps) > 0 && g.from < gaps[len(gaps)-1].from {
			return loose, nil
		}
		gaps = append(gaps, g)
	}
	return loose, gaps
}
