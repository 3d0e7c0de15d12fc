package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"gantry/wamp"
)

// scramNonce is the length of a nonce in bytes. Its base64 has no padding, so a
// router that appends its own bytes before encoding (Crossbar) and one that
// appends its own text (AP "SCRAM") both return text that begins with it.
const scramNonce = 18

// clientKey proves the client, serverKey the router (RFC 5802, 3).
type scramKeys struct{ clientKey, serverKey []byte }

func scramKeysOf(salted []byte) scramKeys {
	return scramKeys{clientKey: mac(salted, "Client Key"), serverKey: mac(salted, "Server Key")}
}

// scramMessages are the parts of AuthMessage.
type scramMessages struct {
	authid, clientNonce, nonce string
	salt                       []byte
	iterations                 uint32
	binding                    string // "" for none
	cbind                      []byte
	// field builds it as Autobahn and Crossbar do: the authid without escapes, and
	// no GS2 header in the channel binding.
	field bool
}

var scramEscape = strings.NewReplacer(",", "=2C", "=", "=3D")

// authMessage returns AuthMessage (AP "SCRAM", AuthMessage; RFC 5802, 7).
func (m *scramMessages) authMessage() string {
	authid, c := m.authid, ""
	if !m.field {
		authid = scramEscape.Replace(authid)
		flag := "n"
		if m.binding != "" {
			flag = "p=" + m.binding
		}
		c = encodeBase64(append([]byte(flag+",,"), m.cbind...))
	}
	return "n=" + authid + ",r=" + m.clientNonce +
		",r=" + m.nonce + ",s=" + encodeBase64(m.salt) + ",i=" + strconv.FormatUint(uint64(m.iterations), 10) +
		",c=" + c + ",r=" + m.nonce
}

// xor returns a XOR b, of the same length.
func xor(a, b []byte) []byte {
	out := make([]byte, len(a))
	subtle.XORBytes(out, a, b)
	return out
}

func (p *Params) equal(q *Params) bool {
	return p.KDF == q.KDF && p.Iterations == q.Iterations && p.Memory == q.Memory && p.KeyLen == q.KeyLen && bytes.Equal(p.Salt, q.Salt)
}

// SCRAM answers challenges of wamp-scram, and of scram as Autobahn and Crossbar
// speak it. It checks that the router knows the password's keys, too.
type SCRAM struct {
	Password Secret
	// Binding is the type of channel binding, TLSExporter or TLSUnique. Default:
	// none. With one, only routers that have it, too, can be joined.
	Binding string
	// Limits bound what a router may ask of the KDF. Default DefaultLimits.
	Limits *Limits
	// Random is the source of nonces. Default crypto/rand.Reader.
	Random io.Reader
	// Derive runs the KDF. Default Derive.
	Derive Deriver

	authid, clientNonce string
	cbind               []byte
	want                []byte // the router's signature
	// The salted password is kept: a client that reconnects need not pay for it
	// again (AP "SCRAM", ClientProof).
	params Params
	salted Secret
}

// Methods returns both spellings, or only the one that knows channel binding.
func (s *SCRAM) Methods() []string {
	if s.Binding != "" {
		return []string{MethodSCRAM}
	}
	return []string{MethodSCRAM, MethodSCRAMField}
}

// Begin returns a fresh nonce.
func (s *SCRAM) Begin(authid string, link *Link) (wamp.Dict, error) {
	s.clientNonce, s.cbind, s.want = "", nil, nil
	if authid == "" {
		return nil, errors.New("scram: no authid")
	}
	if s.Password.Empty() {
		return nil, errors.New("scram: no password is set")
	}
	var err error
	if s.authid, err = prepare(authid); err != nil {
		return nil, fmt.Errorf("scram: authid: %w", err)
	}
	extra := wamp.Dict{}
	if s.Binding != "" {
		if s.cbind, err = link.Channels.data(s.Binding); err != nil {
			return nil, fmt.Errorf("scram: %w", err)
		}
		extra["channel_binding"] = s.Binding
	}
	random := s.Random
	if random == nil {
		random = rand.Reader
	}
	nonce := make([]byte, scramNonce)
	if _, err := io.ReadFull(random, nonce); err != nil {
		return nil, fmt.Errorf("scram: random numbers: %w", err)
	}
	s.clientNonce = encodeBase64(nonce)
	extra["nonce"] = s.clientNonce
	return extra, nil
}

// maxNonce is the longest nonce in bytes of text that is looked at.
const maxNonce = 256

// Respond returns the client's proof.
func (s *SCRAM) Respond(m *wamp.Challenge) (*wamp.Authenticate, error) {
	nonce, _ := m.Extra["nonce"].(string)
	// The router's part must be there; what it is made of is of no concern, as long
	// as it cannot be taken for another attribute of AuthMessage.
	if s.clientNonce == "" || !strings.HasPrefix(nonce, s.clientNonce) || len(nonce) == len(s.clientNonce) ||
		len(nonce) > maxNonce || strings.Contains(nonce, ",") {
		return nil, errors.New("the nonce does not continue the client's")
	}
	if b, ok := text(m.Extra, "channel_binding"); !ok || b != "" && b != s.Binding {
		return nil, errors.New("the channel binding is not the one that was asked for")
	}
	p, err := s.paramsOf(m.Extra)
	if err != nil {
		return nil, err
	}
	if !s.params.equal(&p) {
		password, err := prepare(string(s.Password.Reveal()))
		if err != nil {
			return nil, fmt.Errorf("password: %w", err)
		}
		salted, err := deriver(s.Derive)(p, []byte(password))
		if err != nil {
			return nil, err
		}
		s.params, s.salted = p, secretOf(salted)
	}
	keys := scramKeysOf(s.salted.Reveal())
	messages := scramMessages{authid: s.authid, clientNonce: s.clientNonce, nonce: nonce, salt: p.Salt, iterations: p.Iterations,
		binding: s.Binding, cbind: s.cbind, field: m.AuthMethod == MethodSCRAMField}
	message := messages.authMessage()
	storedKey := sha256.Sum256(keys.clientKey)
	s.want = mac(keys.serverKey, message)
	a := &wamp.Authenticate{Signature: encodeBase64(xor(keys.clientKey, mac(storedKey[:], message))), Extra: wamp.Dict{}}
	if !messages.field {
		a.Extra = wamp.Dict{"nonce": nonce, "channel_binding": nil, "cbind_data": nil}
		if s.Binding != "" {
			a.Extra["channel_binding"], a.Extra["cbind_data"] = s.Binding, encodeBase64(s.cbind)
		}
	}
	return a, nil
}

// paramsOf reads what the router asks of the KDF, and checks it before any of it
// is done.
func (s *SCRAM) paramsOf(extra wamp.Dict) (Params, error) {
	p := Params{KeyLen: sha256.Size}
	name, _ := extra["kdf"].(string)
	p.KDF, _ = ParseKDF(name)
	salt, _ := extra["salt"].(string)
	var ok bool
	if p.Salt, ok = decodeBase64(salt); !ok {
		return p, errors.New("the salt is no base64")
	}
	var err error
	if p.Iterations, err = number(extra, "iterations"); err != nil {
		return p, err
	}
	// Some routers send memory for PBKDF2, too, where it has no meaning.
	if p.KDF != PBKDF2 {
		if p.Memory, err = number(extra, "memory"); err != nil {
			return p, err
		}
	}
	limits := DefaultLimits()
	if s.Limits != nil {
		limits = *s.Limits
	}
	return p, p.Check(limits)
}

// Verify checks the router's signature: "verifier" in the specification, with or
// without the "v=" of its example, and "scram_server_signature" in Crossbar.
func (s *SCRAM) Verify(w *wamp.Welcome) error {
	extra, _ := dict(w.Details, "authextra")
	verifier, _ := extra["verifier"].(string)
	if verifier == "" {
		verifier, _ = extra["scram_server_signature"].(string)
	}
	got, ok := decodeBase64(strings.TrimPrefix(verifier, "v="))
	if !ok || s.want == nil || subtle.ConstantTimeCompare(got, s.want) != 1 {
		return fmt.Errorf("scram: %w", ErrRouterNotVerified)
	}
	return nil
}

func (x *Exchange) beginSCRAM(extra wamp.Dict, r *Request) *Refusal {
	clientNonce, _ := extra["nonce"].(string)
	raw, ok := decodeBase64(clientNonce)
	if !ok || len(raw) < 8 || len(clientNonce) > maxNonce/2 {
		return violation("authextra.nonce must be base64 of 8 to 96 bytes")
	}
	binding, ok := text(extra, "channel_binding")
	if !ok {
		return violation("authextra.channel_binding must be text")
	}
	var cbind []byte
	if binding != "" {
		var err error
		if cbind, err = r.Link.Channels.data(binding); err != nil {
			return impossible(err.Error())
		}
	}
	own, refusal := x.v.nonce(scramNonce)
	if refusal != nil {
		return refusal
	}
	authid, err := prepare(x.authid)
	if err != nil {
		return violation("authid: " + err.Error())
	}
	stored := x.principal.scram(x.id.AuthMethod)
	p := &scramProof{stored: stored, messages: scramMessages{authid: authid, clientNonce: clientNonce, nonce: clientNonce + encodeBase64(own),
		salt: stored.params.Salt, iterations: stored.params.Iterations, binding: binding, cbind: cbind, field: x.id.AuthMethod == MethodSCRAMField}}
	challenge := wamp.Dict{"nonce": p.messages.nonce, "salt": encodeBase64(stored.params.Salt), "kdf": stored.params.KDF.String(),
		"iterations": int64(stored.params.Iterations)}
	// Autobahn takes neither null nor attributes that it does not know.
	if stored.params.KDF != PBKDF2 {
		challenge["memory"] = int64(stored.params.Memory)
	}
	if binding != "" {
		challenge["channel_binding"] = binding
	}
	x.proof = p
	x.challenge = &wamp.Challenge{AuthMethod: x.id.AuthMethod, Extra: challenge}
	return nil
}

type scramProof struct {
	stored   *StoredSCRAM
	messages scramMessages
}

func (p *scramProof) verify(a *wamp.Authenticate) (bool, wamp.Dict, string) {
	m := p.messages
	nonce, ok := text(a.Extra, "nonce")
	if !ok || nonce != m.nonce && (nonce != "" || !m.field || m.binding != "") {
		return false, nil, "the nonce is not the challenge's"
	}
	// A client that says scram and repeats the nonce follows the specification in
	// all but the name.
	m.field = nonce == ""
	if binding, ok := text(a.Extra, "channel_binding"); !ok || binding != m.binding {
		return false, nil, "channel_binding is not HELLO's"
	}
	cbindText, ok := text(a.Extra, "cbind_data")
	cbind, ok2 := decodeBase64(cbindText)
	if !ok || !ok2 || subtle.ConstantTimeCompare(cbind, m.cbind) != 1 {
		return false, nil, "cbind_data is not that of this connection: it ends at somebody in between"
	}
	received, ok := decodeBase64(a.Signature)
	if !ok || len(received) != sha256.Size {
		return false, nil, "the signature must be base64 of 32 bytes"
	}
	message := m.authMessage()
	storedKey := p.stored.storedKey.Reveal()
	recovered := sha256.Sum256(xor(received, mac(storedKey, message)))
	verifier := encodeBase64(mac(p.stored.server.Reveal(), message))
	extra := wamp.Dict{"verifier": verifier}
	if p.messages.field {
		extra["scram_server_signature"] = verifier
	}
	return subtle.ConstantTimeCompare(recovered[:], storedKey) == 1, extra, ""
}
