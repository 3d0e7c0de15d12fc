package modbus

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func h(at, n int) span { return span{holding, at, n} }

var exactly = cmp.AllowUnexported(span{})

func TestPlan(t *testing.T) {
	t.Parallel()
	many := limits{regs: 125, bits: 2000}
	with := func(f func(*limits)) limits { l := many; f(&l); return l }
	for _, tt := range []struct {
		name   string
		limits limits
		in     []span
		want   []span
	}{
		{"nothing", many, nil, nil},
		{"neighbours, in any order", many, []span{h(4, 2), h(0, 2), h(2, 2)}, []span{h(0, 6)}},
		{"a gap that is allowed", with(func(l *limits) { l.gap = 3 }), []span{h(0, 2), h(5, 1)}, []span{h(0, 6)}},
		{"a gap that is not", with(func(l *limits) { l.gap = 2 }), []span{h(0, 2), h(5, 1)}, []span{h(0, 2), h(5, 1)}},
		{"never across a hole", with(func(l *limits) { l.gap = 9; l.holes = []span{h(3, 1)} }), []span{h(0, 2), h(5, 1)}, []span{h(0, 2), h(5, 1)}},
		{"a hole of another table", with(func(l *limits) { l.gap = 9; l.holes = []span{{inputs, 3, 1}} }), []span{h(0, 2), h(5, 1)}, []span{h(0, 6)}},
		{"most registers", with(func(l *limits) { l.regs = 4 }), []span{h(0, 2), h(2, 2), h(4, 2)}, []span{h(0, 4), h(4, 2)}},
		{"overlapping and contained", many, []span{h(0, 4), h(2, 4), h(1, 1)}, []span{h(0, 6)}},
		{"twice the same", many, []span{h(7, 2), h(7, 2)}, []span{h(7, 2)}},
		{"tables apart", many, []span{{inputs, 0, 1}, h(0, 1), {coils, 0, 1}}, []span{{coils, 0, 1}, h(0, 1), {inputs, 0, 1}}},
		{"bits have a limit of their own", with(func(l *limits) { l.regs = 1 }), []span{{coils, 0, 1}, {coils, 1, 1}}, []span{{coils, 0, 2}}},
		{"to the last address", many, []span{h(65534, 1), h(65535, 1)}, []span{h(65534, 2)}},
	} {
		if d := cmp.Diff(tt.want, tt.limits.plan(tt.in), exactly); d != "" {
			t.Errorf("%s:\n%s", tt.name, d)
		}
	}
}

func TestRefusedBlocksAreReadApart(t *testing.T) {
	t.Parallel()
	l := limits{regs: 125, bits: 2000, gap: 10}
	in := []span{h(0, 2), h(2, 2), h(10, 1), h(11, 2)}
	steps := [][]span{{h(0, 13)}, {h(0, 4), h(10, 3)}}
	for i, want := range steps {
		if d := cmp.Diff(want, l.plan(in), exactly); d != "" {
			t.Fatalf("step %d:\n%s", i, d)
		}
		if i == 0 && !l.split(want[0], in) {
			t.Fatal("no split across the gap")
		}
	}
	if !l.split(h(0, 4), in) || !l.split(h(10, 3), in) {
		t.Fatal("no split between neighbours")
	}
	if d := cmp.Diff([]span{h(0, 2), h(2, 2), h(10, 1), h(11, 2)}, l.plan(in), exactly); d != "" {
		t.Fatal(d)
	}
	if l.split(h(11, 2), in) {
		t.Error("a single value is split")
	}
}

func FuzzPlan(f *testing.F) {
	f.Add([]byte{0, 0, 2, 0, 4, 2}, uint8(20), uint8(3), uint8(7))
	f.Fuzz(func(t *testing.T, b []byte, most, gap, hole uint8) {
		l := limits{regs: 4 + int(most), bits: 4 + int(most), gap: int(gap), holes: []span{h(int(hole), 1)}}
		var in []span
		for ; len(b) >= 3 && len(in) < 64; b = b[3:] {
			in = append(in, span{table(b[0] % 4), int(b[1]), 1 + int(b[2]%4)})
		}
		for range 300 {
			blocks := l.plan(in)
			for _, s := range in {
				if !slices.ContainsFunc(blocks, func(k span) bool { return k.table == s.table && k.at <= s.at && s.end() <= k.end() }) {
					t.Fatalf("%v is not in %v", s, blocks)
				}
			}
			for _, k := range blocks {
				if k.n > l.regs {
					t.Fatalf("%v is more than %d", k, l.regs)
				}
			}
			if !slices.ContainsFunc(blocks, func(k span) bool { return l.split(k, in) }) {
				return
			}
		}
		t.Fatal("splitting does not end")
	})
}
