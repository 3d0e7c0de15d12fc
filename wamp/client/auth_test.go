package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"sync"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/transport"
)

var (
	password   = auth.NewSecret("correct horse")
	privateKey = auth.NewSecret("0123456789abcdef0123456789abcdef")
)

// certificate makes a certificate for this machine that signs itself.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// vault is a router that knows Ann by every method, and the method "riddle", which
// no library knows.
type vault struct {
	addr  string
	cert  tls.Certificate
	trust *x509.CertPool
}

func newVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{}
	v.cert, v.trust = certificate(t)
	scram, err := auth.DeriveSCRAM(password, auth.Params{KDF: auth.PBKDF2, Salt: []byte("0123456789abcdef"), Iterations: 4096, KeyLen: 32})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.New(auth.Config{Principals: []auth.Principal{{AuthID: "ann", Role: "operator", Ticket: auth.PlainTicket(password),
		CRA: auth.PlainCRA(password), SCRAM: scram, Keys: []ed25519.PublicKey{auth.PublicKey(privateKey)}}}})
	if err != nil {
		t.Fatal(err)
	}
	print := sha256.Sum256(v.cert.Certificate[0])
	known, err := router.NewAuthenticator(router.LoginConfig{
		Verifier: verifier, Cookies: router.CookieConfig{MaxAge: time.Hour}, Penalties: auth.PenaltyConfig{First: 1, Max: 1},
		Certificates: []router.Certificate{{Fingerprint: hex.EncodeToString(print[:]), AuthID: "ann", Role: "operator"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1"}},
		Authenticate: func(ctx context.Context, l *router.Login) (router.Identity, *wamp.Error) {
			if methods, _ := l.Hello.Details["authmethods"].(wamp.List); slices.Contains(methods, any("riddle")) {
				return riddle(l)
			}
			return known(ctx, l)
		}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := transport.NewServer(transport.ServerConfig{
		TLS:    &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{v.cert}, ClientAuth: tls.RequestClientCert},
		Cookie: transport.CookieConfig{Name: "login"},
	}, r.Admit, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	wg.Go(func() { _ = srv.Serve(ctx, l) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return v
}

func riddle(l *router.Login) (router.Identity, *wamp.Error) {
	m := l.Ask(&wamp.Challenge{AuthMethod: "riddle", Extra: wamp.Dict{"question": "6 * 7"}}, time.Now().Add(time.Minute))
	if a, ok := m.(*wamp.Authenticate); ok && a.Signature == "42" {
		return router.Identity{AuthID: "oedipus", AuthRole: "king", AuthMethod: "riddle"}, nil
	}
	return router.Identity{}, wamp.NewError(wamp.ErrURIAuthenticationFailed, "wrong", nil)
}

func (v *vault) url(scheme string, jar http.CookieJar, show bool) client.Dialer {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: v.trust}
	if show {
		cfg.Certificates = []tls.Certificate{v.cert}
	}
	return client.URL(scheme+"://"+v.addr, transport.DialConfig{TLS: cfg, Jar: jar})
}

func TestEveryWayToLogIn(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	jars := map[string]*cookiejar.Jar{}
	for _, scheme := range []string{"wss", "rss", "lps"} {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		jars[scheme] = jar
		for _, tt := range []struct {
			name    string
			cfg     client.SessionConfig
			method  string
			authid  string
			schemes string
		}{
			{"anonymous", client.SessionConfig{}, "anonymous", "", ""},
			{"ticket", client.SessionConfig{Auth: auth.NewClient("ann", &auth.Ticket{Ticket: password})}, "ticket", "ann", ""},
			{"wampcra", client.SessionConfig{Auth: auth.NewClient("ann", &auth.CRA{Secret: password})}, "wampcra", "ann", ""},
			{"scram", client.SessionConfig{Auth: auth.NewClient("ann", &auth.SCRAM{Password: password})}, "wamp-scram", "ann", ""},
			{"cryptosign", client.SessionConfig{Auth: auth.NewClient("ann", &auth.Cryptosign{Key: privateKey})}, "cryptosign", "ann", ""},
			{"bound cryptosign", client.SessionConfig{Auth: auth.NewClient("ann", &auth.Cryptosign{Key: privateKey, Binding: auth.TLSExporter})}, "cryptosign", "ann", "wss rss"},
			{"certificate", client.SessionConfig{AuthMethods: []string{"tls"}}, "tls", "ann", ""},
			{"cookie", client.SessionConfig{AuthMethods: []string{"cookie"}}, "cookie", "ann", "wss lps"},
			{"cookie first", client.SessionConfig{AuthMethods: []string{"cookie"}, Auth: auth.NewClient("ann", &auth.CRA{Secret: password})}, "cookie", "ann", "wss lps"},
			{"cookie if there was one", client.SessionConfig{AuthMethods: []string{"cookie"}, Auth: auth.NewClient("ann", &auth.CRA{Secret: password})}, "wampcra", "ann", "rss"},
			{"a method of one's own", client.SessionConfig{AuthID: "oedipus", AuthMethods: []string{"riddle"},
				OnChallenge: func(_ context.Context, c *wamp.Challenge) (*wamp.Authenticate, error) {
					if c.Extra["question"] != "6 * 7" {
						return nil, errors.New("another riddle")
					}
					return &wamp.Authenticate{Signature: "42"}, nil
				}}, "riddle", "oedipus", ""},
		} {
			if tt.schemes != "" && !slices.Contains([]string{tt.schemes[:3], tt.schemes[len(tt.schemes)-3:]}, scheme) {
				continue
			}
			tt.cfg.Realm = "realm1"
			var jar http.CookieJar = jars[scheme]
			s, err := client.Connect(t.Context(), v.url(scheme, jar, tt.method == "tls"), tt.cfg)
			if err != nil {
				t.Errorf("%s: %s: %v", scheme, tt.name, err)
				continue
			}
			d := s.Welcome().Details
			if d["authmethod"] != tt.method || tt.authid != "" && d["authid"] != tt.authid {
				t.Errorf("%s: %s: joined as %v by %v", scheme, tt.name, d["authid"], d["authmethod"])
			}
			if err := s.Leave(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestLogoutForgetsTheCookie(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	join := func(cfg client.SessionConfig) (*client.Session, error) {
		cfg.Realm = "realm1"
		return client.Connect(t.Context(), v.url("wss", jar, false), cfg)
	}
	byCookie := client.SessionConfig{AuthMethods: []string{"cookie"}}
	s, err := join(client.SessionConfig{Auth: auth.NewClient("ann", &auth.CRA{Secret: password})})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Leave(t.Context())
	if s, err = join(byCookie); err != nil {
		t.Fatal(err)
	}
	if err := s.LeaveFor(t.Context(), wamp.CloseURILogout); err != nil {
		t.Error(err)
	}
	if s, err := join(byCookie); !wamp.IsError(err, wamp.ErrURINoMatchingAuthMethod) {
		t.Errorf("behind the logout: %v", err)
		if err == nil {
			_ = s.Close()
		}
	}
}

// A component answers challenges itself, and says how it wishes to join.
func TestComponentAnswersChallenges(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	var who any
	c := client.Component{
		OnConnect: func(_ context.Context, info wamp.PeerInfo, join *client.SessionConfig) error {
			if !info.Encrypted {
				return errors.New("the riddle is not for everybody")
			}
			join.AuthID, join.AuthMethods = "oedipus", []string{"riddle"}
			return nil
		},
		OnChallenge: func(context.Context, *wamp.Challenge) (*wamp.Authenticate, error) {
			return &wamp.Authenticate{Signature: "42"}, nil
		},
		OnJoin: func(ctx context.Context, s *client.Session) error {
			who = s.Welcome().Details["authrole"]
			return s.Leave(ctx)
		},
	}
	err := client.Run(t.Context(), c, client.Config{Dial: v.url("rss", nil, false), Session: client.SessionConfig{Realm: "realm1"}})
	if err != nil || who != "king" {
		t.Errorf("joined as %v, %v", who, err)
	}
}

func TestFailedLoginsAreTyped(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	wrong := auth.NewSecret("battery staple")
	for name, tt := range map[string]struct {
		cfg  client.SessionConfig
		want func(error) bool
	}{
		"wrong password": {client.SessionConfig{Auth: auth.NewClient("ann", &auth.CRA{Secret: wrong})},
			func(err error) bool { return wamp.IsError(err, wamp.ErrURIAuthenticationFailed) }},
		"unknown user": {client.SessionConfig{Auth: auth.NewClient("bob", &auth.SCRAM{Password: password})},
			func(err error) bool {
				return wamp.IsError(err, wamp.ErrURIAuthenticationFailed) || errors.Is(err, auth.ErrRouterNotVerified)
			}},
		"no method in common": {client.SessionConfig{AuthMethods: []string{"oauth"}},
			func(err error) bool { return wamp.IsError(err, wamp.ErrURINoMatchingAuthMethod) }},
		"no certificate": {client.SessionConfig{AuthMethods: []string{"tls"}},
			func(err error) bool { return wamp.IsError(err, wamp.ErrURINoMatchingAuthMethod) }},
		"unknown realm": {client.SessionConfig{Realm: "nowhere"},
			func(err error) bool { return wamp.IsError(err, wamp.ErrURINoSuchRealm) }},
		"no answer configured": {client.SessionConfig{AuthMethods: []string{"riddle"}},
			func(err error) bool { return errors.Is(err, auth.ErrUnexpectedChallenge) }},
		"own answer fails": {client.SessionConfig{AuthMethods: []string{"riddle"},
			OnChallenge: func(context.Context, *wamp.Challenge) (*wamp.Authenticate, error) { return nil, errClosed }},
			func(err error) bool { return errors.Is(err, errClosed) }},
		"unasked admission": {client.SessionConfig{AuthMethods: nil, Auth: auth.NewClient("ann", &auth.Ticket{Ticket: wrong})},
			func(err error) bool { return wamp.IsError(err, wamp.ErrURIAuthenticationFailed) }},
	} {
		if tt.cfg.Realm == "" {
			tt.cfg.Realm = "realm1"
		}
		s, err := client.Connect(t.Context(), v.url("wss", nil, false), tt.cfg)
		if err == nil {
			t.Errorf("%s: joined", name)
			_ = s.Close()
		} else if !tt.want(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrongAddressesAreTyped(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "http://127.0.0.1:1", "gopher://x", "rs://127.0.0.1", "rs://127.0.0.1:1/path", "%zz", "localhost:8080"} {
		_, err := client.Connect(t.Context(), client.URL(url, transport.DialConfig{}), client.SessionConfig{Realm: "realm1"})
		var u *transport.URLError
		if !errors.As(err, &u) || u.Text == "" {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := client.New(client.Config{}, nil); err == nil {
		t.Error("a client without a dialer is made")
	}
}
