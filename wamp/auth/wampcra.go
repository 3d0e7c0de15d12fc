package auth

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"

	"gantry/wamp"
)

// CRA answers wampcra challenges, plain and salted.
type CRA struct {
	Secret Secret
	// Limits bound what a router may ask of PBKDF2. Default DefaultLimits; the
	// least number of rounds is not used.
	Limits *Limits
	// Derive runs the KDF. Default Derive.
	Derive Deriver

	// The derived key is kept: a client that reconnects need not pay for it again.
	params Params
	key    Secret
}

// Methods returns wampcra.
func (*CRA) Methods() []string { return []string{MethodCRA} }

// Begin adds nothing to HELLO.
func (c *CRA) Begin(authid string, _ *Link) (wamp.Dict, error) {
	switch {
	case authid == "":
		return nil, errors.New("wampcra: no authid")
	case c.Secret.Empty():
		return nil, errors.New("wampcra: no secret is set")
	}
	return nil, nil
}

// Respond signs the challenge's text as it came (AP "WAMP-CRA").
func (c *CRA) Respond(m *wamp.Challenge) (*wamp.Authenticate, error) {
	challenge, ok := m.Extra["challenge"].(string)
	if !ok || challenge == "" {
		return nil, errors.New("no text to sign")
	}
	key := c.Secret.Reveal()
	if m.Extra["salt"] != nil {
		derived, err := c.derived(m.Extra)
		if err != nil {
			return nil, err
		}
		key = derived
	}
	return &wamp.Authenticate{Signature: encodeBase64(mac(key, challenge)), Extra: wamp.Dict{}}, nil
}

func (c *CRA) derived(extra wamp.Dict) ([]byte, error) {
	salt, ok := extra["salt"].(string)
	if !ok {
		return nil, errors.New("salt is no text")
	}
	iterations, err := number(extra, "iterations")
	if err != nil {
		return nil, err
	}
	keyLen, err := number(extra, "keylen")
	if err != nil {
		return nil, err
	}
	p := Params{KDF: PBKDF2, Salt: []byte(salt), Iterations: iterations, KeyLen: int(min(keyLen, maxKeyLen+1))}
	limits := DefaultLimits()
	if c.Limits != nil {
		limits = *c.Limits
	}
	if err := p.Check(craLimits(limits)); err != nil {
		return nil, err
	}
	if !c.params.equal(&p) {
		key, err := deriver(c.Derive)(p, c.Secret.Reveal())
		if err != nil {
			return nil, err
		}
		c.params, c.key = p, NewSecret(encodeBase64(key))
	}
	return c.key.Reveal(), nil
}

// Verify returns nil: wampcra proves nothing about the router.
func (*CRA) Verify(*wamp.Welcome) error { return nil }

// craChallenge is the text to sign, in the order of the specification's list.
type craChallenge struct {
	AuthID       string  `json:"authid"`
	AuthRole     string  `json:"authrole"`
	AuthMethod   string  `json:"authmethod"`
	AuthProvider string  `json:"authprovider"`
	Nonce        string  `json:"nonce"`
	Timestamp    string  `json:"timestamp"`
	Session      wamp.ID `json:"session"`
}

func (x *Exchange) beginCRA(r *Request) *Refusal {
	nonce, refusal := x.v.nonce(24)
	if refusal != nil {
		return refusal
	}
	b, err := json.Marshal(craChallenge{
		AuthID: x.id.AuthID, AuthRole: x.id.AuthRole, AuthMethod: MethodCRA, AuthProvider: x.id.AuthProvider,
		Nonce: encodeBase64(nonce), Timestamp: r.Now.UTC().Format("2006-01-02T15:04:05.000Z"), Session: r.Session,
	})
	if err != nil {
		return &Refusal{URI: wamp.ErrURIRuntimeError, Text: "no challenge could be made", Cause: fmt.Sprintf("encode challenge: %v", err)}
	}
	stored := x.principal.CRA
	extra := wamp.Dict{"challenge": string(b)}
	if stored.salted {
		extra["salt"], extra["iterations"], extra["keylen"] = stored.salt, int64(stored.iterations), int64(stored.keyLen)
	}
	x.challenge = &wamp.Challenge{AuthMethod: MethodCRA, Extra: extra}
	x.proof = &craProof{want: encodeBase64(mac(stored.key.Reveal(), string(b)))}
	return nil
}

type craProof struct{ want string }

func (p *craProof) verify(a *wamp.Authenticate) (bool, wamp.Dict, string) {
	return subtle.ConstantTimeCompare([]byte(a.Signature), []byte(p.want)) == 1, nil, ""
}

func deriver(d Deriver) Deriver {
	if d == nil {
		return Derive
	}
	return d
}
