package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const policyFile = `schema = 1
mqtt.listen = ""
listen.http = ""
listen.anonymous_role = "viewer"
[role.viewer]
rules = [
  { uri = "gantry.gw.point.", match = "prefix", allow = ["subscribe"] },
  { uri = "gantry.gw.point..secret", match = "wildcard", deny = ["subscribe"] },
  { uri = "gantry.gw.get..", match = "wildcard", allow = ["call"], disclose = "always" },
]
[role.device]
disclose = "never"
[[role.device.rules]]
uri = "gantry.gw.point.{authid}."
match = "prefix"
allow = ["publish"]
deny = ["subscribe"]
[role.app]
authorizer = "auth.decide"
`

func policyTest(t *testing.T, file string, args ...string) (code int, out, errs string) {
	t.Helper()
	dir := writeFiles(t, map[string]string{"gantry.toml": file})
	o, e := newOutput(), newOutput()
	a := newApp(strings.NewReader(""), o, e, func(string) string { return "" })
	code = a.main(t.Context(), append(append([]string{"policy"}, args...), "--config", dir))
	return code, strings.ReplaceAll(o.String(), dir+string(filepath.Separator), ""), strings.ReplaceAll(e.String(), dir, "DIR")
}

func TestPolicyTestExplains(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"viewer subscribe gantry.gw.point.a.t", 0, `allowed: viewer subscribe "gantry.gw.point.a.t"
  rule 1 of role viewer allows it
  gantry.toml:7: allow subscribe on prefix "gantry.gw.point."
`},
		{"viewer subscribe gantry.gw.point.a.secret", 1, `denied: viewer subscribe "gantry.gw.point.a.secret"
  rule 2 of role viewer denies it
  gantry.toml:8: deny subscribe on wildcard "gantry.gw.point..secret"
`},
		{"viewer subscribe gantry. --match prefix", 1, `denied: viewer subscribe prefix "gantry."
  rule 2 of role viewer denies it
  gantry.toml:8: deny subscribe on wildcard "gantry.gw.point..secret"
  rule 1 allows a part of it only, gantry.toml:7: allow subscribe on prefix "gantry.gw.point."
`},
		{"viewer subscribe gantry.gw.... --match wildcard", 1, `denied: viewer subscribe wildcard "gantry.gw...."
  no rule of role viewer allows it
  rule 1 allows a part of it only, gantry.toml:7: allow subscribe on prefix "gantry.gw.point."
`},
		{"viewer call gantry.gw.get.a.t", 0, `allowed: viewer call "gantry.gw.get.a.t"
  rule 3 of role viewer allows it
  gantry.toml:9: allow call on wildcard "gantry.gw.get.."
  disclosure of who it is: always
`},
		{"viewer call gantry.gw.set.a.t", 1, "denied: viewer call \"gantry.gw.set.a.t\"\n  no rule of role viewer allows it\n"},
		{"device publish gantry.gw.point.n1.t --authid n1", 0, `allowed: device publish "gantry.gw.point.n1.t"
  rule 1 of role device allows it
  gantry.toml:14: allow publish, deny subscribe on prefix "gantry.gw.point.{authid}."
  disclosure of who it is: never
`},
		{"device publish gantry.gw.point.n1.t", 1, `denied: device publish "gantry.gw.point.n1.t"
  no rule of role device allows it
  rule 1 does not count without an authid that is one URI component (--authid), gantry.toml:14: allow publish, deny subscribe on prefix "gantry.gw.point.{authid}."
`},
		{"device subscribe gantry.gw.point.n2.t --authid a.b", 1, `denied: device subscribe "gantry.gw.point.n2.t"
  rule 1 of role device denies it: the session has no usable value for its placeholder, so it stands for everything that begins as it does
  gantry.toml:14: allow publish, deny subscribe on prefix "gantry.gw.point.{authid}."
`},
		{"app call a.b", 1, "undecided: app call \"a.b\"\n  no rule of role app decides, so the procedure auth.decide is asked\n"},
		{"app register auth.decide", 1, "denied: app register \"auth.decide\"\n  role app has an authorizer and may therefore not serve one (auth.decide)\n"},
		{"guest call a.b", 1, "denied: guest call \"a.b\"\n  there is no role \"guest\"\n  roles: app, device, trusted, viewer\n"},
		{"trusted call wamp.session.kill_all", 0, "allowed: trusted call \"wamp.session.kill_all\"\n  the role trusted may do everything\n"},
		{"trusted publish wamp.x", 1, "denied: trusted publish \"wamp.x\"\n  names below wamp. are the router's own, whatever the rules say\n"},
	} {
		code, out, errs := policyTest(t, policyFile, append([]string{"test"}, strings.Fields(c.args)...)...)
		if code != c.code || out != c.want || errs != "" {
			t.Errorf("%s: exit code %d\n%s%s\nwant %d\n%s", c.args, code, out, errs, c.code, c.want)
		}
	}
	code, out, _ := policyTest(t, "schema = 1\n", "test", "anybody", "call", "a.b")
	if code != 0 || !strings.Contains(out, "has no roles") {
		t.Errorf("without roles: %d, %s", code, out)
	}
}

func TestPolicyTestRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"test viewer call":                        "accepts 3 arg(s), received 2",
		"test viewer cal a.b":                     `"cal" is no action; allowed: publish, subscribe, register, call`,
		"test viewer call a..b":                   `"a..b" is no URI for match exact`,
		"test viewer call a. --match prefix":      "a call is always about one URI",
		"test viewer subscribe a. --match glob":   `--match "glob"; allowed: exact, prefix, wildcard`,
		"test viewer subscribe a#b":               `"a#b" is no URI for match exact`,
		"test viewer subscribe .. --match prefix": `".." is no URI for match prefix`,
		"list it": "unknown command",
	} {
		code, _, errs := policyTest(t, policyFile, strings.Fields(args)...)
		if code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, %s", args, code, errs)
		}
	}
	code, _, errs := policyTest(t, "schema = 1\n[role.a]\nrules = [{ uri = \"x\" }]\n", "test", "a", "call", "x")
	if code != exitUsage || !strings.Contains(errs, "gantry.toml:3: role.a.rules[0]: neither allows nor denies") {
		t.Errorf("a wrong configuration: exit code %d, %s", code, errs)
	}
	code, out, _ := policyTest(t, policyFile+"[device.broken]\n", "test", "viewer", "subscribe", "gantry.gw.point.x")
	if code != exitOK || !strings.HasPrefix(out, "allowed") {
		t.Errorf("a wrong device: exit code %d, %s", code, out)
	}
}

func TestPolicyTestForPrograms(t *testing.T) {
	t.Parallel()
	code, out, _ := policyTest(t, policyFile, "test", "viewer", "subscribe", "gantry.", "--match", "prefix", "--json")
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitFailed {
		t.Fatalf("exit code %d, %v:\n%s", code, err, out)
	}
	for key, want := range map[string]any{
		"allowed": false, "reason": "rule", "role": "viewer", "action": "subscribe", "uri": "gantry.", "match": "prefix",
		"rule": 2.0, "file": "gantry.toml", "line": 8.0, "text": "rule 2 of role viewer denies it", "authorizer": "",
	} {
		if got[key] != want {
			t.Errorf("%s: %v, want %v", key, got[key], want)
		}
	}
	code, out, _ = policyTest(t, policyFile, "test", "app", "call", "x", "--json")
	if code != exitFailed || !strings.Contains(out, `"reason":"authorizer"`) || !strings.Contains(out, `"rule":null`) || !strings.Contains(out, `"authorizer":"auth.decide"`) {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestPolicyList(t *testing.T) {
	t.Parallel()
	code, out, errs := policyTest(t, policyFile, "list")
	want := `role app
  otherwise auth.decide decides
role device
  rule 1, gantry.toml:14: allow publish, deny subscribe on prefix "gantry.gw.point.{authid}."
role viewer
  rule 1, gantry.toml:7: allow subscribe on prefix "gantry.gw.point."
  rule 2, gantry.toml:8: deny subscribe on wildcard "gantry.gw.point..secret"
  rule 3, gantry.toml:9: allow call on wildcard "gantry.gw.get.."
anonymous clients: role viewer
`
	if code != exitOK || out != want || errs != "" {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	_, out, _ = policyTest(t, "schema = 1\n[role.a]\n", "list")
	if !strings.HasSuffix(out, "anonymous clients: role anonymous, which does not exist: they are refused\n") {
		t.Error(out)
	}
}

// TestExamplesOfTheDocument has docs/security.md say what is so.
func TestExamplesOfTheDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	file := "schema = 1\nlisten.anonymous_role = \"viewer\"\n"
	for i, block := range strings.Split(string(text), "```toml\n") {
		if i > 0 {
			toml, _, _ := strings.Cut(block, "```")
			file += toml
		}
	}
	for _, c := range []struct {
		args string
		code int
	}{
		{"viewer subscribe gantry.gw.point. --match prefix", 0},
		{"viewer subscribe gantry.gw.point.boiler. --match prefix", 0},
		{"viewer subscribe gantry.gw.point..temperature --match wildcard", 0},
		{"viewer subscribe gantry.gw. --match prefix", 1},
		{"viewer call gantry.gw.get.boiler.temperature", 0},
		{"viewer call gantry.gw.get.boiler.temperature.x", 1},
		{"viewer call gantry.gw.set.boiler.max", 1},
		{"viewer call gantry.gw.sys.device.list", 0},
		{"device publish gantry.gw.point.node1.t --authid node1", 0},
		{"device publish gantry.gw.point.node2.t --authid node1", 1},
		{"device publish gantry.gw.point.ann@example.org.t --authid ann@example.org", 1},
		{"device register gantry.gw.set.node1. --match wildcard --authid node1", 0},
		{"device register gantry.gw.set.. --match wildcard --authid node1", 1},
		{"operator call gantry.gw.set.boiler.min", 0},
		{"operator call gantry.gw.set.boiler.max", 1},
		{"operator call gantry.gw.sys.user.add", 1},
		{"operator subscribe gantry.gw. --match prefix", 0},
		{"app call gantry.gw.sys.user.add", 1},
		{"app call gantry.gw.set.boiler.max", 1},
		{"app register acme.authorize", 1},
	} {
		code, out, errs := policyTest(t, file, append([]string{"test"}, strings.Fields(c.args)...)...)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d\n%s%s", c.args, code, c.code, out, errs)
		}
	}
	_, out, _ := policyTest(t, file, "test", "viewer", "subscribe", "gantry.gw.", "--match", "prefix")
	_, shown, _ := strings.Cut(string(text), "--match prefix\n")
	shown, _, _ = strings.Cut(shown, "```")
	line := regexp.MustCompile(`\S*gantry.toml:\d+`)
	if got, want := line.ReplaceAllString(out, "FILE"), line.ReplaceAllString(shown, "FILE"); got != want {
		t.Errorf("the document shows\n%s\nin place of\n%s", want, got)
	}
}
