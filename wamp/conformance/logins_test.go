package conformance

import (
	"crypto/ed25519"
	"encoding/hex"
	stdjson "encoding/json"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/router"
	"gantry/wamp/wamptest"
)

var logins = []item{
	{name: "64_wampcra", run: wampCRA},
	{name: "65_cryptosign", run: cryptosign},
	{name: "66_channel_binding", run: channelBinding},
	{name: "67_authenticate_out_of_place", run: authenticateOutOfPlace},
	{name: "68_welcome_tells_all", run: welcomeTellsAll},
}

// quoted is an authid that would break out of a text put together by hand.
const quoted = `ann","authrole":"admin","x":"\`

var (
	secret     = auth.NewSecret("correct horse")
	privateKey = auth.NewSecret("0123456789abcdef0123456789abcdef")
	otherKey   = auth.NewSecret("an Ed25519 seed of somebody else")
)

// hexKey is the public key as HELLO tells it.
var hexKey = hex.EncodeToString(auth.PublicKey(privateKey))

// principals are who may log in: each by one method, and Ann by all.
func principals(t *testing.T) []auth.Principal {
	t.Helper()
	salted, err := auth.DeriveCRA(secret, "some salt", 1000, 32)
	if err != nil {
		t.Fatal(err)
	}
	scram, err := auth.DeriveSCRAM(secret, auth.Params{KDF: auth.PBKDF2, Salt: []byte("0123456789abcdef"), Iterations: 4096, KeyLen: 32})
	if err != nil {
		t.Fatal(err)
	}
	keys := []ed25519.PublicKey{auth.PublicKey(privateKey)}
	return []auth.Principal{
		{AuthID: "ann", Role: "operator", Ticket: auth.PlainTicket(secret), CRA: auth.PlainCRA(secret), SCRAM: scram, Keys: keys},
		{AuthID: quoted, Role: "operator", CRA: auth.PlainCRA(secret)},
		{AuthID: "salty", Role: "operator", CRA: salted},
		{AuthID: "elsewhere", Role: "operator", Realms: []wamp.URI{"realm2"}, CRA: auth.PlainCRA(secret)},
		{AuthID: "ghost", Role: "ghost", CRA: auth.PlainCRA(secret)},
	}
}

// withLogins is a configuration with those principals. Wrong proofs cost nothing.
func withLogins(t *testing.T, edit ...func(*auth.Config)) config {
	t.Helper()
	cfg := auth.Config{Principals: principals(t)}
	for _, e := range edit {
		e(&cfg)
	}
	v, err := auth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return config{login: router.LoginConfig{Verifier: v, Penalties: auth.PenaltyConfig{First: 1, Max: 1}}}
}

// hello says HELLO for a client and returns the challenge. The zero link is one
// within this machine.
func hello(p *wamptest.Peer, c *auth.Client, link auth.Link) *wamp.Challenge {
	details := wamp.Dict{"roles": wamp.Dict{"caller": wamp.Dict{}, "publisher": wamp.Dict{}}}
	if link.Peer.Transport == "" {
		link.Peer.Local = true
	}
	if err := c.Hello(link, details); err != nil {
		panic(err)
	}
	p.SendMessage(&wamp.Hello{Realm: realm, Details: details})
	m := p.Recv()
	method, ok := m[1].(string)
	if m[0] != any(int64(4)) || !ok {
		panic(m)
	}
	return &wamp.Challenge{AuthMethod: method, Extra: m[2].(wamp.Dict)}
}

// logsIn does all of a login and returns the challenge and its answer.
func (w *world) logsIn(c *auth.Client, link auth.Link, p *wamptest.Peer) (*wamp.Challenge, *wamp.Authenticate) {
	w.t.Helper()
	challenge := hello(p, c, link)
	answer, err := c.Challenge(challenge)
	if err != nil {
		w.t.Fatal(err)
	}
	p.SendMessage(answer)
	m := p.Recv()
	if m[0] != any(int64(2)) {
		w.t.Fatalf("the right proof was answered by %v", m)
	}
	p.Set("session", wamp.ID(m[1].(int64)))
	if err := c.Welcome(&wamp.Welcome{Session: p.Var("session"), Details: m[2].(wamp.Dict)}); err != nil {
		w.t.Fatal(err)
	}
	return challenge, answer
}

// refusal is logsIn that gets ABORT with a reason; answer makes the answer. The
// text of the ABORT is returned.
func (w *world) refusal(c *auth.Client, reason wamp.URI, answer func(*wamp.Challenge) wamp.Message) (*wamp.Challenge, string) {
	w.t.Helper()
	p := w.connect()
	challenge := hello(p, c, auth.Link{})
	p.SendMessage(answer(challenge))
	m := p.Recv()
	if m[0] != any(int64(3)) || m[2] != any(string(reason)) {
		w.t.Fatalf("the answer to %s was answered by %v, expected %s", challenge.AuthMethod, m, reason)
	}
	p.ExpectClosed()
	text, _ := m[1].(wamp.Dict)["message"].(string)
	return challenge, text
}

func byCRA(authid, password string) *auth.Client {
	return auth.NewClient(authid, &auth.CRA{Secret: auth.NewSecret(password)})
}

// answers makes the right answer of a client.
func (w *world) answers(c *auth.Client) func(*wamp.Challenge) wamp.Message {
	return func(ch *wamp.Challenge) wamp.Message {
		a, err := c.Challenge(ch)
		if err != nil {
			w.t.Fatal(err)
		}
		return a
	}
}

func wampCRA(t *testing.T) {
	over(t, wamptest.NetworkLinks(), withLogins(t), func(w *world) {
		for _, authid := range []string{"ann", quoted, "salty"} {
			p := w.connect()
			challenge, first := w.logsIn(byCRA(authid, "correct horse"), auth.Link{}, p)
			var said map[string]any
			text, _ := challenge.Extra["challenge"].(string)
			d := stdjson.NewDecoder(strings.NewReader(text))
			d.UseNumber()
			if err := d.Decode(&said); err != nil {
				w.t.Fatalf("the challenge is no JSON: %v", err)
			}
			for key, want := range map[string]string{"authid": authid, "authrole": "operator", "authmethod": "wampcra", "authprovider": "static"} {
				if said[key] != any(want) {
					w.t.Errorf("the challenge says %s is %v, expected %v", key, said[key], want)
				}
			}
			if n, _ := said["session"].(stdjson.Number).Int64(); wamp.ID(n) != p.Var("session") {
				w.t.Errorf("the challenge is for session %d, WELCOME for %d", n, p.Var("session"))
			}
			for _, key := range []string{"nonce", "timestamp"} {
				if s, _ := said[key].(string); s == "" {
					w.t.Errorf("the challenge has no %s", key)
				}
			}
			// The proof has been used, and was for another challenge.
			w.refusal(byCRA(authid, "correct horse"), wamp.ErrURIAuthenticationFailed, func(*wamp.Challenge) wamp.Message { return first })
			p.SendMessage(first)
			p.ExpectAbort(wamp.ErrURIProtocolViolation)
			// Only the very text that was sent counts, not what it means.
			c := byCRA(authid, "correct horse")
			w.refusal(c, wamp.ErrURIAuthenticationFailed, func(ch *wamp.Challenge) wamp.Message {
				ch.Extra["challenge"] = strings.Replace(ch.Extra["challenge"].(string), `":`, `": `, 1)
				return w.answers(c)(ch)
			})
		}
		// Who is not there looks like who has got the secret wrong.
		c := byCRA("ann", "wrong")
		known, said := w.refusal(c, wamp.ErrURIAuthenticationFailed, w.answers(c))
		for _, authid := range []string{"nobody", "elsewhere"} {
			c = byCRA(authid, "correct horse")
			unknown, text := w.refusal(c, wamp.ErrURIAuthenticationFailed, func(ch *wamp.Challenge) wamp.Message {
				return &wamp.Authenticate{Signature: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", Extra: wamp.Dict{}}
			})
			if text != said || unknown.AuthMethod != known.AuthMethod {
				w.t.Errorf("%s was challenged by %s and told %q, somebody known by %s and told %q", authid, unknown.AuthMethod, text, known.AuthMethod, said)
			}
		}
		for _, bad := range []string{"", "x", strings.Repeat("A", 10_000)} {
			w.refusal(byCRA("ann", "x"), wamp.ErrURIAuthenticationFailed, func(*wamp.Challenge) wamp.Message {
				return &wamp.Authenticate{Signature: bad, Extra: wamp.Dict{}}
			})
		}
	})
}

func cryptosign(t *testing.T) {
	byKey := func(key auth.Secret) *auth.Client { return auth.NewClient("ann", &auth.Cryptosign{Key: key}) }
	over(t, wamptest.NetworkLinks(), withLogins(t), func(w *world) {
		p := w.connect()
		old, first := w.logsIn(byKey(privateKey), auth.Link{}, p)
		p.Fence()
		anonymous := auth.NewClient("", &auth.Cryptosign{Key: privateKey}) // the key says who it is
		w.logsIn(anonymous, auth.Link{}, w.connect())
		oldChallenge, _ := old.Extra["challenge"].(string)
		signature := first.Signature[:2*ed25519.SignatureSize]
		own := func(ch *wamp.Challenge) string { s, _ := ch.Extra["challenge"].(string); return s }
		sign := func(key auth.Secret, text string) string {
			b, err := hex.DecodeString(text)
			if err != nil {
				w.t.Fatal(err)
			}
			return hex.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(key.Reveal()), b))
		}
		for name, answer := range map[string]func(*wamp.Challenge) string{
			"all of an older answer":                     func(*wamp.Challenge) string { return first.Signature },
			"an older signature with the new challenge":  func(ch *wamp.Challenge) string { return signature + own(ch) },
			"the new signature with the older challenge": func(ch *wamp.Challenge) string { return sign(privateKey, own(ch)) + oldChallenge },
			"a signature by another key":                 func(ch *wamp.Challenge) string { return sign(otherKey, own(ch)) + own(ch) },
			"a signature without what was signed":        func(ch *wamp.Challenge) string { return sign(privateKey, own(ch)) },
			"no hex digits":                              func(*wamp.Challenge) string { return strings.Repeat("zz", 96) },
			"nothing":                                    func(*wamp.Challenge) string { return "" },
		} {
			if _, text := w.refusal(byKey(privateKey), wamp.ErrURIAuthenticationFailed, func(ch *wamp.Challenge) wamp.Message {
				if own(ch) == oldChallenge || len(own(ch)) != 64 {
					w.t.Errorf("the challenge is %q after %q", own(ch), oldChallenge)
				}
				return &wamp.Authenticate{Signature: answer(ch), Extra: wamp.Dict{}}
			}); text == "" {
				w.t.Errorf("%s was refused without a text", name)
			}
		}
		c := byKey(otherKey) // a good proof, of a key that is not hers
		w.refusal(c, wamp.ErrURIAuthenticationFailed, w.answers(c))
	})
}

func authenticateOutOfPlace(t *testing.T) {
	over(t, wamptest.NetworkLinks(), withLogins(t), func(w *world) {
		p := w.connect()
		p.Send(`[5, "signature", {}]`)
		p.ExpectAbort(wamp.ErrURIProtocolViolation)
		p = w.peer()
		p.Send(`[5, "signature", {}]`)
		p.ExpectAbort(wamp.ErrURIProtocolViolation)
		for _, doc := range []string{
			`[1, "realm1", {"roles": {"caller": {}}}]`, `[32, 1, {}, "a.b"]`, `[48, 1, {}, "wamp.session.count"]`, `[6, {}, "wamp.close.normal"]`,
			`[70, 1, {}]`, `[4, "wampcra", {}]`, `[2, 1, {}]`, `[5, 1, {}]`, `[5, "x"]`, `[999]`, `"x"`,
		} {
			p = w.connect()
			hello(p, byCRA("ann", "correct horse"), auth.Link{})
			p.Send(doc)
			p.Expect(`[3, {"...": 0}, "wamp.error.protocol_violation", "..."]`)
			p.ExpectClosed()
		}
		p = w.connect()
		hello(p, byCRA("ann", "correct horse"), auth.Link{})
		p.Send(`[3, {}, "wamp.close.normal"]`)
		p.ExpectClosed() // an ABORT is not answered
		// Not even the right one of two answers counts twice.
		p = w.connect()
		c := byCRA("ann", "correct horse")
		answer := w.answers(c)(hello(p, c, auth.Link{}))
		p.SendMessage(answer)
		p.Expect(`[2, "*", {"...": 0}]`)
		p.SendMessage(answer)
		p.ExpectAbort(wamp.ErrURIProtocolViolation)
		if n := w.Stats(realm).Joined; n != 2 {
			w.t.Errorf("%d sessions have joined, expected 2", n)
		}
	})
	t.Run("late", func(t *testing.T) {
		over(t, wamptest.NetworkLinks(), withLogins(t, func(c *auth.Config) { c.Lifetime = 30 * time.Millisecond }), func(w *world) {
			p := w.connect()
			c := byCRA("ann", "correct horse")
			hello(p, c, auth.Link{})
			p.ExpectAbort(wamp.ErrURIAuthenticationFailed)
		})
	})
	t.Run("ticket", func(t *testing.T) { ticketOverPlain(t) })
}

// ticketOverPlain: a ticket is as good as a password, so it goes over encrypted
// links, and within the machine.
func ticketOverPlain(t *testing.T) {
	ticket := `{"authid": "ann", "authmethods": ["ticket"], "roles": {"caller": {}}}`
	admits := func(w *world, p *wamptest.Peer) {
		w.t.Helper()
		p.Send(`[1, "realm1", ` + ticket + `]`)
		p.Expect(`[4, "ticket", {}]`)
		p.Send(`[5, "correct horse", {}]`)
		p.Expect(`[2, "*", {"authmethod": "ticket", "authid": "ann", "...": 0}]`)
	}
	far := withLogins(t)
	far.far = true
	over(t, wamptest.NetworkLinks(), far, func(w *world) {
		p := w.connect()
		p.Send(`[1, "realm1", ` + ticket + `]`)
		p.ExpectAbort(wamp.ErrURINoMatchingAuthMethod) // before it has been sent
		p = w.connect()
		p.Send(`[1, "realm1", {"authid": "ann", "authmethods": ["ticket", "wampcra"], "roles": {"caller": {}}}]`)
		p.Expect(`[4, "wampcra", {"...": 0}]`)
		p = w.connect()
		p.Send(`[1, "realm1", {"roles": {"caller": {}}}]`)
		p.ExpectAbort(wamp.ErrURINoMatchingAuthMethod) // anonymous from elsewhere
	})
	t.Run("local", func(t *testing.T) {
		over(t, wamptest.NetworkLinks(), withLogins(t), func(w *world) {
			admits(w, w.connect())
			p := w.connect()
			p.Send(`[1, "realm1", ` + ticket + `]`)
			p.Expect(`[4, "ticket", {}]`)
			p.Send(`[5, "incorrect horse", {}]`)
			p.ExpectAbort(wamp.ErrURIAuthenticationFailed)
		})
	})
	t.Run("tls", func(t *testing.T) {
		secure := far
		secure.tls = serverTLS(t)
		over(t, wamptest.NetworkLinks(), secure, func(w *world) { admits(w, w.connect()) })
	})
	t.Run("allowed", func(t *testing.T) {
		open := withLogins(t, func(c *auth.Config) { c.AllowPlainTickets = true })
		open.far = true
		over(t, wamptest.NetworkLinks(), open, func(w *world) { admits(w, w.connect()) })
	})
}

func welcomeTellsAll(t *testing.T) {
	policy, err := router.NewPolicy(router.PolicyConfig{Roles: map[string]router.RoleConfig{"operator": {}, "anonymous": {}}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := withLogins(t)
	cfg.realm.Policy = policy
	over(t, wamptest.NetworkLinks(), cfg, func(w *world) {
		for method, r := range map[string]auth.Responder{
			"ticket": &auth.Ticket{Ticket: secret}, "wampcra": &auth.CRA{Secret: secret}, "wamp-scram": &auth.SCRAM{Password: secret}, "cryptosign": &auth.Cryptosign{Key: privateKey},
		} {
			p := w.connect()
			c := auth.NewClient("ann", r)
			p.SendMessage(w.answers(c)(hello(p, c, auth.Link{})))
			p.Expect(`[2, "*", {"realm": "realm1", "authid": "ann", "authrole": "operator", "authmethod": "` + method + `", "authprovider": "static",
				"roles": {"broker": {"features": {"...": 0}}, "dealer": {"features": {"...": 0}}}, "...": 0}]`)
		}
		p := w.connect()
		p.Send(`[1, "realm1", {"roles": {"caller": {}}}]`)
		p.Expect(`[2, "*", {"realm": "realm1", "authid": "*", "authrole": "anonymous", "authmethod": "anonymous", "authprovider": "static", "roles": "*", "...": 0}]`)
		ghost := byCRA("ghost", "correct horse") // its role is not configured
		w.refusal(ghost, wamp.ErrURINoSuchRole, w.answers(ghost))
		p = w.connect()
		p.Send(`[1, "realm1", {"authid": "ann", "authrole": "admin", "authmethods": ["ticket"], "roles": {"caller": {}}}]`)
		p.Expect(`[4, "ticket", {}]`)
		p.Send(`[5, "correct horse", {}]`)
		p.ExpectAbort(wamp.ErrURINoSuchRole)
		for _, methods := range []string{`["telepathy"]`, `["wamp-scram", "telepathy"]`, `["tls"]`} {
			p = w.connect()
			p.Send(`[1, "realm1", {"authid": "salty", "authmethods": ` + methods + `, "roles": {"caller": {}}}]`)
			p.ExpectAbort(wamp.ErrURINoMatchingAuthMethod)
		}
	})
	t.Run("within", func(t *testing.T) {
		w := start(t, wamptest.Link{Transport: "pipe"}, cfg)
		p := w.connect()
		p.Send(`[1, "realm1", {"authid": "hub", "roles": {"caller": {}}}]`)
		p.Expect(`[2, "*", {"realm": "realm1", "authid": "hub", "authrole": "trusted", "authmethod": "internal", "authprovider": "static", "roles": "*", "...": 0}]`)
	})
}
