package receipts_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gantry/internal/receipts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestReceipts has a disk that takes a second, and fails at first.
func TestReceipts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rounds, failures := 0, 0
		s := receipts.New(func(context.Context) error {
			time.Sleep(time.Second)
			if rounds++; rounds == 1 {
				return errors.New("full")
			}
			return nil
		}, func(error) { failures++ })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		var mu sync.Mutex // guards order
		var order []int
		called := func(n int) {
			s.Then(func() {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, n)
			})
		}
		called(1)
		synctest.Wait()
		called(2)
		called(3)
		for _, step := range []struct {
			after           time.Duration
			called, waiting int
		}{{2500 * time.Millisecond, 0, 3}, {time.Second, 1, 2}, {time.Second, 3, 0}} {
			time.Sleep(step.after)
			synctest.Wait()
			mu.Lock()
			if len(order) != step.called || s.Waiting() != step.waiting {
				t.Errorf("called %v, %d wait; want %+v", order, s.Waiting(), step)
			}
			mu.Unlock()
		}
		if failures != 1 || order[1] != 2 {
			t.Errorf("%d failures, order %v", failures, order)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.Then(func() { t.Error("called after the end") })
	})
}
