package budget_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"gantry/internal/budget"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestABudgetHasTwoHalves(t *testing.T) {
	t.Parallel()
	b := budget.New(200)
	if !b.Arriving.Try(100) || b.Arriving.Try(1) || !b.Waiting.Try(100) || b.Waiting.Try(1) {
		t.Error("not a hundred bytes each way")
	}
	b.Arriving.Give(60)
	if b.Arriving.Taken() != 40 || b.Waiting.Taken() != 100 || !b.Arriving.Try(60) {
		t.Error("what was given back is not there")
	}
}

func TestAMessageLargerThanAllTakesAll(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ bytes, n, want int }{{200, 99, 99}, {200, 101, 100}, {0, 1 << 30, budget.DefaultBytes / 2}} {
		if got := budget.New(c.bytes).Arriving.Fit(c.n); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestWhoWaitsIsServedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(200)
		if !b.Arriving.Try(80) {
			t.Fatal("no memory")
		}
		got := make(chan error, 1)
		go func() { got <- b.Arriving.Take(t.Context(), 50) }()
		synctest.Wait()
		if b.Arriving.Try(10) {
			t.Error("somebody got ahead of the one who waits")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Arriving.Take(ctx, 60); !errors.Is(err, context.Canceled) {
			t.Errorf("waiting ended with %v", err)
		}
		b.Arriving.Give(80)
		if err := <-got; err != nil || b.Arriving.Taken() != 50 {
			t.Errorf("%v, %d taken", err, b.Arriving.Taken())
		}
	})
}
