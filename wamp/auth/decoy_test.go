package auth_test

import (
	"crypto/ed25519"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/auth"
)

// seen is what a peer sees of a login with a wrong proof, nonces left out.
func seen(t *testing.T, v *auth.Verifier, authid string, methods ...any) (what, salt string) {
	t.Helper()
	extra := wamp.Dict{"nonce": "AAAAAAAAAAA=", "pubkey": strings.Repeat("ab", 32)}
	h := &wamp.Hello{Realm: "gantry", Details: wamp.Dict{"authmethods": wamp.List(methods), "authextra": extra}}
	if authid != "" {
		h.Details["authid"] = authid
	}
	x, refusal := v.Begin(auth.Request{Hello: h, Link: tls13, Now: noon})
	if refusal != nil {
		return refusal.Error(), ""
	}
	c := x.Challenge()
	e := maps.Clone(c.Extra)
	salt, _ = e["salt"].(string)
	e["salt"] = len(salt)
	for _, key := range []string{"nonce", "challenge"} {
		if s, ok := e[key].(string); ok {
			if i := strings.Index(s, `"nonce":`); i > 0 {
				s = strings.ReplaceAll(s[:i], fmt.Sprintf("%q", authid), "authid")
			} else {
				s = fmt.Sprint(len(s))
			}
			e[key] = s
		}
	}
	signature := "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	if c.AuthMethod == "cryptosign" {
		signature = strings.Repeat("ab", 96)
	}
	_, refusal = x.Finish(&wamp.Authenticate{Signature: signature, Extra: wamp.Dict{"nonce": c.Extra["nonce"]}}, noon)
	return fmt.Sprint(c.AuthMethod, e, refusal), salt
}

var offers = [][]any{{"ticket"}, {"wampcra"}, {"wamp-scram"}, {"scram"}, {"cryptosign"}, {"ticket", "cryptosign", "wampcra", "wamp-scram"}, {"wamp-scram", "ticket"}}

func TestUnknownLooksLikeKnown(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	again := verifier(t, func(c *auth.Config) { c.Random = random(77) }) // after a restart
	for _, methods := range offers {
		known, unknown := map[string]bool{}, map[string]bool{}
		for _, p := range everybody(t) {
			what, _ := seen(t, v, p.AuthID, methods...)
			known[what] = true
		}
		salts := map[string]int{}
		for i := range 200 {
			authid := fmt.Sprint("nobody", i)
			what, salt := seen(t, v, authid, methods...)
			unknown[what] = true
			if salt != "" {
				salts[salt]++
			}
			if later, laterSalt := seen(t, again, authid, methods...); later != what || laterSalt != salt {
				t.Errorf("%s gives itself away after a restart:\n%s %s\n%s %s", authid, what, salt, later, laterSalt)
			}
		}
		if !maps.Equal(known, unknown) {
			t.Errorf("%v:\nknown   %v\nunknown %v", methods, slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(unknown)))
		}
		for salt, n := range salts {
			if n > 1 {
				t.Errorf("%d authids have the salt %s", n, salt)
			}
		}
	}
	// Without authid nothing tells whether a key is known.
	x, refusal := v.Begin(auth.Request{Hello: hello(t, auth.NewClient("", &auth.Cryptosign{Key: seedOf(2)}), plain), Link: plain, Now: noon})
	if refusal != nil {
		t.Fatal(refusal)
	}
	if x.AuthID() != "dave" {
		t.Errorf("the key is that of %q", x.AuthID())
	}
	for i := range 50 {
		h := &wamp.Hello{Details: wamp.Dict{"authmethods": wamp.List{"cryptosign"}, "authextra": wamp.Dict{"pubkey": fmt.Sprintf("%064x", i+1)}}}
		if _, refusal := v.Begin(auth.Request{Hello: h, Link: plain, Now: noon}); refusal != nil {
			t.Errorf("an unknown key is told from a known one: %v", refusal)
		}
	}
}

func TestAnotherUserLeavesDecoysAsTheyAre(t *testing.T) {
	t.Parallel()
	before := verifier(t, nil)
	after := verifier(t, func(c *auth.Config) {
		p := c.Principals[1]
		p.AuthID = "zoe" // bob's shape
		q := auth.Principal{AuthID: "yves", Role: "owner", Keys: []ed25519.PublicKey{auth.PublicKey(seedOf(50))}}
		c.Principals = append(c.Principals, p, q)
	})
	changed := 0
	for i := range 300 {
		a, _ := seen(t, before, fmt.Sprint("nobody", i), "wamp-scram")
		b, _ := seen(t, after, fmt.Sprint("nobody", i), "wamp-scram")
		if a != b {
			changed++
		}
	}
	// One shape more out of six: about a sixth may turn into it.
	if changed > 100 {
		t.Errorf("%d of 300 changed", changed)
	}
}

// The time of a login is that of its KDF, if there is one; all else is a few
// hashes.
func TestUnknownCostsAsManyKDFsAsKnown(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret(password)
	for name, stored := range map[string]*auth.StoredTicket{
		"pbkdf2": must[*auth.StoredTicket](t)(auth.HashTicket(secret, pbkdf2)),
		"argon2": must[*auth.StoredTicket](t)(auth.HashTicket(secret, argon2)),
		"plain":  auth.PlainTicket(secret),
	} {
		var runs []string
		v := must[*auth.Verifier](t)(auth.New(auth.Config{
			Principals: []auth.Principal{{AuthID: "alice", Role: "r", Ticket: stored}, {AuthID: "bob", Role: "r", Realms: []wamp.URI{"elsewhere"}, Ticket: stored}},
			Derive: func(p auth.Params, b []byte) ([]byte, error) {
				runs = append(runs, fmt.Sprintf("%v %d %d %d %d", p.KDF, p.Iterations, p.Memory, p.KeyLen, len(p.Salt)))
				return auth.Derive(p, b)
			},
		}))
		count := func(authid, ticket string) string {
			runs = nil
			c := auth.NewClient(authid, &auth.Ticket{Ticket: auth.NewSecret(ticket)})
			x, refusal := v.Begin(auth.Request{Hello: hello(t, c, tls13), Link: tls13, Now: noon})
			if refusal != nil {
				t.Fatal(refusal)
			}
			if runs != nil {
				t.Errorf("%s: Begin derives keys", name)
			}
			a, _ := c.Challenge(x.Challenge())
			x.Finish(a, noon)
			return strings.Join(runs, ", ")
		}
		want := count("alice", password)
		if (want == "") != (name == "plain") {
			t.Errorf("%s: the right ticket costs %q", name, want)
		}
		for _, authid := range []string{"alice", "bob", "nobody", "nobody else"} {
			for _, ticket := range []string{password, "wrong"} {
				if got := count(authid, ticket); got != want {
					t.Errorf("%s: %s with %q costs %q, alice %q", name, authid, ticket, got, want)
				}
			}
		}
		// A late answer, a wrong message and a flood cost nothing.
		c := auth.NewClient("alice", &auth.Ticket{Ticket: auth.NewSecret(strings.Repeat("x", 5000))})
		x, _ := v.Begin(auth.Request{Hello: hello(t, c, tls13), Link: tls13, Now: noon})
		a, _ := c.Challenge(x.Challenge())
		runs = nil
		if _, refusal := x.Finish(a, noon); refusal == nil || runs != nil {
			t.Errorf("%s: a flood of a ticket costs %v", name, runs)
		}
	}
	// The other methods derive nothing on the router, whoever asks.
	v := verifier(t, func(c *auth.Config) {
		c.Derive = func(auth.Params, []byte) ([]byte, error) { t.Error("a key is derived"); return nil, nil }
	})
	for _, authid := range []string{"alice", "bob", "carol", "nobody"} {
		for _, m := range []any{"wampcra", "wamp-scram", "scram", "cryptosign"} {
			seen(t, v, authid, m)
		}
	}
}

func TestRouterWithoutPrincipalsChallengesAll(t *testing.T) {
	t.Parallel()
	v := must[*auth.Verifier](t)(auth.New(auth.Config{}))
	for _, methods := range offers {
		if what, _ := seen(t, v, "nobody", methods...); !strings.Contains(what, "authid or proof is wrong") {
			t.Errorf("%v: got %s", methods, what)
		}
	}
}
