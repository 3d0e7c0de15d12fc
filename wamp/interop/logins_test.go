package interop_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/interop"
)

// proof is a way to log in.
type proof struct {
	method string
	kdf    string // as in Kind.Lacks, "" where that says nothing
	secret string // which of the user's: password, stored, keys, certificates
}

// proofs are all that the program knows. A stored password is salted with wampcra,
// and a hash with ticket.
var proofs = []proof{
	{"ticket", "", "password"},
	{"ticket", "", "stored"},
	{"wampcra", "", "password"},
	{"wampcra", "", "stored"},
	{"scram", "scram/pbkdf2", "password"},
	{"scram", "scram/argon2", "stored"},
	{"cryptosign", "", "keys"},
	{"tls", "", "certificates"},
}

// lacks returns why a library does not log in so over a link, "" if it does.
func (p proof) lacks(k interop.Kind, l interop.Link) string {
	if p.method == "tls" && !l.TLS() {
		return "no certificates without TLS"
	}
	first := k.Links[slices.IndexFunc(k.Links, func(o interop.Link) bool { return o.Scheme == l.Scheme })]
	if p.secret == "stored" && l != first {
		return "slow on purpose, and the same in every serializer"
	}
	return k.Lacks[p.method] + k.Lacks[p.kdf]
}

// authid is a user of this proof alone, since a wrong one makes the next wait.
func (p proof) authid(k interop.Kind, l interop.Link) string {
	return nameOf(k.Name + "_" + l.String() + "_" + p.method + "_" + p.secret)
}

// nameOf makes a name for devices and users.
func nameOf(s string) string {
	return strings.NewReplacer("/", "_", "+", "_", "-", "_", ".", "_").Replace(s)
}

const password = "correct horse"

// credentials are what the user of a proof has.
func (p proof) credentials(k interop.Kind, l interop.Link, certs string) *interop.Credentials {
	id := p.authid(k, l)
	c := &interop.Credentials{Method: p.method, AuthID: id, Secret: password}
	switch p.secret {
	case "keys":
		seed := sha256.Sum256([]byte(id))
		c.Secret = hex.EncodeToString(seed[:])
	case "certificates":
		c.Cert, c.Key = filepath.Join(certs, id+".pem"), filepath.Join(certs, id+".key")
	}
	return c
}

// wrong turns credentials into those of somebody else, and returns what they are
// refused with.
func (p proof) wrong(c interop.Credentials) (*interop.Credentials, wamp.URI) {
	switch p.secret {
	case "keys":
		c.Secret = strings.Repeat("07", ed25519.SeedSize)
	case "certificates":
		c.Cert, c.Key = "", ""
		return &c, wamp.ErrURINoMatchingAuthMethod
	default:
		c.Secret = "battery staple"
	}
	return &c, wamp.ErrURIAuthenticationFailed
}

// logins is a gateway that everybody has to log in at, with or without TLS, with a
// user for each proof and a greenhouse for each library.
type logins struct {
	*interop.Gateway
	secure bool
	certs  string // directory of certificates and their keys
}

// startLogins starts a gateway. Without TLS, clients from this machine may join
// without a login and look at things.
func startLogins(t *testing.T, secure bool) *logins {
	t.Helper()
	g := &logins{secure: secure, certs: t.TempDir()}
	file := func(name string) string { return filepath.Join(g.certs, name) }
	var b strings.Builder
	b.WriteString("schema = 1\nrealm.on_demand = \"peers.\"\n[listen]\nquiet_rawsocket = true\n")
	if secure {
		interop.WriteCert(t, file("gateway"))
		fmt.Fprintf(&b, "anonymous = \"none\"\ntls = { cert = %q, key = %q }\n", file("gateway.pem"), file("gateway.key"))
	} else {
		b.WriteString("anonymous_role = \"viewer\"\n")
	}
	b.WriteString(`[role.operator]
rules = [{ uri = "", match = "prefix", allow = ["call", "register", "subscribe", "publish"] }]
[role.viewer]
rules = [{ uri = "gantry.", match = "prefix", allow = ["subscribe"] }]
`)
	if err := os.WriteFile(file("password"), []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("stored"), interop.Stored(t, password), 0o600); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "[user.gantry]\nrole = \"operator\"\nstored = \"file:%s\"\n", file("stored"))
	for _, k := range interop.Kinds() {
		fmt.Fprintf(&b, "[device.%s]\ndriver = \"sim\"\nperiod = \"50ms\"\n", nameOf(k.Name))
		fmt.Fprintf(&b, "point = { temperature = { kind = \"drift\" }, lamp = { kind = \"relay\" }, valve = { kind = \"valve\", travel = \"250ms\" } }\n")
		fmt.Fprintf(&b, "[user.%s]\nrole = \"operator\"\npassword = \"file:%s\"\n", nameOf(k.Name), file("password"))
		for _, l := range g.links(k) {
			for _, p := range proofs {
				if p.lacks(k, l) != "" {
					continue
				}
				id := p.authid(k, l)
				fmt.Fprintf(&b, "[user.%s]\nrole = \"operator\"\n", id)
				switch p.secret {
				case "keys":
					seed := sha256.Sum256([]byte(id))
					fmt.Fprintf(&b, "keys = [\"%x\"]\n", ed25519.NewKeyFromSeed(seed[:]).Public())
				case "certificates":
					fmt.Fprintf(&b, "certificates = [%q]\n", interop.WriteCert(t, file(id)))
				default:
					fmt.Fprintf(&b, "%s = \"file:%s\"\n", p.secret, file(p.secret))
				}
			}
		}
	}
	g.Gateway = interop.StartGateway(t, b.String())
	g.CA = file("gateway.pem")
	return g
}

// links are those of a library that this gateway has.
func (g *logins) links(k interop.Kind) []interop.Link {
	all := slices.DeleteFunc(slices.Clone(k.Links), func(l interop.Link) bool { return l.TLS() != g.secure })
	if testing.Short() {
		all = all[:1]
	}
	return all
}

// TestLogins has every library log in at the program by everything that it has,
// over all its links, and then work in both roles of both kinds, and at a device.
func TestLogins(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"without TLS": false, "with TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startLogins(t, secure)
			for _, kind := range interop.Kinds() {
				t.Run(kind.Name, func(t *testing.T) {
					t.Parallel()
					peer := kind.Need(t).Start(t)
					for i, link := range g.links(kind) {
						t.Run(link.String(), func(t *testing.T) {
							w := &world{T: t, kind: kind.Name, link: link, gateway: g.Gateway, realm: "peers." + nameOf(kind.Name), peer: peer}
							w.use(t)
							w.logIn(g, kind, i)
						})
					}
					peer.Use(t)
				})
			}
		})
	}
}

// logIn logs in by all methods; i tells the rounds of one library apart.
func (w *world) logIn(g *logins, k interop.Kind, i int) {
	join := g.Join(w.link, w.realm)
	for _, p := range proofs {
		if p.lacks(k, w.link) != "" {
			continue
		}
		join.Auth = p.credentials(k, w.link, g.certs)
		got := w.peer.Join(join)
		session := got["session"]
		delete(got, "session")
		if want := (doc{"authid": join.Auth.AuthID, "authrole": "operator", "authmethod": p.method}); session == nil || !maps.Equal(got, want) {
			w.Errorf("%s by %s: WELCOME tells %v, want %v", p.method, p.secret, got, want)
		}
		w.peer.Leave()
		wrong := join
		var refusal wamp.URI
		wrong.Auth, refusal = p.wrong(*join.Auth)
		m := w.peer.Do(wrong.Command())
		told := strings.Contains(text(m), string(refusal))
		if p.method != "tls" && k.Lacks[interop.Reason] != "" {
			told = text(m) == "authid or proof is wrong"
		}
		if !told {
			w.Errorf("wrong %s by %s: %v, want %s", p.method, p.secret, m, refusal)
		}
	}
	// Anonymous ones may look, where they may come.
	join.Auth = nil
	if g.secure {
		if m := w.peer.Do(join.Command()); !strings.Contains(text(m), string(wamp.ErrURINoMatchingAuthMethod)) {
			w.Errorf("without a login: %v", m)
		}
	} else {
		if got := w.peer.Join(join); got["authrole"] != "viewer" {
			w.Errorf("without a login: %v", got)
		}
		if m := w.peer.Do(do{"op": "call", "procedure": "wamp.session.count", "args": list{}, "kwargs": doc{}}); !strings.Contains(text(m), string(wamp.ErrURINotAuthorized)) {
			w.Errorf("call of a viewer: %v", m)
		}
		w.peer.Leave()
	}

	w.gantry = ours(w.T, g.Gateway, interop.Link{Scheme: map[bool]string{false: "ws", true: "wss"}[g.secure], Serializer: w.link.Serializer}, w.realm,
		auth.NewClient("gantry", &auth.SCRAM{Password: auth.NewSecret(password)}))
	// Not one of those who have just given a wrong proof, and have to wait.
	join.Auth = &interop.Credentials{Method: "ticket", AuthID: nameOf(k.Name), Secret: password}
	w.joined = w.peer.Join(join)
	for _, scenario := range []func(*world){eventsToPeer, eventsOfPeer, callsToPeer, callsOfPeer, progress} {
		scenario(w)
	}
	w.peer.Leave()
	join.Realm = "gantry"
	w.peer.Join(join)
	w.greenhouse(k, i)
	w.peer.Leave()
}
