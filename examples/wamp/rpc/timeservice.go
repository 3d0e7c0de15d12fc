package rpc

import (
	"context"
	"fmt"
	"io"
	"time"

	"gantry/wamp/client"
)

// TimeServiceCallee tells the time.
func TimeServiceCallee(io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Register(ctx, s, "com.example.timeservice.now", func(context.Context, struct{}) (string, error) {
			return time.Now().UTC().Format(time.RFC3339), nil
		})
		return err
	}}
}

// TimeServiceCaller asks for it.
func TimeServiceCaller(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		now, err := client.Call[string](ctx, s, "com.example.timeservice.now")
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "it is", now)
		return s.Leave(ctx)
	}}
}
