package wamp

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// URI names a realm, topic, procedure or error: dot-separated components
// (BP "URIs").
type URI string

// MaxURILength is the longest URI, in bytes, that Gantry accepts.
const MaxURILength = 1024

// Match is the policy by which a subscription or registration matches
// (AP "Pattern-based Subscriptions", "Pattern-based Registrations").
type Match uint8

// The match policies. The zero value is exact.
const (
	MatchExact Match = iota
	MatchPrefix
	MatchWildcard
	// MatchInvalid stands for a policy on the wire that is none of these.
	MatchInvalid Match = 255
)

var matchNames = [...]string{"exact", "prefix", "wildcard"}

// String returns the policy's name on the wire.
func (m Match) String() string {
	if int(m) < len(matchNames) {
		return matchNames[m]
	}
	return "invalid"
}

// ParseMatch returns the policy named s. The empty string is exact.
func ParseMatch(s string) (Match, bool) {
	switch s {
	case "", "exact":
		return MatchExact, true
	case "prefix":
		return MatchPrefix, true
	case "wildcard":
		return MatchWildcard, true
	}
	return 0, false
}

// Valid reports whether u is a legal URI under the loose rules (no empty
// component, no '#', no white space) or, with strict, under the strict ones
// (components of lower-case letters, digits and underscore). With MatchWildcard
// any component may be empty; with MatchPrefix u may be empty and may end in
// an unfinished or empty component. (BP "URIs", AP "Pattern-based
// Subscriptions".)
func (u URI) Valid(strict bool, m Match) bool {
	if len(u) > MaxURILength {
		return false
	}
	if u == "" {
		return m == MatchPrefix || m == MatchWildcard
	}
	start := 0
	for i := 0; i < len(u); i++ {
		c := u[i]
		switch {
		case c == '.':
			if i == start && m != MatchWildcard {
				return false
			}
			start = i + 1
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_':
		case strict:
			return false
		case c == '#' || c <= ' ':
			return false
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(string(u[i:]))
			if unicode.IsSpace(r) || r == utf8.RuneError && n == 1 {
				return false
			}
			i += n - 1
		}
	}
	return start < len(u) || m != MatchExact
}

// Reserved reports whether u lies in the protocol's own name space, "wamp." or
// "wamp" itself, where applications may neither publish nor register
// (BP "Reserved URIs").
func (u URI) Reserved() bool { return u == "wamp" || strings.HasPrefix(string(u), "wamp.") }

// Matches reports whether pattern u, read with policy m, covers the URI name.
// It is the definition that the router's tables are tested against.
func (u URI) Matches(m Match, name URI) bool {
	switch m {
	case MatchPrefix:
		return strings.HasPrefix(string(name), string(u))
	case MatchWildcard:
		p, n := string(u), string(name)
		for {
			pc, pr, pm := strings.Cut(p, ".")
			nc, nr, nm := strings.Cut(n, ".")
			if pc != "" && pc != nc || pm != nm {
				return false
			}
			if !pm {
				return true
			}
			p, n = pr, nr
		}
	}
	return u == name
}
