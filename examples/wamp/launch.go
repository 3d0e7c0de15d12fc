package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/transport"

	"gantry/examples/wamp/pubsub"
)

// place is where components find their router.
type place struct {
	realm wamp.URI
	// dial is given what an example adds to the connection, which may be nil.
	dial func(add func(*transport.DialConfig) error) (client.Dialer, error)
	log  *slog.Logger
}

// remote is a router that is reached by URL.
func remote(url string, cfg transport.DialConfig, realm wamp.URI, log *slog.Logger) place {
	return place{realm, func(add func(*transport.DialConfig) error) (client.Dialer, error) {
		cfg := cfg
		if add != nil {
			if err := add(&cfg); err != nil {
				return nil, err
			}
		}
		return client.URL(url, cfg), nil
	}, log}
}

// embedded calls f with a router in this process, which runs until f returns.
func embedded(ctx context.Context, realm wamp.URI, log *slog.Logger, f func(place) error) error {
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{
		Name:    realm,
		History: []router.HistoryRule{{Topic: pubsub.HistoryTopic}},
	}}}, log)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	dial := func(func(*transport.DialConfig) error) (client.Dialer, error) {
		return client.Embedded(r, transport.PipeConfig{}), nil
	}
	err = f(place{realm, dial, log})
	stop()
	return errors.Join(err, <-ended)
}

// runBackend runs an example's backend until ctx ends. ready is called once it can
// be used.
func (p place) runBackend(ctx context.Context, e example, out io.Writer, ready func()) error {
	return p.run(ctx, e.backend(out), nil, ready)
}

// runFrontend runs an example's frontend until it has done its work.
func (p place) runFrontend(ctx context.Context, e example, out io.Writer) error {
	return p.run(ctx, e.frontend(out), e.dial, func() {})
}

// runBoth runs the frontend as soon as the backend can be used, and ends that then.
func (p place) runBoth(ctx context.Context, e example, back, front io.Writer) error {
	if e.backend == nil {
		return p.runFrontend(ctx, e, front)
	}
	bctx, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- p.runBackend(bctx, e, back, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		return err
	}
	err := p.runFrontend(ctx, e, front)
	stop()
	return errors.Join(err, <-ended)
}

// attempts is how often a session is tried for in a row. Applications leave
// client.Config.GiveUp nil and never give up; who tries an example wants to be told.
const attempts = 5

// run runs a component, wherever its router is.
func (p place) run(ctx context.Context, c client.Component, add func(*transport.DialConfig) error, ready func()) error {
	dial, err := p.dial(add)
	if err != nil {
		return err
	}
	ready = sync.OnceFunc(ready) // it joins again when its session is lost
	join := c.OnJoin
	c.OnJoin = func(ctx context.Context, s *client.Session) error {
		if err := join(ctx, s); err != nil {
			return errors.Join(err, s.Leave(ctx)) // an example that fails is not tried again
		}
		ready()
		return nil
	}
	return client.Run(ctx, c, client.Config{
		Dial:    dial,
		Session: client.SessionConfig{Realm: p.realm, Log: p.log},
		GiveUp: func(failures int, err error) bool {
			var refused *wamp.Error
			var wrong *transport.URLError
			return failures >= attempts || errors.As(err, &refused) || errors.As(err, &wrong)
		},
	})
}
