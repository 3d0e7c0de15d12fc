package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"gantry/wamp"
	"gantry/wamp/client"
)

// OptionsCallee registers with options.
func OptionsCallee(io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		// Who calls is told to this procedure only.
		_, err1 := client.RegisterWith(ctx, s, "com.example.options.whoami", wamp.RegisterOptions{DiscloseCaller: true},
			func(ctx context.Context, _ struct{}) (wamp.ID, error) {
				return client.InvocationOf(ctx).Details.Caller, nil
			})
		// One registration for the lights of all rooms.
		_, err2 := client.RegisterWith(ctx, s, "com.example.options..light", wamp.RegisterOptions{Match: wamp.MatchWildcard},
			func(ctx context.Context, on bool) (string, error) {
				return fmt.Sprintf("%s: %v", client.InvocationOf(ctx).Details.Procedure, on), nil
			})
		// Never answers. One call at a time: others are told that it is busy.
		_, err3 := client.RegisterWith(ctx, s, "com.example.options.stuck", wamp.RegisterOptions{Concurrency: 1},
			func(ctx context.Context, _ struct{}) (struct{}, error) {
				<-ctx.Done()
				return struct{}{}, ctx.Err()
			})
		return errors.Join(err1, err2, err3)
	}}
}

// OptionsCaller calls them.
func OptionsCaller(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		who, err := client.Call[wamp.ID](ctx, s, "com.example.options.whoami")
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "the callee knows who calls:", who == s.ID())
		light, err := client.Call[string](ctx, s, "com.example.options.kitchen.light", true)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, light)
		// In milliseconds; a deadline of the context does the same.
		_, err = client.CallWith[struct{}](ctx, s, "com.example.options.stuck", wamp.CallOptions{Timeout: 50})
		var late *wamp.Error
		if !errors.As(err, &late) {
			return fmt.Errorf("the call that never ends: %w", err)
		}
		fmt.Fprintln(out, "no answer:", late.URI)
		return s.Leave(ctx)
	}}
}
