package crashtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// maxFilling bounds what a record has beside its number.
const maxFilling = 400

// Record returns record n of a workload: its number, and a filling of 0 to 399 bytes
// that only that number has.
func Record(n uint64) []byte {
	r := rand.New(rand.NewPCG(n, 1))
	b := binary.BigEndian.AppendUint64(nil, n)
	for range r.IntN(maxFilling) {
		b = append(b, byte(r.Uint32()))
	}
	return b
}

// Number returns the number of a record; ok is false for bytes that Record did not
// return.
func Number(b []byte) (n uint64, ok bool) {
	if len(b) < 8 {
		return 0, false
	}
	n = binary.BigEndian.Uint64(b)
	return n, bytes.Equal(b, Record(n))
}

// Range is the sequence numbers From to To.
type Range struct{ From, To uint64 }

func (r Range) has(seq uint64) bool { return seq >= r.From && seq <= r.To }

// offer is what a ledger knows of a record.
type offer struct {
	epoch uint64
	seq   uint64 // 0: not told
}

// Ledger is what a workload was told by a store, in the lines that it wrote:
//
//	open EPOCH ID   the store is open
//	offer N         record N is about to be appended
//	ok N SEQ        it is acknowledged: on disk
//	taken N SEQ     it is taken, and may be lost until it is flushed, which is told then
//	urgent N SEQ    it is taken, will be on disk in a moment, and may be lost until then
//	flushed SEQ     everything up to SEQ is on disk
//	cursor SEQ NAME everything up to SEQ is about to be acknowledged by the reader NAME, "" where it has none
//	dropped A B     the store says that it has dropped A to B
//	put KEY N       the entries KEY and KEY + Twin of the table are about to get record N
//	done KEY N      they have it, on disk
//	beside LINE     the line is of the outbox beside, which is judged in the same way
//
// The zero value is a ledger of nothing.
type Ledger struct {
	id      string
	epoch   uint64 // newest
	offers  map[uint64]offer
	durable map[uint64]uint64 // sequence number -> record that is on disk
	taken   map[uint64]uint64 // sequence number -> record that is not, yet
	urgent  map[uint64]bool   // those of them that were to be there in a moment
	cursors map[string]uint64 // by reader
	dropped []Range
	entries map[uint64]entry // of the table
	beside  *Ledger          // nil where there is one outbox alone
}

// entry is what may be in a table.
type entry struct {
	done  uint64          // the newest that is on disk for certain; 0 = none
	since map[uint64]bool // put after that, outcome not known
	ever  map[uint64]bool
}

// Twin is the distance of two entries of a table that are always changed together.
const Twin = 1 << 16

// Clone returns a ledger that goes its own way.
func (l *Ledger) Clone() *Ledger {
	c := *l
	c.offers, c.durable, c.taken, c.cursors = maps.Clone(l.offers), maps.Clone(l.durable), maps.Clone(l.taken), maps.Clone(l.cursors)
	c.urgent = maps.Clone(l.urgent)
	if l.beside != nil {
		c.beside = l.beside.Clone()
	}
	c.dropped = append([]Range(nil), l.dropped...)
	c.entries = map[uint64]entry{}
	for k, e := range l.entries {
		c.entries[k] = entry{e.done, maps.Clone(e.since), maps.Clone(e.ever)}
	}
	return &c
}

// Durable returns how many records have been acknowledged as being on disk.
func (l *Ledger) Durable() int { return len(l.durable) }

// Note adds a line.
func (l *Ledger) Note(line string) error {
	if l.offers == nil {
		l.offers, l.durable, l.taken, l.entries = map[uint64]offer{}, map[uint64]uint64{}, map[uint64]uint64{}, map[uint64]entry{}
		l.cursors, l.urgent = map[string]uint64{}, map[uint64]bool{}
	}
	if rest, ok := strings.CutPrefix(line, "beside "); ok {
		if l.beside == nil {
			l.beside = &Ledger{}
		}
		return l.beside.Note(rest)
	}
	f := strings.Fields(line)
	if len(f) < 2 || len(f) > 3 {
		return fmt.Errorf("ledger: %q", line)
	}
	a, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		return fmt.Errorf("ledger: %q: %w", line, err)
	}
	var b uint64
	name := ""
	if len(f) == 3 && (f[0] == "open" || f[0] == "cursor") {
		name = f[2]
	} else if len(f) == 3 {
		if b, err = strconv.ParseUint(f[2], 10, 64); err != nil {
			return fmt.Errorf("ledger: %q: %w", line, err)
		}
	}
	switch f[0] {
	case "open":
		l.epoch = a
		// What an earlier run has taken and not flushed may be gone, and its numbers be
		// given again.
		clear(l.taken)
		if name != "" {
			l.id = name
		}
	case "offer":
		l.offers[a] = offer{epoch: l.epoch}
	case "ok":
		l.offers[a] = offer{l.offers[a].epoch, b}
		l.durable[b] = a
	case "taken", "urgent":
		l.offers[a] = offer{l.offers[a].epoch, b}
		l.taken[b], l.urgent[b] = a, f[0] == "urgent"
	case "flushed":
		for seq, n := range l.taken {
			if seq <= a {
				l.durable[seq] = n
				delete(l.taken, seq)
			}
		}
	case "cursor":
		l.cursors[name] = max(l.cursors[name], a)
	case "dropped":
		l.dropped = append(l.dropped, Range{a, b})
	case "put":
		e := l.entries[a]
		if e.ever == nil {
			e = entry{0, map[uint64]bool{}, map[uint64]bool{}}
		}
		e.since[b], e.ever[b] = true, true
		l.entries[a] = e
	case "done":
		l.entries[a] = entry{b, map[uint64]bool{}, l.entries[a].ever}
	default:
		return fmt.Errorf("ledger: %q", line)
	}
	return nil
}

// Item is what a reader was handed: record N, or Lost records that end with Seq.
type Item struct {
	Epoch, Seq uint64
	N          uint64
	Foreign    bool // not a record that a workload makes
	Lost       uint64
	Why        string // of what is lost
}

// Reading is what one of several readers found.
type Reading struct {
	Acked uint64 // the cursor
	Items []Item // everything behind it
}

// Found is what was found in a store after a cut.
type Found struct {
	Epoch uint64 // of the store that was opened anew
	ID    string
	Acked uint64 // the cursor
	Items []Item // everything behind it
	// Others is what other readers found, by their names.
	Others map[string]Reading
	// Beside is what was found in the outbox beside; nil where there is none.
	Beside *Found
	// Entries are those of the table; 0 stands for what is no record.
	Entries map[uint64]uint64
	// Damage is what the store itself reported to have found broken or dropped.
	Damage []string
	// Wrote is whether one more record could be appended and read; Why not.
	Wrote bool
	Why   string
}

// Mode says what the disk had promised.
type Mode struct {
	// Honest: what was synced is there. Otherwise the store may lose what it
	// acknowledged, but must say so.
	Honest bool
	// Bounded: the outbox drops its oldest records, and says so.
	Bounded bool
}

// Check returns everything in what was found that breaks a promise, each in words
// that begin with its kind: lost, gap, altered, invented, order, cursor, identity,
// write.
func (l *Ledger) Check(f *Found, mode Mode) []string {
	var bad []string
	fail := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	if !f.Wrote {
		fail("write: no further record can be stored: %s", f.Why)
	}
	// A disk that has lost every trace of a run cannot know that it has been.
	epoch := l.epoch
	if !mode.Honest {
		epoch = newest(f.Items)
		for _, r := range f.Others {
			epoch = max(epoch, newest(r.Items))
		}
	}
	if f.ID == l.id && f.Epoch <= epoch {
		fail("identity: epoch %d of %s was there before", f.Epoch, f.ID)
	}
	l.table(f, mode, fail)
	l.reading("", Reading{f.Acked, f.Items}, f.ID, mode, fail)
	for name, r := range f.Others {
		l.reading(name, r, f.ID, mode, fail)
	}
	switch {
	case l.beside != nil && f.Beside != nil:
		bad = append(bad, l.beside.Check(f.Beside, mode)...)
	case l.beside != nil:
		fail("write: the outbox beside cannot be used: %s", f.Why)
	}
	return bad
}

// newest returns the newest epoch of some items.
func newest(items []Item) (epoch uint64) {
	for _, it := range items {
		if it.Lost == 0 {
			epoch = max(epoch, it.Epoch)
		}
	}
	return epoch
}

// reading checks what a reader found in the store id.
func (l *Ledger) reading(name string, r Reading, id string, mode Mode, fail func(string, ...any)) {
	cursor := l.cursors[name]
	if r.Acked > cursor && mode.Honest && !mode.Bounded {
		fail("cursor: of %q at %d, it acknowledged no more than %d", name, r.Acked, cursor)
	}
	there, lost := l.items(r, fail)
	last := uint64(0)
	for seq := range there {
		last = max(last, seq)
	}
	for seq, n := range l.durable {
		if seq <= cursor || there[seq] {
			continue
		}
		switch reported := within(lost, seq); {
		case mode.Bounded && reported:
		case mode.Honest:
			fail("lost: record %d (number %d) was acknowledged, %q does not get it", n, seq, name)
		case !reported && seq < last && id == l.id:
			fail("gap: record %d (number %d) is missing among others, and nothing says so to %q", n, seq, name)
		}
	}
	if mode.Honest {
		l.unsafe(name, r, cursor, fail)
	}
}

// unsafe checks that a reader is told of records that were taken, and were not on disk
// yet: one number, of a gap of cause crash, stands for all behind it.
func (l *Ledger) unsafe(name string, r Reading, cursor uint64, fail func(string, ...any)) {
	there := map[uint64]uint64{}
	for _, it := range r.Items {
		if it.Lost == 0 {
			there[it.Seq] = it.N
		}
	}
	for seq, n := range l.taken {
		if seq <= cursor || there[seq] == n || l.urgent[seq] {
			continue
		}
		if !slices.ContainsFunc(r.Items, func(it Item) bool {
			return it.Lost > 0 && it.Seq-it.Lost < seq && (seq <= it.Seq || it.Why == "crash")
		}) {
			fail("gap: record %d (number %d) was taken and is lost, and nothing says so to %q", n, seq, name)
		}
	}
}

// table checks the entries of the table.
func (l *Ledger) table(f *Found, mode Mode, fail func(string, ...any)) {
	for key, n := range f.Entries {
		if e := l.entries[key%Twin]; !e.ever[n] {
			fail("altered: entry %d has %d, which it never was given", key, n)
		}
	}
	if !mode.Honest {
		return
	}
	for key, e := range l.entries {
		n := f.Entries[key]
		if n != f.Entries[key+Twin] {
			fail("altered: entries %d and %d were changed together, and have %d and %d", key, key+Twin, n, f.Entries[key+Twin])
		}
		if n != e.done && !e.since[n] {
			fail("lost: entry %d has %d, was given %d", key, n, e.done)
		}
	}
}

// items checks what the reader was handed one by one and returns which numbers are
// there and which are reported as lost.
func (l *Ledger) items(r Reading, fail func(string, ...any)) (there map[uint64]bool, lost []Range) {
	there = map[uint64]bool{}
	at := r.Acked
	for _, it := range r.Items {
		if it.Seq-max(it.Lost, 1) != at {
			fail("order: after %d came %d (lost %d)", at, it.Seq, it.Lost)
		}
		at = it.Seq
		if it.Lost > 0 {
			lost = append(lost, Range{it.Seq - it.Lost + 1, it.Seq})
			continue
		}
		there[it.Seq] = true
		o, ok := l.offers[it.N]
		switch {
		case it.Foreign:
			fail("altered: what is at number %d was never appended", it.Seq)
		case !ok:
			fail("invented: record %d at number %d was not offered yet", it.N, it.Seq)
		case o.epoch != it.Epoch || o.seq != 0 && o.seq != it.Seq:
			fail("altered: record %d was number %d of epoch %d, is %d of %d", it.N, o.seq, o.epoch, it.Seq, it.Epoch)
		}
	}
	return there, lost
}

func within(rs []Range, seq uint64) bool {
	for _, r := range rs {
		if r.has(seq) {
			return true
		}
	}
	return false
}
