package uplink

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestBuffersDoNotFillInTheLongRun sends over a line that carries 8000 bytes a second, or
// ten times that, and has buffers without an end: what waits in them delays an answer
// by little, also when every answer for ten minutes has come through them, and the line is
// never idle for long.
func TestBuffersDoNotFillInTheLongRun(t *testing.T) {
	const size, way, last = 200, 50 * time.Millisecond, 10 * time.Minute
	for _, rate := range []int{8000, 80_000} {
		synctest.Test(t, func(t *testing.T) {
			w := newWindow(1 << 16)
			answers := make(chan flight, 1<<16) // on their way; the one below ends with the channel
			var answering sync.WaitGroup
			answering.Go(func() {
				for f := range answers {
					time.Sleep(time.Until(f.sent))
					w.done(f.seq)
				}
			})
			began := time.Now()
			free, worst := began, time.Duration(0)
			seq := uint64(0)
			for time.Since(began) < last {
				seq++
				if _, err := w.add(t.Context(), []item{{seq: seq, record: make([]byte, size)}}); err != nil {
					t.Fatal(err)
				}
				if free.Before(time.Now()) {
					free = time.Now()
				}
				free = free.Add(size * time.Second / time.Duration(rate))
				if time.Since(began) > time.Minute {
					worst = max(worst, time.Until(free))
				}
				answers <- flight{seq: seq, sent: free.Add(way)}
			}
			close(answers)
			answering.Wait()
			carried := float64(seq*size) / last.Seconds() / float64(rate)
			t.Logf("%d bytes a second: at most %s in buffers, %.0f %% of the line used", rate, worst, 100*carried)
			if worst > 600*time.Millisecond || carried < 0.9 {
				t.Error("too much waits in the buffers, or the line is idle")
			}
		})
	}
}
