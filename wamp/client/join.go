package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"

	"gantry/wamp"
	"gantry/wamp/auth"
)

// SessionConfig says how to join a realm. The zero value of a field is its
// default.
type SessionConfig struct {
	// Realm is the realm to join. Required.
	Realm wamp.URI
	// AuthID is who the session wishes to be. Default: the router decides. With Auth
	// it has its own.
	AuthID string
	// Auth proves who the session is. It is used by one join at a time. Default: the
	// session is anonymous.
	Auth *auth.Client
	// AuthMethods are offered before those of Auth: those that need no answer, "tls"
	// (the certificate of the connection), "cookie" and "anonymous", and those that
	// OnChallenge answers. Default: "anonymous" without Auth, none with it.
	AuthMethods []string
	// AuthExtra goes into HELLO.Details.authextra for the methods of OnChallenge.
	AuthExtra wamp.Dict
	// OnChallenge answers challenges by methods that Auth does not have. After an error
	// the session is given up.
	OnChallenge func(ctx context.Context, c *wamp.Challenge) (*wamp.Authenticate, error)
	// Errors translates between Go errors and error URIs. Default: only *wamp.Error
	// crosses.
	Errors *ErrorMap
	// Tracebacks has callers see where a procedure panicked, as keyword argument
	// "traceback" of the error: for development.
	Tracebacks bool
	// MaxInvocations bounds the invocations served at the same time; beyond it
	// callers are told that the callee is busy. Default 1024.
	MaxInvocations int
	// Log receives what a handler did wrong. Default: discarded.
	Log *slog.Logger
}

// clientRoles is what a Session announces in HELLO.
func clientRoles() wamp.Dict {
	role := func(features ...string) wamp.Dict {
		f := wamp.Dict{}
		for _, n := range features {
			f[n] = true
		}
		return wamp.Dict{"features": f}
	}
	return wamp.Dict{
		"publisher": role("publisher_exclusion", "publisher_identification", "subscriber_blackwhite_listing", "payload_passthru_mode"),
		"subscriber": role("pattern_based_subscription", "publisher_identification", "sharded_subscription", "subscription_revocation",
			"payload_passthru_mode"),
		"caller": role("caller_identification", "call_canceling", "call_timeout", "progressive_call_results",
			"progressive_call_invocations", "sharded_registration", "payload_passthru_mode"),
		"callee": role("caller_identification", "call_canceling", "call_timeout", "call_reroute", "progressive_call_results",
			"progressive_call_invocations", "pattern_based_registration", "shared_registration", "sharded_registration",
			"registration_revocation", "payload_passthru_mode"),
	}
}

// Join opens a session over p and takes p over: it is closed when the session
// ends, and when Join fails. A refusal by the router is a *wamp.Error.
func Join(ctx context.Context, p wamp.Peer, cfg SessionConfig) (*Session, error) {
	if cfg.MaxInvocations == 0 {
		cfg.MaxInvocations = 1024
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	stop := context.AfterFunc(ctx, func() { _ = p.Close() })
	welcome, err := join(ctx, p, &cfg)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = p.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("join realm %s: %w", cfg.Realm, err)
	}
	s := &Session{
		peer: p, cfg: cfg, log: log, welcome: welcome,
		done:    make(chan struct{}),
		sending: make(chan struct{}, 1),
		pending: map[wamp.ID]*request{}, subscriptions: map[wamp.ID][]*subscription{},
		registrations: map[wamp.ID]wamp.InvocationHandler{}, invocations: map[wamp.ID]*invocation{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.read()
	return s, nil
}

func join(ctx context.Context, p wamp.Peer, cfg *SessionConfig) (*wamp.Welcome, error) {
	details, err := helloDetails(p, cfg)
	if err != nil {
		return nil, err
	}
	if err := p.Send(ctx, &wamp.Hello{Realm: cfg.Realm, Details: details}); err != nil {
		return nil, err
	}
	for {
		m, err := p.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = wamp.ErrClosed
			}
			return nil, err
		}
		switch m := m.(type) {
		case *wamp.Welcome:
			welcome := wamp.Clone(m).(*wamp.Welcome)
			if err := checkWelcome(p, cfg, welcome); err != nil {
				return nil, desist(p, err)
			}
			return welcome, nil
		case *wamp.Abort:
			text, _ := m.Details["message"].(string)
			return nil, wamp.NewError(wamp.Clone(m).(*wamp.Abort).Reason, text, nil)
		case *wamp.Challenge:
			answer, err := answerChallenge(ctx, cfg, wamp.Clone(m).(*wamp.Challenge))
			if err != nil {
				return nil, desist(p, err)
			}
			if err := p.Send(ctx, answer); err != nil {
				return nil, err
			}
		default:
			return nil, &wamp.ProtocolError{Text: m.Type().String() + " before WELCOME"}
		}
	}
}

// helloDetails returns what HELLO says of the session.
func helloDetails(p wamp.Peer, cfg *SessionConfig) (wamp.Dict, error) {
	details := wamp.Dict{"roles": clientRoles(), "agent": "gantry"}
	if cfg.AuthID != "" {
		details["authid"] = cfg.AuthID
	}
	if cfg.Auth != nil {
		link := auth.Link{Peer: p.Info()}
		if link.Peer.TLS != nil {
			link.Channels = auth.ChannelsOf(link.Peer.TLS)
		}
		// Without a method of its own left, those of the configuration may do.
		if err := cfg.Auth.Hello(link, details); err != nil && len(cfg.AuthMethods) == 0 {
			return nil, err
		}
	}
	methods := wamp.List{}
	for _, m := range cfg.AuthMethods {
		methods = append(methods, m)
	}
	offered, _ := details["authmethods"].(wamp.List)
	if methods = append(methods, offered...); len(methods) == 0 {
		methods = append(methods, methodAnonymous)
	}
	details["authmethods"] = methods
	if len(cfg.AuthExtra) > 0 {
		extra := maps.Clone(cfg.AuthExtra)
		theirs, _ := details["authextra"].(wamp.Dict)
		maps.Copy(extra, theirs)
		details["authextra"] = extra
	}
	return details, nil
}

const methodAnonymous = "anonymous"

// answerChallenge has the challenge answered by whoever offered its method.
func answerChallenge(ctx context.Context, cfg *SessionConfig, c *wamp.Challenge) (*wamp.Authenticate, error) {
	switch {
	case cfg.OnChallenge != nil && (cfg.Auth == nil || slices.Contains(cfg.AuthMethods, c.AuthMethod)):
		return cfg.OnChallenge(ctx, c)
	case cfg.Auth != nil:
		return cfg.Auth.Challenge(c)
	}
	return nil, fmt.Errorf("the router asks for authentication by %q and no answer is configured: %w", c.AuthMethod, auth.ErrUnexpectedChallenge)
}

// checkWelcome makes sure that the router is the one that was meant, as far as the
// method tells. Those that were offered without a proof need none, and inside the
// process nobody proves anything.
func checkWelcome(p wamp.Peer, cfg *SessionConfig, w *wamp.Welcome) error {
	method, _ := w.Details["authmethod"].(string)
	if cfg.Auth == nil || slices.Contains(cfg.AuthMethods, method) || p.Info().Transport == pipeTransport {
		return nil
	}
	return cfg.Auth.Welcome(w)
}

// desist tells the router that the client does not go on, and returns err.
func desist(p wamp.Peer, err error) error {
	// A router that is gone needs no reason.
	_ = p.TrySend(&wamp.Abort{Reason: wamp.ErrURIAuthenticationFailed, Details: wamp.Dict{"message": "the client does not go on"}})
	return err
}
