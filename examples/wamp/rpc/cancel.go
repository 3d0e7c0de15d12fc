package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"gantry/wamp/client"
)

// CancelCallee works until it is told to stop: its context ends when the caller
// gives the call up, when its timeout passes, and when either session is lost.
func CancelCallee(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Register(ctx, s, "com.example.cancel.work", func(ctx context.Context, _ struct{}) (struct{}, error) {
			if err := client.Progress(ctx, "begun"); err != nil {
				return struct{}{}, err
			}
			<-ctx.Done()
			fmt.Fprintln(out, "the caller has given up")
			return struct{}{}, ctx.Err()
		})
		return err
	}}
}

// CancelCaller gives up once the work has begun.
func CancelCaller(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		work, cancel := context.WithCancel(ctx)
		defer cancel()
		for state, err := range client.Results[string](work, s, "com.example.cancel.work") {
			switch {
			case err == nil:
				fmt.Fprintln(out, "the work has", state)
				cancel()
			case !errors.Is(err, context.Canceled):
				return err
			default:
				fmt.Fprintln(out, "cancelled")
			}
		}
		return s.Leave(ctx)
	}}
}
