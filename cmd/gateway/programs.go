package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"

	"gantry/drivers"
	"gantry/drivers/external"
	"gantry/drivers/hub"
	"gantry/internal/config"
	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

// programPrefix begins authid and role of programs that the gateway has started for a
// device. No user or role of the configuration is called so.
const programPrefix = "driver:"

// programs is drivers.Programs: each run of a driver has a session of its own.
type programs struct {
	g *Gateway

	mu      sync.Mutex // guards tickets
	tickets map[string]*auth.Principal
}

var _ drivers.Programs = (*programs)(nil)

// verbOf returns the procedure that a device's program serves.
func verbOf(gateway, device, verb string) wamp.URI {
	return wamp.URI("gantry." + gateway + ".driver." + device + "." + verb)
}

func (g *Gateway) verb(device, verb string) wamp.URI { return verbOf(g.cfg.Gateway.Name, device, verb) }

// Connect implements drivers.Programs. Readings are never dropped: the router stops
// reading from a program whose readings nobody has taken yet.
func (p *programs) Connect(ctx context.Context, device string) (drivers.Remote, error) {
	s, err := client.Connect(ctx, client.Embedded(p.g.router, transport.PipeConfig{Lossless: true}), client.SessionConfig{
		Realm: p.g.realm(), AuthID: "device." + device, Log: p.g.log.With("session", "device."+device),
	})
	if err != nil {
		return nil, err
	}
	return &served{s: s, g: p.g, device: device}, nil
}

// Admit implements drivers.Programs: a ticket for one run of the program.
func (p *programs) Admit(device string) (env []string, revoke func(), err error) {
	id, secret := programPrefix+device, rand.Text()
	principal := &auth.Principal{AuthID: id, Role: id, Realms: []wamp.URI{p.g.realm()}}
	if err := withPassword(principal, secret); err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	p.tickets[id] = principal
	p.mu.Unlock()
	env = []string{
		"GANTRY_URL=" + p.url(), "GANTRY_REALM=" + string(p.g.realm()), "GANTRY_AUTHID=" + id, "GANTRY_TICKET=" + secret,
		"GANTRY_DEVICE=" + device, "GANTRY_PREFIX=" + string(p.g.verb(device, "")),
	}
	return env, func() { p.burn(device) }, nil
}

// url returns where programs find the gateway. Devices run when it listens.
func (p *programs) url() string {
	if at := p.g.addrs; at.Unix != "" {
		return "rs+unix://" + at.Unix
	}
	ws, _ := schemes(p.g.cfg.Listen.TLS.Cert != "")
	return ws + p.g.addrs.HTTP + "/ws"
}

// burn makes the ticket of a device's program worthless.
func (p *programs) burn(device string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tickets, programPrefix+device)
}

// before looks a program up that may log in now, and asks next for all others; nil
// knows nobody.
func (p *programs) before(next finding) finding {
	return func(ctx context.Context, realm wamp.URI, authid string) (*auth.Principal, error) {
		p.mu.Lock()
		found := p.tickets[authid]
		p.mu.Unlock()
		if found != nil || next == nil || strings.HasPrefix(authid, programPrefix) {
			return found, nil
		}
		return next(ctx, realm, authid)
	}
}

// finding is router.LoginConfig.Find.
type finding = func(ctx context.Context, realm wamp.URI, authid string) (*auth.Principal, error)

// programRoles returns the roles of the programs that the gateway starts: they may
// register the verbs of their device, and nothing else.
func programRoles(cfg *config.Config) map[string]router.RoleConfig {
	roles := map[string]router.RoleConfig{}
	for i := range cfg.Devices {
		dev := &cfg.Devices[i]
		if c, is := dev.Driver.(*external.Config); is && len(c.Command) > 0 {
			roles[programPrefix+dev.Name] = router.RoleConfig{Rules: []router.RuleConfig{{
				URI: verbOf(cfg.Gateway.Name, dev.Name, ""), Match: "prefix", Allow: []router.Action{router.ActionRegister},
			}}}
		}
	}
	return roles
}

// boxed returns who decides where no roles are configured: everybody may do everything
// but the programs. nil where there are none.
func boxed(cfg *config.Config) (router.Authorizer, error) {
	roles := programRoles(cfg)
	if len(roles) == 0 {
		return nil, nil
	}
	policy, err := router.NewPolicy(router.PolicyConfig{Roles: roles})
	return func(who router.Identity, a router.Action, uri wamp.URI, m wamp.Match) (bool, error) {
		return !strings.HasPrefix(who.AuthRole, programPrefix) || policy.Decide(who, a, uri, m).Allowed, nil
	}, err
}

// served is drivers.Remote.
type served struct {
	s      *client.Session
	g      *Gateway
	device string
}

// Close implements drivers.Remote.
func (r *served) Close() { _ = r.s.Close() }

// Await implements drivers.Remote. The registration is looked for after the
// subscription, so that none comes between.
func (r *served) Await(ctx context.Context, verb string) error {
	want := r.g.verb(r.device, verb)
	there := make(chan struct{}, 1) // one is enough
	_, err := r.s.Subscribe(ctx, "wamp.registration.on_create", wamp.SubscribeOptions{}, func(e *wamp.Event) {
		args, _, err := serialize.Values(e.Payload)
		if err != nil || len(args) < 2 {
			return
		}
		if about, _ := args[1].(wamp.Dict); fmt.Sprint(about["uri"]) == string(want) {
			select {
			case there <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		return remoteError(err)
	}
	p, err := r.s.Call(ctx, "wamp.registration.lookup", wamp.CallOptions{}, wamp.Args(string(want)))
	if err != nil {
		return remoteError(err)
	}
	if args, _, err := serialize.Values(p); err == nil && len(args) > 0 && args[0] != nil {
		r.g.programs.burn(r.device)
		return nil
	}
	select {
	case <-there:
		r.g.programs.burn(r.device)
		return nil
	case <-r.s.Done():
		return drivers.ErrOffline
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Call implements drivers.Remote.
func (r *served) Call(ctx context.Context, verb string, args []any, kwargs map[string]any, progress func(any)) (any, error) {
	var on func(wamp.Payload)
	if progress != nil {
		on = func(p wamp.Payload) {
			v, err := first(p)
			if err != nil {
				v = err.Error() // no message, which the driver says
			}
			progress(v)
		}
	}
	p, err := r.s.CallProgress(ctx, r.g.verb(r.device, verb), wamp.CallOptions{}, wamp.Values(args, kwargs), on)
	if err != nil {
		return nil, remoteError(err)
	}
	return first(p)
}

// first returns the only thing that a program has to say, nil for nothing.
func first(p wamp.Payload) (any, error) {
	args, _, err := serialize.Values(p)
	if err != nil || len(args) == 0 {
		return nil, err
	}
	return args[0], nil
}

// remoteErrors are the errors that programs give, and the router in their place.
var remoteErrors = map[wamp.URI]error{
	wamp.ErrURIOffline: drivers.ErrOffline, wamp.ErrURINoSuchProcedure: drivers.ErrOffline, wamp.ErrURICanceled: drivers.ErrOffline,
	wamp.ErrURIUnavailable: drivers.ErrOffline, wamp.ErrURINoAvailableCallee: drivers.ErrOffline,
	wamp.ErrURITimeout: drivers.ErrTimeout, wamp.ErrURIDevTimeout: drivers.ErrTimeout, wamp.ErrURIBusy: drivers.ErrBusy,
	hub.ErrURIRefused: drivers.ErrRefused, wamp.ErrURIOutOfRange: drivers.ErrRefused, wamp.ErrURINotVerified: drivers.ErrNotVerified,
}

// remoteError returns an error of the session as one of drivers. Of the program's own
// only the text is kept: the hub answers callers by its own.
func remoteError(err error) error {
	var e *wamp.Error
	switch {
	case errors.Is(err, wamp.ErrClosed):
		return fmt.Errorf("%w: %v", drivers.ErrOffline, err)
	case !errors.As(err, &e):
		return err
	}
	text := fmt.Sprintf("the program says: %.40s %.200s", e.URI, e.Text)
	if kind := remoteErrors[e.URI]; kind != nil {
		return fmt.Errorf("%w: %s", kind, text)
	}
	return errors.New(text)
}
