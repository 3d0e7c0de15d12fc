package conformance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

// A subscriber that does not read shares the frames of the one that does. What it
// gets in the end is what was queued when it stopped and the newest events, whole
// and in order; the others are counted.
func TestStoppedReaderGetsTheNewestEvents(t *testing.T) {
	t.Parallel()
	const n = 2000
	opts := transport.Options{Linger: patient.Linger, PingInterval: -1, WriteTimeout: time.Minute, Queue: 16 << 10}
	text := func(i int) string { return strings.Repeat(fmt.Sprintf("%04d ", i), []int{10, 300, 2000}[i%3]) }
	over(t, wamptest.NetworkLinks(), config{realm: router.RealmConfig{MaxBacklogBytes: 64 << 10}, server: opts}, func(w *world) {
		stopped, reader, publisher := w.peer(), w.peer(), w.peer()
		for _, p := range []*wamptest.Peer{stopped, reader} {
			subscribe(p, "sub", `{}`, "a.b")
		}
		event := func(p *wamptest.Peer) int {
			t.Helper()
			m := p.Recv()
			args, _ := m[4].(wamp.List)
			i, _ := args[0].(int64)
			if s, _ := args[1].(string); s != text(int(i)) {
				t.Fatalf("event %d has %.20q in it", i, s)
			}
			return int(i)
		}
		for i := range n {
			publisher.Send(fmt.Sprintf(`[16, "+", {}, "a.b", [%d, %q]]`, i, text(i)))
			if got := event(reader); got != i {
				t.Fatalf("the other subscriber got event %d in place of %d", got, i)
			}
		}
		got, gaps, last := 0, 0, -1
		for ; last < n-1; got++ {
			i := event(stopped)
			if i <= last {
				t.Fatalf("event %d came behind event %d", i, last)
			}
			if i > last+1 {
				gaps++
			}
			last = i
		}
		// The network may take some more at any time: then there is another gap.
		if dropped := int(w.Stats(realm).Dropped); gaps == 0 || got+dropped != n {
			t.Errorf("%d events came, with %d gaps, and %d are counted as dropped", got, gaps, dropped)
		}
		publisher.Send(`[16, "+", {}, "a.b", [0, ` + fmt.Sprintf("%q", text(0)) + `]]`)
		if event(stopped) != 0 || event(reader) != 0 {
			t.Error("what comes later is something else")
		}
	})
}
