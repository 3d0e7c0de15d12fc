package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gantry/wamp"
)

// Config says whom a Verifier admits. The zero value of a field is its default.
type Config struct {
	// Principals may join. They and what they hold are kept.
	Principals []Principal
	// Roles are those that the router knows; a session of another is refused with
	// wamp.error.no_such_role. Nil: any.
	Roles []string
	// Provider is the authprovider that WELCOME tells. Default "static".
	Provider string
	// Lifetime is how long a challenge may be answered. Default 10 s.
	Lifetime time.Duration
	// AllowPlainTickets admits tickets over connections that others can read.
	AllowPlainTickets bool
	// RouterKey is the Ed25519 seed with which the router proves itself to
	// cryptosign clients that ask for it (AP "Cryptosign", Router Authentication).
	// Empty: it does not. It signs what clients send, so it must be the key of
	// nothing else, least of all one that logs in elsewhere.
	RouterKey Secret
	// DecoySecret makes the answers for authids that do not exist: keep it, at
	// least 16 bytes, so that they stay the same over restarts. Default: random.
	DecoySecret Secret
	// Random is the source of nonces. Default crypto/rand.Reader.
	Random io.Reader
	// Derive runs the KDF of hashed tickets. Default Derive.
	Derive Deriver
}

// Verifier is the router's side. It keeps nothing of what goes on, so any number
// of goroutines may use it.
type Verifier struct {
	cfg    Config
	byID   map[string]*Principal
	byKey  map[string]*Principal
	decoys *decoys
}

// New returns a Verifier, or what is wrong with the configuration.
func New(cfg Config) (*Verifier, error) {
	if cfg.Provider == "" {
		cfg.Provider = "static"
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = 10 * time.Second
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Derive == nil {
		cfg.Derive = Derive
	}
	secret := cfg.DecoySecret.Reveal()
	if len(secret) == 0 {
		secret = make([]byte, 32)
		if _, err := io.ReadFull(cfg.Random, secret); err != nil {
			return nil, fmt.Errorf("authentication: random numbers: %w", err)
		}
	}
	if len(secret) < 16 {
		return nil, errors.New("authentication: the secret of decoys must have 16 bytes or more")
	}
	v := &Verifier{cfg: cfg, byID: map[string]*Principal{}, byKey: map[string]*Principal{}}
	for i := range cfg.Principals {
		if err := v.add(&cfg.Principals[i]); err != nil {
			return nil, err
		}
	}
	if !cfg.RouterKey.Empty() {
		public := PublicKey(cfg.RouterKey)
		if public == nil {
			return nil, errors.New("authentication: the router's key must be an Ed25519 seed of 32 bytes")
		}
		if p := v.byKey[string(public)]; p != nil {
			// Whoever connects could have the router sign the challenge of another one.
			return nil, fmt.Errorf("authentication: the router's key is also that of principal %q", p.AuthID)
		}
	}
	v.decoys = newDecoys(secret, cfg.Principals)
	return v, nil
}

func (v *Verifier) add(p *Principal) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if v.byID[p.AuthID] != nil {
		return fmt.Errorf("principal %q is configured twice", p.AuthID)
	}
	if v.cfg.Roles != nil && !slices.Contains(v.cfg.Roles, p.Role) {
		return fmt.Errorf("principal %q: no such role %q; known: %s", p.AuthID, p.Role, strings.Join(v.cfg.Roles, ", "))
	}
	v.byID[p.AuthID] = p
	for _, k := range p.Keys {
		if other := v.byKey[string(k)]; other != nil && other != p {
			return fmt.Errorf("principals %q and %q have the same public key", other.AuthID, p.AuthID)
		}
		v.byKey[string(k)] = p
	}
	return nil
}

// Refusal is why a peer is not admitted.
type Refusal struct {
	// URI and Text go into ABORT. They do not tell whether the authid exists.
	URI  wamp.URI
	Text string
	// Cause is for the router's own log and must not reach the peer.
	Cause string
	// Guess tells that the peer gave a wrong proof: count it (Penalties.Failed).
	Guess bool
}

// Error returns the URI and the text, without the cause.
func (r *Refusal) Error() string { return r.Wire().Error() }

// Wire returns what the peer may know.
func (r *Refusal) Wire() *wamp.Error { return wamp.NewError(r.URI, r.Text, nil) }

func violation(text string) *Refusal {
	return &Refusal{URI: wamp.ErrURIProtocolViolation, Text: text, Cause: text}
}

func impossible(text string) *Refusal {
	return &Refusal{URI: wamp.ErrURINoMatchingAuthMethod, Text: text, Cause: text}
}

// Identity is who a peer has proved to be, as WELCOME tells it.
type Identity struct {
	AuthID, AuthRole, AuthMethod, AuthProvider string
	// Extra is WELCOME.Details.authextra, nil if there is none: with SCRAM the
	// router's own proof.
	Extra wamp.Dict
}

// Request is a HELLO to be challenged.
type Request struct {
	// Hello is not kept, but its Details are: decoders make them anew.
	Hello *wamp.Hello
	Link  Link
	// Session is the ID that the session will have: wampcra's challenge tells it.
	Session wamp.ID
	// Now is the time at which the challenge is sent.
	Now time.Time
	// Principal is who the authid belongs to where something else than
	// Config.Principals knows it, such as a procedure. It must be valid. Nil: ask
	// Config.Principals.
	Principal *Principal
	// Provider is the authprovider if Principal is set. Default Config.Provider.
	Provider string
}

// Exchange is one login between CHALLENGE and AUTHENTICATE. One goroutine uses it.
type Exchange struct {
	v         *Verifier
	authid    string // HELLO's
	challenge *wamp.Challenge
	proof     proof
	principal *Principal
	known     bool // principal is not a decoy, and what HELLO claims is true of it
	id        Identity
	wantRole  string
	began     time.Time
	used      bool
}

// proof is the method's part of an exchange.
type proof interface {
	// verify checks an answer. malformed says what is wrong with its form, which
	// does not depend on secrets and may be told.
	verify(a *wamp.Authenticate) (ok bool, extra wamp.Dict, malformed string)
}

// maxMethods bounds the authmethods of a HELLO that are looked at.
const maxMethods = 16

// Begin takes a HELLO and returns the challenge for it. It never tells whether
// the authid exists: those that do not are challenged like those that do. It runs
// no KDF.
func (v *Verifier) Begin(r Request) (*Exchange, *Refusal) {
	hello := r.Hello
	authid, ok := text(hello.Details, "authid")
	if !ok || authid != "" && !validAuthID(authid) {
		return nil, violation(fmt.Sprintf("authid must be text of at most %d bytes without control characters", maxAuthID))
	}
	role, ok := text(hello.Details, "authrole")
	if !ok {
		return nil, violation("authrole must be text")
	}
	extra, ok := dict(hello.Details, "authextra")
	if !ok {
		return nil, violation("authextra must be a dict")
	}
	offered, refusal := v.offered(hello.Details, &r.Link)
	if refusal != nil {
		return nil, refusal
	}
	x := &Exchange{v: v, authid: authid, began: r.Now, wantRole: role}
	x.find(extra, offered, &r)
	for _, m := range offered {
		if x.principal.offers(m) && (m == MethodCryptosign || authid != "") {
			x.id = Identity{AuthID: x.principal.AuthID, AuthRole: x.principal.Role, AuthMethod: m, AuthProvider: v.cfg.Provider}
			if r.Principal != nil && r.Provider != "" {
				x.id.AuthProvider = r.Provider
			}
			if refusal := x.begin(extra, &r); refusal != nil {
				return nil, refusal
			}
			return x, nil
		}
	}
	return nil, impossible("none of the offered methods is possible for this authid: " + strings.Join(offered, ", "))
}

// offered returns those of HELLO's methods that the router can carry out on this
// connection, in HELLO's order.
func (v *Verifier) offered(details wamp.Dict, link *Link) ([]string, *Refusal) {
	list, ok := details["authmethods"].(wamp.List)
	if !ok || len(list) == 0 {
		return nil, impossible("authentication is needed, and HELLO offers no authmethods")
	}
	var out []string
	plainTicket := false
	for _, e := range list[:min(len(list), maxMethods)] {
		m, ok := e.(string)
		if !ok {
			return nil, violation("authmethods must be a list of texts")
		}
		switch m {
		case MethodTicket:
			if !link.private() && !v.cfg.AllowPlainTickets {
				plainTicket = true
				continue
			}
		case MethodCRA, MethodSCRAM, MethodSCRAMField, MethodCryptosign:
		default:
			continue
		}
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case plainTicket:
		return nil, impossible("tickets are not taken over a connection without TLS")
	}
	return nil, impossible("no known authmethod is offered; known: ticket, wampcra, wamp-scram, cryptosign")
}

// find decides who is to be challenged. The decoy is made in any case: it takes
// the same time whether it is needed or not.
func (x *Exchange) find(extra wamp.Dict, offered []string, r *Request) {
	authid, key := x.authid, ""
	if authid == "" && slices.Contains(offered, MethodCryptosign) {
		s, _ := text(extra, "pubkey")
		b, _ := decodeHex(s, ed25519.PublicKeySize)
		key = string(b)
	}
	p := r.Principal
	switch {
	case p != nil:
	case authid != "":
		p = x.v.byID[authid]
	default:
		p = x.v.byKey[key]
	}
	name := authid
	if name == "" {
		name = fmt.Sprintf("%x", key)
	}
	x.principal, x.known = x.v.decoys.principal(name, authid == ""), false
	if p != nil && p.joins(r.Hello.Realm) {
		x.principal, x.known = p, true
	}
}

func (x *Exchange) begin(extra wamp.Dict, r *Request) *Refusal {
	switch x.id.AuthMethod {
	case MethodTicket:
		x.proof = &ticketProof{stored: x.principal.Ticket, derive: x.v.cfg.Derive}
		x.challenge = &wamp.Challenge{AuthMethod: MethodTicket, Extra: wamp.Dict{}}
		return nil
	case MethodCRA:
		return x.beginCRA(r)
	case MethodCryptosign:
		return x.beginCryptosign(extra, r)
	}
	return x.beginSCRAM(extra, r)
}

// nonce reads random bytes.
func (v *Verifier) nonce(n int) ([]byte, *Refusal) {
	b := make([]byte, n)
	if _, err := io.ReadFull(v.cfg.Random, b); err != nil {
		return nil, &Refusal{URI: wamp.ErrURIRuntimeError, Text: "the router has no random numbers", Cause: err.Error()}
	}
	return b, nil
}

// Challenge returns the message to send. It must not be changed.
func (x *Exchange) Challenge() *wamp.Challenge { return x.challenge }

// Expires returns when the answer is too late.
func (x *Exchange) Expires() time.Time { return x.began.Add(x.v.cfg.Lifetime) }

// AuthID returns who the peer says it is, for logs and Penalties. It may be of
// nobody.
func (x *Exchange) AuthID() string { return x.id.AuthID }

// maxSignature is the longest signature in bytes that is looked at; tickets are
// the longest.
const maxSignature = 4096

// Finish takes what the peer sent after the challenge: any message, of which only
// one AUTHENTICATE in time with the right proof is good. It may be called once;
// an exchange that has been refused is over. It runs at most one KDF, for hashed
// tickets, and as many for authids that do not exist.
func (x *Exchange) Finish(m wamp.Message, now time.Time) (*Identity, *Refusal) {
	if x.used {
		return nil, violation("a challenge is answered once")
	}
	x.used = true
	a, ok := m.(*wamp.Authenticate)
	switch {
	case !ok:
		return nil, violation("the answer to CHALLENGE is AUTHENTICATE, not " + m.Type().String())
	case now.After(x.Expires()):
		return nil, &Refusal{URI: wamp.ErrURIAuthenticationFailed, Text: "AUTHENTICATE came more than " + x.v.cfg.Lifetime.String() + " after CHALLENGE",
			Cause: "the answer came too late"}
	case len(a.Signature) > maxSignature:
		return nil, malformed("the signature is too long")
	}
	good, extra, wrong := x.proof.verify(a)
	switch {
	case wrong != "":
		return nil, malformed(wrong)
	case !x.known:
		return nil, failed("there is no such principal, or its key or realm is another")
	case !good:
		return nil, failed("the proof is wrong")
	}
	if x.wantRole != "" && x.wantRole != x.id.AuthRole || x.v.cfg.Roles != nil && !slices.Contains(x.v.cfg.Roles, x.id.AuthRole) {
		want := x.wantRole
		if want == "" {
			want = x.id.AuthRole
		}
		return nil, &Refusal{URI: wamp.ErrURINoSuchRole, Text: fmt.Sprintf("there is no role %q for this authid", want), Cause: "no such role: " + want}
	}
	id := x.id
	id.Extra = extra
	return &id, nil
}

func failed(cause string) *Refusal {
	return &Refusal{URI: wamp.ErrURIAuthenticationFailed, Text: "authid or proof is wrong", Cause: cause, Guess: true}
}

func malformed(text string) *Refusal {
	return &Refusal{URI: wamp.ErrURIAuthenticationFailed, Text: "AUTHENTICATE: " + text, Cause: text, Guess: true}
}
