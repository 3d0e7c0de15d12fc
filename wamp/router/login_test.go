package router_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/router"
)

// keys are what the tests' client proves itself with.
type keys struct {
	password auth.Secret
	private  auth.Secret
	stored   auth.Principal
}

func newKeys(t *testing.T) *keys {
	t.Helper()
	k := &keys{password: auth.NewSecret("correct horse")}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		t.Fatal(err)
	}
	k.private = auth.NewSecret(string(seed))
	scram, err := auth.DeriveSCRAM(k.password, auth.Params{KDF: auth.PBKDF2, Salt: []byte("0123456789abcdef"), Iterations: 4096, KeyLen: 32})
	if err != nil {
		t.Fatal(err)
	}
	k.stored = auth.Principal{
		AuthID: "ann", Role: "operator", Ticket: auth.PlainTicket(k.password), CRA: auth.PlainCRA(k.password), SCRAM: scram,
		Keys: []ed25519.PublicKey{auth.PublicKey(k.private)},
	}
	return k
}

// proves is a Responder of each method with a password and a key.
func proves(method string, password, private auth.Secret) auth.Responder {
	switch method {
	case auth.MethodTicket:
		return &auth.Ticket{Ticket: password}
	case auth.MethodCRA:
		return &auth.CRA{Secret: password}
	case auth.MethodCryptosign:
		return &auth.Cryptosign{Key: private}
	}
	return &auth.SCRAM{Password: password}
}

// logs in over a peer of a remote address and returns the last message heard.
func (w *world) logsIn(client *auth.Client, info wamp.PeerInfo) wamp.Message {
	w.t.Helper()
	p := w.connect()
	p.info = info
	details := wamp.Dict{"roles": allRoles}
	if err := client.Hello(auth.Link{Peer: info}, details); err != nil {
		w.t.Fatal(err)
	}
	p.say(&wamp.Hello{Realm: "realm1", Details: details})
	got := p.heard()
	if len(got) != 1 {
		w.t.Fatalf("HELLO is answered by %v", got)
	}
	c, ok := got[0].(*wamp.Challenge)
	if !ok {
		return got[0]
	}
	answer, err := client.Challenge(c)
	if err != nil {
		w.t.Fatal(err)
	}
	p.say(answer)
	if got = p.heard(); len(got) != 1 {
		w.t.Fatalf("AUTHENTICATE is answered by %v", got)
	}
	if welcome, ok := got[0].(*wamp.Welcome); ok {
		if err := client.Welcome(welcome); err != nil {
			w.t.Errorf("the router is not verified: %v", err)
		}
		p.say(&wamp.Goodbye{Reason: wamp.CloseURINormal})
	}
	return got[0]
}

var methods = []string{auth.MethodTicket, auth.MethodCRA, auth.MethodSCRAM, auth.MethodCryptosign}

// secured runs f with a router that knows ann and nobody else.
func secured(t *testing.T, k *keys, edit func(*router.LoginConfig), f func(w *world)) {
	t.Helper()
	verifier, err := auth.New(auth.Config{Principals: []auth.Principal{k.stored}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := router.LoginConfig{Verifier: verifier, NoAnonymous: true}
	if edit != nil {
		edit(&cfg)
	}
	synctestRouter(t, router.Config{Realms: []router.RealmConfig{{Name: "realm1"}}}, func(w *world) { f(w) }, func(c *router.Config) {
		login, err := router.NewAuthenticator(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.Authenticate = login
	})
}

func TestEveryMethodLogsIn(t *testing.T) {
	k := newKeys(t)
	for _, m := range methods {
		t.Run(m, func(t *testing.T) {
			secured(t, k, func(c *router.LoginConfig) { c.Trust = map[string]uint32{"operator": 3} }, func(w *world) {
				info := wamp.PeerInfo{Transport: "websocket", Remote: "192.0.2.1:1000", Encrypted: true}
				welcome, ok := w.logsIn(auth.NewClient("ann", proves(m, k.password, k.private)), info).(*wamp.Welcome)
				if !ok {
					t.Fatal("not welcome")
				}
				d := welcome.Details
				if d["authid"] != "ann" || d["authrole"] != "operator" || d["authmethod"] != m || d["authprovider"] != "static" || d["realm"] != "realm1" {
					t.Errorf("WELCOME says %v", d)
				}
			})
		})
	}
}

func TestWrongProofsAreRefusedAndSlowedDown(t *testing.T) {
	k := newKeys(t)
	other := newKeys(t)
	for _, m := range methods {
		t.Run(m, func(t *testing.T) {
			secured(t, k, nil, func(w *world) {
				info := wamp.PeerInfo{Transport: "websocket", Remote: "192.0.2.1:1000", Encrypted: true}
				texts := map[string]bool{}
				refused := func(authid string) {
					t.Helper()
					wrong := proves(m, auth.NewSecret("wrong"), other.private)
					abort, ok := w.logsIn(auth.NewClient(authid, wrong), info).(*wamp.Abort)
					if !ok || abort.Reason != wamp.ErrURIAuthenticationFailed {
						t.Fatalf("%s: %+v", authid, abort)
					}
					texts[abort.Details["message"].(string)] = true
				}
				refused("ann")
				time.Sleep(6 * time.Second)
				refused("nobody")
				if len(texts) != 1 {
					t.Errorf("a wrong proof and an unknown authid are told apart: %v", texts)
				}
				right := auth.NewClient("ann", proves(m, k.password, k.private))
				abort, ok := w.logsIn(right, info).(*wamp.Abort)
				if !ok || !strings.Contains(abort.Details["message"].(string), "try again in") {
					t.Errorf("right after wrong attempts: %+v", abort)
				}
				time.Sleep(time.Hour)
				if _, ok := w.logsIn(right, info).(*wamp.Welcome); !ok {
					t.Error("not welcome after the wait")
				}
			})
		})
	}
}

func TestLoginsThatBreakTheRules(t *testing.T) {
	k := newKeys(t)
	secured(t, k, nil, func(w *world) {
		info := wamp.PeerInfo{Transport: "websocket", Remote: "192.0.2.1:1000", Encrypted: true}
		hello := func(authid string, methods ...any) *scripted {
			p := w.connect()
			p.info = info
			p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles, "authid": authid, "authmethods": methods}})
			return p
		}
		for _, c := range []struct {
			name string
			do   func() *scripted
			want wamp.URI
		}{
			{"anonymous", func() *scripted { return hello("ann", "anonymous") }, wamp.ErrURINoMatchingAuthMethod},
			{"nothing known", func() *scripted { return hello("ann", "magic") }, wamp.ErrURINoMatchingAuthMethod},
			{"no certificate", func() *scripted { return hello("ann", "tls") }, wamp.ErrURINoMatchingAuthMethod},
			{"another message in place of the proof", func() *scripted {
				p := hello("ann", "wampcra")
				p.heard()
				p.say(&wamp.Publish{Request: 1, Topic: "t"})
				return p
			}, wamp.ErrURIProtocolViolation},
			{"HELLO twice", func() *scripted {
				p := hello("ann", "wampcra")
				p.heard()
				p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles}})
				return p
			}, wamp.ErrURIProtocolViolation},
			{"AUTHENTICATE unasked", func() *scripted {
				p := w.connect()
				p.say(&wamp.Authenticate{Signature: "x"})
				return p
			}, wamp.ErrURIProtocolViolation},
			{"late", func() *scripted {
				p := hello("ann", "wampcra")
				p.heard()
				time.Sleep(11 * time.Second)
				return p
			}, wamp.ErrURIAuthenticationFailed},
		} {
			p := c.do()
			got := p.heard()
			if len(got) != 1 {
				t.Errorf("%s: heard %v", c.name, got)
				continue
			}
			if abort, ok := got[0].(*wamp.Abort); !ok || abort.Reason != c.want {
				t.Errorf("%s: %+v, want %s", c.name, got[0], c.want)
			}
			if !p.isClosed() {
				t.Errorf("%s: the peer stays open", c.name)
			}
		}
		gone := hello("ann", "wampcra")
		gone.heard()
		gone.say(&wamp.Abort{Reason: "x"})
		gone.hears()
	})
}

func TestTicketsNeedAPrivateConnection(t *testing.T) {
	k := newKeys(t)
	secured(t, k, nil, func(w *world) {
		client := auth.NewClient("ann", proves(auth.MethodTicket, k.password, k.private))
		details := wamp.Dict{"roles": allRoles}
		if err := client.Hello(auth.Link{Peer: wamp.PeerInfo{Encrypted: true}}, details); err != nil {
			t.Fatal(err)
		}
		p := w.connect()
		p.info = wamp.PeerInfo{Transport: "websocket", Remote: "192.0.2.1:1000"}
		p.say(&wamp.Hello{Realm: "realm1", Details: details})
		p.hears(&wamp.Abort{Reason: wamp.ErrURINoMatchingAuthMethod})
	})
}

func TestPrincipalsAreFoundElsewhere(t *testing.T) {
	k := newKeys(t)
	found := k.stored
	found.AuthID, found.Role = "bob", "guest"
	secured(t, k, func(c *router.LoginConfig) {
		c.Find = func(_ context.Context, realm wamp.URI, authid string) (*auth.Principal, error) {
			switch {
			case realm == "realm1" && authid == "bob":
				return &found, nil
			case authid == "broken":
				return nil, errors.New("the directory is down")
			}
			return nil, nil
		}
	}, func(w *world) {
		info := wamp.PeerInfo{Transport: "websocket", Remote: "192.0.2.1:1000", Encrypted: true}
		for authid, want := range map[string]string{"bob": "bob guest dynamic", "ann": "ann operator static", "broken": "", "nobody": ""} {
			m := w.logsIn(auth.NewClient(authid, proves(auth.MethodCRA, k.password, k.private)), info)
			welcome, ok := m.(*wamp.Welcome)
			if ok != (want != "") {
				t.Errorf("%s: %+v", authid, m)
				continue
			}
			if ok {
				d := welcome.Details
				if got := fmt.Sprint(d["authid"], " ", d["authrole"], " ", d["authprovider"]); got != want {
					t.Errorf("%s: %s, want %s", authid, got, want)
				}
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestLoginConfigErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []router.Certificate{{}, {Fingerprint: "ab"}, {Fingerprint: strings.Repeat("ab", 32)}, {Fingerprint: strings.Repeat("xy", 32), AuthID: "a", Role: "r"}} {
		if _, err := router.NewAuthenticator(router.LoginConfig{Certificates: []router.Certificate{c}}); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	c := router.Certificate{Fingerprint: strings.Repeat("AB", 32), AuthID: "a", Role: "r"}
	if _, err := router.NewAuthenticator(router.LoginConfig{Certificates: []router.Certificate{c, c}}); err == nil {
		t.Error("the same certificate twice is accepted")
	}
}
