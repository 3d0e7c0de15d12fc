package auth_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/auth"
)

// exchange begins a login and answers it, without handing the answer in.
func exchange(t testing.TB, v *auth.Verifier, authid string, r auth.Responder, link auth.Link) (*auth.Exchange, *wamp.Authenticate) {
	t.Helper()
	c := auth.NewClient(authid, r)
	x, refusal := v.Begin(auth.Request{Hello: hello(t, c, link), Link: link, Session: 4711, Now: noon})
	if refusal != nil {
		t.Fatal(refusal)
	}
	a, err := c.Challenge(x.Challenge())
	if err != nil {
		t.Fatal(err)
	}
	return x, a
}

func everyMethod() map[string]auth.Responder {
	secret := auth.NewSecret(password)
	return map[string]auth.Responder{"ticket": &auth.Ticket{Ticket: secret}, "wampcra": &auth.CRA{Secret: secret},
		"wamp-scram": &auth.SCRAM{Password: secret}, "cryptosign": &auth.Cryptosign{Key: seedOf(1)}}
}

func TestChallengeIsAnsweredOnceAndInTime(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	for method, r := range everyMethod() {
		x, a := exchange(t, v, "alice", r, tls13)
		if _, refusal := x.Finish(a, noon.Add(10*time.Second)); refusal != nil {
			t.Errorf("%s: in time: %v", method, refusal)
		}
		if _, refusal := x.Finish(a, noon.Add(10*time.Second)); refusal == nil || refusal.URI != wamp.ErrURIProtocolViolation {
			t.Errorf("%s: a second time: %v", method, refusal)
		}
		x, a = exchange(t, v, "alice", r, tls13)
		if _, refusal := x.Finish(a, noon.Add(10*time.Second+1)); refusal == nil || refusal.Guess {
			t.Errorf("%s: late: %v", method, refusal)
		}
		if _, refusal := x.Finish(a, noon); refusal == nil {
			t.Errorf("%s: an expired exchange is good again", method)
		}
		x, a = exchange(t, v, "alice", r, tls13)
		if _, refusal := x.Finish(&wamp.Subscribe{Request: 1, Topic: "a.b"}, noon); refusal == nil || refusal.URI != wamp.ErrURIProtocolViolation {
			t.Errorf("%s: SUBSCRIBE for an answer: %v", method, refusal)
		}
		if _, refusal := x.Finish(a, noon); refusal == nil {
			t.Errorf("%s: an exchange goes on after a wrong message", method)
		}
		x, a = exchange(t, v, "alice", r, tls13)
		a.Signature = "x"
		if _, refusal := x.Finish(a, noon); refusal == nil {
			t.Errorf("%s: a wrong signature is good", method)
		}
	}
}

func TestRecordedAnswersAreRefused(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	for method, r := range everyMethod() {
		if method == "ticket" { // a ticket is all there is to know
			continue
		}
		_, old := exchange(t, v, "alice", r, tls13)
		x, fresh := exchange(t, v, "alice", r, tls13)
		if nonce, ok := fresh.Extra["nonce"]; ok {
			old.Extra["nonce"] = nonce
		}
		if _, refusal := x.Finish(old, noon); refusal == nil {
			t.Errorf("%s: the answer to another challenge is taken", method)
		}
	}
}

// What gammazero/nexus and others admit: any message that the key has signed.
func TestCryptosignMessageMustBeTheChallenge(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	other := make([]byte, 32)
	quote := func(sig, msg []byte) string { return hexString(append(bytes.Clone(sig), msg...)) }
	for name, answer := range map[string]func(good string, challenge []byte) string{
		"signature over another message":                   func(string, []byte) string { return quote(ed25519.Sign(key, other), other) },
		"signature over another message, challenge quoted": func(_ string, c []byte) string { return quote(ed25519.Sign(key, other), c) },
		"signature over the challenge, other quoted":       func(_ string, c []byte) string { return quote(ed25519.Sign(key, c), other) },
		"signature of another key":                         func(_ string, c []byte) string { return quote(ed25519.Sign(stranger, c), c) },
		"signature without message":                        func(good string, _ []byte) string { return good[:128] },
		"truncated":                                        func(good string, _ []byte) string { return good[:191] },
		"truncated by a byte":                              func(good string, _ []byte) string { return good[:190] },
		"too long":                                         func(good string, _ []byte) string { return good + "00" },
		"no hex":                                           func(good string, _ []byte) string { return "zz" + good[2:] },
		"empty":                                            func(string, []byte) string { return "" },
	} {
		x, a := exchange(t, v, "alice", &auth.Cryptosign{Key: seedOf(1)}, plain)
		challenge := unhex(t, x.Challenge().Extra["challenge"].(string))
		if _, refusal := x.Finish(&wamp.Authenticate{Signature: answer(a.Signature, challenge)}, noon); refusal == nil {
			t.Errorf("%s: admitted", name)
		}
	}
	x, a := exchange(t, v, "alice", &auth.Cryptosign{Key: seedOf(1)}, plain)
	if _, refusal := x.Finish(&wamp.Authenticate{Signature: strings.ToUpper(a.Signature)}, noon); refusal != nil {
		t.Errorf("upper-case hex: %v", refusal)
	}
}

func hexString(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

func TestCRAChallengeIsJSONWhateverTheAuthID(t *testing.T) {
	t.Parallel()
	for _, authid := range []string{`a","authrole":"root`, `back\slash`, "<b>&", "жук", "\u2028"} {
		v := verifier(t, func(c *auth.Config) {
			c.Principals = []auth.Principal{{AuthID: authid, Role: "viewer", CRA: auth.PlainCRA(auth.NewSecret("x"))}}
		})
		x, a := exchange(t, v, authid, &auth.CRA{Secret: auth.NewSecret("x")}, plain)
		var got map[string]any
		if err := json.Unmarshal([]byte(x.Challenge().Extra["challenge"].(string)), &got); err != nil {
			t.Fatal(err)
		}
		nonce, _ := got["nonce"].(string)
		delete(got, "nonce")
		want := map[string]any{"authid": authid, "authrole": "viewer", "authmethod": "wampcra", "authprovider": "static",
			"timestamp": "2026-03-01T12:00:00.000Z", "session": 4711.0}
		if len(nonce) < 24 || !equalJSON(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if _, refusal := x.Finish(a, noon); refusal != nil {
			t.Errorf("%q: %v", authid, refusal)
		}
	}
}

func equalJSON(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

func TestSaltedCRAKeyIsText(t *testing.T) {
	t.Parallel()
	// Whoever takes the 32 bytes for the key, and not their base64, is refused.
	v := verifier(t, nil)
	raw, err := auth.Derive(auth.Params{KDF: auth.PBKDF2, Salt: []byte("salt123"), Iterations: 1000, KeyLen: 32}, []byte(password))
	if err != nil {
		t.Fatal(err)
	}
	c := auth.NewClient("bob", &auth.CRA{Secret: auth.NewSecret(password)})
	x, _ := v.Begin(auth.Request{Hello: hello(t, c, plain), Link: plain, Now: noon})
	unsalted := wamp.Dict{"challenge": x.Challenge().Extra["challenge"]}
	a, err := (&auth.CRA{Secret: auth.NewSecret(string(raw))}).Respond(&wamp.Challenge{Extra: unsalted})
	if err != nil {
		t.Fatal(err)
	}
	if _, refusal := x.Finish(a, noon); refusal == nil {
		t.Error("the raw key is taken")
	}
}

func TestMalformedHellosAreRefused(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	list := func(m ...any) wamp.List { return m }
	pubkey := strings.Repeat("ab", 32)
	for name, d := range map[string]wamp.Dict{
		"no methods":                    {"authid": "alice"},
		"empty methods":                 {"authid": "alice", "authmethods": list()},
		"methods as text":               {"authid": "alice", "authmethods": "ticket"},
		"method that is no text":        {"authid": "alice", "authmethods": list(4)},
		"anonymous only":                {"authid": "alice", "authmethods": list("anonymous")},
		"known method at place 17":      {"authid": "alice", "authmethods": append(list("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"), "wampcra")},
		"authid of another type":        {"authid": 7, "authmethods": list("wampcra")},
		"authid with control character": {"authid": "a\nb", "authmethods": list("wampcra")},
		"authid of no utf-8":            {"authid": "\xff", "authmethods": list("wampcra")},
		"long authid":                   {"authid": strings.Repeat("a", 257), "authmethods": list("wampcra")},
		"no authid":                     {"authmethods": list("wampcra", "ticket", "scram")},
		"authrole of another type":      {"authid": "alice", "authrole": true, "authmethods": list("wampcra")},
		"authextra of another type":     {"authid": "alice", "authextra": "x", "authmethods": list("wampcra")},
		"scram without nonce":           {"authid": "alice", "authmethods": list("wamp-scram")},
		"scram, nonce no base64":        {"authid": "alice", "authmethods": list("wamp-scram"), "authextra": wamp.Dict{"nonce": "a,b=c"}},
		"scram, nonce with line end":    {"authid": "alice", "authmethods": list("wamp-scram"), "authextra": wamp.Dict{"nonce": "AAAAAAAAAAA=\n"}},
		"scram, nonce not canonical":    {"authid": "alice", "authmethods": list("wamp-scram"), "authextra": wamp.Dict{"nonce": "AAAAAAAAAAB="}},
		"scram, short nonce":            {"authid": "alice", "authmethods": list("wamp-scram"), "authextra": wamp.Dict{"nonce": "AAAAAAAA"}},
		"scram, long nonce":             {"authid": "alice", "authmethods": list("wamp-scram"), "authextra": wamp.Dict{"nonce": strings.Repeat("A", 132)}},
		"scram, binding of other type":  {"authid": "alice", "authmethods": list("wamp-scram"), "authextra": wamp.Dict{"nonce": "AAAAAAAAAAA=", "channel_binding": 1}},
		"cryptosign without key":        {"authid": "alice", "authmethods": list("cryptosign")},
		"cryptosign, truncated key":     {"authid": "alice", "authmethods": list("cryptosign"), "authextra": wamp.Dict{"pubkey": pubkey[1:]}},
		"cryptosign, truncated by byte": {"authid": "alice", "authmethods": list("cryptosign"), "authextra": wamp.Dict{"pubkey": pubkey[2:]}},
		"cryptosign, no hex":            {"authid": "alice", "authmethods": list("cryptosign"), "authextra": wamp.Dict{"pubkey": "zz" + pubkey[2:]}},
		"cryptosign, bad challenge":     {"authid": "alice", "authmethods": list("cryptosign"), "authextra": wamp.Dict{"pubkey": pubkey, "challenge": "ab"}},
		"cryptosign, challenge no text": {"authid": "alice", "authmethods": list("cryptosign"), "authextra": wamp.Dict{"pubkey": pubkey, "challenge": 1}},
	} {
		x, refusal := v.Begin(auth.Request{Hello: &wamp.Hello{Realm: "gantry", Details: d}, Link: tls13, Now: noon})
		if x != nil || refusal == nil || refusal.Guess || refusal.URI != wamp.ErrURIProtocolViolation && refusal.URI != wamp.ErrURINoMatchingAuthMethod {
			t.Errorf("%s: got %v, %+v", name, x, refusal)
		}
	}
}

func TestMalformedSCRAMAnswersAreRefused(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	for name, change := range map[string]func(a *wamp.Authenticate){
		"no extra":              func(a *wamp.Authenticate) { a.Extra = nil },
		"no nonce":              func(a *wamp.Authenticate) { delete(a.Extra, "nonce") },
		"other nonce":           func(a *wamp.Authenticate) { a.Extra["nonce"] = a.Extra["nonce"].(string) + "A" },
		"nonce of another type": func(a *wamp.Authenticate) { a.Extra["nonce"] = 1 },
		"a binding":             func(a *wamp.Authenticate) { a.Extra["channel_binding"] = auth.TLSExporter },
		"binding data":          func(a *wamp.Authenticate) { a.Extra["cbind_data"] = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=" },
		"truncated proof":       func(a *wamp.Authenticate) { a.Signature = a.Signature[:40] },
		"no proof":              func(a *wamp.Authenticate) { a.Signature = "" },
		"proof with a line end": func(a *wamp.Authenticate) { a.Signature += "\n" },
		"flood of a proof":      func(a *wamp.Authenticate) { a.Signature = strings.Repeat("A", 1<<20) },
		"proof with a changed bit": func(a *wamp.Authenticate) {
			b := []byte(a.Signature)
			b[0] ^= 1
			a.Signature = string(b)
		},
	} {
		x, a := exchange(t, v, "alice", &auth.SCRAM{Password: auth.NewSecret(password)}, tls13)
		change(a)
		if _, refusal := x.Finish(a, noon); refusal == nil || !refusal.Guess {
			t.Errorf("%s: got %v", name, refusal)
		}
	}
}

// Autobahn and Crossbar say scram, and mean something slightly different by it.
func TestSCRAMUnderTheNameOfTheField(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	for _, authid := range []string{"alice", "frank", "carol, = o'\"Hara"} {
		s := &auth.SCRAM{Password: auth.NewSecret(password)}
		c := auth.NewClient(authid, s)
		h := hello(t, c, plain)
		h.Details["authmethods"] = wamp.List{"scram"}
		x, refusal := v.Begin(auth.Request{Hello: h, Link: plain, Now: noon})
		if refusal != nil {
			t.Fatal(refusal)
		}
		for key := range x.Challenge().Extra {
			if !strings.Contains("nonce kdf salt iterations memory", key) {
				t.Errorf("autobahn does not know %q", key)
			}
		}
		a, err := c.Challenge(x.Challenge())
		if err != nil || len(a.Extra) != 0 {
			t.Fatal(a, err)
		}
		id, refusal := x.Finish(a, noon)
		if refusal != nil {
			t.Fatal(refusal, refusal.Cause)
		}
		delete(id.Extra, "verifier")
		if err := c.Welcome(&wamp.Welcome{Details: wamp.Dict{"authextra": id.Extra}}); err != nil || id.AuthMethod != "scram" {
			t.Error(id, err)
		}
		// One that says scram and follows the specification in all else.
		x, _ = v.Begin(auth.Request{Hello: h, Link: plain, Now: noon})
		spec := *x.Challenge()
		spec.AuthMethod = "wamp-scram"
		if a, err = s.Respond(&spec); err != nil {
			t.Fatal(err)
		}
		if _, refusal := x.Finish(a, noon); refusal != nil {
			t.Error(refusal, refusal.Cause)
		}
	}
}

func TestClientRefusesCostlyOrCheapChallenges(t *testing.T) {
	t.Parallel()
	runs := 0
	count := func(p auth.Params, b []byte) ([]byte, error) { runs++; return auth.Derive(p, b) }
	s := &auth.SCRAM{Password: auth.NewSecret(password), Derive: count}
	e, err := s.Begin("alice", &plain)
	if err != nil {
		t.Fatal(err)
	}
	nonce := e["nonce"].(string)
	base := func(change wamp.Dict) wamp.Dict {
		d := wamp.Dict{"nonce": nonce + "AAAA", "salt": "AAAAAAAAAAAAAAAAAAAAAA==", "kdf": "argon2id13", "iterations": int64(32), "memory": int64(512)}
		for k, v := range change {
			d[k] = v
		}
		return d
	}
	for name, d := range map[string]wamp.Dict{
		"huge iterations":       {"iterations": uint64(1 << 63)},
		"negative iterations":   {"iterations": int64(-1)},
		"fractional iterations": {"iterations": 32.5},
		"iterations as text":    {"iterations": "32"},
		"no iterations":         {"iterations": nil},
		"huge memory":           {"memory": int64(1 << 31)},
		"no memory":             {"memory": nil},
		"work":                  {"iterations": int64(1 << 30)},
		"no work":               {"iterations": int64(1)},
		"pbkdf2 flood":          {"kdf": "pbkdf2", "iterations": int64(1_000_001)},
		"pbkdf2 of few rounds":  {"kdf": "pbkdf2", "iterations": int64(1)},
		"unknown kdf":           {"kdf": "scrypt"},
		"no kdf":                {"kdf": nil},
		"salt of no base64":     {"salt": "?"},
		"no salt":               {"salt": nil},
		"long salt":             {"salt": strings.Repeat("AAAA", 100)},
		"another nonce":         {"nonce": "AAAA" + nonce},
		"own nonce only":        {"nonce": nonce},
		"nonce with attribute":  {"nonce": nonce + ",s=AAAA"},
		"long nonce":            {"nonce": nonce + strings.Repeat("A", 256)},
		"a binding":             {"channel_binding": auth.TLSExporter},
	} {
		if a, err := s.Respond(&wamp.Challenge{AuthMethod: "wamp-scram", Extra: base(d)}); err == nil {
			t.Errorf("%s: answered with %+v", name, a)
		}
	}
	c := &auth.CRA{Secret: auth.NewSecret(password), Derive: count}
	for name, d := range map[string]wamp.Dict{
		"nothing to sign":   {},
		"wrong type":        {"challenge": 7},
		"huge iterations":   {"challenge": "x", "salt": "s", "iterations": int64(1 << 40), "keylen": int64(32)},
		"flood":             {"challenge": "x", "salt": "s", "iterations": int64(1_000_001), "keylen": int64(32)},
		"no iterations":     {"challenge": "x", "salt": "s", "keylen": int64(32)},
		"no keylen":         {"challenge": "x", "salt": "s", "iterations": int64(1000)},
		"huge keylen":       {"challenge": "x", "salt": "s", "iterations": int64(1000), "keylen": int64(1<<32 - 1)},
		"short keylen":      {"challenge": "x", "salt": "s", "iterations": int64(1000), "keylen": int64(1)},
		"salt of no text":   {"challenge": "x", "salt": 1, "iterations": int64(1000), "keylen": int64(32)},
		"salt without text": {"challenge": "x", "salt": "", "iterations": int64(1000), "keylen": int64(32)},
	} {
		if a, err := c.Respond(&wamp.Challenge{AuthMethod: "wampcra", Extra: d}); err == nil {
			t.Errorf("wampcra, %s: answered with %+v", name, a)
		}
	}
	if runs != 0 {
		t.Errorf("%d keys were derived for challenges that are refused", runs)
	}
	for range 3 {
		if _, err := s.Respond(&wamp.Challenge{AuthMethod: "wamp-scram", Extra: base(nil)}); err != nil {
			t.Fatal(err)
		}
	}
	if runs != 1 {
		t.Errorf("%d keys were derived for three joins of one client", runs)
	}
}

func TestRolesAndRealms(t *testing.T) {
	t.Parallel()
	sign := &auth.Cryptosign{Key: seedOf(2)}
	v := verifier(t, nil)
	elsewhere := func(authid string) *auth.Refusal {
		c := auth.NewClient(authid, sign)
		h := hello(t, c, plain)
		h.Realm = "elsewhere"
		x, refusal := v.Begin(auth.Request{Hello: h, Link: plain, Now: noon})
		if refusal != nil {
			return refusal
		}
		a, _ := c.Challenge(x.Challenge())
		_, refusal = x.Finish(a, noon)
		return refusal
	}
	if elsewhere("dave") == nil || elsewhere("") == nil {
		t.Error("dave is admitted to a realm that is not his")
	}
	for role, want := range map[string]wamp.URI{"": "", "device": "", "owner": wamp.ErrURINoSuchRole} {
		c := auth.NewClient("dave", sign)
		h := hello(t, c, plain)
		h.Details["authrole"] = role
		x, _ := v.Begin(auth.Request{Hello: h, Link: plain, Now: noon})
		a, _ := c.Challenge(x.Challenge())
		if _, refusal := x.Finish(a, noon); want == "" && refusal != nil || want != "" && (refusal == nil || refusal.URI != want || refusal.Guess) {
			t.Errorf("role %q: got %v", role, refusal)
		}
	}
	// A principal from elsewhere, for instance from a procedure.
	v = verifier(t, func(c *auth.Config) { c.Roles = []string{"operator", "viewer", "device"} })
	for role, want := range map[string]wamp.URI{"viewer": "", "ghost": wamp.ErrURINoSuchRole} {
		p := &auth.Principal{AuthID: "erin", Role: role, CRA: auth.PlainCRA(auth.NewSecret("x"))}
		c := auth.NewClient("erin", &auth.CRA{Secret: auth.NewSecret("x")})
		x, refusal := v.Begin(auth.Request{Hello: hello(t, c, plain), Link: plain, Now: noon, Principal: p, Provider: "dynamic"})
		if refusal != nil {
			t.Fatal(refusal)
		}
		a, _ := c.Challenge(x.Challenge())
		id, refusal := x.Finish(a, noon)
		if want == "" && (refusal != nil || id.AuthProvider != "dynamic") || want != "" && (refusal == nil || refusal.URI != want) {
			t.Errorf("role %q: got %+v, %v", role, id, refusal)
		}
	}
}

func TestFaultyConfigurationsAreRefused(t *testing.T) {
	t.Parallel()
	secret, key := auth.NewSecret("x"), auth.PublicKey(seedOf(1))
	one := func(p auth.Principal) auth.Config { return auth.Config{Principals: []auth.Principal{p}} }
	for name, cfg := range map[string]auth.Config{
		"no authid":         one(auth.Principal{Role: "r", CRA: auth.PlainCRA(secret)}),
		"no role":           one(auth.Principal{AuthID: "a", CRA: auth.PlainCRA(secret)}),
		"no method":         one(auth.Principal{AuthID: "a", Role: "r"}),
		"empty ticket":      one(auth.Principal{AuthID: "a", Role: "r", Ticket: auth.PlainTicket(auth.Secret{})}),
		"empty secret":      one(auth.Principal{AuthID: "a", Role: "r", CRA: auth.PlainCRA(auth.Secret{})}),
		"empty scram":       one(auth.Principal{AuthID: "a", Role: "r", SCRAM: &auth.StoredSCRAM{}}),
		"short key":         one(auth.Principal{AuthID: "a", Role: "r", Keys: []ed25519.PublicKey{key[1:]}}),
		"twice":             {Principals: []auth.Principal{{AuthID: "a", Role: "r", CRA: auth.PlainCRA(secret)}, {AuthID: "a", Role: "r", CRA: auth.PlainCRA(secret)}}},
		"one key for two":   {Principals: []auth.Principal{{AuthID: "a", Role: "r", Keys: []ed25519.PublicKey{key}}, {AuthID: "b", Role: "r", Keys: []ed25519.PublicKey{key}}}},
		"unknown role":      {Roles: []string{"s"}, Principals: []auth.Principal{{AuthID: "a", Role: "r", CRA: auth.PlainCRA(secret)}}},
		"router's own key":  {RouterKey: seedOf(1), Principals: []auth.Principal{{AuthID: "a", Role: "r", Keys: []ed25519.PublicKey{key}}}},
		"bad router key":    {RouterKey: secret},
		"short decoy":       {DecoySecret: secret},
		"no random numbers": {Random: strings.NewReader("")},
	} {
		if _, err := auth.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// Random numbers that end later refuse one login and no more.
	v := must[*auth.Verifier](t)(auth.New(auth.Config{Random: strings.NewReader(strings.Repeat("r", 40))}))
	h := &wamp.Hello{Details: wamp.Dict{"authid": "a", "authmethods": wamp.List{"wampcra"}}}
	if _, refusal := v.Begin(auth.Request{Hello: h, Link: plain, Now: noon}); refusal == nil || refusal.URI != wamp.ErrURIRuntimeError {
		t.Errorf("got %v", refusal)
	}
	var _ error = &auth.Refusal{}
	if !errors.As(error((&auth.Refusal{URI: "a.b"}).Wire()), new(*wamp.Error)) {
		t.Error("a refusal is no wamp error")
	}
}
