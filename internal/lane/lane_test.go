package lane

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestLaneLetsOneThroughAndLosesNone lets many requests of all priorities come
// and give up at random; in the end the lane must be free again.
func TestLaneLetsOneThroughAndLosesNone(t *testing.T) {
	t.Parallel()
	var l Lane
	var inside atomic.Int32
	var served, gaveUp, refused atomic.Int32
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			for range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(200))*time.Microsecond)
				err := l.Enter(ctx, Priority(rand.IntN(int(priorities))))
				cancel()
				switch {
				case errors.Is(err, ErrBusy):
					refused.Add(1)
				case err != nil:
					gaveUp.Add(1)
				default:
					if inside.Add(1) != 1 {
						t.Error("two requests at a time")
					}
					served.Add(1)
					inside.Add(-1)
					l.Leave()
				}
			}
		})
	}
	wg.Wait()
	if n := served.Load() + gaveUp.Load() + refused.Load(); n != 4000 || served.Load() == 0 {
		t.Errorf("served %d, gave up %d, refused %d", served.Load(), gaveUp.Load(), refused.Load())
	}
	for p, waiting := range l.waiting {
		if len(waiting) > 0 {
			t.Errorf("%d requests of priority %d are left waiting", len(waiting), p)
		}
	}
	if l.taken {
		t.Error("the lane is left taken")
	}
}

func TestAContextSaysHowUrgentItIs(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	if got := Of(ctx, Poll); got != Poll {
		t.Errorf("without a word: %v", got)
	}
	ctx = With(With(ctx, Get), Write)
	if got := Of(ctx, Poll); got != Write {
		t.Errorf("said last: %v", got)
	}
}
