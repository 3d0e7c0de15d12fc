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

// PolicyConfig is what a Policy is made of. The zero value of a field is its
// default.
type PolicyConfig struct {
	// Roles are the roles that sessions may have, by name. RoleTrusted is there
	// without being named and cannot be configured.
	Roles map[string]RoleConfig
	// Ask is needed by roles with an authorizer.
	Ask DynamicAuthorizer
	// CacheSize bounds the answers kept of authorizers. Default 4096.
	CacheSize int
	// Now is the clock of the cache. Default time.Now.
	Now func() time.Time
}

// Policy decides by role and rules what a session may do. It never changes and
// takes no lock, the cache of authorizers' answers apart.
//
// What is asked for is a URI (publish, call) or a pattern (subscribe, register),
// which stands for all the URIs that it matches. A rule allows a pattern only if
// it covers all of them, and denies it as soon as there is one that both match.
// Denying beats allowing; what no rule allows is denied.
type Policy struct {
	roles map[string]*role
	// authorizers are the procedures that decide for roles.
	authorizers []wamp.URI
	ask         DynamicAuthorizer
	cache       *answers
}

// role is a compiled RoleConfig.
type role struct {
	name            string
	trusted         bool
	deny, allow     [actionCount][]rule
	authorizer      wamp.URI
	timeout         time.Duration
	disclose        Disclosure
	hasPlaceholders bool
}

// rule is the part of a RuleConfig that is about one action.
type rule struct {
	pattern
	index    int
	disclose Disclosure
}

// NewPolicy checks and compiles cfg. It may refuse it with joined *ConfigErrors.
func NewPolicy(cfg PolicyConfig) (*Policy, error) {
	orDefault(&cfg.CacheSize, 4096)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &Policy{roles: map[string]*role{RoleTrusted: {name: RoleTrusted, trusted: true}}, ask: cfg.Ask, cache: newAnswers(cfg.CacheSize, cfg.Now)}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(cfg.Roles)) {
		c := cfg.Roles[name]
		switch err := c.Validate(); {
		case name == "" || name == RoleTrusted:
			errs = append(errs, &ConfigError{Key: name, Text: fmt.Sprintf("%q is no role to configure", name), Allowed: "another name"})
		case err != nil:
			errs = append(errs, fmt.Errorf("role %s: %w", name, err))
		case c.Authorizer != "" && cfg.Ask == nil:
			errs = append(errs, &ConfigError{Key: name + ".authorizer", Text: "nobody asks the procedure"})
		default:
			p.roles[name] = compile(name, c)
			if c.Authorizer != "" {
				p.authorizers = append(p.authorizers, c.Authorizer)
			}
		}
	}
	return p, errors.Join(errs...)
}

func compile(name string, c RoleConfig) *role {
	r := &role{name: name, authorizer: c.Authorizer, timeout: c.AuthorizerTimeout, disclose: c.Disclose}
	orDefault(&r.timeout, defaultTimeout)
	for i := range c.Rules {
		rc := &c.Rules[i]
		match, _ := wamp.ParseMatch(rc.Match)
		one := rule{pattern: newPattern(string(rc.URI), match), index: i, disclose: rc.Disclose}
		r.hasPlaceholders = r.hasPlaceholders || one.needs != 0
		for _, a := range rc.Deny {
			r.deny[a.index()] = append(r.deny[a.index()], one)
		}
		for _, a := range rc.Allow {
			r.allow[a.index()] = append(r.allow[a.index()], one)
		}
	}
	return r
}

// Reason says why a decision is as it is.
type Reason uint8

// The reasons.
const (
	// ReasonNoRule: no rule is about it, so it is denied.
	ReasonNoRule Reason = iota
	// ReasonNoRole: there is no such role, so nothing is allowed.
	ReasonNoRole
	// ReasonTrusted: the role may do everything.
	ReasonTrusted
	// ReasonRule: the rule with the index Decision.Rule says so.
	ReasonRule
	// ReasonUnfilled: the denying rule has a placeholder for which the session has
	// no usable value. It stands for everything that begins as the rule does.
	ReasonUnfilled
	// ReasonAuthorizer: the role's authorizer decides. Decide does not ask it.
	ReasonAuthorizer
	// ReasonOwnAuthorizer: who is judged by an authorizer serves none.
	ReasonOwnAuthorizer
)

// Decision is the answer of a Policy.
type Decision struct {
	// Allowed is false, too, when somebody else decides (ReasonAuthorizer).
	Allowed bool
	// Role is the role that was asked about.
	Role string
	// Rule is the index of the rule that decided, -1 when none did.
	Rule   int
	Reason Reason
	// Authorizer is the procedure that decides, or has decided.
	Authorizer wamp.URI
	// Disclose says whether receivers learn who the session is.
	Disclose Disclosure
}

// Explain says in a sentence why the decision is as it is.
func (d Decision) Explain() string {
	verb := map[bool]string{true: "allows", false: "denies"}[d.Allowed]
	switch d.Reason {
	case ReasonNoRole:
		return fmt.Sprintf("there is no role %q", d.Role)
	case ReasonTrusted:
		return "the role trusted may do everything"
	case ReasonRule:
		return fmt.Sprintf("rule %d of role %s %s it", d.Rule+1, d.Role, verb)
	case ReasonUnfilled:
		return fmt.Sprintf("rule %d of role %s denies it: the session has no usable value for its placeholder, so it stands for everything that begins as it does", d.Rule+1, d.Role)
	case ReasonAuthorizer:
		return fmt.Sprintf("no rule of role %s decides, so the procedure %s is asked", d.Role, d.Authorizer)
	case ReasonOwnAuthorizer:
		return fmt.Sprintf("role %s has an authorizer and may therefore not serve one (%s)", d.Role, d.Authorizer)
	}
	return fmt.Sprintf("no rule of role %s allows it", d.Role)
}

// Knows reports whether there is a role of this name.
func (p *Policy) Knows(role string) bool { return p.roles[role] != nil }

// Roles returns the names of all roles, in order.
func (p *Policy) Roles() []string { return slices.Sorted(maps.Keys(p.roles)) }

// Decide says whether who may do a on uri, read with match m; publish and call
// are always about one URI (MatchExact). Authorizers are not asked. The URI must
// be valid for m.
func (p *Policy) Decide(who Identity, a Action, uri wamp.URI, m wamp.Match) Decision {
	d := Decision{Role: who.AuthRole, Rule: -1}
	r := p.roles[who.AuthRole]
	switch {
	case r == nil:
		d.Reason = ReasonNoRole
		return d
	case r.trusted:
		d.Allowed, d.Reason = true, ReasonTrusted
		return d
	}
	i := a.index()
	if i < 0 {
		return d
	}
	d.Disclose = r.disclose
	q := question{who: &who, uri: string(uri), match: m}
	if r.hasPlaceholders {
		q.have = fillable(&who)
	}
	if a == ActionRegister && r.authorizer != "" {
		if d.Authorizer = p.servedBy(&q); d.Authorizer != "" {
			d.Reason = ReasonOwnAuthorizer
			return d
		}
	}
	for k := range r.deny[i] {
		if denied, reason := q.denied(&r.deny[i][k]); denied {
			d.Rule, d.Reason = r.deny[i][k].index, reason
			return d
		}
	}
	for k := range r.allow[i] {
		if one := &r.allow[i][k]; q.allowed(one) {
			d.Allowed, d.Rule, d.Reason = true, one.index, ReasonRule
			if one.disclose != DiscloseDefault {
				d.Disclose = one.disclose
			}
			return d
		}
	}
	if r.authorizer != "" {
		d.Reason, d.Authorizer = ReasonAuthorizer, r.authorizer
	}
	return d
}

// servedBy returns an authorizer that a registration would serve. A session that
// waits for an authorizer's decision does not read its peer's messages: if the
// peer was to decide, both would wait for each other.
func (p *Policy) servedBy(q *question) wamp.URI {
	for _, uri := range p.authorizers {
		if overlaps(wamp.MatchExact, string(uri), q.match, q.uri) {
			return uri
		}
	}
	return ""
}

// Partly returns the indexes of the rules of who's role that allow a on some, but
// not on all, of the URIs that a pattern matches.
func (p *Policy) Partly(who Identity, a Action, uri wamp.URI, m wamp.Match) (rules []int) {
	r, i := p.roles[who.AuthRole], a.index()
	if r == nil || i < 0 {
		return nil
	}
	q := question{who: &who, uri: string(uri), match: m, have: fillable(&who)}
	for k := range r.allow[i] {
		if one := &r.allow[i][k]; q.fits(one) && !q.allowed(one) && overlaps(one.match, one.fill(&who), m, q.uri) {
			rules = append(rules, one.index)
		}
	}
	return rules
}

// Unfilled returns the indexes of the rules of who's role about a that match
// nothing because who has no value that may stand for their placeholders.
func (p *Policy) Unfilled(who Identity, a Action) (rules []int) {
	r, i := p.roles[who.AuthRole], a.index()
	if r == nil || i < 0 {
		return nil
	}
	q := question{have: fillable(&who)}
	for k := range r.allow[i] {
		if one := &r.allow[i][k]; !q.fits(one) {
			rules = append(rules, one.index)
		}
	}
	return rules
}

// question is a request put to rules.
type question struct {
	who   *Identity
	have  field // what of who may stand for a placeholder
	uri   string
	match wamp.Match
}

func (q *question) fits(r *rule) bool { return r.needs&^q.have == 0 }

func (q *question) allowed(r *rule) bool {
	switch {
	case !q.fits(r):
		return false
	case q.match == wamp.MatchExact:
		return r.matches(q.who, q.uri)
	}
	return covers(r.match, r.fill(q.who), q.match, q.uri)
}

func (q *question) denied(r *rule) (bool, Reason) {
	switch {
	case !q.fits(r):
		// To forget the rule would allow what it was meant to protect.
		return overlaps(wamp.MatchPrefix, r.lead, q.match, q.uri), ReasonUnfilled
	case q.match == wamp.MatchExact:
		return strings.HasPrefix(q.uri, r.lead) && r.matches(q.who, q.uri), ReasonRule
	}
	return overlaps(r.match, r.fill(q.who), q.match, q.uri), ReasonRule
}
