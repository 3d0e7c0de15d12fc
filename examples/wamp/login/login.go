// Package login shows every way to prove who a session is. A component does it in
// OnConnect, so that it does so again with each connection.
//
// The router has to know the users; gantry.toml beside the launcher has them:
//
//	export EXAMPLE_STORED="$(echo secret123 | bin/gantry user hash)"
//	bin/gantry run --config examples/wamp/gantry.toml
//	go run ./examples/wamp --url ws://127.0.0.1:8080/ws login/scram
//	python3 examples/wamp/login/login.py ws://127.0.0.1:8080/ws scram
package login

import (
	"context"
	"fmt"
	"io"
	"net/http/cookiejar"

	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/client"
	"gantry/wamp/transport"
)

// What the user joe knows, and the private key of kim. Real ones are read from a
// file or the environment.
var (
	password = auth.NewSecret("secret123")
	key      = auth.NewSecret("1234567812345678123456781234567812345678123456781234567812345678")
)

// visitor joins with a proof, and tells as whom the router has admitted it.
func visitor(out io.Writer, prove func(join *client.SessionConfig) error) client.Component {
	return client.Component{
		OnConnect: func(_ context.Context, info wamp.PeerInfo, join *client.SessionConfig) error {
			if info.Transport == "pipe" {
				return nil // a router trusts its own process, and asks for nothing
			}
			return prove(join)
		},
		OnJoin: func(ctx context.Context, s *client.Session) error {
			fmt.Fprintln(out, admitted(s))
			return s.Leave(ctx)
		},
	}
}

// admitted is what WELCOME says.
func admitted(s *client.Session) string {
	d := s.Welcome().Details
	return fmt.Sprintf("%v, role %v, by %v", d["authid"], d["authrole"], d["authmethod"])
}

// Anonymous says nothing about itself. The router makes a name up.
func Anonymous(out io.Writer) client.Component {
	return visitor(out, func(*client.SessionConfig) error { return nil })
}

// Ticket sends the password itself: over TLS, or on one machine.
func Ticket(out io.Writer) client.Component {
	return visitor(out, func(join *client.SessionConfig) error {
		join.Auth = auth.NewClient("joe", &auth.Ticket{Ticket: password})
		return nil
	})
}

// CRA signs a challenge with the password (WAMP-CRA).
func CRA(out io.Writer) client.Component {
	return visitor(out, func(join *client.SessionConfig) error {
		join.Auth = auth.NewClient("joe", &auth.CRA{Secret: password})
		return nil
	})
}

// SCRAM proves that it knows the password, and has the router prove the same.
func SCRAM(out io.Writer) client.Component {
	return visitor(out, func(join *client.SessionConfig) error {
		join.Auth = auth.NewClient("joe", &auth.SCRAM{Password: password})
		return nil
	})
}

// Cryptosign signs a challenge with a key of which the router knows the public half.
func Cryptosign(out io.Writer) client.Component {
	return visitor(out, func(join *client.SessionConfig) error {
		seed, err := auth.ParsePrivateKey(key)
		join.Auth = auth.NewClient("kim", &auth.Cryptosign{Key: seed})
		return err
	})
}

// Certificate shows a TLS client certificate: the launcher's flags --cert and --key.
func Certificate(out io.Writer) client.Component {
	return visitor(out, func(join *client.SessionConfig) error {
		join.AuthMethods = []string{"tls"}
		return nil
	})
}

// Cookie logs in by ticket once, and from then on by the cookie that its connection
// got with that.
func Cookie(out io.Writer) client.Component {
	sessions := 0
	c := visitor(out, func(join *client.SessionConfig) error {
		join.AuthMethods = []string{"cookie"} // before those of Auth
		join.Auth = auth.NewClient("joe", &auth.Ticket{Ticket: password})
		return nil
	})
	c.OnJoin = func(ctx context.Context, s *client.Session) error {
		fmt.Fprintln(out, admitted(s))
		if sessions++; sessions == 2 {
			return s.Leave(ctx)
		}
		return s.Close() // client.Run joins again
	}
	return c
}

// WithCookies has connections keep cookies, as a browser does.
func WithCookies(cfg *transport.DialConfig) error {
	jar, err := cookiejar.New(nil)
	cfg.Jar = jar
	return err
}
