// Package beginner is the place to begin: two components, each in all four roles of
// WAMP at once. The backend is a callee and calls the frontend meanwhile; both
// publish, and both are subscribed to what the other publishes.
//
//	go run ./examples/wamp beginner                                        in one process
//	go run ./examples/wamp --url ws://127.0.0.1:8080/ws beginner           at a router
//	go run ./examples/wamp --url ws://127.0.0.1:8080/ws beginner backend   with a frontend in Python
//	python3 examples/wamp/beginner/beginner.py ws://127.0.0.1:8080/ws
package beginner

import (
	"context"
	"fmt"
	"io"

	"gantry/wamp"
	"gantry/wamp/client"
)

// factors are the two positional arguments of mul2.
type factors struct {
	A int `wamp:"0"`
	B int `wamp:"1"`
}

// terms are the three of muladd.
type terms struct {
	A int `wamp:"0"`
	B int `wamp:"1"`
	C int `wamp:"2"`
}

// Backend serves muladd, and has the frontend do the multiplication.
func Backend(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Subscribe(ctx, s, "com.example.beginner.hello", func(name string, _ *wamp.Event) {
			fmt.Fprintln(out, "hello from", name)
		})
		if err != nil {
			return err
		}
		// A procedure runs in a goroutine of its own, so it may call others.
		_, err = client.Register(ctx, s, "com.example.beginner.muladd", func(ctx context.Context, in terms) (int, error) {
			product, err := client.Call[int](ctx, s, "com.example.beginner.mul2", in.A, in.B)
			if err != nil {
				return 0, err
			}
			sum := product + in.C
			fmt.Fprintf(out, "%d * %d + %d = %d\n", in.A, in.B, in.C, sum)
			return sum, client.Publish(ctx, s, "com.example.beginner.calculated", sum)
		})
		return err
	}}
}

// Frontend has muladd calculated.
func Frontend(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Register(ctx, s, "com.example.beginner.mul2", func(_ context.Context, in factors) (int, error) {
			return in.A * in.B, nil
		})
		if err != nil {
			return err
		}
		_, err = client.Subscribe(ctx, s, "com.example.beginner.calculated", func(sum int, _ *wamp.Event) {
			fmt.Fprintln(out, "calculated:", sum)
		})
		if err != nil {
			return err
		}
		if err := client.Publish(ctx, s, "com.example.beginner.hello", "the frontend"); err != nil {
			return err
		}
		sum, err := client.Call[int](ctx, s, "com.example.beginner.muladd", 2, 3, 4)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "the result is", sum)
		return s.Leave(ctx)
	}}
}
