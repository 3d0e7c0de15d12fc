package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"gantry/wamp"
	"gantry/wamp/client"
)

// errNegative stands for an error URI, in both directions.
var errNegative = errors.New("there is no root of a negative number")

// tooLongError stands for another one. Its fields travel with it.
type tooLongError struct {
	Name string `wamp:"0"`
	Max  int    `wamp:"max"`
}

// Error returns what callee and caller read.
func (e *tooLongError) Error() string { return fmt.Sprintf("%s is longer than %d", e.Name, e.Max) }

// mapErrors says which Go error is which URI. Callee and caller share it.
func mapErrors(_ context.Context, _ wamp.PeerInfo, join *client.SessionConfig) error {
	join.Errors = &client.ErrorMap{}
	join.Errors.MapError("com.example.errors.negative", errNegative)
	return client.MapErrorType[*tooLongError](join.Errors, "com.example.errors.too_long")
}

// ErrorsCallee fails in three ways.
func ErrorsCallee(io.Writer) client.Component {
	return client.Component{OnConnect: mapErrors, OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err1 := client.Register(ctx, s, "com.example.errors.sqrt", func(_ context.Context, x float64) (float64, error) {
			if x < 0 {
				return 0, errNegative
			}
			return math.Sqrt(x), nil
		})
		_, err2 := client.Register(ctx, s, "com.example.errors.checkname", func(_ context.Context, name string) (struct{}, error) {
			if len(name) > 8 {
				return struct{}{}, &tooLongError{name, 8}
			}
			return struct{}{}, nil
		})
		// An error that has no URI of its own is a wamp.error.runtime_error.
		_, err3 := client.Register(ctx, s, "com.example.errors.print", func(context.Context, struct{}) (struct{}, error) {
			return struct{}{}, errors.New("out of paper")
		})
		return errors.Join(err1, err2, err3)
	}}
}

// ErrorsCaller tells them apart as Go errors.
func ErrorsCaller(out io.Writer) client.Component {
	return client.Component{OnConnect: mapErrors, OnJoin: func(ctx context.Context, s *client.Session) error {
		root, err := client.Call[float64](ctx, s, "com.example.errors.sqrt", 16)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "sqrt:", root)
		if _, err = client.Call[float64](ctx, s, "com.example.errors.sqrt", -1); !errors.Is(err, errNegative) {
			return fmt.Errorf("sqrt of -1: %w", err)
		}
		fmt.Fprintln(out, "sqrt: negative")
		_, err = client.Call[struct{}](ctx, s, "com.example.errors.checkname", "Bartholomew")
		var tooLong *tooLongError
		if !errors.As(err, &tooLong) {
			return fmt.Errorf("a long name: %w", err)
		}
		fmt.Fprintf(out, "checkname: %s has more than %d letters\n", tooLong.Name, tooLong.Max)
		_, err = client.Call[struct{}](ctx, s, "com.example.errors.print")
		var wire *wamp.Error
		if !errors.As(err, &wire) {
			return fmt.Errorf("print: %w", err)
		}
		fmt.Fprintf(out, "print: %s, %s\n", wire.URI, wire.Text)
		return s.Leave(ctx)
	}}
}
