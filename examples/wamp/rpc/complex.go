package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"gantry/wamp/client"
)

// complexNumbers are two numbers, and each of their parts is an argument.
type complexNumbers struct {
	A  int `wamp:"0"`
	AI int `wamp:"1"`
	B  int `wamp:"2"`
	BI int `wamp:"3"`
}

// complexNumber is a result of two keyword arguments.
type complexNumber struct {
	C  int `wamp:"c"`
	CI int `wamp:"ci"`
}

// fullName is a result of two positional arguments.
type fullName struct {
	Forename string `wamp:"0"`
	Surname  string `wamp:"1"`
}

// ComplexCallee returns results of several values.
func ComplexCallee(io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err1 := client.Register(ctx, s, "com.example.complex.add", func(_ context.Context, in complexNumbers) (complexNumber, error) {
			return complexNumber{in.A + in.B, in.AI + in.BI}, nil
		})
		_, err2 := client.Register(ctx, s, "com.example.complex.split_name", func(_ context.Context, name string) (fullName, error) {
			forename, surname, _ := strings.Cut(name, " ")
			return fullName{forename, surname}, nil
		})
		return errors.Join(err1, err2)
	}}
}

// ComplexCaller takes them apart.
func ComplexCaller(out io.Writer) client.Component {
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		sum, err := client.Call[complexNumber](ctx, s, "com.example.complex.add", 2, 3, 4, 5)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "the sum is %d + %di\n", sum.C, sum.CI)
		name, err := client.Call[fullName](ctx, s, "com.example.complex.split_name", "Homer Simpson")
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "forename %s, surname %s\n", name.Forename, name.Surname)
		return s.Leave(ctx)
	}}
}
