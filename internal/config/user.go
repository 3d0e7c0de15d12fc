package config

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"gantry/wamp"
	"gantry/wamp/auth"
)

// User is the table [user.AUTHID]: who may log in, and how.
type User struct {
	// Role is the role of the user's sessions. Required.
	Role string `toml:"role"`
	// Password is the password for ticket, wampcra and scram.
	Password Secret `toml:"password"`
	// Stored is what gantry user hash prints, a form on each line: proofs of a
	// password that do not tell it. The alternative to Password.
	Stored Secret `toml:"stored"`
	// Keys are Ed25519 public keys in hex or base64, for cryptosign.
	Keys []string `toml:"keys"`
	// Certificates are SHA-256 fingerprints, in hex, of TLS client certificates.
	Certificates []string `toml:"certificates"`
	// Realms are those that the user may join. None: all.
	Realms []string `toml:"realms"`
}

// Login is the table [login].
type Login struct {
	// PlainTickets takes tickets over connections that others can read.
	PlainTickets bool `toml:"plain_tickets"`
	// Find is a procedure that knows users who are not in the configuration: it gets
	// realm, authid and details, and returns null or a dictionary with role and
	// password, stored (a list) or keys (a list).
	Find string `toml:"find"`
	// FindTimeout bounds its answer. 0 = 5 s.
	FindTimeout time.Duration `toml:"find_timeout"`
	// Penalty is the wait after a wrong proof, doubled by each further one up to
	// PenaltyMax. 0 = 5 s and 10 min.
	Penalty    time.Duration `toml:"penalty"`
	PenaltyMax time.Duration `toml:"penalty_max"`
}

// users checks the tables [user.AUTHID] and [login].
func (d *decoder) users(m *mainFile) {
	keys, prints := map[string]string{}, map[string]string{}
	for _, name := range sortedKeys(m.User) {
		u, at := m.User[name], []string{"user", name}
		fail := func(key, text, allowed string) { d.fail(append(slices.Clone(at), key), text, allowed) }
		if name == "" || len(name) > 256 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			d.fail(at, "is no authid", "1 to 256 bytes of text without control characters")
		}
		switch _, known := m.Role[u.Role]; {
		case u.Role == "":
			fail("role", "is missing", "the name of a role")
		case len(m.Role) > 0 && !known:
			names := sortedKeys(m.Role)
			fail("role", fmt.Sprintf("%.80q is no role", u.Role)+nearest(u.Role, names), quotedNames(names))
		}
		if u.Password.IsZero() && u.Stored.IsZero() && len(u.Keys) == 0 && len(u.Certificates) == 0 {
			fail("password", "is missing", "password, stored, keys or certificates")
		}
		if !u.Password.IsZero() && !u.Stored.IsZero() {
			fail("stored", "is there beside password", "one of them")
		}
		for i, k := range u.Keys {
			at := fmt.Sprintf("keys\x00%d", i)
			b, err := auth.ParsePublicKey(k)
			if err != nil {
				fail(at, "is no Ed25519 public key", "32 bytes in hex or base64")
			} else if other, twice := keys[string(b)]; twice {
				fail(at, "is that of user "+other, "a key of its own")
			}
			keys[string(b)] = name
		}
		for i, c := range u.Certificates {
			at := fmt.Sprintf("certificates\x00%d", i)
			b, err := hex.DecodeString(strings.ReplaceAll(c, ":", ""))
			if err != nil || len(b) != 32 {
				fail(at, "is no fingerprint", "the SHA-256 of the certificate, 64 hex digits")
			} else if other, twice := prints[string(b)]; twice {
				fail(at, "is that of user "+other, "a certificate of its own")
			}
			prints[string(b)] = name
		}
		for i, r := range u.Realms {
			if !wamp.URI(r).Valid(false, wamp.MatchExact) {
				fail(fmt.Sprintf("realms\x00%d", i), fmt.Sprintf("%.80q is no URI", r), "parts without spaces or #, joined by dots")
			}
		}
	}
	if f := wamp.URI(m.Login.Find); f != "" && (!f.Valid(false, wamp.MatchExact) || f.Reserved()) {
		d.fail([]string{"login", "find"}, fmt.Sprintf("%.80q is no procedure", m.Login.Find), "a URI outside of wamp.")
	}
}
