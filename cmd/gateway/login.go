package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gantry/internal/config"
	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/transport"
)

// cookieAge is how long a login lasts in a browser, and its cookie with it.
func cookieAge(c config.Cookie) time.Duration { return cmp.Or(c.MaxAge, 7*24*time.Hour) }

// newAuthenticator makes who may join of the configured users. Secrets are read
// here, once.
func (g *Gateway) newAuthenticator() (router.Authenticator, error) {
	l := g.cfg.Listen
	cfg := router.LoginConfig{
		AnonymousRole: l.AnonymousRole, AnonymousAnywhere: l.Anonymous == config.AnonymousAny, NoAnonymous: l.Anonymous == config.AnonymousNone,
		Trust:     map[string]uint32{},
		Penalties: auth.PenaltyConfig{First: g.cfg.Login.Penalty, Max: g.cfg.Login.PenaltyMax},
		Log:       g.log.With("room", "login"),
	}
	for name, role := range g.cfg.Roles {
		if role.TrustLevel != nil {
			cfg.Trust[name] = *role.TrustLevel
		}
	}
	if l.Cookie.Name != "" {
		cfg.Cookies.MaxAge = cookieAge(l.Cookie)
	}
	var principals []auth.Principal
	for _, name := range slices.Sorted(maps.Keys(g.cfg.Users)) {
		u := g.cfg.Users[name]
		for _, c := range u.Certificates {
			cfg.Certificates = append(cfg.Certificates, router.Certificate{Fingerprint: strings.ReplaceAll(c, ":", ""), AuthID: name, Role: u.Role})
		}
		p, err := principalOf(name, u)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		if p != nil {
			principals = append(principals, *p)
		}
	}
	if g.cfg.Login.Find != "" {
		cfg.Find = g.finder.find
		g.finder.procedure, g.finder.timeout = wamp.URI(g.cfg.Login.Find), cmp.Or(g.cfg.Login.FindTimeout, 5*time.Second)
	}
	if len(programRoles(g.cfg)) > 0 {
		cfg.Find = g.programs.before(cfg.Find)
	}
	if len(principals) > 0 || cfg.Find != nil {
		decoy, err := decoySecret(g.state)
		if err != nil {
			return nil, err
		}
		if cfg.Verifier, err = auth.New(auth.Config{
			Principals: principals, AllowPlainTickets: g.cfg.Login.PlainTickets, Lifetime: l.ChallengeTimeout, DecoySecret: decoy,
		}); err != nil {
			return nil, err
		}
	}
	return router.NewAuthenticator(cfg)
}

// principalOf returns a user's proofs; nil when there are none but certificates.
func principalOf(name string, u config.User) (*auth.Principal, error) {
	p := &auth.Principal{AuthID: name, Role: u.Role}
	for _, r := range u.Realms {
		p.Realms = append(p.Realms, wamp.URI(r))
	}
	for _, k := range u.Keys {
		key, err := auth.ParsePublicKey(k)
		if err != nil {
			return nil, err
		}
		p.Keys = append(p.Keys, key)
	}
	switch {
	case !u.Password.IsZero():
		text, err := u.Password.Reveal()
		if err != nil {
			return nil, err
		}
		if err := withPassword(p, text); err != nil {
			return nil, err
		}
	case !u.Stored.IsZero():
		text, err := u.Stored.Reveal()
		if err != nil {
			return nil, err
		}
		if err := withStored(p, strings.Fields(text)); err != nil {
			return nil, err
		}
	}
	if p.Ticket == nil && p.CRA == nil && p.SCRAM == nil && p.SCRAMField == nil && len(p.Keys) == 0 {
		return nil, nil
	}
	return p, p.Validate()
}

// withPassword lets a principal log in with a password, by every method.
func withPassword(p *auth.Principal, text string) error {
	if text == "" {
		return errors.New("the password is empty")
	}
	secret := auth.NewSecret(text)
	p.Ticket, p.CRA = auth.PlainTicket(secret), auth.PlainCRA(secret)
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return err
	}
	var err error
	p.SCRAM, err = auth.DeriveSCRAM(secret, auth.Params{KDF: auth.PBKDF2, Salt: salt, Iterations: 4096, KeyLen: 32})
	return err
}

// withStored lets a principal log in by stored forms.
func withStored(p *auth.Principal, forms []string) (err error) {
	for _, form := range forms {
		switch {
		case strings.HasPrefix(form, "TICKET-"):
			p.Ticket, err = auth.ParseTicket(form)
		case strings.HasPrefix(form, "WAMPCRA-"):
			p.CRA, err = auth.ParseCRA(form)
		case strings.HasPrefix(form, "SCRAM-ARGON2ID-13$"):
			p.SCRAMField, err = auth.ParseSCRAM(form)
		case strings.HasPrefix(form, "SCRAM-"):
			p.SCRAM, err = auth.ParseSCRAM(form)
		default:
			return errors.New("a stored form is none of TICKET-, WAMPCRA-, SCRAM-")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// decoySecret keeps the answers for authids that do not exist the same over
// restarts.
func decoySecret(state string) (auth.Secret, error) {
	file := filepath.Join(state, "decoy.key")
	b, err := os.ReadFile(file)
	if err == nil && len(b) >= 32 {
		return auth.NewSecret(string(b)), nil
	}
	b = make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return auth.Secret{}, err
	}
	if err := os.MkdirAll(state, 0o750); err != nil {
		return auth.Secret{}, fmt.Errorf("state directory: %w", err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return auth.Secret{}, fmt.Errorf("state directory: %w", err)
	}
	return auth.NewSecret(string(b)), nil
}

// finder asks a procedure for users that the configuration does not have.
type finder struct {
	procedure wamp.URI
	timeout   time.Duration                  // of its answer
	session   atomic.Pointer[client.Session] // nil until Run has made it
}

// find calls the procedure with realm, authid and details.
func (f *finder) find(ctx context.Context, realm wamp.URI, authid string) (*auth.Principal, error) {
	s := f.session.Load()
	if s == nil {
		return nil, errNotStarted
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	answer, err := client.Call[*struct {
		Role     string   `cbor:"role"`
		Password string   `cbor:"password"`
		Stored   []string `cbor:"stored"`
		Keys     []string `cbor:"keys"`
	}](ctx, s, f.procedure, string(realm), authid, wamp.Dict{})
	if err != nil || answer == nil {
		return nil, err
	}
	p := &auth.Principal{AuthID: authid, Role: answer.Role, Realms: []wamp.URI{realm}}
	if answer.Password != "" {
		if err := withPassword(p, answer.Password); err != nil {
			return nil, err
		}
	}
	if err := withStored(p, answer.Stored); err != nil {
		return nil, err
	}
	for _, k := range answer.Keys {
		var key ed25519.PublicKey
		if key, err = auth.ParsePublicKey(k); err != nil {
			return nil, err
		}
		p.Keys = append(p.Keys, key)
	}
	if p.Role == router.RoleTrusted {
		return nil, errors.New("the role trusted is the gateway's own")
	}
	return p, p.Validate()
}

// startFinder joins the session that looks users up, if one is needed.
func (r *run) startFinder(ctx context.Context) error {
	if r.finder.procedure == "" {
		return nil
	}
	s, err := r.join(ctx, "login", transport.PipeConfig{})
	if err != nil {
		return err
	}
	r.finder.session.Store(s)
	return nil
}
