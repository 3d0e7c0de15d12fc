package router_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/router"
)

// rules writes the rules of a role: "+subscribe,call prefix gantry.gw." allows,
// "-call exact a.b" denies.
func rules(lines ...string) router.RoleConfig {
	var c router.RoleConfig
	for _, line := range lines {
		words := strings.Split(line, " ")
		r := router.RuleConfig{Match: words[1], URI: wamp.URI(words[2])}
		for a := range strings.SplitSeq(words[0][1:], ",") {
			if words[0][0] == '+' {
				r.Allow = append(r.Allow, router.Action(a))
			} else {
				r.Deny = append(r.Deny, router.Action(a))
			}
		}
		c.Rules = append(c.Rules, r)
	}
	return c
}

const everything = "publish,subscribe,register,call"

// exampleRoles are the roles that testdata/policy.txt asks about.
func exampleRoles() map[string]router.RoleConfig {
	asked := rules("+publish prefix app.", "-publish exact app.off")
	asked.Authorizer = "auth.decide"
	return map[string]router.RoleConfig{
		"viewer": rules(
			"+subscribe prefix gantry.gw.point.",
			"+subscribe wildcard gantry.gw.state..link",
			"+call wildcard gantry.gw.get..",
			"+call exact gantry.gw.sys.device.list",
			"+call exact wamp.session.count",
			"+subscribe prefix wamp.session.",
		),
		"device": rules(
			"+publish prefix gantry.gw.point.{authid}.",
			"+publish exact gantry.gw.state.{authid}.link",
			"+register,publish wildcard gantry.gw.set.{authid}.",
			"+register prefix gantry.gw.do.{authid}.",
			"+publish exact gantry.gw.log.dev_{authid}",
			"+subscribe wildcard gantry..cmd.{authrole}_{authid}",
			"-publish exact gantry.gw.point.{authid}.serial",
		),
		"operator": rules(
			"+subscribe,call prefix gantry.gw.",
			"-call prefix gantry.gw.sys.",
			"-call exact gantry.gw.set.boiler.max",
			"-subscribe wildcard gantry.gw.point..secret",
			"+call prefix wamp.session.",
			"-call exact wamp.session.kill_all",
			"+publish exact gantry.gw.note",
		),
		"most": rules(
			"+"+everything+" prefix ",
			"-"+everything+" wildcard a..c",
			"-subscribe,register prefix wamp.",
		),
		"four_eyes": rules(
			"+call prefix gantry.",
			"-call prefix gantry.approve.{authid}.",
		),
		"bytes": rules(
			"+subscribe prefix gantry.gw.po",
			"+publish wildcard ",
			"+register wildcard ..",
		),
		"nothing": {},
		"asked":   asked,
	}
}

func examplePolicy(tb testing.TB) *router.Policy {
	tb.Helper()
	p, err := router.NewPolicy(router.PolicyConfig{Roles: exampleRoles(), Ask: neverAsk})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// TestMatrix decides every line of testdata/policy.txt.
func TestMatrix(t *testing.T) {
	t.Parallel()
	p := examplePolicy(t)
	text, err := os.ReadFile("testdata/policy.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for i, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if len(words) != 6 {
			t.Fatalf("line %d has %d words, want 6", i+1, len(words))
		}
		cases++
		match, known := wamp.ParseMatch(words[3])
		uri := wamp.URI(strings.Trim(words[4], `"`))
		if !known || !uri.Valid(false, match) {
			t.Fatalf("line %d: the router would not ask about %s %q", i+1, words[3], uri)
		}
		who := router.Identity{AuthRole: words[0], AuthID: strings.ReplaceAll(strings.Trim(words[1], `"`), "_sp_", " ")}
		d := p.Decide(who, router.Action(words[2]), uri, match)
		if got := inShort(d); got != words[5] {
			t.Errorf("line %d: %s: got %s, %s", i+1, line, got, d.Explain())
		}
		if d.Role != who.AuthRole {
			t.Errorf("line %d: the role in the decision is %q", i+1, d.Role)
		}
	}
	if cases < 200 {
		t.Errorf("only %d cases", cases)
	}
}

// inShort writes a decision as testdata/policy.txt does.
func inShort(d router.Decision) string {
	reason := map[router.Reason]string{
		router.ReasonNoRule: "-", router.ReasonNoRole: "no-role", router.ReasonTrusted: "trusted",
		router.ReasonRule: "deny:", router.ReasonUnfilled: "unfilled:", router.ReasonAuthorizer: "ask", router.ReasonOwnAuthorizer: "own",
	}[d.Reason]
	if d.Allowed && d.Reason == router.ReasonRule {
		reason = "allow:"
	}
	if strings.HasSuffix(reason, ":") {
		reason += strconv.Itoa(d.Rule + 1)
	}
	if wantAllowed := strings.HasPrefix(reason, "allow:") || reason == "trusted"; d.Allowed != wantAllowed {
		return fmt.Sprintf("%s with Allowed = %v", reason, d.Allowed)
	}
	return reason
}

// TestDenyBeatsAllowInAnyOrder shuffles the rules: only which one of several is
// named may change.
func TestDenyBeatsAllowInAnyOrder(t *testing.T) {
	t.Parallel()
	forward := rules("+call,subscribe prefix a.", "-call exact a.b", "+call wildcard a.b", "-call wildcard a.", "-subscribe exact a.b.c", "+subscribe prefix a.b.")
	backward := router.RoleConfig{}
	for _, r := range forward.Rules {
		backward.Rules = append([]router.RuleConfig{r}, backward.Rules...)
	}
	p, err := router.NewPolicy(router.PolicyConfig{Roles: map[string]router.RoleConfig{"f": forward, "b": backward}})
	if err != nil {
		t.Fatal(err)
	}
	for _, uri := range []wamp.URI{"a.b", "a.c", "a.b.c", "a.b.d", "b", "a.", "a.b."} {
		for _, m := range []wamp.Match{wamp.MatchExact, wamp.MatchPrefix, wamp.MatchWildcard} {
			for _, a := range []router.Action{router.ActionCall, router.ActionSubscribe} {
				f := p.Decide(router.Identity{AuthRole: "f"}, a, uri, m)
				b := p.Decide(router.Identity{AuthRole: "b"}, a, uri, m)
				if f.Allowed != b.Allowed || f.Reason != b.Reason {
					t.Errorf("%s %s %q: %v, backward %v", a, m, uri, f, b)
				}
			}
		}
	}
}

// TestAllowedPatternsReachNothingDenied is what covering and overlapping are for:
// whoever gets a pattern could have got every URI in it.
func TestAllowedPatternsReachNothingDenied(t *testing.T) {
	t.Parallel()
	p := examplePolicy(t)
	parts := []string{"gantry", "gw", "point", "state", "node", "secret", "link", "a", "c"}
	patterns := map[wamp.Match][]wamp.URI{wamp.MatchPrefix: {""}, wamp.MatchWildcard: {""}}
	var uris []wamp.URI
	for i := range 6561 {
		var u []string
		for n := i; len(u) < 4; n /= len(parts) {
			u = append(u, parts[n%len(parts)])
		}
		uris = append(uris, wamp.URI("gantry.gw."+strings.Join(u[:2], ".")), wamp.URI(strings.Join(u, ".")))
		if i%31 == 0 {
			patterns[wamp.MatchPrefix] = append(patterns[wamp.MatchPrefix], wamp.URI("gantry.gw."+u[0]+"."), wamp.URI(strings.Join(u[:3], ".")))
			u[i/31%4] = ""
			patterns[wamp.MatchWildcard] = append(patterns[wamp.MatchWildcard], wamp.URI("gantry.gw."+u[0]+"."+u[1]), wamp.URI(strings.Join(u, ".")))
		}
	}
	allowed := 0
	for role := range exampleRoles() {
		who := router.Identity{AuthRole: role, AuthID: "node"}
		for m, list := range patterns {
			for _, pattern := range list {
				if !p.Decide(who, router.ActionSubscribe, pattern, m).Allowed {
					continue
				}
				allowed++
				for _, uri := range uris {
					if pattern.Matches(m, uri) && !p.Decide(who, router.ActionSubscribe, uri, wamp.MatchExact).Allowed {
						t.Fatalf("%s may subscribe to %s %q, but not to %q", role, m, pattern, uri)
					}
				}
			}
		}
	}
	if allowed < 100 {
		t.Errorf("only %d patterns are allowed: the test sees little", allowed)
	}
}

func TestDisclosureOfTheDecidingRule(t *testing.T) {
	t.Parallel()
	c := rules("+call prefix a.", "+call prefix b.", "+call prefix c.")
	c.Disclose = router.DiscloseNever
	c.Rules[1].Disclose = router.DiscloseAlways
	c.Rules[2].Disclose = router.DiscloseAsked
	p, err := router.NewPolicy(router.PolicyConfig{Roles: map[string]router.RoleConfig{"r": c, "plain": rules("+call prefix a.")}})
	if err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[wamp.URI]router.Disclosure{"a.x": router.DiscloseNever, "b.x": router.DiscloseAlways, "c.x": router.DiscloseAsked} {
		if got := p.Decide(router.Identity{AuthRole: "r"}, router.ActionCall, uri, wamp.MatchExact); got.Disclose != want || !got.Allowed {
			t.Errorf("%s: %+v, want %s", uri, got, want)
		}
	}
	if got := p.Decide(router.Identity{AuthRole: "plain"}, router.ActionCall, "a.x", wamp.MatchExact).Disclose; got != router.DiscloseDefault {
		t.Errorf("plain: %q", got)
	}
}

func TestHintsAboutRules(t *testing.T) {
	t.Parallel()
	p := examplePolicy(t)
	if got := p.Partly(router.Identity{AuthRole: "viewer"}, router.ActionSubscribe, "gantry.gw.", wamp.MatchPrefix); fmt.Sprint(got) != "[0 1]" {
		t.Errorf("rules that allow a part: %v", got)
	}
	if got := p.Partly(router.Identity{AuthRole: "viewer"}, router.ActionSubscribe, "gantry.gw.point.", wamp.MatchPrefix); got != nil {
		t.Errorf("rules that allow a part of what is allowed in whole: %v", got)
	}
	if got := p.Unfilled(router.Identity{AuthRole: "device", AuthID: "a.b"}, router.ActionPublish); fmt.Sprint(got) != "[0 1 2 4]" {
		t.Errorf("rules that cannot be filled in: %v", got)
	}
	if p.Partly(router.Identity{AuthRole: "none"}, "x", "a", 0) != nil || p.Unfilled(router.Identity{AuthRole: "viewer"}, "x") != nil {
		t.Error("hints about what is not there")
	}
}

func TestWhatIsWrongWithRoles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		role router.RoleConfig
		want string
	}{
		"no action":           {rules("+puplish exact a"), `rules[0].allow[0]: "puplish" is no action; allowed: "publish", "subscribe", "register", "call"`},
		"action twice":        {rules("+call,call exact a"), `rules[0].allow[1]: "call" is in this rule twice; allowed: each action once, in allow or in deny`},
		"nothing":             {router.RoleConfig{Rules: []router.RuleConfig{{URI: "a"}}}, `rules[0]: neither allows nor denies anything; allowed: allow or deny with some of "publish", "subscribe", "register", "call"`},
		"no URI":              {rules("+call exact "), `rules[0].uri: "" is no URI for match "exact"; allowed: components joined by dots; with match = "wildcard" an empty one stands for any`},
		"wildcard as exact":   {rules("+call exact a..b"), `rules[0].uri: "a..b" is no URI for match "exact"; allowed: components joined by dots; with match = "wildcard" an empty one stands for any`},
		"prefix as exact":     {rules("+call exact a."), `rules[0].uri: "a." is no URI for match "exact"; allowed: components joined by dots; with match = "prefix" it may end in a dot`},
		"star":                {rules("+call prefix a#"), `rules[0].uri: "a#" is no URI for match "prefix"; allowed: components without spaces or #, joined by dots`},
		"match":               {rules("+call regex a"), `rules[0].match: is "regex"; allowed: "exact", "prefix", "wildcard"`},
		"placeholder":         {rules("+call exact a.{user}"), `rules[0].uri: "a.{user}" has braces that are no placeholder; allowed: {authid}, {authrole}`},
		"nested placeholder":  {rules("+call exact a.{auth{authid}id}"), `rules[0].uri: "a.{auth{authid}id}" has braces that are no placeholder; allowed: {authid}, {authrole}`},
		"same subject":        {rules("+call exact a", "-call exact a"), `rules[1].uri: "a" with match "exact" is the subject of rule 1 already; allowed: one rule with all its actions`},
		"authorizer":          {router.RoleConfig{Authorizer: "a..b"}, `authorizer: "a..b" is no procedure that one may register; allowed: a URI outside wamp.`},
		"reserved authorizer": {router.RoleConfig{Authorizer: "wamp.x"}, `authorizer: "wamp.x" is no procedure that one may register; allowed: a URI outside wamp.`},
		"timeout":             {router.RoleConfig{Authorizer: "a", AuthorizerTimeout: -1}, `authorizer_timeout: is -1ns; allowed: 0 (the default, 2s) to 1m0s`},
		"idle timeout":        {router.RoleConfig{AuthorizerTimeout: 1}, `authorizer_timeout: is set without authorizer`},
		"disclose":            {router.RoleConfig{Disclose: "no"}, `disclose: is "no"; allowed: "asked", "never", "always"`},
		"too many":            {router.RoleConfig{Rules: many(1001)}, `rules: has 1001 rules; allowed: up to 1000`},
		"disclose of a rule":  {router.RoleConfig{Rules: []router.RuleConfig{{URI: "a", Allow: []router.Action{"register"}, Disclose: "always"}}}, `rules[0].disclose: is set, but the rule allows neither publish nor call`},
		"word of a rule":      {router.RoleConfig{Rules: []router.RuleConfig{{URI: "a", Allow: []router.Action{"call"}, Disclose: "yes"}}}, `rules[0].disclose: is "yes"; allowed: "asked", "never", "always"`},
		"in order":            {exampleRoles()["device"], "<nil>"},
	} {
		if got := fmt.Sprint(c.role.Validate()); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
	both := rules("+call exact a")
	both.Rules[0].Match, both.Rules[0].Deny = "", []router.Action{"call"}
	if got := fmt.Sprint(both.Validate()); got != `rules[0].deny[0]: "call" is in this rule twice; allowed: each action once, in allow or in deny` {
		t.Error(got)
	}
	for name, cfg := range map[string]router.PolicyConfig{
		"trusted": {Roles: map[string]router.RoleConfig{"trusted": {}}}, "empty": {Roles: map[string]router.RoleConfig{"": {}}},
		"rule": {Roles: map[string]router.RoleConfig{"a": rules("+x exact a")}}, "nobody asks": {Roles: map[string]router.RoleConfig{"a": {Authorizer: "x"}}},
	} {
		if _, err := router.NewPolicy(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func many(n int) (list []router.RuleConfig) {
	for i := range n {
		list = append(list, router.RuleConfig{URI: wamp.URI("a" + strconv.Itoa(i)), Allow: []router.Action{"call"}})
	}
	return list
}

func fiftyRules(tb testing.TB) *router.Policy {
	tb.Helper()
	var lines []string
	for i := range 16 {
		n := strconv.Itoa(i)
		lines = append(lines, "+publish,call exact gantry.gw.point.d"+n+".x", "+publish,call prefix gantry.gw.state.d"+n+".", "+publish wildcard gantry.gw.alarm.d"+n+".")
	}
	lines = append(lines, "-publish wildcard gantry..point..secret", "+publish prefix gantry.gw.point.{authid}.")
	p, err := router.NewPolicy(router.PolicyConfig{Roles: map[string]router.RoleConfig{"device": rules(lines...)}})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestDecidingOnPublicationsAllocatesNothing(t *testing.T) {
	p := fiftyRules(t)
	who := router.Identity{AuthID: "node7", AuthRole: "device"}
	for _, uri := range []wamp.URI{"gantry.gw.point.node7.temperature", "gantry.gw.alarm.d15.x", "gantry.gw.point.node8.temperature"} {
		if n := testing.AllocsPerRun(100, func() { p.Decide(who, router.ActionPublish, uri, wamp.MatchExact) }); n != 0 {
			t.Errorf("%s: %v allocations", uri, n)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	p := fiftyRules(b)
	who := router.Identity{AuthID: "node7", AuthRole: "device"}
	for name, q := range map[string]struct {
		uri   wamp.URI
		match wamp.Match
		a     router.Action
	}{
		"first rule":          {"gantry.gw.point.d0.x", wamp.MatchExact, router.ActionPublish},
		"last of 50, own box": {"gantry.gw.point.node7.temperature", wamp.MatchExact, router.ActionPublish},
		"none of 50":          {"gantry.gw.point.node8.temperature", wamp.MatchExact, router.ActionPublish},
		"pattern":             {"gantry.gw.point.", wamp.MatchPrefix, router.ActionSubscribe},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(who, q.a, q.uri, q.match)
			}
		})
	}
}
