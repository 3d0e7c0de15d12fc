package drivers_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"gantry/drivers"
)

func TestGateLetsInWhileOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g drivers.Gate
		if _, _, err := g.Enter(t.Context()); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("before: %v", err)
		}
		shut := g.Open(t.Context())
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := g.Enter(over); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		ctx, leave, err := g.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		gone := false
		go func() {
			<-ctx.Done()
			synctest.Wait() // shut waits for us
			gone = true
			leave()
		}()
		shut()
		if !gone {
			t.Error("shut did not wait for the request inside")
		}
		if _, _, err := g.Enter(t.Context()); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("after: %v", err)
		}
	})
}
