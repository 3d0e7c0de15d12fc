package modbus

import (
	"cmp"
	"slices"
)

// span is a run of bits or registers of one table.
type span struct {
	table table
	at    int // address of the first
	n     int // how many; at+n is at most 65536
}

func (s span) end() int { return s.at + s.n }

func (s span) overlaps(o span) bool { return s.table == o.table && s.at < o.end() && o.at < s.end() }

// cut is a place where no block may run across: a block ends before it or begins
// at it.
type cut struct {
	table table
	at    int
}

// limits say which reads a unit takes.
type limits struct {
	regs, bits int // most in one read
	gap        int // most registers or bits that nobody asked for, between two that are
	holes      []span
	cuts       map[cut]bool // learned: reads across them were refused
}

// plan returns the reads that bring all spans, as few as the limits allow, sorted
// by table and address. A span is never taken apart.
func (l *limits) plan(spans []span) []span {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.at, b.at), cmp.Compare(b.n, a.n))
	})
	var blocks []span
	for _, s := range spans {
		if n := len(blocks); n > 0 && l.joins(blocks[n-1], s) {
			blocks[n-1].n = max(blocks[n-1].end(), s.end()) - blocks[n-1].at
			continue
		}
		blocks = append(blocks, s)
	}
	return blocks
}

// joins reports whether s, which begins no earlier than b, may become part of b.
func (l *limits) joins(b, s span) bool {
	most := l.regs
	if b.table.bits() {
		most = l.bits
	}
	joined := span{b.table, b.at, max(b.end(), s.end()) - b.at}
	if b.table != s.table || s.at-b.end() > l.gap || joined.n > most {
		return false
	}
	if s.end() <= b.end() {
		return true // contained
	}
	for _, h := range l.holes {
		if h.overlaps(joined) {
			return false
		}
	}
	for c := range l.cuts {
		if c.table == b.table && b.at < c.at && c.at < joined.end() && !inside(c.at, b) && !inside(c.at, s) {
			return false
		}
	}
	return true
}

// inside reports whether a run of s would be taken apart at the address.
func inside(at int, s span) bool { return s.at < at && at < s.end() }

// split learns from the refusal of a block: what was joined across unwanted
// registers is read apart from now on, or, if there are none, the block is halved
// between two spans. It reports false if the block holds one span only: then that
// is refused itself.
func (l *limits) split(block span, spans []span) bool {
	var in []span
	for _, s := range spans {
		if s.table == block.table && block.at <= s.at && s.end() <= block.end() {
			in = append(in, s)
		}
	}
	own := limits{regs: l.regs, bits: l.bits, gap: 0, holes: l.holes, cuts: l.cuts}
	parts := own.plan(in)
	if len(parts) > 1 {
		for _, p := range parts[1:] {
			l.cut(p)
		}
		return true
	}
	// Edges between spans, at which a block may be taken apart.
	var edges []span
	for _, s := range in {
		if s.at > block.at && !slices.ContainsFunc(in, func(o span) bool { return inside(s.at, o) }) &&
			!slices.ContainsFunc(edges, func(o span) bool { return o.at == s.at }) {
			edges = append(edges, s)
		}
	}
	if len(edges) == 0 {
		return false
	}
	slices.SortFunc(edges, func(a, b span) int { return cmp.Compare(a.at, b.at) })
	l.cut(edges[len(edges)/2])
	return true
}

// cut lets no block run into s from before.
func (l *limits) cut(s span) {
	if l.cuts == nil {
		l.cuts = map[cut]bool{}
	}
	l.cuts[cut{s.table, s.at}] = true
}
