package auth_test

import (
	"encoding/json"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/auth"
)

// details reads a dict as a JSON peer would send it.
func details(t *testing.T, b []byte) wamp.Dict {
	var d wamp.Dict
	if json.Unmarshal(b, &d) != nil {
		t.Skip()
	}
	return d
}

// FuzzLogin feeds a router with any HELLO and any answer: nobody gets in, and it
// says the same about everybody.
func FuzzLogin(f *testing.F) {
	f.Add([]byte(`{"authid":"alice","authmethods":["ticket"]}`), "x", []byte(`{}`), uint16(0))
	f.Add([]byte(`{"authid":"bob","authmethods":["wampcra"],"authrole":"owner"}`), "x", []byte(`{}`), uint16(5))
	f.Add([]byte(`{"authid":"alice","authmethods":["scram"],"authextra":{"nonce":"AAAAAAAAAAA="}}`), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", []byte(`{}`), uint16(1))
	f.Add([]byte(`{"authid":"alice","authmethods":["wamp-scram"],"authextra":{"nonce":"AAAAAAAAAAA=","channel_binding":"tls-exporter"}}`), "A", []byte(`{"nonce":"x","cbind_data":"x"}`), uint16(1))
	f.Add([]byte(`{"authmethods":["cryptosign"],"authextra":{"pubkey":"8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394","challenge":"8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394"}}`), "00", []byte(`{}`), uint16(1))
	v := verifier(f, nil)
	f.Fuzz(func(t *testing.T, helloBytes []byte, signature string, extra []byte, seconds uint16) {
		x, refusal := v.Begin(auth.Request{Hello: &wamp.Hello{Realm: "gantry", Details: details(t, helloBytes)}, Link: tls12, Session: 1, Now: noon})
		if (x == nil) == (refusal == nil) {
			t.Fatal("neither challenged nor refused, or both")
		}
		if x == nil {
			return
		}
		if x.Challenge() == nil || x.Challenge().AuthMethod == "" {
			t.Fatal("no challenge")
		}
		a := &wamp.Authenticate{Signature: signature, Extra: details(t, extra)}
		if id, refusal := x.Finish(a, noon.Add(time.Duration(seconds)*time.Second)); refusal == nil {
			// The one ticket that all principals here have is no secret.
			if signature != password {
				t.Fatalf("admitted: %+v", id)
			}
		} else if refusal.URI == "" || refusal.Text == "" || refusal.Cause == "" {
			t.Fatalf("an incomplete refusal: %+v", refusal)
		}
		if _, refusal := x.Finish(a, noon); refusal == nil {
			t.Fatal("a challenge was answered twice")
		}
	})
}

// FuzzAnswer hands in right answers with changes: only what is unchanged, but for
// the case of hex digits, is good.
func FuzzAnswer(f *testing.F) {
	for method := range 4 {
		f.Add(uint8(method), uint16(3), uint8(1), false)
		f.Add(uint8(method), uint16(0), uint8(0), false)
		f.Add(uint8(method), uint16(100), uint8(7), true)
	}
	secret := auth.NewSecret(password)
	v := verifier(f, nil)
	responders := []auth.Responder{&auth.CRA{Secret: secret}, &auth.SCRAM{Password: secret}, &auth.Cryptosign{Key: seedOf(1)}, &auth.SCRAM{Password: secret, Binding: auth.TLSExporter}}
	f.Fuzz(func(t *testing.T, method uint8, at uint16, flip uint8, truncate bool) {
		x, a := exchange(t, v, "alice", responders[int(method)%len(responders)], tls13)
		good := a.Signature
		b := []byte(good)
		if truncate {
			b = b[:int(at)%(len(b)+1)]
		} else {
			b[int(at)%len(b)] ^= flip
		}
		a.Signature = string(b)
		_, refusal := x.Finish(a, noon)
		same := a.Signature == good
		if method%4 == 2 {
			same = len(b) == len(good) && equalFold(a.Signature, good)
		}
		if same != (refusal == nil) {
			t.Errorf("%s: %q for %q: %v", x.Challenge().AuthMethod, a.Signature, good, refusal)
		}
	})
}

func equalFold(a, b string) bool {
	for i := range len(a) {
		x, y := a[i], b[i]
		if x >= 'A' && x <= 'F' {
			x += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}

// FuzzChallenge has clients answer any challenge: no panic, and no KDF outside
// the limits.
func FuzzChallenge(f *testing.F) {
	f.Add([]byte(`{"challenge":"x"}`), []byte(`{}`))
	f.Add([]byte(`{"challenge":"x","salt":"salt123","iterations":1000,"keylen":32}`), []byte(`{"authextra":{"verifier":"v=AAAA"}}`))
	f.Add([]byte(`{"nonce":"AAAA","salt":"AAAAAAAAAAA=","kdf":"argon2id13","iterations":4096,"memory":512}`), []byte(`{"authextra":7}`))
	f.Add([]byte(`{"nonce":"AAAA","salt":"AAAAAAAAAAA=","kdf":"pbkdf2","iterations":4096.5}`), []byte(`{"authextra":{"scram_server_signature":1}}`))
	f.Add([]byte(`{"challenge":"fa034062ad76352b53a25358854577730db82f367aa439709c91296d04a5716c","signature":"00","channel_binding":null}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, challenge, welcome []byte) {
		derive := func(p auth.Params, _ []byte) ([]byte, error) {
			limits := auth.DefaultLimits()
			limits.MinIterations = 1
			if err := p.Check(limits); err != nil {
				t.Fatal(err)
			}
			return make([]byte, p.KeyLen), nil
		}
		secret := auth.NewSecret(password)
		w := &wamp.Welcome{Details: details(t, welcome)}
		scram := &auth.SCRAM{Password: secret, Derive: derive, Random: random(1)}
		for _, r := range []auth.Responder{&auth.CRA{Secret: secret, Derive: derive}, scram, &auth.Cryptosign{Key: seedOf(1)},
			&auth.Cryptosign{Key: seedOf(1), RouterKey: auth.PublicKey(seedOf(2)), Random: random(2)}} {
			c := auth.NewClient("alice", r)
			h := hello(t, c, plain)
			extra := details(t, challenge)
			// Without the client's own nonce no challenge gets past the first check.
			if n, ok := extra["nonce"].(string); ok && r == auth.Responder(scram) {
				extra["nonce"] = h.Details["authextra"].(wamp.Dict)["nonce"].(string) + n
			}
			for _, m := range r.Methods() {
				a, err := c.Challenge(&wamp.Challenge{AuthMethod: m, Extra: extra})
				if (a == nil) == (err == nil) {
					t.Fatal("neither answered nor refused, or both")
				}
				if err == nil && r == auth.Responder(scram) && c.Welcome(w) == nil {
					t.Fatal("a router that knows nothing is believed")
				}
				h = hello(t, c, plain)
				if _, ok := extra["nonce"]; ok && r == auth.Responder(scram) {
					extra["nonce"] = h.Details["authextra"].(wamp.Dict)["nonce"].(string) + "AAAA"
				}
			}
		}
	})
}
