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

// crashesAfter returns how many numbers above a cursor stand for crashes. It is called
// with mu held.
func (o *Outbox) crashesAfter(acked uint64) (n uint64) {
	for _, g := range o.gaps {
		if g.why == inCrash && g.to > acked {
			n += g.to - max(acked, g.from-1)
		}
	}
	return n
}

// Losses returns how many records were lost since Open, by cause as readers get it, 0
// included; rejected are those that the bound refused. For crash it is 1 when records may
// have been lost before Open. What damage has cost is not known before it is read, and not
// counted.
func (o *Outbox) Losses() map[string]uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := map[string]uint64{"rejected": o.rejected}
	for _, c := range []cause{overBytes, overAge, diskFull, inCrash, givenUp, refusedOnce} {
		all[c.String()] = o.losses[c]
	}
	return all
}

// losses is what meta.db keeps of an outbox beside its cursors.
type losses struct {
	loose   bool   // sampled records may be in memory alone
	crashes uint64 // numbers that were ever given to crashes
	gaps    []gap  // by from
}

const (
	lossesVersion = 1
	lossesHead    = 10
	lossesGap     = 17
)

// pack returns the losses in the form that is kept: version 1; flags (1: loose); the
// crashes; of each gap from, to and the cause. Numbers are uint64, big-endian, the cause
// is a byte. Nil says that there is nothing to keep.
func (l losses) pack() []byte {
	if !l.loose && l.crashes == 0 && len(l.gaps) == 0 {
		return nil
	}
	b := []byte{lossesVersion, 0}
	if l.loose {
		b[1] = 1
	}
	b = binary.BigEndian.AppendUint64(b, l.crashes)
	for _, g := range l.gaps {
		b = binary.BigEndian.AppendUint64(b, g.from)
		b = binary.BigEndian.AppendUint64(b, g.to)
		b = append(b, byte(g.why))
	}
	return b
}

// unpackLosses reads what pack has written; anything else is as nothing.
func unpackLosses(b []byte) (l losses) {
	if len(b) < lossesHead || b[0] != lossesVersion || (len(b)-lossesHead)%lossesGap != 0 {
		return losses{}
	}
	l.loose, l.crashes = b[1]&1 != 0, binary.BigEndian.Uint64(b[2:])
	last := uint64(0)
	for b = b[lossesHead:]; len(b) > 0; b = b[lossesGap:] {
		g := gap{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), cause(b[16])}
		if g.from == 0 || g.to < g.from || g.from < last {
			return losses{loose: l.loose, crashes: l.crashes}
		}
		l.gaps, last = append(l.gaps, g), g.from
	}
	return l
}
