package uplink

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestALaneForgetsHowFarTheQueueWas has values come for an hour while nobody asks whether
// they are late, as while there is no connection.
func TestALaneForgetsHowFarTheQueueWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane()
		always := func(time.Duration) bool { return true }
		for seq := range uint64(36_000) {
			l.put("gantry.g1.point.dev.temp", seq+1, []byte("record"))
			time.Sleep(liveTick)
		}
		if most := int(behind/liveTick) + 3; len(l.marks) > most {
			t.Errorf("%d marks, at most %d are of use", len(l.marks), most)
		}
		l.position.Store(35_990)
		if !l.late(mark{}, always) {
			t.Error("what has waited for a second is not late")
		}
		l.position.Store(36_000)
		if l.late(mark{}, always) {
			t.Error("all has been sent, and is late")
		}
	})
}
