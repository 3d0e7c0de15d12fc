package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"gantry/wamp"
)

// challengeLen is the length of cryptosign's challenges and channel ids in bytes.
const challengeLen = 32

// signed returns the signature over message with the message behind it, in hex
// (AP "Cryptosign", Computing the Signature).
func signed(private Secret, message []byte) string {
	sig := ed25519.Sign(ed25519.NewKeyFromSeed(private.Reveal()), message)
	return hex.EncodeToString(append(sig, message...))
}

// checkSigned reports whether s is a signature by key over message, and over
// nothing else: the message inside s is what anybody can have recorded.
func checkSigned(key ed25519.PublicKey, message []byte, s string) (ok, wellFormed bool) {
	b, wellFormed := decodeHex(s, ed25519.SignatureSize+challengeLen)
	if !wellFormed || len(key) != ed25519.PublicKeySize {
		return false, wellFormed
	}
	same := subtle.ConstantTimeCompare(b[ed25519.SignatureSize:], message) == 1
	return ed25519.Verify(key, message, b[:ed25519.SignatureSize]) && same, true
}

// Cryptosign answers cryptosign challenges with an Ed25519 key.
type Cryptosign struct {
	// Key is the private key, as ParsePrivateKey returns it.
	Key Secret
	// Binding is the type of channel binding, TLSExporter or TLSUnique. Default:
	// none. A router that does not have it gets no answer.
	Binding string
	// RouterKey is the key that the router must have (AP "Cryptosign", Router
	// Authentication). Default: any router is answered.
	RouterKey ed25519.PublicKey
	// Random is the source of challenges to the router. Default crypto/rand.Reader.
	Random io.Reader

	channel   []byte // 32 bytes, nil without binding
	challenge []byte // to the router, nil if it need not prove itself
}

// Methods returns cryptosign.
func (*Cryptosign) Methods() []string { return []string{MethodCryptosign} }

// Begin returns the public key, and the challenge for the router.
func (c *Cryptosign) Begin(_ string, link *Link) (wamp.Dict, error) {
	c.channel, c.challenge = nil, nil
	public := PublicKey(c.Key)
	if public == nil {
		return nil, errors.New("cryptosign: no private key is set")
	}
	extra := wamp.Dict{"pubkey": hex.EncodeToString(public)}
	if c.Binding != "" {
		var err error
		if c.channel, err = link.Channels.id(c.Binding); err != nil {
			return nil, fmt.Errorf("cryptosign: %w", err)
		}
		extra["channel_binding"] = c.Binding
	}
	if c.RouterKey != nil {
		random := c.Random
		if random == nil {
			random = rand.Reader
		}
		c.challenge = make([]byte, challengeLen)
		if _, err := io.ReadFull(random, c.challenge); err != nil {
			return nil, fmt.Errorf("cryptosign: random numbers: %w", err)
		}
		extra["challenge"] = hex.EncodeToString(c.challenge)
	}
	return extra, nil
}

// Respond signs the challenge, once the router has proved itself if it must.
func (c *Cryptosign) Respond(m *wamp.Challenge) (*wamp.Authenticate, error) {
	s, _ := m.Extra["challenge"].(string)
	challenge, ok := decodeHex(s, challengeLen)
	if !ok {
		return nil, errors.New("the challenge is not 64 hex digits")
	}
	// A router that drops the binding may be somebody in between.
	if b, ok := text(m.Extra, "channel_binding"); !ok || b != c.Binding {
		return nil, errors.New("the channel binding is not the one that was asked for")
	}
	if c.RouterKey != nil {
		signature, _ := m.Extra["signature"].(string)
		if ok, _ := checkSigned(c.RouterKey, bound(c.challenge, c.channel), signature); !ok || c.challenge == nil {
			return nil, fmt.Errorf("cryptosign: %w", ErrRouterNotVerified)
		}
	}
	return &wamp.Authenticate{Signature: signed(c.Key, bound(challenge, c.channel)), Extra: wamp.Dict{}}, nil
}

// Verify returns nil: the router has proved itself with its challenge.
func (*Cryptosign) Verify(*wamp.Welcome) error { return nil }

// bound mixes the channel id into a challenge; without one it is as it was.
func bound(challenge, channel []byte) []byte {
	if channel == nil || challenge == nil {
		return challenge
	}
	return xor(challenge, channel)
}

func (x *Exchange) beginCryptosign(extra wamp.Dict, r *Request) *Refusal {
	s, _ := extra["pubkey"].(string)
	key, ok := decodeHex(s, ed25519.PublicKeySize)
	if !ok {
		return violation("authextra.pubkey must be 64 hex digits")
	}
	binding, ok := text(extra, "channel_binding")
	if !ok {
		return violation("authextra.channel_binding must be text")
	}
	var channel []byte
	if binding != "" {
		var err error
		if channel, err = r.Link.Channels.id(binding); err != nil {
			return impossible(err.Error())
		}
	}
	challenge, refusal := x.v.nonce(challengeLen)
	if refusal != nil {
		return refusal
	}
	answer := wamp.Dict{"challenge": hex.EncodeToString(challenge), "channel_binding": nil}
	if binding != "" {
		answer["channel_binding"] = binding
	}
	theirs, ok := text(extra, "challenge")
	if !ok {
		return violation("authextra.challenge must be text")
	}
	if theirs != "" && !x.v.cfg.RouterKey.Empty() {
		message, ok := decodeHex(theirs, challengeLen)
		if !ok {
			return violation("authextra.challenge must be 64 hex digits")
		}
		answer["pubkey"] = hex.EncodeToString(PublicKey(x.v.cfg.RouterKey))
		answer["signature"] = signed(x.v.cfg.RouterKey, bound(message, channel))
	}
	x.known = x.known && x.principal.hasKey(key)
	x.challenge = &wamp.Challenge{AuthMethod: MethodCryptosign, Extra: answer}
	x.proof = &cryptosignProof{key: key, message: bound(challenge, channel)}
	return nil
}

type cryptosignProof struct {
	key     ed25519.PublicKey
	message []byte
}

func (p *cryptosignProof) verify(a *wamp.Authenticate) (bool, wamp.Dict, string) {
	ok, wellFormed := checkSigned(p.key, p.message, a.Signature)
	if !wellFormed {
		return false, nil, "the signature must be 192 hex digits: 64 bytes of signature and the 32 bytes that were signed"
	}
	return ok, nil, ""
}
