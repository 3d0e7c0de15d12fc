package auth

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"gantry/wamp"
)

// The authentication methods, as HELLO.Details.authmethods names them.
const (
	MethodTicket     = "ticket"
	MethodCRA        = "wampcra"
	MethodSCRAM      = "wamp-scram"
	MethodCryptosign = "cryptosign"
	// MethodSCRAMField is what Autobahn and Crossbar call MethodSCRAM.
	MethodSCRAMField = "scram"
)

// Principal is who may join, and by which methods. What is nil is not offered.
// A Principal must not change once a Verifier has it.
type Principal struct {
	// AuthID is 1 to 256 bytes of text without control characters.
	AuthID string
	// Role is the authrole of its sessions.
	Role string
	// Realms are those that it may join. Empty: every realm.
	Realms []wamp.URI

	Ticket *StoredTicket
	CRA    *StoredCRA
	SCRAM  *StoredSCRAM
	// SCRAMField is the same password for MethodSCRAMField: the only KDF that
	// Autobahn carries out is Argon2id13Text, which no other client knows. Where one
	// of the two is nil, the other serves both.
	SCRAMField *StoredSCRAM
	// Keys are the Ed25519 public keys that cryptosign takes for it.
	Keys []ed25519.PublicKey
}

// Validate reports what is wrong with p.
func (p *Principal) Validate() error {
	switch {
	case !validAuthID(p.AuthID):
		return fmt.Errorf("principal %q: the authid must be text of 1 to %d bytes", p.AuthID, maxAuthID)
	case p.Role == "":
		return fmt.Errorf("principal %q: no role", p.AuthID)
	case p.Ticket == nil && p.CRA == nil && p.scram(MethodSCRAM) == nil && len(p.Keys) == 0:
		return fmt.Errorf("principal %q: no method; known: ticket, wampcra, scram, cryptosign", p.AuthID)
	case p.Ticket != nil && p.Ticket.hash.Empty(), p.CRA != nil && p.CRA.key.Empty(), p.SCRAM != nil && p.SCRAM.storedKey.Empty(),
		p.SCRAMField != nil && p.SCRAMField.storedKey.Empty():
		return fmt.Errorf("principal %q: an empty secret", p.AuthID)
	}
	if p.scram(MethodSCRAM) != nil {
		if _, err := prepare(p.AuthID); err != nil {
			return fmt.Errorf("principal %q: authid: %w", p.AuthID, err)
		}
	}
	for _, k := range p.Keys {
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("principal %q: a public key of %d bytes", p.AuthID, len(k))
		}
	}
	return nil
}

func (p *Principal) joins(realm wamp.URI) bool {
	return len(p.Realms) == 0 || slices.Contains(p.Realms, realm)
}

func (p *Principal) hasKey(key ed25519.PublicKey) bool {
	return slices.ContainsFunc(p.Keys, func(k ed25519.PublicKey) bool { return bytes.Equal(k, key) })
}

// offers reports whether p can log in by a method.
func (p *Principal) offers(method string) bool {
	switch method {
	case MethodTicket:
		return p.Ticket != nil
	case MethodCRA:
		return p.CRA != nil
	case MethodSCRAM, MethodSCRAMField:
		return p.scram(method) != nil
	case MethodCryptosign:
		return len(p.Keys) > 0
	}
	return false
}

// scram returns what a spelling of SCRAM is checked with, nil if nothing is there.
func (p *Principal) scram(method string) *StoredSCRAM {
	first, second := p.SCRAM, p.SCRAMField
	if method == MethodSCRAMField {
		first, second = second, first
	}
	if first == nil {
		return second
	}
	return first
}

// costs are a Params without the salt itself.
type costs struct {
	on                 bool
	kdf                KDF
	iterations, memory uint32
	keyLen, saltLen    int
}

func costsOf(p *Params) costs {
	return costs{true, p.KDF, p.Iterations, p.Memory, p.KeyLen, len(p.Salt)}
}

// shape is what a peer can see of a principal without a proof: which methods it
// has, at what costs, and the role that wampcra's challenge tells.
type shape struct {
	role                       string
	hasTicket, hasCRA, hasKeys bool
	ticketCosts, craCosts      costs
	scramCosts, fieldCosts     costs
}

func shapeOf(p *Principal) shape {
	s := shape{role: p.Role, hasTicket: p.Ticket != nil, hasCRA: p.CRA != nil, hasKeys: len(p.Keys) > 0}
	if s.hasTicket && p.Ticket.params != nil {
		s.ticketCosts = costsOf(p.Ticket.params)
	}
	if s.hasCRA && p.CRA.salted {
		s.craCosts = costs{true, PBKDF2, p.CRA.iterations, 0, p.CRA.keyLen, len(p.CRA.salt)}
	}
	if p.SCRAM != nil {
		s.scramCosts = costsOf(&p.SCRAM.params)
	}
	if p.SCRAMField != nil {
		s.fieldCosts = costsOf(&p.SCRAMField.params)
	}
	return s
}

// maxShapes bounds the work of choosing a decoy's shape, which every login pays.
const maxShapes = 64

// decoys make principals for authids that do not exist. A decoy is the same each
// time it is asked for, looks like one of the principals there are, and nobody
// has its secrets.
type decoys struct {
	secret []byte
	shapes []shape
	names  []string // of shapes: what a choice depends on
}

func newDecoys(secret []byte, principals []Principal) *decoys {
	d := &decoys{secret: secret}
	for i := range principals {
		if s := shapeOf(&principals[i]); len(d.shapes) < maxShapes && !slices.Contains(d.shapes, s) {
			d.shapes = append(d.shapes, s)
		}
	}
	if len(d.shapes) == 0 {
		p := Params{KDF: PBKDF2, Iterations: DefaultLimits().MinIterations, KeyLen: sha256.Size, Salt: make([]byte, 16)}
		d.shapes = []shape{{role: "user", hasTicket: true, hasCRA: true, hasKeys: true, scramCosts: costsOf(&p)}}
	}
	for _, s := range d.shapes {
		d.names = append(d.names, fmt.Sprintf("%+v", s))
	}
	return d
}

// bytes returns n bytes that depend on the authid and nothing else.
func (d *decoys) bytes(what, authid string, n int) []byte {
	var b []byte
	for i := byte(0); len(b) < n; i++ {
		b = append(b, mac(d.secret, what, "\x00", string(i), "\x00", authid)...)
	}
	return b[:n]
}

// choose returns the shape for an authid, of those with keys if keyed is set and
// there are any. Adding a shape leaves most choices as they are, so that decoys do
// not give themselves away when a user is added.
func (d *decoys) choose(authid string, keyed bool) shape {
	var best uint64
	at := 0
	for i, name := range d.names {
		score := binary.BigEndian.Uint64(mac(d.secret, "shape\x00", name, "\x00", authid)) >> 1
		if keyed && d.shapes[i].hasKeys {
			score |= 1 << 63
		}
		if score > best {
			best, at = score, i
		}
	}
	return d.shapes[at]
}

func (d *decoys) params(what, authid string, c costs) Params {
	return Params{KDF: c.kdf, Iterations: c.iterations, Memory: c.memory, KeyLen: c.keyLen,
		Salt: d.bytes(what+" salt", authid, c.saltLen)}
}

// principal returns the decoy for authid, or for a key that was announced without
// one.
func (d *decoys) principal(authid string, keyed bool) *Principal {
	s := d.choose(authid, keyed)
	p := &Principal{AuthID: authid, Role: s.role}
	secret := func(what string) Secret { return secretOf(d.bytes(what, authid, sha256.Size)) }
	if s.hasTicket {
		p.Ticket = &StoredTicket{hash: secret("ticket")}
		if s.ticketCosts.on {
			params := d.params("ticket", authid, s.ticketCosts)
			p.Ticket.params = &params
		}
	}
	if s.hasCRA {
		p.CRA = &StoredCRA{key: NewSecret(encodeBase64(d.bytes("wampcra", authid, max(s.craCosts.keyLen, sha256.Size))))}
		if c := s.craCosts; c.on {
			p.CRA.salted, p.CRA.iterations, p.CRA.keyLen = true, c.iterations, c.keyLen
			// Salts are text here; base64 is what most are.
			p.CRA.salt = encodeBase64(d.bytes("wampcra salt", authid, c.saltLen))[:c.saltLen]
		}
	}
	scram := func(what string, c costs) *StoredSCRAM {
		if !c.on {
			return nil
		}
		return &StoredSCRAM{params: d.params(what, authid, c), storedKey: secret(what + " stored"), server: secret(what + " server")}
	}
	p.SCRAM, p.SCRAMField = scram("scram", s.scramCosts), scram("scram field", s.fieldCosts)
	if s.hasKeys {
		p.Keys = []ed25519.PublicKey{d.bytes("cryptosign", authid, ed25519.PublicKeySize)}
	}
	return p
}
