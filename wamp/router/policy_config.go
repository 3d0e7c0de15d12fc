package router

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gantry/wamp"
)

// RoleTrusted is the role of the components of the process that runs the router.
// It may do everything, and no configuration changes that.
const RoleTrusted = "trusted"

// Disclosure says whether the receivers of a session's publications and calls
// learn its ID, authid and authrole.
type Disclosure string

// The ways of disclosure.
const (
	// DiscloseDefault leaves it to the role, and a role leaves it to the session.
	DiscloseDefault Disclosure = ""
	// DiscloseAsked discloses where the session asks for it (disclose_me).
	DiscloseAsked Disclosure = "asked"
	// DiscloseNever refuses requests with disclose_me.
	DiscloseNever Disclosure = "never"
	// DiscloseAlways discloses, asked or not.
	DiscloseAlways Disclosure = "always"
)

// RoleConfig says what the sessions of a role may do. What nothing allows is
// denied.
type RoleConfig struct {
	// Rules are independent of each other: a rule that denies beats every rule that
	// allows. Among those that allow, the first one decides about disclosure.
	Rules []RuleConfig `toml:"rules"`
	// Authorizer is the procedure that is asked where no rule decides. "" = nobody.
	Authorizer wamp.URI `toml:"authorizer"`
	// AuthorizerTimeout is the longest wait for its answer. Default 2 s.
	AuthorizerTimeout time.Duration `toml:"authorizer_timeout"`
	// Disclose holds for what no rule says otherwise about.
	Disclose Disclosure `toml:"disclose"`
	// TrustLevel is told to the receivers of what the role's sessions call and
	// publish, see LoginConfig.Trust, which it is for. Nil = nothing is told.
	TrustLevel *uint32 `toml:"trust_level"`
}

// RuleConfig allows or denies actions on URIs.
type RuleConfig struct {
	// URI is what the rule is about. {authid} and {authrole} stand for the
	// session's own, where these are one URI component.
	URI wamp.URI `toml:"uri"`
	// Match is how URI is read: exact (default), prefix (of bytes) or wildcard.
	Match string `toml:"match"`
	// Allow and Deny list actions; at least one of them is not empty.
	Allow []Action `toml:"allow"`
	Deny  []Action `toml:"deny"`
	// Disclose holds for the publications and calls that this rule allows.
	Disclose Disclosure `toml:"disclose"`
}

// ConfigError tells which key of a table is wrong, relative to the table, what is
// wrong and what is allowed.
type ConfigError struct {
	Key, Text, Allowed string
}

// Error returns key, text and what is allowed.
func (e *ConfigError) Error() string {
	if e.Allowed == "" {
		return e.Key + ": " + e.Text
	}
	return e.Key + ": " + e.Text + "; allowed: " + e.Allowed
}

// actions are what rules are about, in the order of the compiled lists.
var actions = [...]Action{ActionPublish, ActionSubscribe, ActionRegister, ActionCall}

const (
	actionCount    = len(actions)
	actionWords    = `"publish", "subscribe", "register", "call"`
	maxRules       = 1000
	defaultTimeout = 2 * time.Second
	// maxTimeoutAuthorizer keeps a session from waiting longer than people do.
	maxTimeoutAuthorizer = time.Minute
)

// index returns the position of an action in actions, -1 for none of them.
func (a Action) index() int {
	switch a {
	case ActionPublish:
		return 0
	case ActionSubscribe:
		return 1
	case ActionRegister:
		return 2
	case ActionCall:
		return 3
	}
	return -1
}

// Validate reports everything that is wrong with c as joined *ConfigErrors.
func (c RoleConfig) Validate() error {
	var errs []error
	fail := func(key, text, allowed string) { errs = append(errs, &ConfigError{key, text, allowed}) }
	if c.Authorizer != "" && (!c.Authorizer.Valid(false, wamp.MatchExact) || c.Authorizer.Reserved()) {
		fail("authorizer", fmt.Sprintf("%.80q is no procedure that one may register", c.Authorizer), "a URI outside wamp.")
	}
	if c.AuthorizerTimeout < 0 || c.AuthorizerTimeout > maxTimeoutAuthorizer {
		fail("authorizer_timeout", "is "+c.AuthorizerTimeout.String(), "0 (the default, 2s) to "+maxTimeoutAuthorizer.String())
	}
	if c.Authorizer == "" && c.AuthorizerTimeout != 0 {
		fail("authorizer_timeout", "is set without authorizer", "")
	}
	if !c.Disclose.valid() {
		fail("disclose", fmt.Sprintf("is %.32q", c.Disclose), disclosureWords)
	}
	if len(c.Rules) > maxRules {
		fail("rules", fmt.Sprintf("has %d rules", len(c.Rules)), fmt.Sprintf("up to %d", maxRules))
	}
	type about struct {
		uri   wamp.URI
		match wamp.Match
	}
	seen := map[about]int{}
	for i := range c.Rules {
		r := &c.Rules[i]
		key := fmt.Sprintf("rules[%d]", i)
		if !r.validate(func(sub, text, allowed string) { fail(key+sub, text, allowed) }) {
			continue
		}
		match, _ := wamp.ParseMatch(r.Match)
		this := about{r.URI, match}
		if first, twice := seen[this]; twice {
			fail(key+".uri", fmt.Sprintf("%.80q with match %q is the subject of rule %d already", r.URI, match.String(), first+1), "one rule with all its actions")
			continue
		}
		seen[this] = i
	}
	return errors.Join(errs...)
}

// validate reports whether it has found nothing wrong.
func (r *RuleConfig) validate(fail func(sub, text, allowed string)) (ok bool) {
	ok = true
	complain := func(sub, text, allowed string) {
		ok = false
		fail(sub, text, allowed)
	}
	match, known := wamp.ParseMatch(r.Match)
	if !known {
		complain(".match", fmt.Sprintf("is %.32q", r.Match), `"exact", "prefix", "wildcard"`)
	} else if text, allowed := wrongPattern(string(r.URI), match); text != "" {
		complain(".uri", text, allowed)
	}
	if len(r.Allow)+len(r.Deny) == 0 {
		complain("", "neither allows nor denies anything", "allow or deny with some of "+actionWords)
	}
	var seen [actionCount]bool
	for _, list := range []struct {
		key     string
		actions []Action
	}{{".allow", r.Allow}, {".deny", r.Deny}} {
		for i, a := range list.actions {
			at := fmt.Sprintf("%s[%d]", list.key, i)
			n := a.index()
			switch {
			case n < 0:
				complain(at, fmt.Sprintf("%.32q is no action", a), actionWords)
			case seen[n]:
				complain(at, fmt.Sprintf("%q is in this rule twice", a), "each action once, in allow or in deny")
			default:
				seen[n] = true
			}
		}
	}
	if !r.Disclose.valid() {
		complain(".disclose", fmt.Sprintf("is %.32q", r.Disclose), disclosureWords)
	} else if r.Disclose != DiscloseDefault && !slices.Contains(r.Allow, ActionPublish) && !slices.Contains(r.Allow, ActionCall) {
		complain(".disclose", "is set, but the rule allows neither publish nor call", "")
	}
	return ok
}

// wrongPattern says what is wrong with the URI of a rule; "" = nothing.
func wrongPattern(uri string, m wamp.Match) (text, allowed string) {
	plain := uri
	for name := range placeholders {
		plain = strings.ReplaceAll(plain, name, "x")
	}
	if strings.ContainsAny(plain, "{}") {
		return fmt.Sprintf("%.80q has braces that are no placeholder", uri), strings.Join(slices.Sorted(maps.Keys(placeholders)), ", ")
	}
	if wamp.URI(plain).Valid(false, m) {
		return "", ""
	}
	text = fmt.Sprintf("%.80q is no URI for match %q", uri, m)
	switch {
	case len(uri) > wamp.MaxURILength:
		return text, fmt.Sprintf("up to %d bytes", wamp.MaxURILength)
	case m == wamp.MatchExact && strings.HasSuffix(uri, "."):
		return text, `components joined by dots; with match = "prefix" it may end in a dot`
	case m == wamp.MatchExact && (uri == "" || strings.Contains(uri, "..")):
		return text, `components joined by dots; with match = "wildcard" an empty one stands for any`
	}
	return text, "components without spaces or #, joined by dots"
}

const disclosureWords = `"asked", "never", "always"`

func (d Disclosure) valid() bool {
	switch d {
	case DiscloseDefault, DiscloseAsked, DiscloseNever, DiscloseAlways:
		return true
	}
	return false
}
