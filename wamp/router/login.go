package router

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"gantry/internal/ratelog"
	"gantry/wamp"
	"gantry/wamp/auth"
)

// Login is a peer that wishes to join a realm.
type Login struct {
	Peer  wamp.PeerInfo
	Hello *wamp.Hello
	// Session is the ID that the session will have.
	Session wamp.ID
	// Ask sends a challenge and returns what the peer answers: any message, or nil
	// when it is gone or has said nothing until then. Then nothing more is said to
	// it, whatever the Authenticator returns.
	Ask func(c *wamp.Challenge, until time.Time) wamp.Message

	lost bool // Ask returned nil
}

// Authenticator decides on a Login: it returns who the peer is, or an error whose
// URI and text go into ABORT. It is called in the peer's goroutine and may block
// until ctx ends.
type Authenticator func(ctx context.Context, l *Login) (Identity, *wamp.Error)

// LoginConfig says whom NewAuthenticator admits. The zero value admits in-process
// peers, and anonymous ones from this machine.
type LoginConfig struct {
	// AnonymousRole is the role of those who do not say who they are. Default
	// "anonymous".
	AnonymousRole string
	// AnonymousAnywhere admits them from any address, NoAnonymous from none.
	AnonymousAnywhere, NoAnonymous bool
	// Verifier knows the principals. Nil: nobody can prove who he is.
	Verifier *auth.Verifier
	// Certificates are the principals known by TLS client certificates
	// (authmethod "tls").
	Certificates []Certificate
	// Find is asked for principals that the Verifier does not know, such as by a
	// procedure; nil = nobody is. It returns nil for one that it does not know
	// either, and an error only when it cannot tell.
	Find func(ctx context.Context, realm wamp.URI, authid string) (*auth.Principal, error)
	// Provider is the authprovider of those whom Find knows. Default "dynamic".
	Provider string
	// Cookies lets browsers join again without a proof.
	Cookies CookieConfig
	// Penalties slow wrong proofs down.
	Penalties auth.PenaltyConfig
	// Trust gives roles a trust level, see Identity.
	Trust map[string]uint32
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log is told of refusals with their causes. Nil discards.
	Log *slog.Logger
}

// Certificate makes whoever holds a TLS certificate a principal.
type Certificate struct {
	// Fingerprint is the SHA-256 of the certificate, 64 hex digits.
	Fingerprint  string
	AuthID, Role string
}

// methodTLS is authentication by client certificate (AP "TLS Certificate-based
// Authentication").
const methodTLS = "tls"

// authenticator is the Authenticator of a LoginConfig.
type authenticator struct {
	cfg          LoginConfig
	rare         *ratelog.Log
	certificates map[string]Certificate // by fingerprint, lower case
	logins       *logins

	mu        sync.Mutex // guards penalties
	penalties *auth.Penalties
}

// NewAuthenticator returns what decides by cfg, or what is wrong with cfg.
func NewAuthenticator(cfg LoginConfig) (Authenticator, error) {
	if cfg.AnonymousRole == "" {
		cfg.AnonymousRole = methodAnonymous
	}
	if cfg.Provider == "" {
		cfg.Provider = "dynamic"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Find != nil && cfg.Verifier == nil {
		var err error
		if cfg.Verifier, err = auth.New(auth.Config{}); err != nil {
			return nil, err
		}
	}
	a := &authenticator{cfg: cfg, rare: ratelog.New(cfg.Log, 0, nil), certificates: map[string]Certificate{}, logins: newLogins(cfg.Cookies), penalties: auth.NewPenalties(cfg.Penalties)}
	for _, c := range cfg.Certificates {
		print := strings.ToLower(c.Fingerprint)
		if b, err := hex.DecodeString(print); err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("certificate of %q: a fingerprint is the SHA-256 in 64 hex digits", c.AuthID)
		}
		if c.AuthID == "" || c.Role == "" {
			return nil, errors.New("a certificate needs authid and role")
		}
		if _, twice := a.certificates[print]; twice {
			return nil, fmt.Errorf("certificate %s is configured twice", print)
		}
		a.certificates[print] = c
	}
	return a.login, nil
}

func (a *authenticator) login(ctx context.Context, l *Login) (Identity, *wamp.Error) {
	id, refusal := a.identify(ctx, l)
	if refusal == nil && !l.lost {
		a.remember(l, &id)
		if level, ok := a.cfg.Trust[id.AuthRole]; ok {
			id.TrustLevel = &level
		}
	}
	return id, refusal
}

// remember lets the browser that has just logged in do so by its cookie next time.
func (a *authenticator) remember(l *Login, id *Identity) {
	if id.AuthMethod == methodAnonymous || id.AuthMethod == methodInternal || !a.logins.usable(&l.Peer) {
		return
	}
	cookie, realm := l.Peer.Cookie, l.Hello.Realm
	if id.AuthMethod != methodCookie {
		a.logins.remember(&l.Peer, realm, *id, a.cfg.Now())
	}
	id.Logout = func() { a.logins.forget(cookie, realm) }
}

// identify takes the first of the offered methods that is possible.
func (a *authenticator) identify(ctx context.Context, l *Login) (Identity, *wamp.Error) {
	details := l.Hello.Details
	if l.Peer.Transport == "pipe" {
		id := Identity{AuthRole: "trusted", AuthMethod: methodInternal, AuthProvider: "static"}
		if id.AuthID, _ = details["authid"].(string); id.AuthID == "" {
			// Two without a name are not the same one, who may take a registration over.
			id.AuthID = "internal-" + rand.Text()[:12]
		}
		return id, nil
	}
	if r := l.Peer.Restored; r != nil {
		// It has proved who it is, or nothing is known of it, as before the restart.
		return Identity{AuthID: r.AuthID, AuthRole: r.AuthRole, AuthMethod: r.AuthMethod, AuthProvider: "static"}, nil
	}
	offered := textsOf(details["authmethods"])
	if len(offered) == 0 {
		offered = []string{methodAnonymous}
	}
	why := ""
	for _, m := range offered {
		switch m {
		case methodAnonymous:
			if !a.cfg.NoAnonymous && (l.Peer.Local || a.cfg.AnonymousAnywhere) {
				return Identity{AuthID: "anon-" + rand.Text()[:12], AuthRole: a.cfg.AnonymousRole, AuthMethod: m, AuthProvider: "static"}, nil
			}
			if !a.cfg.NoAnonymous {
				why = "anonymous sessions are admitted from this machine only"
			}
		case methodTLS:
			if c, ok := a.certificate(l); ok {
				return Identity{AuthID: c.AuthID, AuthRole: c.Role, AuthMethod: m, AuthProvider: "static"}, nil
			}
		case methodCookie:
			if id, ok := a.logins.find(&l.Peer, l.Hello.Realm, a.cfg.Now()); ok {
				id.AuthMethod = m
				return id, nil
			}
		case auth.MethodTicket, auth.MethodCRA, auth.MethodSCRAM, auth.MethodSCRAMField, auth.MethodCryptosign:
			if a.cfg.Verifier != nil {
				return a.prove(ctx, l)
			}
		}
	}
	if why == "" {
		why = "none of the offered methods is possible: " + strings.Join(offered[:min(len(offered), 8)], ", ")
	}
	return Identity{}, wamp.NewError(wamp.ErrURINoMatchingAuthMethod, why, nil)
}

// certificate finds the principal of the certificate that the peer has shown, and
// proved to hold, in the TLS handshake.
func (a *authenticator) certificate(l *Login) (Certificate, bool) {
	if l.Peer.TLS == nil || len(l.Peer.TLS.PeerCertificates) == 0 {
		return Certificate{}, false
	}
	leaf := l.Peer.TLS.PeerCertificates[0]
	now := a.cfg.Now()
	// Whoever issued it: the fingerprint names this one certificate.
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		a.rare.Warn("client certificate is not valid at this time", "subject", subject(leaf), "remote", l.Peer.Remote)
		return Certificate{}, false
	}
	sum := sha256.Sum256(leaf.Raw)
	c, ok := a.certificates[hex.EncodeToString(sum[:])]
	return c, ok
}

func subject(c *x509.Certificate) string { return c.Subject.String() }

// prove has the peer prove who it is.
func (a *authenticator) prove(ctx context.Context, l *Login) (Identity, *wamp.Error) {
	link := auth.Link{Peer: l.Peer}
	if l.Peer.TLS != nil {
		link.Channels = auth.ChannelsOf(l.Peer.TLS)
	}
	authid, _ := l.Hello.Details["authid"].(string)
	if refusal := a.penalized(l, authid); refusal != nil {
		return Identity{}, refusal
	}
	r := auth.Request{Hello: l.Hello, Link: link, Session: l.Session, Now: a.cfg.Now()}
	if a.cfg.Find != nil && authid != "" {
		p, err := a.cfg.Find(ctx, l.Hello.Realm, authid)
		if err != nil {
			a.rare.Log(slog.LevelError, "principal cannot be looked up", "authid", authid, "error", err)
			return Identity{}, wamp.NewError(wamp.ErrURIAuthenticationFailed, "the login could not be checked; try again", nil)
		}
		r.Principal, r.Provider = p, a.cfg.Provider
	}
	x, refusal := a.cfg.Verifier.Begin(r)
	if refusal != nil {
		return Identity{}, a.refused(l, authid, refusal)
	}
	answer := l.Ask(x.Challenge(), x.Expires())
	if answer == nil || answer.Type() == wamp.TypeAbort {
		l.lost = true // an ABORT is never answered
		return Identity{}, nil
	}
	// Those who guess side by side have all been asked before the first was wrong.
	if refusal := a.penalized(l, x.AuthID()); refusal != nil {
		return Identity{}, refusal
	}
	id, refusal := x.Finish(answer, a.cfg.Now())
	a.count(l.Peer.Remote, x.AuthID(), refusal)
	if refusal != nil {
		return Identity{}, a.refused(l, x.AuthID(), refusal)
	}
	return Identity{AuthID: id.AuthID, AuthRole: id.AuthRole, AuthMethod: id.AuthMethod, AuthProvider: id.AuthProvider, Extra: id.Extra}, nil
}

// penalized refuses whoever has to wait for his next attempt.
func (a *authenticator) penalized(l *Login, authid string) *wamp.Error {
	wait := a.wait(l.Peer.Remote, authid)
	if wait <= 0 {
		return nil
	}
	return wamp.NewError(wamp.ErrURIAuthenticationFailed,
		fmt.Sprintf("too many wrong attempts; try again in %d s", int(wait.Seconds())+1), nil)
}

func (a *authenticator) wait(remote, authid string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.penalties.Wait(remote, authid, a.cfg.Now())
}

func (a *authenticator) count(remote, authid string, refusal *auth.Refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case refusal == nil:
		a.penalties.Succeeded(remote, authid)
	case refusal.Guess:
		a.penalties.Failed(remote, authid, a.cfg.Now())
	}
}

func (a *authenticator) refused(l *Login, authid string, r *auth.Refusal) *wamp.Error {
	a.rare.Warn("login refused", "authid", authid, "remote", l.Peer.Remote, "cause", r.Cause)
	return r.Wire()
}
