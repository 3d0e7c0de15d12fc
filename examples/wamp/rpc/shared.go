package rpc

import (
	"context"
	"fmt"
	"io"

	"gantry/wamp"
	"gantry/wamp/client"
)

// work registers a procedure that others have, too: its calls go to one after the
// other. Other policies are random, first and last.
func work(ctx context.Context, s *client.Session, worker string) error {
	_, err := client.RegisterWith(ctx, s, "com.example.shared.work", wamp.RegisterOptions{Invoke: wamp.InvokeRoundRobin},
		func(context.Context, struct{}) (string, error) { return worker, nil })
	return err
}

// SharedCallee is one of the workers.
func SharedCallee(io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		return work(ctx, s, "backend")
	}}
}

// SharedCaller joins the workers, and sees who does what.
func SharedCaller(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		if err := work(ctx, s, "frontend"); err != nil {
			return err
		}
		done := map[string]int{}
		for range 4 {
			worker, err := client.Call[string](ctx, s, "com.example.shared.work")
			if err != nil {
				return err
			}
			done[worker]++
		}
		fmt.Fprintf(out, "backend %d, frontend %d\n", done["backend"], done["frontend"])
		return s.Leave(ctx)
	}}
}
