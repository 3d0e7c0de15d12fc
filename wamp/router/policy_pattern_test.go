package router

import (
	"fmt"
	"strings"
	"testing"

	"gantry/wamp"
)

// The model of covers and overlaps: sets of URIs, written out. The URIs have more
// components, and longer ones, than the patterns, so that what a pattern leaves
// open shows.

type matcher struct {
	match wamp.Match
	uri   string
}

func (p matcher) String() string { return fmt.Sprintf("%s %q", p.match, p.uri) }

// names returns all sequences of up to levels of the components.
func names(components []string, levels int) []string {
	var all []string
	layer := []string{""}
	for level := range levels {
		var next []string
		for _, head := range layer {
			for _, c := range components {
				if level > 0 {
					c = head + "." + c
				}
				next = append(next, c)
			}
		}
		all = append(all, next...)
		layer = next
	}
	return all
}

func smallPatterns() []matcher {
	var all []matcher
	seen := map[matcher]bool{}
	for _, uri := range append(names([]string{"", "a", "b", "ab"}, 3), "") {
		for _, m := range []wamp.Match{wamp.MatchExact, wamp.MatchPrefix, wamp.MatchWildcard} {
			if p := (matcher{m, uri}); wamp.URI(uri).Valid(true, m) && !seen[p] {
				seen[p] = true
				all = append(all, p)
			}
		}
	}
	return all
}

type bits []uint64

func setOf(p matcher, universe []string) bits {
	set := make(bits, (len(universe)+63)/64)
	for i, uri := range universe {
		if wamp.URI(p.uri).Matches(p.match, wamp.URI(uri)) {
			set[i/64] |= 1 << (i % 64)
		}
	}
	return set
}

func (b bits) within(other bits) bool {
	for i := range b {
		if b[i]&^other[i] != 0 {
			return false
		}
	}
	return true
}

func (b bits) meets(other bits) bool {
	for i := range b {
		if b[i]&other[i] != 0 {
			return true
		}
	}
	return false
}

func TestCoversAndOverlapsAreThoseOfSets(t *testing.T) {
	t.Parallel()
	universe := names([]string{"a", "b", "aa", "ab", "ba", "abb"}, 4)
	patterns := smallPatterns()
	if len(patterns) < 150 || len(universe) < 1500 {
		t.Fatalf("%d patterns, %d URIs", len(patterns), len(universe))
	}
	sets := make([]bits, len(patterns))
	for i, p := range patterns {
		sets[i] = setOf(p, universe)
	}
	counts := [2]int{}
	for i, r := range patterns {
		for j, p := range patterns {
			wantCovers, wantOverlaps := sets[j].within(sets[i]), sets[j].meets(sets[i])
			if got := covers(r.match, r.uri, p.match, p.uri); got != wantCovers {
				t.Fatalf("%v covers %v: got %v, want %v", r, p, got, wantCovers)
			}
			if got := overlaps(r.match, r.uri, p.match, p.uri); got != wantOverlaps {
				t.Fatalf("%v overlaps %v: got %v, want %v", r, p, got, wantOverlaps)
			}
			if wantCovers {
				counts[0]++
			}
			if wantOverlaps {
				counts[1]++
			}
		}
	}
	if counts[0] < 500 || counts[1] < 1000 {
		t.Errorf("only %d pairs cover, %d overlap: the model tests little", counts[0], counts[1])
	}
}

func TestUnknownPoliciesAreCoveredByNothing(t *testing.T) {
	t.Parallel()
	for _, p := range smallPatterns() {
		if p.match != wamp.MatchExact && covers(p.match, p.uri, wamp.MatchInvalid, "a") {
			t.Errorf("%v covers a pattern of unknown policy", p)
		}
	}
	if covers(wamp.MatchPrefix, "", wamp.MatchInvalid, "a") || !overlaps(wamp.MatchPrefix, "b", wamp.MatchInvalid, "a") {
		t.Error("a pattern of unknown policy is not read at its widest")
	}
}

// filledIn is the model of placeholders: the text with the values in it.
func filledIn(text string, who *Identity) string {
	return strings.NewReplacer("{authid}", who.AuthID, "{authrole}", who.AuthRole).Replace(text)
}

func TestPatternsMatchWhatTheyAreFilledWith(t *testing.T) {
	t.Parallel()
	universe := names([]string{"a", "b", "ab", "aab", "bab"}, 3)
	components := []string{"", "a", "{authid}", "a{authid}", "{authid}b", "{authid}{authrole}", "{authrole}"}
	for _, who := range []Identity{{AuthID: "a", AuthRole: "b"}, {AuthID: "ab", AuthRole: "a"}, {AuthID: "{authrole}", AuthRole: "a"}} {
		tried := 0
		for _, text := range names(components, 3) {
			for _, m := range []wamp.Match{wamp.MatchExact, wamp.MatchPrefix, wamp.MatchWildcard} {
				if wrong, _ := wrongPattern(text, m); wrong != "" {
					continue
				}
				tried++
				p := newPattern(text, m)
				filled := filledIn(text, &who)
				if got := p.fill(&who); got != filled {
					t.Fatalf("%q filled in: %q, want %q", text, got, filled)
				}
				for _, uri := range universe {
					want := wamp.URI(filled).Matches(m, wamp.URI(uri))
					if got := p.matches(&who, uri); got != want {
						t.Fatalf("%s %q for %v on %q: got %v, want %v", m, text, who, uri, got, want)
					}
					if want && !strings.HasPrefix(uri, p.lead) {
						t.Fatalf("%s %q has the lead %q, but matches %q", m, text, p.lead, uri)
					}
				}
			}
		}
		if tried < 500 {
			t.Errorf("only %d patterns", tried)
		}
	}
}

func TestWhatMayStandForAPlaceholder(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"": false, "a": true, "node_1": true, "Ä-7": true, "{authid}": true, "anon-X1": true,
		".": false, "a.b": false, ".a": false, "a.": false, "a#": false, "a b": false, "a\n": false, "\xff": false, "\u2028": false,
		strings.Repeat("x", wamp.MaxURILength): true, strings.Repeat("x", wamp.MaxURILength+1): false,
	} {
		if got := fillable(&Identity{AuthID: value})&fieldAuthID != 0; got != want {
			t.Errorf("%.20q: got %v, want %v", value, got, want)
		}
		if got := fillable(&Identity{AuthRole: value})&fieldAuthRole != 0; got != want {
			t.Errorf("role %.20q: got %v, want %v", value, got, want)
		}
	}
}

// FuzzPatterns looks for URIs by which covers, overlaps or the matching of rules
// contradicts wamp.URI.Matches.
func FuzzPatterns(f *testing.F) {
	f.Add("gantry.gw.point.", byte(1), "gantry..point.", byte(2), "gantry.x.point.y", "node")
	f.Add("a.{authid}.", byte(1), "a.node", byte(1), "a.node.x", "node")
	f.Add("a..c", byte(2), "a.b.", byte(1), "a.b.c", "b")
	f.Add("", byte(1), "", byte(2), "ä.b", "x.y")
	f.Fuzz(func(t *testing.T, rule string, ruleMatch byte, request string, requestMatch byte, sample, authid string) {
		rm, pm := wamp.Match(ruleMatch%3), wamp.Match(requestMatch%3)
		who := Identity{AuthID: authid, AuthRole: "r"}
		if wrong, _ := wrongPattern(rule, rm); wrong != "" || !wamp.URI(request).Valid(false, pm) {
			return
		}
		r := newPattern(rule, rm)
		if r.needs&^fillable(&who) != 0 {
			return
		}
		filled := filledIn(rule, &who)
		if got := r.fill(&who); got != filled {
			t.Fatalf("%q filled in: %q, want %q", rule, got, filled)
		}
		cov, over := covers(rm, filled, pm, request), overlaps(rm, filled, pm, request)
		if cov && !over {
			t.Fatalf("%s %q covers %s %q without overlapping it", rm, filled, pm, request)
		}
		for _, uri := range samples(sample, filled, request) {
			ofRule, ofRequest := wamp.URI(filled).Matches(rm, wamp.URI(uri)), wamp.URI(request).Matches(pm, wamp.URI(uri))
			if got := r.matches(&who, uri); got != ofRule {
				t.Fatalf("%s %q for %q on %q: got %v, want %v", rm, rule, authid, uri, got, ofRule)
			}
			if cov && ofRequest && !ofRule {
				t.Fatalf("%s %q covers %s %q, but not %q", rm, filled, pm, request, uri)
			}
			if !over && ofRequest && ofRule {
				t.Fatalf("%s %q does not overlap %s %q, but both match %q", rm, filled, pm, request, uri)
			}
		}
	})
}

// samples makes valid URIs that patterns are likely to match.
func samples(sample string, patterns ...string) (uris []string) {
	add := func(uri string) {
		if wamp.URI(uri).Valid(false, wamp.MatchExact) {
			uris = append(uris, uri)
		}
	}
	add(sample)
	for _, p := range patterns {
		for _, c := range []string{"q", "r.q", sample} {
			add(p + c)
			add(p + "." + c)
			parts := strings.Split(p, ".")
			for i := range parts {
				if parts[i] == "" {
					parts[i] = c
				}
			}
			add(strings.Join(parts, "."))
		}
	}
	// A wildcard filled in with what the other pattern has there.
	a, b := strings.Split(patterns[0], "."), strings.Split(patterns[1], ".")
	for _, x := range [][2][]string{{a, b}, {b, a}} {
		merged := append([]string(nil), x[0]...)
		for i := range merged {
			if merged[i] == "" && i < len(x[1]) {
				merged[i] = x[1][i]
			}
			if merged[i] == "" {
				merged[i] = "q"
			}
		}
		add(strings.Join(merged, "."))
	}
	return uris
}

// naive decides by the words of the documentation: about one URI, rule by rule.
func naive(c RoleConfig, who *Identity, uri string) bool {
	allowed := false
	for _, r := range c.Rules {
		m, _ := wamp.ParseMatch(r.Match)
		filled := filledIn(string(r.URI), who)
		usable := !strings.ContainsAny(string(r.URI), "{") || isComponent(who.AuthID)
		if len(r.Deny) > 0 {
			begin, _, _ := strings.Cut(string(r.URI), "{")
			if m == wamp.MatchWildcard {
				begin = wildcardLead(begin)
			}
			if usable && wamp.URI(filled).Matches(m, wamp.URI(uri)) || !usable && strings.HasPrefix(uri, begin) {
				return false
			}
		}
		allowed = allowed || len(r.Allow) > 0 && usable && wamp.URI(filled).Matches(m, wamp.URI(uri))
	}
	return allowed
}

func isComponent(s string) bool {
	return wamp.URI("x."+s+".x").Valid(false, wamp.MatchExact) && strings.Count(s, ".") == 0
}

// FuzzDecide compares decisions with naive, and looks for URIs in an allowed
// pattern that are not allowed by themselves.
func FuzzDecide(f *testing.F) {
	f.Add("+1 a.\n-2 a..c\n+0 b", "x", "a.", byte(1), "a.b.d")
	f.Add("+1 p.{authid}.\n-0 p.{authid}.no\n+1 ", "n1", "p.n1.x", byte(0), "p.n1.no")
	f.Add("+1 \n-1 p.{authid}\n-2 q..{authid}", "n.1", "q.", byte(2), "q.x.n")
	f.Fuzz(func(t *testing.T, text, authid, request string, match byte, sample string) {
		var c RoleConfig
		var texts []string
		for line := range strings.SplitSeq(text, "\n") {
			if len(line) < 3 || len(texts) > 8 {
				continue
			}
			r := RuleConfig{Match: wamp.Match(line[1] % 3).String(), URI: wamp.URI(line[3:])}
			if line[0] == '+' {
				r.Allow = []Action{ActionSubscribe}
			} else {
				r.Deny = []Action{ActionSubscribe}
			}
			c.Rules = append(c.Rules, r)
			texts = append(texts, filledIn(line[3:], &Identity{AuthID: authid}))
		}
		if strings.Contains(text, "{authrole}") || c.Validate() != nil {
			return
		}
		p, err := NewPolicy(PolicyConfig{Roles: map[string]RoleConfig{"r": c}})
		if err != nil {
			t.Fatal(err)
		}
		who := Identity{AuthID: authid, AuthRole: "r"}
		m := wamp.Match(match % 3)
		if !wamp.URI(request).Valid(false, m) {
			return
		}
		whole := p.Decide(who, ActionSubscribe, wamp.URI(request), m).Allowed
		if p.Decide(who, ActionPublish, wamp.URI(request), wamp.MatchExact).Allowed {
			t.Fatal("an action that no rule is about is allowed")
		}
		for _, other := range append(texts, request) {
			for _, uri := range samples(sample, other, request) {
				want := naive(c, &who, uri)
				if d := p.Decide(who, ActionSubscribe, wamp.URI(uri), wamp.MatchExact); d.Allowed != want {
					t.Fatalf("%q for %q: %s, want %v; rules:\n%s", uri, authid, d.Explain(), want, text)
				}
				if whole && !want && wamp.URI(request).Matches(m, wamp.URI(uri)) {
					t.Fatalf("%s %q is allowed to %q, but %q is not; rules:\n%s", m, request, authid, uri, text)
				}
			}
		}
	})
}
