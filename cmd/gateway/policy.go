package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"gantry/internal/config"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

// newPolicy makes the policy of the configured roles and of the programs of devices; nil, which is no policy,
// when there are none.
func newPolicy(cfg *config.Config, ask router.DynamicAuthorizer) (*router.Policy, error) {
	if len(cfg.Roles) == 0 {
		return nil, nil
	}
	roles := programRoles(cfg)
	maps.Copy(roles, cfg.Roles)
	return router.NewPolicy(router.PolicyConfig{Roles: roles, Ask: ask})
}

// authorizer asks the procedures that decide for roles. Its session is one of the
// gateway's own, so what it asks is not itself subject to a decision.
type authorizer struct {
	session atomic.Pointer[client.Session] // nil until Run has made it
}

var errNotStarted = errors.New("the gateway has not started yet")

// ask calls the procedure with the session's details, the URI, the action and its
// options (AP "Authorization", dynamic authorizers).
func (a *authorizer) ask(ctx context.Context, q router.Question) (router.Answer, error) {
	s := a.session.Load()
	if s == nil {
		return router.Answer{}, errNotStarted
	}
	options := wamp.Dict{}
	if q.Action == router.ActionSubscribe || q.Action == router.ActionRegister {
		options["match"] = q.Match.String()
	}
	details := wamp.Dict{
		"realm": s.Welcome().Details["realm"], "authid": q.Who.AuthID, "authrole": q.Who.AuthRole,
		"authmethod": q.Who.AuthMethod, "authprovider": q.Who.AuthProvider,
	}
	uri := strings.Clone(string(q.URI)) // lent until ask returns, which the call may outlive
	result, err := client.Call[wamp.Payload](ctx, s, q.Procedure, details, uri, string(q.Action), options)
	if err != nil {
		return router.Answer{}, err
	}
	return readAnswer(result)
}

// readAnswer reads true, false, or a dictionary with allow and, where they matter,
// disclose and cache (true, or seconds).
func readAnswer(p wamp.Payload) (a router.Answer, err error) {
	args, _, err := serialize.Values(p)
	if err != nil {
		return a, err
	}
	if len(args) != 1 {
		return a, fmt.Errorf("%d results in place of one", len(args))
	}
	var fields wamp.Dict
	switch v := args[0].(type) {
	case bool:
		return router.Answer{Allow: v}, nil
	case wamp.Dict:
		fields = v
	default:
		return a, errors.New("the result is neither true, false nor a dictionary")
	}
	allow, ok := fields["allow"].(bool)
	if !ok {
		return a, errors.New("allow is neither true nor false")
	}
	disclose, ok := fields["disclose"].(bool)
	if !ok && fields["disclose"] != nil {
		return a, errors.New("disclose is neither true nor false")
	}
	if disclose {
		a.Disclose = router.DiscloseAlways
	}
	if a.Cache, err = readCache(fields["cache"]); err != nil {
		return router.Answer{}, err
	}
	a.Allow = allow
	return a, nil
}

func readCache(v any) (time.Duration, error) {
	var seconds float64
	switch v := v.(type) {
	case nil:
		return 0, nil
	case bool:
		if v {
			return router.MaxAnswerAge, nil
		}
		return 0, nil
	case int:
		seconds = float64(v)
	case int64:
		seconds = float64(v)
	case uint64:
		seconds = float64(v)
	case float64:
		seconds = v
	default:
		seconds = math.NaN()
	}
	if !(seconds >= 0) {
		return 0, errors.New("cache is neither true, false nor a number of seconds")
	}
	return time.Duration(min(seconds, router.MaxAnswerAge.Seconds()) * float64(time.Second)), nil
}

// startAuthorizer joins the session that asks authorizers, if a role has one.
func (r *run) startAuthorizer(ctx context.Context) error {
	needed := false
	for _, role := range r.cfg.Roles {
		needed = needed || role.Authorizer != ""
	}
	if !needed {
		return nil
	}
	s, err := r.join(ctx, "authorizer", transport.PipeConfig{})
	if err != nil {
		return err
	}
	r.authorizer.session.Store(s)
	// Sessions that wait for an answer must not hold up the shutdown.
	r.front.run("authorizer", func(ctx context.Context) error {
		<-ctx.Done()
		return s.Close()
	})
	return nil
}
