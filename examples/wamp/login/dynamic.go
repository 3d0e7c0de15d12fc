package login

import (
	"context"
	"fmt"
	"io"

	"gantry/wamp/auth"
	"gantry/wamp/client"
)

// account is what a router needs to know of a user.
type account struct {
	Role     string `cbor:"role"`
	Password string `cbor:"password"`
}

// question is what a router asks: who is this, in this realm?
type question struct {
	Realm   string         `wamp:"0"`
	AuthID  string         `wamp:"1"`
	Details map[string]any `wamp:"2"`
}

// Authenticator knows the users of a router whose configuration does not: a
// gateway calls the procedure that [login] find names, such as in dynamic.toml.
// Without Gantry's program, router.LoginConfig.Find is the place for it.
func Authenticator(out io.Writer) client.Component {
	accounts := map[string]*account{"ann": {"operator", "secret123"}}
	return client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
		_, err := client.Register(ctx, s, "com.example.dynamic.find", func(_ context.Context, q question) (*account, error) {
			fmt.Fprintln(out, "asked for", q.AuthID)
			return accounts[q.AuthID], nil // nil: there is no such user
		})
		return err
	}}
}

// Dynamic logs in as one of those users.
func Dynamic(out io.Writer) client.Component {
	return visitor(out, func(join *client.SessionConfig) error {
		join.Auth = auth.NewClient("ann", &auth.CRA{Secret: password})
		return nil
	})
}
