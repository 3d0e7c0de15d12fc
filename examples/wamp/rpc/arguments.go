package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"gantry/wamp"
	"gantry/wamp/client"
)

// The arguments of the procedures. Tags say where an argument is: at a position,
// under a keyword, or among all others.
type (
	addends struct {
		A int `wamp:"0"`
		B int `wamp:"1"`
	}
	stars struct {
		Nick  string `wamp:"nick,optional"`
		Stars int    `wamp:"stars,optional"`
	}
	orders struct {
		Product string `wamp:"0"`
		Limit   int    `wamp:"limit,optional"`
	}
	anything struct {
		Args   []any     `wamp:"*"`
		Kwargs wamp.Dict `wamp:"**"`
	}
)

// ArgumentsCallee takes arguments in all the ways there are. What does not fit is
// refused with wamp.error.invalid_argument before a procedure sees it.
func ArgumentsCallee(io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err1 := client.Register(ctx, s, "com.example.arguments.ping", func(context.Context, struct{}) (string, error) {
			return "pong", nil
		})
		_, err2 := client.Register(ctx, s, "com.example.arguments.add2", func(_ context.Context, in addends) (int, error) {
			return in.A + in.B, nil
		})
		_, err3 := client.Register(ctx, s, "com.example.arguments.stars", func(_ context.Context, in stars) (string, error) {
			if in.Nick == "" {
				in.Nick = "somebody"
			}
			return fmt.Sprintf("%s starred %dx", in.Nick, in.Stars), nil
		})
		_, err4 := client.Register(ctx, s, "com.example.arguments.orders", func(_ context.Context, in orders) ([]string, error) {
			list := []string{in.Product + " 1", in.Product + " 2", in.Product + " 3"}
			if in.Limit > 0 {
				list = list[:min(in.Limit, len(list))]
			}
			return list, nil
		})
		_, err5 := client.Register(ctx, s, "com.example.arguments.arglen", func(_ context.Context, in anything) ([]int, error) {
			return []int{len(in.Args), len(in.Kwargs)}, nil
		})
		return errors.Join(err1, err2, err3, err4, err5)
	}}
}

// ArgumentsCaller calls them all.
func ArgumentsCaller(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		for _, c := range []struct {
			procedure wamp.URI
			args      []any
		}{
			{"ping", nil},
			{"add2", []any{2, 3}},
			{"stars", nil},
			{"stars", []any{stars{Nick: "Homer", Stars: 5}}},
			{"orders", []any{"coffee"}},
			{"orders", []any{orders{"coffee", 2}}},
			// Arguments without a type of their own.
			{"arglen", []any{wamp.Values(wamp.List{1, 2, 3}, wamp.Dict{"a": 1, "b": 2})}},
		} {
			result, err := client.Call[any](ctx, s, "com.example.arguments."+c.procedure, c.args...)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s: %v\n", c.procedure, result)
		}
		_, err := client.Call[int](ctx, s, "com.example.arguments.add2", 2, "three")
		var refused *wamp.Error
		if !errors.As(err, &refused) {
			return fmt.Errorf("a text was added: %w", err)
		}
		fmt.Fprintln(out, "add2:", refused.URI)
		return s.Leave(ctx)
	}}
}
