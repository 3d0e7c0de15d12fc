package main

import (
	"io"

	"gantry/wamp/client"
	"gantry/wamp/transport"

	"gantry/examples/wamp/beginner"
	"gantry/examples/wamp/login"
	"gantry/examples/wamp/pubsub"
	"gantry/examples/wamp/rpc"
	"gantry/examples/wamp/session"
	"gantry/examples/wamp/template"
)

// example is two components that work with each other and know no more than their
// sessions.
type example struct {
	name, shows string
	// backend waits for the frontend; nil where the router alone is the other side.
	backend func(out io.Writer) client.Component
	// frontend does its work and leaves.
	frontend func(out io.Writer) client.Component
	// dial adds to how the frontend connects to a remote router; it may be nil.
	dial func(*transport.DialConfig) error
}

// examples lists all of them, in the order in which to read them.
func examples() []example {
	return []example{
		{name: "beginner", shows: "all four roles at once", backend: beginner.Backend, frontend: beginner.Frontend},

		{name: "pubsub/basic", shows: "publish and subscribe", backend: pubsub.BasicSubscriber, frontend: pubsub.BasicPublisher},
		{name: "pubsub/complex", shows: "events with several values, and with none", backend: pubsub.ComplexSubscriber, frontend: pubsub.ComplexPublisher},
		{name: "pubsub/options", shows: "acknowledged, to oneself, to some sessions only", backend: pubsub.OptionsSubscriber, frontend: pubsub.OptionsPublisher},
		{name: "pubsub/unsubscribe", shows: "unsubscribe, and subscribe again", backend: pubsub.UnsubscribePublisher, frontend: pubsub.UnsubscribeSubscriber},
		{name: "pubsub/patterns", shows: "many topics by wildcard and prefix", backend: pubsub.PatternsSubscriber, frontend: pubsub.PatternsPublisher},
		{name: "pubsub/retained", shows: "the last value for who comes later", backend: pubsub.RetainedPublisher, frontend: pubsub.RetainedSubscriber},
		{name: "pubsub/history", shows: "events of the past", backend: pubsub.HistoryPublisher, frontend: pubsub.HistorySubscriber},

		{name: "rpc/timeservice", shows: "a procedure and a call", backend: rpc.TimeServiceCallee, frontend: rpc.TimeServiceCaller},
		{name: "rpc/slowsquare", shows: "calls at the same time", backend: rpc.SlowSquareCallee, frontend: rpc.SlowSquareCaller},
		{name: "rpc/arguments", shows: "positional, keyword, optional and all other arguments", backend: rpc.ArgumentsCallee, frontend: rpc.ArgumentsCaller},
		{name: "rpc/complex", shows: "results with several values", backend: rpc.ComplexCallee, frontend: rpc.ComplexCaller},
		{name: "rpc/errors", shows: "errors as Go errors on both sides", backend: rpc.ErrorsCallee, frontend: rpc.ErrorsCaller},
		{name: "rpc/progress", shows: "progressive results", backend: rpc.ProgressCallee, frontend: rpc.ProgressCaller},
		{name: "rpc/cancel", shows: "a call that is given up", backend: rpc.CancelCallee, frontend: rpc.CancelCaller},
		{name: "rpc/options", shows: "who calls, patterns of procedures, timeouts", backend: rpc.OptionsCallee, frontend: rpc.OptionsCaller},
		{name: "rpc/shared", shows: "several callees for one procedure", backend: rpc.SharedCallee, frontend: rpc.SharedCaller},

		{name: "template/attach", shows: "all procedures and handlers of an object at once", backend: template.Shop, frontend: template.Supplier},
		{name: "session/series", shows: "join, leave and join again", backend: session.Host, frontend: session.Visitor},

		{name: "login/anonymous", shows: "no login", frontend: login.Anonymous},
		{name: "login/ticket", shows: "login by ticket", frontend: login.Ticket},
		{name: "login/wampcra", shows: "login by WAMP-CRA", frontend: login.CRA},
		{name: "login/scram", shows: "login by SCRAM", frontend: login.SCRAM},
		{name: "login/cryptosign", shows: "login by key", frontend: login.Cryptosign},
		{name: "login/tls", shows: "login by TLS client certificate", frontend: login.Certificate},
		{name: "login/cookie", shows: "login by cookie, after another login", frontend: login.Cookie, dial: login.WithCookies},
		{name: "login/dynamic", shows: "users that a procedure knows", backend: login.Authenticator, frontend: login.Dynamic},
	}
}
