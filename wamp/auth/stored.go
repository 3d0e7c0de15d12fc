package auth

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The names that open stored forms. The text behind them is
// "PARAMETERS:SALT$KEY" with base64 salts and keys, as PostgreSQL writes its SCRAM
// verifiers; parameters are "ITERATIONS" or "ITERATIONS,MEMORY".
const (
	formTicketSHA256 = "TICKET-SHA-256"
	formTicket       = "TICKET-"
	formCRA          = "WAMPCRA-SHA-256"
	formSCRAM        = "SCRAM-"
)

// formNames are the names of the KDFs in stored forms.
var formNames = map[KDF]string{PBKDF2: "SHA-256", Argon2id13: "ARGON2ID13", Argon2id13Text: "ARGON2ID-13"}

// errEmpty tells of a password, ticket or secret without a character in it.
var errEmpty = errors.New("an empty secret")

// StoredTicket is what the router keeps of a ticket: a hash. It holds no text
// that could be sent as the ticket.
type StoredTicket struct {
	params *Params // nil: hash is the ticket's SHA-256
	hash   Secret
}

// PlainTicket keeps the SHA-256 of a ticket. That is enough for random tickets
// of 128 bits and more; for what people think up use HashTicket. An empty ticket
// is never right.
func PlainTicket(ticket Secret) *StoredTicket {
	if ticket.Empty() {
		return &StoredTicket{}
	}
	sum := sha256.Sum256(ticket.Reveal())
	return &StoredTicket{hash: secretOf(sum[:])}
}

// HashTicket keeps a ticket by a KDF, which the router then runs at each login:
// choose p so that the smallest board can bear it. KeyLen must be 32, the KDF
// PBKDF2 or Argon2id13.
func HashTicket(ticket Secret, p Params) (*StoredTicket, error) {
	if ticket.Empty() {
		return nil, errEmpty
	}
	if err := checkTicketParams(&p); err != nil {
		return nil, err
	}
	key, err := Derive(p, ticket.Reveal())
	if err != nil {
		return nil, err
	}
	return &StoredTicket{params: &p, hash: secretOf(key)}, nil
}

func checkTicketParams(p *Params) error {
	if p.KDF == Argon2id13Text || p.KeyLen != sha256.Size {
		return errors.New("stored ticket: use pbkdf2 or argon2id13 with a key of 32 bytes")
	}
	if err := p.Check(DefaultLimits()); err != nil {
		return fmt.Errorf("stored ticket: %w", err)
	}
	return nil
}

// ParseTicket reads what Text wrote: "TICKET-SHA-256$HASH",
// "TICKET-PBKDF2$ITERATIONS:SALT$HASH" or
// "TICKET-ARGON2ID13$ITERATIONS,MEMORY:SALT$HASH".
func ParseTicket(s string) (*StoredTicket, error) {
	name, rest, _ := strings.Cut(s, "$")
	if name == formTicketSHA256 {
		hash, ok := decodeBase64(rest)
		if !ok || len(hash) != sha256.Size {
			return nil, errors.New("stored ticket: the hash must be base64 of 32 bytes")
		}
		return &StoredTicket{hash: secretOf(hash)}, nil
	}
	p := Params{KeyLen: sha256.Size}
	switch name {
	case formTicket + "PBKDF2":
		p.KDF = PBKDF2
	case formTicket + "ARGON2ID13":
		p.KDF = Argon2id13
	default:
		return nil, errors.New("stored ticket: unknown form; known: TICKET-SHA-256, TICKET-PBKDF2, TICKET-ARGON2ID13")
	}
	keys, err := parseForm(rest, &p)
	if err != nil {
		return nil, fmt.Errorf("stored ticket: %w", err)
	}
	if err := checkTicketParams(&p); err != nil {
		return nil, err
	}
	hash, ok := decodeBase64(keys)
	if !ok || len(hash) != sha256.Size {
		return nil, errors.New("stored ticket: the hash must be base64 of 32 bytes")
	}
	return &StoredTicket{params: &p, hash: secretOf(hash)}, nil
}

// Text returns the stored form, for a configuration file. It is worth keeping
// secret.
func (t *StoredTicket) Text() string {
	if t.params == nil {
		return formTicketSHA256 + "$" + encodeBase64(t.hash.Reveal())
	}
	name := "PBKDF2"
	if t.params.KDF == Argon2id13 {
		name = "ARGON2ID13"
	}
	return formTicket + name + "$" + t.params.form() + "$" + encodeBase64(t.hash.Reveal())
}

// StoredCRA is the key of a wampcra principal: the shared secret itself, or one
// derived from it. Whoever has the key can log in.
type StoredCRA struct {
	salted     bool
	salt       string
	iterations uint32
	keyLen     int
	key        Secret // of the HMAC
}

// PlainCRA keeps the shared secret as it is.
func PlainCRA(secret Secret) *StoredCRA { return &StoredCRA{key: secret} }

// DeriveCRA keeps a key derived from the secret (AP "WAMP-CRA", Password
// Salting). The salt is text of 1 to 256 bytes, keyLen 16 to 64 bytes.
func DeriveCRA(secret Secret, salt string, iterations uint32, keyLen int) (*StoredCRA, error) {
	if secret.Empty() {
		return nil, errEmpty
	}
	c := &StoredCRA{salted: true, salt: salt, iterations: iterations, keyLen: keyLen}
	p, err := c.params()
	if err != nil {
		return nil, err
	}
	key, err := Derive(p, secret.Reveal())
	if err != nil {
		return nil, err
	}
	// The HMAC's key is the base64 text, not the bytes.
	c.key = NewSecret(encodeBase64(key))
	return c, nil
}

// craLimits are those of wampcra, whose specification shows 1000 rounds.
func craLimits(l Limits) Limits {
	l.MinIterations = 1
	return l
}

func (c *StoredCRA) params() (Params, error) {
	p := Params{KDF: PBKDF2, Salt: []byte(c.salt), Iterations: c.iterations, KeyLen: c.keyLen}
	if !utf8.ValidString(c.salt) {
		return p, errors.New("stored wampcra key: the salt must be text")
	}
	if err := p.Check(craLimits(DefaultLimits())); err != nil {
		return p, fmt.Errorf("stored wampcra key: %w", err)
	}
	return p, nil
}

// ParseCRA reads what Text wrote: "WAMPCRA-SHA-256$ITERATIONS:SALT$KEY", where
// SALT is the base64 of the salt's text.
func ParseCRA(s string) (*StoredCRA, error) {
	name, rest, _ := strings.Cut(s, "$")
	if name != formCRA {
		return nil, errors.New("stored wampcra key: unknown form; known: " + formCRA)
	}
	var p Params
	keyText, err := parseForm(rest, &p)
	if err != nil {
		return nil, fmt.Errorf("stored wampcra key: %w", err)
	}
	key, ok := decodeBase64(keyText)
	if !ok || p.Memory != 0 {
		return nil, errors.New("stored wampcra key: the key must be base64")
	}
	c := &StoredCRA{salted: true, salt: string(p.Salt), iterations: p.Iterations, keyLen: len(key), key: NewSecret(keyText)}
	if _, err := c.params(); err != nil {
		return nil, err
	}
	return c, nil
}

// Text returns the stored form of a derived key, "" for a plain secret. It is as
// secret as a password.
func (c *StoredCRA) Text() string {
	if !c.salted {
		return ""
	}
	p := Params{Salt: []byte(c.salt), Iterations: c.iterations}
	return formCRA + "$" + p.form() + "$" + string(c.key.Reveal())
}

// StoredSCRAM is what the router keeps of a SCRAM password: StoredKey and
// ServerKey (RFC 5802, 3). It does not let anybody log in.
type StoredSCRAM struct {
	params            Params
	storedKey, server Secret
}

// DeriveSCRAM makes the keys of a password, with KeyLen 32. The salt must be
// random and of this user only.
func DeriveSCRAM(password Secret, p Params) (*StoredSCRAM, error) {
	if err := checkSCRAMParams(&p); err != nil {
		return nil, err
	}
	prepared, err := prepare(string(password.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	if prepared == "" {
		return nil, errEmpty
	}
	salted, err := Derive(p, []byte(prepared))
	if err != nil {
		return nil, err
	}
	keys := scramKeysOf(salted)
	storedKey := sha256.Sum256(keys.clientKey)
	return &StoredSCRAM{params: p, storedKey: secretOf(storedKey[:]), server: secretOf(keys.serverKey)}, nil
}

func checkSCRAMParams(p *Params) error {
	if p.KeyLen != sha256.Size {
		return errors.New("stored scram key: the key must have 32 bytes")
	}
	if err := p.Check(DefaultLimits()); err != nil {
		return fmt.Errorf("stored scram key: %w", err)
	}
	return nil
}

// ParseSCRAM reads what Text wrote: "SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER"
// (PBKDF2, as in PostgreSQL), or SCRAM-ARGON2ID13 and SCRAM-ARGON2ID-13 with
// "ITERATIONS,MEMORY" (see Argon2id13Text for the second).
func ParseSCRAM(s string) (*StoredSCRAM, error) {
	name, rest, _ := strings.Cut(s, "$")
	p := Params{KeyLen: sha256.Size}
	for k, n := range formNames {
		if name == formSCRAM+n {
			p.KDF = k
		}
	}
	if p.KDF == 0 {
		return nil, errors.New("stored scram key: unknown form; known: SCRAM-SHA-256, SCRAM-ARGON2ID13, SCRAM-ARGON2ID-13")
	}
	keys, err := parseForm(rest, &p)
	if err != nil {
		return nil, fmt.Errorf("stored scram key: %w", err)
	}
	if err := checkSCRAMParams(&p); err != nil {
		return nil, err
	}
	first, second, _ := strings.Cut(keys, ":")
	storedKey, ok1 := decodeBase64(first)
	server, ok2 := decodeBase64(second)
	if !ok1 || !ok2 || len(storedKey) != sha256.Size || len(server) != sha256.Size {
		return nil, errors.New("stored scram key: StoredKey and ServerKey must be base64 of 32 bytes each")
	}
	return &StoredSCRAM{params: p, storedKey: secretOf(storedKey), server: secretOf(server)}, nil
}

// Text returns the stored form, for a configuration file. Whoever has it and
// listens to one login can log in.
func (s *StoredSCRAM) Text() string {
	return formSCRAM + formNames[s.params.KDF] + "$" + s.params.form() + "$" +
		encodeBase64(s.storedKey.Reveal()) + ":" + encodeBase64(s.server.Reveal())
}

// form returns "ITERATIONS[,MEMORY]:SALT".
func (p *Params) form() string {
	s := strconv.FormatUint(uint64(p.Iterations), 10)
	if p.Memory != 0 {
		s += "," + strconv.FormatUint(uint64(p.Memory), 10)
	}
	return s + ":" + encodeBase64(p.Salt)
}

// parseForm fills p from "ITERATIONS[,MEMORY]:SALT$KEYS" and returns KEYS.
func parseForm(s string, p *Params) (keys string, err error) {
	head, keys, ok := strings.Cut(s, "$")
	costs, salt, ok2 := strings.Cut(head, ":")
	if !ok || !ok2 {
		return "", errors.New("the form is NAME$ITERATIONS[,MEMORY]:SALT$KEY")
	}
	iterations, memory, argon := strings.Cut(costs, ",")
	if p.Iterations, ok = cost(iterations); !ok {
		return "", errors.New("iterations must be a number")
	}
	if argon {
		if p.Memory, ok = cost(memory); !ok || p.Memory == 0 {
			return "", errors.New("memory must be a number of KiB")
		}
	}
	if p.Salt, ok = decodeBase64(salt); !ok {
		return "", errors.New("the salt must be base64")
	}
	return keys, nil
}

// cost reads a number written in the one way that form writes it.
func cost(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && strconv.FormatUint(n, 10) == s
}

// ParsePublicKey reads an Ed25519 public key: 64 hex digits or base64 of 32
// bytes.
func ParsePublicKey(s string) (ed25519.PublicKey, error) {
	b, ok := decodeKey(s)
	if !ok {
		return nil, errors.New("public key: 64 hex digits or base64 of 32 bytes are needed")
	}
	// A key of zeros is a point of small order, for which signatures can be made
	// without a private key.
	if hmac.Equal(b, make([]byte, len(b))) {
		return nil, errors.New("public key: all zeros")
	}
	return b, nil
}

// ParsePrivateKey reads the seed of an Ed25519 private key: 64 hex digits, as
// Autobahn writes it, or base64 of 32 bytes. It is for Cryptosign.Key.
func ParsePrivateKey(s Secret) (Secret, error) {
	b, ok := decodeKey(string(s.Reveal()))
	if !ok {
		return Secret{}, errors.New("private key: 64 hex digits or base64 of 32 bytes are needed")
	}
	return secretOf(b), nil
}

func decodeKey(s string) ([]byte, bool) {
	if b, ok := decodeHex(s, ed25519.PublicKeySize); ok {
		return b, true
	}
	b, ok := decodeBase64(s)
	return b, ok && len(b) == ed25519.PublicKeySize
}

// PublicKey returns the public key of a private key read by ParsePrivateKey, nil
// for another Secret.
func PublicKey(private Secret) ed25519.PublicKey {
	if len(private.Reveal()) != ed25519.SeedSize {
		return nil
	}
	return ed25519.NewKeyFromSeed(private.Reveal()).Public().(ed25519.PublicKey)
}
