package fleet

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"gantry/wamp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "gantry.barn.point.meter.power"

func note(v *View, ep, seq uint64) (gap Gap, found bool) {
	if news := v.Note(Event{Gateway: "barn", Topic: topic, Epoch: ep, Seq: seq}, 1); news.Gap != nil {
		return *news.Gap, true
	}
	return gap, false
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
		{3, 9, 0, 0},  // late: one of those that were missing
		{4, 1, 0, 0},  // the gateway was restarted
		{3, 12, 0, 0}, // of before, and never missed
		{5, 3, 1, 2},
	} {
		gap, found := note(v, c.ep, c.seq)
		if gap.From != c.from || gap.To != c.to || found != (c.from != 0) || gap.Uncertain {
			t.Errorf("%d/%d: %+v, %v", c.ep, c.seq, gap, found)
		}
	}
	g := v.Gateways()
	if len(g) != 1 || g[0].Missing != 4 || g[0].Late != 1 || g[0].Doubles != 2 || g[0].Gaps != 2 || g[0].Streams != 1 || g[0].Events != 8 {
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
		if err := w.Restore(topic, rows[topic]); err != nil {
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

// gapsOf tells the gaps of a view as text.
func gapsOf(v *View) string {
	var out []string
	for _, g := range v.Gaps() {
		out = append(out, fmt.Sprintf("%d/%d-%d", g.Epoch, g.From, g.To))
	}
	return strings.Join(out, " ")
}

// reborn returns what a view is after a restart.
func reborn(t *testing.T, rows map[string][]byte) *View {
	t.Helper()
	v := NewView()
	for key, row := range rows {
		if row == nil {
			continue
		}
		if err := v.Restore(key, row); err != nil {
			t.Fatalf("%q: %v", key, err)
		}
	}
	v.Begin(100)
	return v
}

func TestLateEventsFillGaps(t *testing.T) {
	t.Parallel()
	v := NewView()
	rows := map[string][]byte{}
	save := func() {
		for key, row := range v.Unsaved() {
			rows[key] = row
		}
	}
	for i, c := range []struct {
		ep, seq uint64
		gaps    string
		filled  bool
	}{
		{1, 1, "", false},
		{1, 10, "1/2-9", false},
		{1, 5, "1/2-4 1/6-9", false},
		{1, 5, "1/2-4 1/6-9", false}, // twice
		{2, 3, "1/2-4 1/6-9 2/1-2", false},
		{1, 2, "1/3-4 1/6-9 2/1-2", false},
		{1, 4, "1/3-3 1/6-9 2/1-2", false},
		{1, 3, "1/6-9 2/1-2", true},
		{2, 2, "1/6-9 2/1-1", false},
	} {
		news := v.Note(Event{Gateway: "barn", Topic: topic, Epoch: c.ep, Seq: c.seq}, int64(i+1))
		if got := gapsOf(v); got != c.gaps || (news.Filled != nil) != c.filled {
			t.Errorf("%d/%d: %s, filled %v", c.ep, c.seq, got, news.Filled)
		}
		save()
		w := reborn(t, rows)
		if got := gapsOf(w); got != c.gaps {
			t.Errorf("%d/%d after a restart: %s", c.ep, c.seq, got)
		}
		a, b := v.Gateways()[0], w.Gateways()[0]
		if a.Missing != b.Missing || a.Late != b.Late || a.Doubles != b.Doubles || a.Gaps != b.Gaps || b.Seen != a.Seen {
			t.Errorf("%d/%d: %+v is after a restart %+v", c.ep, c.seq, a, b)
		}
		if len(w.Unsaved()) != 0 {
			t.Error("what has been restored is to be saved again")
		}
	}
}

func TestWhatAGatewaySaysItHasLost(t *testing.T) {
	t.Parallel()
	v := NewView()
	const alarm = "gantry.barn.alarm.uplink_hq.gap"
	if v.Lost("barn", alarm, 5, 9, false, 1) != nil {
		t.Error("a gateway that nobody knows")
	}
	note(v, 1, 1)
	if g := v.Lost("barn", alarm, 5, 9, false, 1); g == nil || g.Kind != Queue {
		t.Error(g)
	}
	if v.Lost("barn", alarm, 5, 9, false, 2) != nil || v.Lost("barn", alarm, 0, 9, false, 2) != nil || v.Lost("barn", alarm, 9, 8, false, 2) != nil {
		t.Error("noted twice, or what is no range")
	}
	rows := v.Unsaved()
	if w := reborn(t, rows); gapsOf(w) != "0/5-9" || w.Gateways()[0].Gaps != 1 {
		t.Error(gapsOf(w))
	}
	// The urgent queue has numbers of its own.
	if g := v.Lost("barn", alarm+"_urgent", 5, 7, false, 3); g == nil || gapsOf(v) != "0/5-9 0/5-7" {
		t.Error(g, gapsOf(v))
	}
	// What was told when the connection was lost may be more over the next one.
	if g := v.Lost("barn", alarm, 5, 20, false, 4); g == nil || g.To != 20 || gapsOf(v) != "0/5-7 0/5-20" {
		t.Error(g, gapsOf(v))
	}
	for key, row := range v.Unsaved() {
		rows[key] = row
	}
	if w := reborn(t, rows); gapsOf(w) != "0/5-7 0/5-20" || w.Gateways()[0].Gaps != 2 {
		t.Error(gapsOf(w))
	}
	// What a crash has cost the gateway cannot know.
	if g := v.Lost("barn", alarm, 25, 25, true, 5); g == nil || !g.Uncertain {
		t.Error(g)
	}
	for key, row := range v.Unsaved() {
		rows[key] = row
	}
	if all := reborn(t, rows).Gaps(); len(all) != 3 || all[1].Uncertain || !all[2].Uncertain {
		t.Error(all)
	}
}

func TestGatewaysComeAndGo(t *testing.T) {
	t.Parallel()
	v := NewView()
	hear := func(session wamp.ID, at int64) News {
		return v.Note(Event{Gateway: "barn", Topic: topic, Session: session, Measured: at}, at)
	}
	if n := hear(0, 1); n.Online != nil || v.Gateways()[0].Connected {
		t.Error("connected without a session")
	}
	if n := hear(7, 2); n.Online == nil || n.Online.Since != 2 || !n.Online.Connected {
		t.Error(n.Online)
	}
	if n := hear(8, 3); n.Online != nil {
		t.Error("connected twice")
	}
	if off := v.Left(7, 4); len(off) != 0 || !v.Gateways()[0].Connected {
		t.Error(off)
	}
	if off := v.Left(7, 4); len(off) != 0 {
		t.Error(off)
	}
	v.Queue("barn", 12, 3_000_000)
	rows := v.Unsaved()
	if g := reborn(t, rows).Gateways()[0]; g.Connected || g.Since != 100 || g.Seen != 3 || g.Depth != 12 || g.Age != 3_000_000 {
		t.Errorf("connected before a restart: %+v", g)
	}
	if off := v.Left(8, 5); len(off) != 1 || off[0].Connected || off[0].Since != 5 {
		t.Error(off)
	}
	if g := reborn(t, v.Unsaved()).Gateways()[0]; g.Since != 5 {
		t.Errorf("offline before a restart: %+v", g)
	}
	for id := range wamp.ID(100) {
		hear(100+id, 6)
	}
	if len(v.sessions) != maxSessions {
		t.Errorf("%d sessions are remembered", len(v.sessions))
	}
}

func TestAlarmsUntilTheyAreCleared(t *testing.T) {
	t.Parallel()
	v := NewView()
	note(v, 1, 1)
	const tank = "gantry.barn.alarm.tank.full"
	for i, c := range []struct {
		state, want string
	}{{Cleared, ""}, {Raised, Raised}, {"nonsense", Raised}, {Acknowledged, Acknowledged}, {Cleared, ""}, {Raised, Raised}} {
		v.Alarm("barn", Alarm{Topic: tank, State: c.state, At: int64(i)})
		got := ""
		if all := v.Alarms(); len(all) == 1 {
			got = all[0].State
		}
		if n := v.Gateways()[0].Alarms; got != c.want || n != min(len(got), 1) {
			t.Errorf("%s: %q, %d", c.state, got, n)
		}
	}
	if w := reborn(t, v.Unsaved()); len(w.Alarms()) != 1 || w.Alarms()[0] != v.Alarms()[0] || w.Gateways()[0].Alarms != 1 {
		t.Errorf("%+v", w.Alarms())
	}
	for i := range maxAlarms + 5 {
		v.Alarm("barn", Alarm{Topic: fmt.Sprint(tank, i), State: Raised})
	}
	if len(v.Alarms()) != maxAlarms {
		t.Errorf("%d alarms", len(v.Alarms()))
	}
}

func FuzzRestore(f *testing.F) {
	v := NewView()
	v.Note(Event{Gateway: "barn", Topic: topic, Epoch: 1, Seq: 1, Session: 1}, 1)
	v.Note(Event{Gateway: "barn", Topic: topic, Epoch: 1, Seq: 300}, 2)
	v.Alarm("barn", Alarm{Topic: "gantry.barn.alarm.tank.full", State: Raised, At: 1})
	v.Left(1, 3)
	for key, row := range v.Unsaved() {
		f.Add(key, row)
	}
	f.Fuzz(func(t *testing.T, key string, row []byte) {
		v := NewView()
		if v.Restore(key, row) != nil {
			return
		}
		again := v.row(key)
		w := NewView()
		if err := w.Restore(key, again); err != nil || !bytes.Equal(w.row(key), again) {
			t.Fatalf("%q: %x becomes %x, %v", key, row, again, err)
		}
	})
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
