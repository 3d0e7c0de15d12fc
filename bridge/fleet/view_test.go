package fleet

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "gantry.barn.point.meter.power"

func note(v *View, ep, seq uint64) (Gap, bool) {
	return v.Note(Event{Gateway: "barn", Topic: topic, Epoch: ep, Seq: seq}, 1)
}

func TestGapsAndDoubles(t *testing.T) {
	t.Parallel()
	v := NewView()
	for _, c := range []struct {
		ep, seq  uint64
		from, to uint64 // 0 = no gap
	}{
		{3, 7, 0, 0}, // the first one that the hub sees
		{3, 8, 0, 0},
		{3, 8, 0, 0}, // again
		{3, 11, 9, 10},
		{3, 9, 0, 0}, // too late
		{4, 1, 0, 0}, // the gateway was restarted
		{3, 12, 0, 0},
		{5, 3, 1, 2},
	} {
		gap, found := note(v, c.ep, c.seq)
		if gap.From != c.from || gap.To != c.to || found != (c.from != 0) || gap.Uncertain {
			t.Errorf("%d/%d: %+v, %v", c.ep, c.seq, gap, found)
		}
	}
	g := v.Gateways()
	if len(g) != 1 || g[0].Missing != 4 || g[0].Doubles != 3 || g[0].Streams != 1 || g[0].Events != 8 {
		t.Errorf("%+v", g)
	}
}

func TestMarksSurviveARestart(t *testing.T) {
	t.Parallel()
	v := NewView()
	note(v, 1, 5)
	note(v, 1, 7)
	rows := v.Unsaved()
	if len(v.Unsaved()) != 0 {
		t.Error("saved twice")
	}
	for _, c := range []struct {
		seq       uint64
		found     bool
		uncertain bool
	}{{7, false, false}, {8, false, false}, {10, true, true}} {
		w := NewView()
		if err := w.Restore("barn", topic, rows[topic]); err != nil {
			t.Fatal(err)
		}
		gap, found := note(w, 1, c.seq)
		if found != c.found || gap.Uncertain != c.uncertain {
			t.Errorf("%d after the restart: %+v, %v", c.seq, gap, found)
		}
		if g := w.Gateways()[0]; g.Doubles != map[uint64]uint64{7: 1}[c.seq] || g.Missing < 1 {
			t.Errorf("%d after the restart: %+v", c.seq, g)
		}
	}
}

func TestViewIsBounded(t *testing.T) {
	t.Parallel()
	v := NewView()
	for i := range maxGateways + 5 {
		v.Note(Event{Gateway: fmt.Sprint("g", i), Topic: fmt.Sprint("t", i), Epoch: 1, Seq: 1}, 1)
	}
	for i := range uint64(maxGaps + 5) {
		v.Note(Event{Gateway: "g0", Topic: "t0", Epoch: 1, Seq: 3 + 2*i}, 1)
	}
	if len(v.Gateways()) != maxGateways || v.Ignored != 5 || len(v.Gaps()) != maxGaps {
		t.Errorf("%d gateways, %d ignored, %d gaps", len(v.Gateways()), v.Ignored, len(v.Gaps()))
	}
}

func FuzzReadMark(f *testing.F) {
	f.Add((&Mark{Epoch: 1, Seq: 300, Missing: 2}).record())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readMark(b)
		if err != nil {
			return
		}
		if n, err := readMark(m.record()); err != nil || n != m {
			t.Fatalf("%+v becomes %+v, %v", m, n, err)
		}
	})
}
