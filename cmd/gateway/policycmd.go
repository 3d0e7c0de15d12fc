package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"gantry/internal/config"
	"gantry/wamp"
	"gantry/wamp/router"
)

func (a *app) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Explain what the roles of a configuration may do",
		Long: `Explains the roles and rules of a configuration without a running gateway.
docs/security.md says how rules are written and read.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.policyTestCommand(), a.policyListCommand())
	return cmd
}

// policyQuestion is what gantry policy test is asked.
type policyQuestion struct {
	who    router.Identity
	action router.Action
	uri    wamp.URI
	match  wamp.Match
}

func (a *app) policyTestCommand() *cobra.Command {
	var (
		path, match, authid string
		asJSON              bool
	)
	cmd := &cobra.Command{
		Use:   "test ROLE ACTION URI",
		Short: "Say whether a role may do something, and why",
		Long: `Says whether sessions of ROLE may do ACTION (publish, subscribe, register, call) on
URI, and which rule decides, with its file and line. It reads the configuration as
gantry check does; no gateway needs to run, and authorizers are not asked.
` + configHelp + `

With --json the answer is one object: {"allowed": ..., "reason": ..., "text": ...,
"role": ..., "rule": ..., "file": ..., "line": ..., ...}.

Exit codes: 0 allowed, 1 denied or left to an authorizer, 2 wrong usage or
configuration.`,
		Example: `  gantry policy test viewer subscribe gantry.gw.point. --match prefix
  gantry policy test device publish gantry.gw.point.node1.temperature --authid node1`,
		Args: cobra.ExactArgs(3),
	}
	cmd.Flags().StringVar(&path, "config", defaultConfig, "configuration directory or file")
	cmd.Flags().StringVar(&match, "match", "exact", "how URI is meant in subscribe and register: exact, prefix, wildcard")
	cmd.Flags().StringVar(&authid, "authid", "", "the session's authid, for rules with {authid}")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		q, err := parsePolicyQuestion(args, match, authid)
		if err != nil {
			return usageError{err}
		}
		cfg, policy, err := a.loadPolicy(path)
		if err != nil {
			return err
		}
		e := explain(cfg, policy, q)
		if asJSON {
			err = a.writeJSON(e.json())
		} else {
			err = e.write(a.out)
		}
		if err == nil && !e.allowed {
			err = errSilent
		}
		return err
	}
	return cmd
}

func parsePolicyQuestion(args []string, match, authid string) (policyQuestion, error) {
	q := policyQuestion{
		who: router.Identity{AuthRole: args[0], AuthID: authid}, action: router.Action(args[1]), uri: wamp.URI(args[2]),
	}
	var known bool
	if q.match, known = wamp.ParseMatch(match); !known {
		return q, fmt.Errorf("--match %q; allowed: exact, prefix, wildcard", match)
	}
	switch q.action {
	case router.ActionPublish, router.ActionCall:
		if q.match != wamp.MatchExact {
			return q, fmt.Errorf("--match %s: a %s is always about one URI", match, q.action)
		}
	case router.ActionSubscribe, router.ActionRegister:
	default:
		return q, fmt.Errorf("%q is no action; allowed: publish, subscribe, register, call", args[1])
	}
	if !q.uri.Valid(false, q.match) {
		return q, fmt.Errorf("%q is no URI for match %s", args[2], q.match)
	}
	return q, nil
}

// loadPolicy reads a configuration, of which devices may be wrong. The policy is
// nil when it has no roles.
func (a *app) loadPolicy(path string) (*config.Config, *router.Policy, error) {
	cfg, errs := config.Load(path, kinds())
	if cfg == nil {
		fmt.Fprintf(a.err, "%v\n", errs.Fatal())
		return nil, nil, usageError{fmt.Errorf("the configuration at %s is not in order", path)}
	}
	policy, err := newPolicy(cfg, func(context.Context, router.Question) (router.Answer, error) {
		return router.Answer{}, errors.New("nobody is asked")
	})
	return cfg, policy, err
}

// explanation is an answer to a policyQuestion.
type explanation struct {
	policyQuestion
	allowed    bool
	reason     string // one of a few words, for programs
	text       string
	rule       *ruleAt  // that decided; nil: none did
	hints      []string // what an operator may have overlooked
	authorizer wamp.URI
	disclose   router.Disclosure
}

// ruleAt is a rule and where it stands.
type ruleAt struct {
	index int
	file  string
	line  int
	rule  router.RuleConfig
}

func findRule(cfg *config.Config, role string, index int) *ruleAt {
	at := &ruleAt{index: index, rule: cfg.Roles[role].Rules[index]}
	at.file, at.line = cfg.Position("role." + role + ".rules[" + strconv.Itoa(index) + "].uri")
	return at
}

func (r *ruleAt) String() string {
	var does []string
	for _, list := range []struct {
		verb    string
		actions []router.Action
	}{{"allow", r.rule.Allow}, {"deny", r.rule.Deny}} {
		if len(list.actions) > 0 {
			does = append(does, list.verb+" "+strings.Trim(fmt.Sprint(list.actions), "[]"))
		}
	}
	match, _ := wamp.ParseMatch(r.rule.Match)
	return fmt.Sprintf("%s:%d: %s on %s %q", r.file, r.line, strings.Join(does, ", "), match, r.rule.URI)
}

var reasonWords = map[router.Reason]string{
	router.ReasonNoRule: "no_rule", router.ReasonNoRole: "no_role", router.ReasonTrusted: "trusted", router.ReasonRule: "rule",
	router.ReasonUnfilled: "placeholder", router.ReasonAuthorizer: "authorizer", router.ReasonOwnAuthorizer: "serves_authorizer",
}

func explain(cfg *config.Config, policy *router.Policy, q policyQuestion) explanation {
	e := explanation{policyQuestion: q}
	if q.uri.Reserved() && (q.action == router.ActionPublish || q.action == router.ActionRegister) {
		e.reason, e.text = "reserved", "names below wamp. are the router's own, whatever the rules say"
		return e
	}
	if policy == nil {
		e.allowed, e.reason, e.text = true, "no_roles", "the configuration has no roles: everybody who may join may do everything"
		return e
	}
	d := policy.Decide(q.who, q.action, q.uri, q.match)
	e.allowed, e.reason, e.text = d.Allowed, reasonWords[d.Reason], d.Explain()
	e.authorizer = d.Authorizer
	role := q.who.AuthRole
	if d.Rule >= 0 {
		e.rule = findRule(cfg, role, d.Rule)
	}
	if d.Reason == router.ReasonNoRole {
		e.hints = append(e.hints, "roles: "+strings.Join(policy.Roles(), ", "))
	}
	if d.Allowed {
		if q.action == router.ActionPublish || q.action == router.ActionCall {
			e.disclose = d.Disclose
		}
		return e
	}
	for _, i := range policy.Partly(q.who, q.action, q.uri, q.match) {
		e.hints = append(e.hints, fmt.Sprintf("rule %d allows a part of it only, %s", i+1, findRule(cfg, role, i)))
	}
	for _, i := range policy.Unfilled(q.who, q.action) {
		e.hints = append(e.hints, fmt.Sprintf("rule %d does not count without an authid that is one URI component (--authid), %s", i+1, findRule(cfg, role, i)))
	}
	return e
}

// write tells a person.
func (e explanation) write(w io.Writer) error {
	verdict := "denied"
	switch {
	case e.allowed:
		verdict = "allowed"
	case e.reason == "authorizer":
		verdict = "undecided"
	}
	match := ""
	if e.match != wamp.MatchExact {
		match = e.match.String() + " "
	}
	lines := []string{fmt.Sprintf("%s: %s %s %s%q", verdict, e.who.AuthRole, e.action, match, string(e.uri)), "  " + e.text}
	if e.rule != nil {
		lines = append(lines, "  "+e.rule.String())
	}
	if e.disclose != router.DiscloseDefault {
		lines = append(lines, "  disclosure of who it is: "+string(e.disclose))
	}
	for _, h := range e.hints {
		lines = append(lines, "  "+h)
	}
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

// json tells a program.
func (e explanation) json() map[string]any {
	hints := []any{}
	for _, h := range e.hints {
		hints = append(hints, h)
	}
	o := map[string]any{
		"allowed": e.allowed, "reason": e.reason, "text": e.text, "role": e.who.AuthRole, "authid": e.who.AuthID,
		"action": string(e.action), "uri": string(e.uri), "match": e.match.String(), "rule": nil, "file": nil, "line": nil,
		"authorizer": string(e.authorizer), "disclose": string(e.disclose), "hints": hints,
	}
	if e.rule != nil {
		o["rule"], o["file"], o["line"] = e.rule.index+1, e.rule.file, e.rule.line
	}
	return o
}

func (a *app) policyListCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the roles and their rules",
		Long:    "Lists the roles of a configuration with their rules and where these stand.\n" + configHelp,
		Example: "  gantry policy list --config /etc/gantry",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&path, "config", defaultConfig, "configuration directory or file")
	cmd.RunE = func(*cobra.Command, []string) error {
		cfg, policy, err := a.loadPolicy(path)
		if err != nil {
			return err
		}
		if policy == nil {
			fmt.Fprintln(a.out, "no roles: everybody who may join may do everything")
			return nil
		}
		for _, name := range slices.Sorted(maps.Keys(cfg.Roles)) {
			fmt.Fprintf(a.out, "role %s\n", clean(name))
			for i := range cfg.Roles[name].Rules {
				fmt.Fprintf(a.out, "  rule %d, %s\n", i+1, clean(findRule(cfg, name, i).String()))
			}
			if procedure := cfg.Roles[name].Authorizer; procedure != "" {
				fmt.Fprintf(a.out, "  otherwise %s decides\n", clean(string(procedure)))
			}
		}
		_, err = fmt.Fprintf(a.out, "anonymous clients: role %s%s\n", clean(cfg.Listen.AnonymousRole), missing(policy, cfg.Listen.AnonymousRole))
		return err
	}
	return cmd
}

func missing(policy *router.Policy, role string) string {
	if policy.Knows(role) {
		return ""
	}
	return ", which does not exist: they are refused"
}
