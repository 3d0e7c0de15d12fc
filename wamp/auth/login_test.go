package auth_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/auth"
)

const password = "correct horse, battery = staple"

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	salt   = []byte("0123456789abcdef")
	pbkdf2 = auth.Params{KDF: auth.PBKDF2, Salt: salt, Iterations: 4096, KeyLen: 32}
	argon2 = auth.Params{KDF: auth.Argon2id13, Salt: salt, Iterations: 32, Memory: 512, KeyLen: 32}

	plain    = auth.Link{Peer: wamp.PeerInfo{Transport: "websocket", Remote: "192.0.2.1:4711"}}
	local    = auth.Link{Peer: wamp.PeerInfo{Transport: "rawsocket", Remote: "unix", Local: true}}
	tls13    = auth.Link{Peer: wamp.PeerInfo{Encrypted: true}, Channels: auth.Channels{Exporter: bytes.Repeat([]byte{7}, 32), TLS13: true}}
	tls12    = auth.Link{Peer: wamp.PeerInfo{Encrypted: true}, Channels: auth.Channels{Exporter: bytes.Repeat([]byte{7}, 32), Unique: []byte("finished-msg")}}
	otherTLS = auth.Link{Peer: wamp.PeerInfo{Encrypted: true}, Channels: auth.Channels{Exporter: bytes.Repeat([]byte{8}, 32), Unique: []byte("another-msg!")}}
)

// random returns numbers that are the same in each run.
func random(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func seedOf(b byte) auth.Secret {
	s, err := auth.ParsePrivateKey(auth.NewSecret(hex.EncodeToString(bytes.Repeat([]byte{b}, 32))))
	if err != nil {
		panic(err)
	}
	return s
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// everybody returns principals of all kinds: alice has cheap forms of everything,
// bob has salted and hashed ones, carol an argon2 password, dave only a key.
func everybody(t testing.TB) []auth.Principal {
	secret := auth.NewSecret(password)
	field := argon2
	field.KDF = auth.Argon2id13Text
	return []auth.Principal{
		{AuthID: "alice", Role: "operator", Ticket: auth.PlainTicket(secret), CRA: auth.PlainCRA(secret),
			SCRAM: must[*auth.StoredSCRAM](t)(auth.DeriveSCRAM(secret, pbkdf2)), Keys: []ed25519.PublicKey{auth.PublicKey(seedOf(1))}},
		{AuthID: "bob", Role: "viewer", Ticket: must[*auth.StoredTicket](t)(auth.HashTicket(secret, pbkdf2)),
			CRA: must[*auth.StoredCRA](t)(auth.DeriveCRA(secret, "salt123", 1000, 32))},
		{AuthID: "carol, = o'\"Hara", Role: "viewer", SCRAM: must[*auth.StoredSCRAM](t)(auth.DeriveSCRAM(secret, argon2))},
		{AuthID: "frank", Role: "viewer", SCRAM: must[*auth.StoredSCRAM](t)(auth.DeriveSCRAM(secret, field))},
		{AuthID: "erin", Role: "viewer", SCRAM: must[*auth.StoredSCRAM](t)(auth.DeriveSCRAM(secret, argon2)),
			SCRAMField: must[*auth.StoredSCRAM](t)(auth.DeriveSCRAM(secret, field))},
		{AuthID: "dave", Role: "device", Realms: []wamp.URI{"gantry"}, Keys: []ed25519.PublicKey{auth.PublicKey(seedOf(2)), auth.PublicKey(seedOf(3))}},
	}
}

func verifier(t testing.TB, change func(*auth.Config)) *auth.Verifier {
	t.Helper()
	cfg := auth.Config{Principals: everybody(t), Random: random(1), DecoySecret: auth.NewSecret("0123456789abcdef"), RouterKey: seedOf(99)}
	if change != nil {
		change(&cfg)
	}
	return must[*auth.Verifier](t)(auth.New(cfg))
}

func hello(t testing.TB, c *auth.Client, link auth.Link) *wamp.Hello {
	t.Helper()
	h := &wamp.Hello{Realm: "gantry", Details: wamp.Dict{}}
	if err := c.Hello(link, h.Details); err != nil {
		t.Fatal(err)
	}
	return h
}

// login runs both sides against each other.
func login(t testing.TB, v *auth.Verifier, c *auth.Client, client, router auth.Link) (*auth.Identity, *auth.Refusal) {
	t.Helper()
	x, refusal := v.Begin(auth.Request{Hello: hello(t, c, client), Link: router, Session: 4711, Now: noon})
	if refusal != nil {
		return nil, refusal
	}
	a, err := c.Challenge(x.Challenge())
	if err != nil {
		t.Fatal(err)
	}
	id, refusal := x.Finish(a, noon.Add(time.Second))
	if refusal == nil {
		if err := c.Welcome(&wamp.Welcome{Details: wamp.Dict{"authextra": id.Extra}}); err != nil {
			t.Fatal(err)
		}
	}
	return id, refusal
}

// TestEachDialectOfSCRAMHasItsKDF logs in somebody whose password is stored for
// both.
func TestEachDialectOfSCRAMHasItsKDF(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	for method, kdf := range map[string]string{auth.MethodSCRAM: "argon2id13", auth.MethodSCRAMField: "argon2id-13"} {
		c := auth.NewClient("erin", &auth.SCRAM{Password: auth.NewSecret(password)})
		h := hello(t, c, plain)
		h.Details["authmethods"] = wamp.List{method}
		x, refusal := v.Begin(auth.Request{Hello: h, Link: plain, Session: 1, Now: noon})
		if refusal != nil {
			t.Fatal(refusal)
		}
		if got := x.Challenge(); got.AuthMethod != method || got.Extra["kdf"] != kdf {
			t.Errorf("%s: challenged by %s with %v", method, got.AuthMethod, got.Extra)
		}
		a, err := c.Challenge(x.Challenge())
		if err != nil {
			t.Fatal(err)
		}
		if id, refusal := x.Finish(a, noon); refusal != nil || id.AuthMethod != method {
			t.Errorf("%s: %+v, %v", method, id, refusal)
		}
	}
}

func TestEveryMethodAdmitsThoseWhoKnow(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret(password)
	router := auth.PublicKey(seedOf(99))
	v := verifier(t, nil)
	for name, c := range map[string]struct {
		authid     string
		link       auth.Link
		responder  auth.Responder
		want, role string
	}{
		"ticket over tls":                       {"alice", tls13, &auth.Ticket{Ticket: secret}, "ticket", "operator"},
		"ticket on a unix socket":               {"alice", local, &auth.Ticket{Ticket: secret}, "ticket", "operator"},
		"hashed ticket":                         {"bob", tls13, &auth.Ticket{Ticket: secret}, "ticket", "viewer"},
		"wampcra":                               {"alice", plain, &auth.CRA{Secret: secret}, "wampcra", "operator"},
		"salted wampcra":                        {"bob", plain, &auth.CRA{Secret: secret}, "wampcra", "viewer"},
		"scram with pbkdf2":                     {"alice", plain, &auth.SCRAM{Password: secret, Random: random(2)}, "wamp-scram", "operator"},
		"scram with argon2, authid with commas": {"carol, = o'\"Hara", plain, &auth.SCRAM{Password: secret}, "wamp-scram", "viewer"},
		"scram with the argon2 of autobahn":     {"frank", plain, &auth.SCRAM{Password: secret}, "wamp-scram", "viewer"},
		"scram bound by tls-exporter":           {"alice", tls13, &auth.SCRAM{Password: secret, Binding: auth.TLSExporter}, "wamp-scram", "operator"},
		"scram bound by tls-unique":             {"alice", tls12, &auth.SCRAM{Password: secret, Binding: auth.TLSUnique}, "wamp-scram", "operator"},
		"cryptosign":                            {"dave", plain, &auth.Cryptosign{Key: seedOf(2)}, "cryptosign", "device"},
		"cryptosign with the second key":        {"dave", plain, &auth.Cryptosign{Key: seedOf(3)}, "cryptosign", "device"},
		"cryptosign without authid":             {"", plain, &auth.Cryptosign{Key: seedOf(2)}, "cryptosign", "device"},
		"cryptosign bound by tls-exporter":      {"dave", tls13, &auth.Cryptosign{Key: seedOf(2), Binding: auth.TLSExporter}, "cryptosign", "device"},
		"cryptosign bound by tls-unique":        {"dave", tls12, &auth.Cryptosign{Key: seedOf(2), Binding: auth.TLSUnique}, "cryptosign", "device"},
		"cryptosign of a known router":          {"dave", plain, &auth.Cryptosign{Key: seedOf(2), RouterKey: router}, "cryptosign", "device"},
		"cryptosign of a known router, bound":   {"dave", tls13, &auth.Cryptosign{Key: seedOf(2), RouterKey: router, Binding: auth.TLSExporter}, "cryptosign", "device"},
	} {
		t.Run(name, func(t *testing.T) {
			client := auth.NewClient(c.authid, c.responder)
			// The second join uses the same client, as after a lost connection.
			for range 2 {
				id, refusal := login(t, v, client, c.link, c.link)
				if refusal != nil {
					t.Fatal(refusal, refusal.Cause)
				}
				if id.AuthMethod != c.want || id.AuthRole != c.role || id.AuthProvider != "static" || c.authid != "" && id.AuthID != c.authid || id.AuthID == "" {
					t.Errorf("got %+v", id)
				}
			}
		})
	}
}

func TestNoMethodAdmitsThoseWhoDoNotKnow(t *testing.T) {
	t.Parallel()
	wrong := auth.NewSecret("wrong")
	v := verifier(t, nil)
	for _, authid := range []string{"alice", "bob", "carol, = o'\"Hara", "frank", "dave", "nobody", "nobody else"} {
		for name, r := range map[string]auth.Responder{
			"ticket": &auth.Ticket{Ticket: wrong}, "wampcra": &auth.CRA{Secret: wrong}, "scram": &auth.SCRAM{Password: wrong}, "cryptosign": &auth.Cryptosign{Key: seedOf(9)},
		} {
			_, refusal := login(t, v, auth.NewClient(authid, r), tls13, tls13)
			switch {
			case refusal == nil:
				t.Fatalf("%s, %s: admitted", authid, name)
			case refusal.URI == wamp.ErrURINoMatchingAuthMethod:
			case refusal.URI != wamp.ErrURIAuthenticationFailed || !refusal.Guess || refusal.Text != "authid or proof is wrong":
				t.Errorf("%s, %s: got %+v", authid, name, refusal)
			}
		}
	}
	// A key of one principal does not open another.
	if _, refusal := login(t, v, auth.NewClient("alice", &auth.Cryptosign{Key: seedOf(2)}), plain, plain); refusal == nil {
		t.Error("alice is admitted with dave's key")
	}
}

func TestClientPicksWhatRouterAsksFor(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret(password)
	client := auth.NewClient("bob", &auth.SCRAM{Password: secret}, &auth.Cryptosign{Key: seedOf(5)}, &auth.Ticket{Ticket: secret}, &auth.CRA{Secret: secret})
	for link, want := range map[*auth.Link]string{&tls13: "ticket", &plain: "wampcra"} {
		id, refusal := login(t, verifier(t, nil), client, *link, *link)
		if refusal != nil || id.AuthMethod != want {
			t.Errorf("got %+v, %v, want %s", id, refusal, want)
		}
	}
}

// AP "TLS Channel Binding"; RFC 9266.
func TestChannelBinding(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	scram := func(b string) auth.Responder { return &auth.SCRAM{Password: auth.NewSecret(password), Binding: b} }
	sign := func(b string) auth.Responder { return &auth.Cryptosign{Key: seedOf(1), Binding: b} }
	for name, of := range map[string]func(string) auth.Responder{"scram": scram, "cryptosign": sign} {
		for _, binding := range []string{auth.TLSExporter, auth.TLSUnique} {
			// Somebody in between ends the client's TLS and opens another.
			if _, refusal := login(t, v, auth.NewClient("alice", of(binding)), tls12, otherTLS); refusal == nil || refusal.URI != wamp.ErrURIAuthenticationFailed {
				t.Errorf("%s, %s, two connections: got %v", name, binding, refusal)
			}
		}
		// The client believes in TLS 1.2; the router knows better.
		if _, refusal := login(t, v, auth.NewClient("alice", of(auth.TLSUnique)), tls12, tls13); refusal == nil || refusal.URI != wamp.ErrURINoMatchingAuthMethod || !strings.Contains(refusal.Text, "use tls-exporter") {
			t.Errorf("%s: tls-unique on TLS 1.3: got %v", name, refusal)
		}
		forged := tls13
		forged.Channels.Unique = tls12.Channels.Unique
		if _, refusal := login(t, v, auth.NewClient("alice", of(auth.TLSUnique)), tls12, forged); refusal == nil {
			t.Errorf("%s: tls-unique is taken on TLS 1.3", name)
		}
		for _, binding := range []string{auth.TLSExporter, auth.TLSUnique, "tls-server-end-point"} {
			if err := auth.NewClient("alice", of(binding)).Hello(plain, wamp.Dict{}); err == nil {
				t.Errorf("%s: the client binds to %s without TLS", name, binding)
			}
			h := hello(t, auth.NewClient("alice", of("")), plain)
			h.Details["authextra"].(wamp.Dict)["channel_binding"] = binding
			if _, refusal := v.Begin(auth.Request{Hello: h, Link: plain, Now: noon}); refusal == nil {
				t.Errorf("%s: the router binds to %s without TLS", name, binding)
			}
		}
	}
	// The wish for a binding got lost on the way to the router.
	client := auth.NewClient("alice", sign(auth.TLSExporter))
	h := hello(t, client, tls13)
	delete(h.Details["authextra"].(wamp.Dict), "channel_binding")
	x, refusal := v.Begin(auth.Request{Hello: h, Link: tls13, Now: noon})
	if refusal != nil {
		t.Fatal(refusal)
	}
	if _, err := client.Challenge(x.Challenge()); err == nil {
		t.Error("cryptosign answers a router that dropped the channel binding")
	}
	// Whoever removed the wish may remove the binding from the answer as well.
	for _, strip := range []bool{false, true} {
		client := auth.NewClient("alice", scram(auth.TLSExporter))
		h := hello(t, client, tls13)
		delete(h.Details["authextra"].(wamp.Dict), "channel_binding")
		x, refusal := v.Begin(auth.Request{Hello: h, Link: tls13, Now: noon})
		if refusal != nil {
			t.Fatal(refusal)
		}
		a, err := client.Challenge(x.Challenge())
		if err != nil {
			t.Fatal(err)
		}
		if strip {
			a.Extra["channel_binding"], a.Extra["cbind_data"] = nil, nil
		}
		if _, refusal := x.Finish(a, noon); refusal == nil || refusal.URI != wamp.ErrURIAuthenticationFailed {
			t.Errorf("binding stripped from the answer: %v: got %v", strip, refusal)
		}
	}
}

func TestClientChecksRouter(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	scram := auth.NewClient("alice", &auth.SCRAM{Password: auth.NewSecret(password)})
	begin := func() *auth.Exchange {
		x, refusal := v.Begin(auth.Request{Hello: hello(t, scram, plain), Link: plain, Now: noon})
		if refusal != nil {
			t.Fatal(refusal)
		}
		return x
	}
	x := begin()
	a, err := scram.Challenge(x.Challenge())
	if err != nil {
		t.Fatal(err)
	}
	id, refusal := x.Finish(a, noon)
	if refusal != nil {
		t.Fatal(refusal)
	}
	good := id.Extra["verifier"].(string)
	for extra, ok := range map[string]bool{good: true, "v=" + good: true, "": false, good[:43]: false, "A" + good[1:]: false, "AAAA": false} {
		err := scram.Welcome(&wamp.Welcome{Details: wamp.Dict{"authextra": wamp.Dict{"verifier": extra}}})
		if (err == nil) != ok || !ok && !errors.Is(err, auth.ErrRouterNotVerified) {
			t.Errorf("verifier %q: got %v", extra, err)
		}
	}
	if err := scram.Welcome(&wamp.Welcome{Details: wamp.Dict{}}); !errors.Is(err, auth.ErrRouterNotVerified) {
		t.Errorf("no verifier: got %v", err)
	}
	// The verifier of one login is none for the next.
	if _, err := scram.Challenge(begin().Challenge()); err != nil {
		t.Fatal(err)
	}
	if err := scram.Welcome(&wamp.Welcome{Details: wamp.Dict{"authextra": wamp.Dict{"verifier": good}}}); err == nil {
		t.Error("an old verifier is taken")
	}
	begin()
	if err := scram.Welcome(&wamp.Welcome{}); !errors.Is(err, auth.ErrNotChallenged) {
		t.Errorf("WELCOME without CHALLENGE: got %v", err)
	}
	if _, err := scram.Challenge(&wamp.Challenge{AuthMethod: "ticket"}); !errors.Is(err, auth.ErrUnexpectedChallenge) {
		t.Errorf("a method that was not offered: got %v", err)
	}
	x = begin()
	if _, err := scram.Challenge(x.Challenge()); err != nil {
		t.Fatal(err)
	}
	if _, err := scram.Challenge(x.Challenge()); !errors.Is(err, auth.ErrUnexpectedChallenge) {
		t.Errorf("a second challenge: got %v", err)
	}

	sign := auth.NewClient("dave", &auth.Cryptosign{Key: seedOf(2), RouterKey: auth.PublicKey(seedOf(98))})
	x, _ = v.Begin(auth.Request{Hello: hello(t, sign, plain), Link: plain, Now: noon})
	if _, err := sign.Challenge(x.Challenge()); !errors.Is(err, auth.ErrRouterNotVerified) {
		t.Errorf("another router's key: got %v", err)
	}
	silent := verifier(t, func(c *auth.Config) { c.RouterKey = auth.Secret{} })
	x, _ = silent.Begin(auth.Request{Hello: hello(t, sign, plain), Link: plain, Now: noon})
	if _, err := sign.Challenge(x.Challenge()); !errors.Is(err, auth.ErrRouterNotVerified) {
		t.Errorf("a router without a key: got %v", err)
	}
}

func TestClientDoesNotShowTickets(t *testing.T) {
	t.Parallel()
	ticket := &auth.Ticket{Ticket: auth.NewSecret(password)}
	if err := auth.NewClient("alice", ticket).Hello(plain, wamp.Dict{}); err == nil {
		t.Error("the ticket is offered over a connection without TLS")
	}
	ticket.AllowPlain = true
	v := verifier(t, nil)
	if _, refusal := login(t, v, auth.NewClient("alice", ticket), plain, plain); refusal == nil || refusal.URI != wamp.ErrURINoMatchingAuthMethod {
		t.Errorf("got %v", refusal)
	}
	v = verifier(t, func(c *auth.Config) { c.AllowPlainTickets = true })
	if _, refusal := login(t, v, auth.NewClient("alice", ticket), plain, plain); refusal != nil {
		t.Error(refusal)
	}
}
