package rpc

import (
	"context"
	"fmt"
	"io"

	"gantry/wamp"
	"gantry/wamp/client"
)

// SlowSquareCallee has two procedures that square a number, one of them so slow
// that it answers only when somebody is in a hurry.
func SlowSquareCallee(io.Writer) client.Component {
	// Capacity 1: the hurry may be there before the slow procedure begins.
	hurry := make(chan struct{}, 1)
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Subscribe(ctx, s, "com.example.slowsquare.hurry", func(struct{}, *wamp.Event) {
			select {
			case hurry <- struct{}{}:
			default:
			}
		})
		if err != nil {
			return err
		}
		_, err = client.Register(ctx, s, "com.example.slowsquare.slow", func(ctx context.Context, x int) (int, error) {
			select {
			case <-hurry:
				return x * x, nil
			case <-ctx.Done(): // the caller, or this session, is gone
				return 0, ctx.Err()
			}
		})
		if err != nil {
			return err
		}
		_, err = client.Register(ctx, s, "com.example.slowsquare.quick", func(_ context.Context, x int) (int, error) {
			return x * x, nil
		})
		return err
	}}
}

// SlowSquareCaller makes two calls at the same time: results come in the order in
// which they are ready.
func SlowSquareCaller(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		type result struct {
			square int
			err    error
		}
		slow := make(chan result, 1)
		go func() {
			square, err := client.Call[int](ctx, s, "com.example.slowsquare.slow", 3)
			slow <- result{square, err}
		}()
		square, err := client.Call[int](ctx, s, "com.example.slowsquare.quick", 4)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "quick:", square)
		if err := client.Publish(ctx, s, "com.example.slowsquare.hurry"); err != nil {
			return err
		}
		r := <-slow
		if r.err != nil {
			return r.err
		}
		fmt.Fprintln(out, "slow:", r.square)
		return s.Leave(ctx)
	}}
}
