package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gantry/wamp/router"
)

func TestRolesAreRead(t *testing.T) {
	t.Parallel()
	cfg, errs := loadDir(t, map[string]string{"gantry.toml": `schema = 1
listen.anonymous_role = "viewer"
[role.viewer]
disclose = "never"
rules = [
  { uri = "gantry.gw.point.", match = "prefix", allow = ["subscribe"] },
  { uri = "gantry.gw.get..", match = "wildcard", allow = ["call"], disclose = "always" },
]
[role.app]
authorizer = "auth.decide"
authorizer_timeout = "500ms"
[[role.app.rules]]
uri = "gantry.gw.sys.config"
deny = ["call", "register"]
`})
	if errs != nil {
		t.Fatal(errs)
	}
	want := map[string]router.RoleConfig{
		"viewer": {Disclose: "never", Rules: []router.RuleConfig{
			{URI: "gantry.gw.point.", Match: "prefix", Allow: []router.Action{"subscribe"}},
			{URI: "gantry.gw.get..", Match: "wildcard", Allow: []router.Action{"call"}, Disclose: "always"},
		}},
		"app": {Authorizer: "auth.decide", AuthorizerTimeout: 500e6, Rules: []router.RuleConfig{
			{URI: "gantry.gw.sys.config", Deny: []router.Action{"call", "register"}},
		}},
	}
	if diff := cmp.Diff(want, cfg.Roles); diff != "" {
		t.Error(diff)
	}
	if cfg.Listen.AnonymousRole != "viewer" {
		t.Errorf("anonymous_role is %q", cfg.Listen.AnonymousRole)
	}
	for key, want := range map[string]int{
		"role.viewer.rules[0].uri": 6, "role.viewer.rules[1].uri": 7, "role.app.rules[0].uri": 13, "role.app": 9, "role.other": 3, "listen.anonymous_role": 2,
	} {
		if file, line := cfg.Position(key); file != cfg.File || line != want {
			t.Errorf("%s is at %s:%d, want line %d", key, file, line, want)
		}
	}
}

func TestFaultsOfRoles(t *testing.T) {
	t.Parallel()
	cfg, errs := loadDir(t, map[string]string{"gantry.toml": `schema = 1
listen.anonymous_role = "viewr"
[role.trusted]
[role."the boss"]
[role.viewer]
disclose = "no"
authorizer_timeout = "1s"
rules = [
  { uri = "gantry.gw.point.", match = "prefix", allow = ["subscripe"] },
  { uri = "gantry.gw.get..", allow = ["call"] },
  { uri = "gantry.gw.a", match = "glob", allow = ["call"] },
  { uri = "gantry.gw.b" },
  { match = "prefix", allow = ["call"] },
  { uri = "gantry.gw.c", allow = ["call"] },
  { uri = "gantry.gw.c", match = "exact",
    deny = ["call"] },
  { uri = "gantry.{name}", allow = "call" },
  { url = "gantry.gw.d", allow = ["call", "call"] },
  { uri = "gantry.{name}", allow = ["call"] },
]
[role.app]
authorizer = "auth.decide.it now"
[[role.app.rules]]
uri = "gantry.gw.e"

allow = ["call"]
deny = ["publish",
  "call"]
`})
	if cfg != nil {
		t.Error("a configuration with wrong roles is used")
	}
	want := []string{
		`gantry.toml:2: listen.anonymous_role: "viewr" is no role, did you mean viewer?; allowed: "app", "the boss", "trusted", "viewer"`,
		`gantry.toml:3: role.trusted: is the role of the gateway's own components, which may do everything; allowed: another name`,
		`gantry.toml:4: role."the boss": "the boss" is no name; allowed: 1 to 64 of a-z 0-9 _`,
		`gantry.toml:6: role.viewer.disclose: is "no"; allowed: "asked", "never", "always"`,
		`gantry.toml:7: role.viewer.authorizer_timeout: is set without authorizer`,
		`gantry.toml:9: role.viewer.rules[0].allow[0]: "subscripe" is no action; allowed: "publish", "subscribe", "register", "call"`,
		`gantry.toml:10: role.viewer.rules[1].uri: "gantry.gw.get.." is no URI for match "exact"; allowed: components joined by dots; with match = "prefix" it may end in a dot`,
		`gantry.toml:11: role.viewer.rules[2].match: is "glob"; allowed: "exact", "prefix", "wildcard"`,
		`gantry.toml:12: role.viewer.rules[3]: neither allows nor denies anything; allowed: allow or deny with some of "publish", "subscribe", "register", "call"`,
		`gantry.toml:13: role.viewer.rules[4].uri: is missing; allowed: a URI; everything is match = "prefix" and uri = ""`,
		`gantry.toml:15: role.viewer.rules[6].uri: "gantry.gw.c" with match "exact" is the subject of rule 6 already; allowed: one rule with all its actions`,
		`gantry.toml:17: role.viewer.rules[7].allow: is a text; allowed: an array`,
		`gantry.toml:18: role.viewer.rules[8].url: unknown key, did you mean uri?; allowed: allow, deny, disclose, match, uri`,
		`gantry.toml:18: role.viewer.rules[8].uri: is missing; allowed: a URI; everything is match = "prefix" and uri = ""`,
		`gantry.toml:19: role.viewer.rules[9].uri: "gantry.{name}" has braces that are no placeholder; allowed: {authid}, {authrole}`,
		`gantry.toml:22: role.app.authorizer: "auth.decide.it now" is no procedure that one may register; allowed: a URI outside wamp.`,
		`gantry.toml:28: role.app.rules[0].deny[1]: "call" is in this rule twice; allowed: each action once, in allow or in deny`,
	}
	if diff := cmp.Diff(want, errs); diff != "" {
		t.Error(diff)
	}
}

func TestRoleOfAnonymousClients(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                      "",
		"[role.viewer]\n":                       "", // nobody joins without a name
		"listen.anonymous_role = \"guest\"\n":   "", // no roles: everybody may do everything
		"listen.anonymous_role = \"trusted\"\n": `gantry.toml:2: listen.anonymous_role: is the role of the gateway's own components, which may do everything; allowed: another role`,
		"listen.anonymous_role = \"\"\n":        `gantry.toml:2: listen.anonymous_role: "" is no name; allowed: 1 to 64 of a-z 0-9 _`,
		"listen.anonymous_role = \"guest\"\n[role.viewer]\n": `gantry.toml:2: listen.anonymous_role: "guest" is no role; allowed: "viewer"`,
	} {
		cfg, errs := loadDir(t, map[string]string{"gantry.toml": "schema = 1\n" + text})
		got := ""
		if len(errs) > 0 {
			got = errs[0]
		}
		if got != want || len(errs) > 1 || (cfg == nil) != (want != "") {
			t.Errorf("%q: %q, want %q", text, errs, want)
		}
	}
}
