package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"gantry/wamp/client"
)

// ProgressCallee tells how far it has come.
func ProgressCallee(io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Register(ctx, s, "com.example.progress.count", func(ctx context.Context, n int) (int, error) {
			for i := range n {
				// Not every caller wants to know.
				if err := client.Progress(ctx, i); err != nil && !errors.Is(err, client.ErrNoProgress) {
					return 0, err
				}
			}
			return n, nil
		})
		return err
	}}
}

// ProgressCaller takes the results in a loop. To leave the loop early would cancel
// the call.
func ProgressCaller(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		for n, err := range client.Results[int](ctx, s, "com.example.progress.count", 3) {
			if err != nil {
				return err
			}
			fmt.Fprintln(out, "counted to", n)
		}
		return s.Leave(ctx)
	}}
}
