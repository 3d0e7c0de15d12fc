package client

import (
	"context"
	"time"

	"gantry/internal/backoff"
)

// Insist calls take, which subscribes or registers, until it succeeds, at growing
// intervals of up to 15 s: a procedure may still be held by a session that is about
// to be found dead. refused is told of the first failure. Insist returns ctx's error
// when that ends before.
func Insist(ctx context.Context, take func(context.Context) error, refused func(error)) error {
	wait := backoff.New(backoff.Config{Max: 15 * time.Second}, nil)
	for first := true; ; first = false {
		err := take(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case first:
			refused(err)
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}
