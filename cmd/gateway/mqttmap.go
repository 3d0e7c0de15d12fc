package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/internal/config"
)

func (a *app) mqttMapCommand() *cobra.Command {
	var (
		path, broker string
		m            bridge.Message
		payload      string
		asJSON       bool
	)
	cmd := &cobra.Command{
		Use:   "map",
		Short: "Show what the rules make of a message, without a gateway",
		Long: `Shows what the rules of a configuration make of an MQTT message: for every rule what
it would publish or call, or why it does not take the message. It reads the configuration
as gantry check does and connects to nothing.
` + configHelp + `

With --payload - the payload is read from standard input, whatever its bytes.

With --json each rule is one line: {"where": "broker.house" or "mqtt", "rule": ...,
"refused": ..., "events": [{"topic": ..., "args": [...], "kwargs": {...}}, ...]}.
Of a rule call the topic is the procedure.

Rules publish are told what they make of an event: --topic is its URI with slashes for
dots, --payload its value, or {"args": [...], "kwargs": {...}}.

Exit codes: 0 a rule makes something of it, 1 none does, 2 wrong usage or
configuration.`,
		Example: `  gantry mqtt map --topic zigbee2mqtt/porch --payload '{"temperature": 21.5}'
  gantry mqtt map --topic gantry/gw/point/tank/level --payload 21.5
  gantry mqtt map --topic meters/7 --payload - --retained --config . < message.json`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&path, "config", defaultConfig, "configuration directory or file")
	cmd.Flags().StringVar(&broker, "broker", "", "only the rules of this [broker.NAME]; \"mqtt\" = those of the gateway's listener; default: all")
	cmd.Flags().StringVar(&m.Topic, "topic", "", "the message's topic (required)")
	cmd.Flags().StringVar(&payload, "payload", "", "its payload; - = read it from standard input")
	cmd.Flags().BoolVar(&m.Retained, "retained", false, "it was kept by the broker from before")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answers as JSON, one per line")
	cmd.RunE = func(*cobra.Command, []string) error {
		if err := bridge.CheckTopic(m.Topic); err != nil {
			return usageError{fmt.Errorf("--topic %v", err)}
		}
		m.Payload = []byte(payload)
		if payload == "-" {
			b, err := io.ReadAll(io.LimitReader(a.in, maxMapPayload+1))
			if err != nil {
				return fmt.Errorf("read the payload: %w", err)
			}
			if len(b) > maxMapPayload {
				return usageError{fmt.Errorf("the payload has more than %d bytes", maxMapPayload)}
			}
			m.Payload = b
		}
		cfg, errs := config.Load(path, kinds())
		if cfg == nil {
			return usageError{errs}
		}
		return a.mapMessage(cfg, broker, m, asJSON)
	}
	return cmd
}

// maxMapPayload bounds what is read from standard input: the largest packet that
// can be configured.
const maxMapPayload = 16 << 20

// ruleSet is a set of rules with the name of its table.
type ruleSet struct {
	where string
	rules bridge.RulesConfig
	pass  mqtt.Config // of a broker
}

// ruleSets returns the rules of a configuration, the listener's first.
func ruleSets(cfg *config.Config, only string) (sets []ruleSet, err error) {
	if only == "" || only == "mqtt" {
		sets = append(sets, ruleSet{where: "mqtt", rules: cfg.MQTT.RulesConfig})
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Brokers)) {
		if only == "" || only == name {
			sets = append(sets, ruleSet{"broker." + name, cfg.Brokers[name].RulesConfig, cfg.Brokers[name]})
		}
	}
	if len(sets) == 0 {
		return nil, usageError{fmt.Errorf("--broker %s: there is no [broker.%s]", only, only)}
	}
	return sets, nil
}

func (a *app) mapMessage(cfg *config.Config, only string, m bridge.Message, asJSON bool) error {
	sets, err := ruleSets(cfg, only)
	if err != nil {
		return err
	}
	taken, rules := false, 0
	for _, set := range sets {
		origin, err := bridge.NewOrigin(bridge.OriginConfig{Gateway: cfg.Gateway.Name, Epoch: 1})
		if err != nil {
			return err
		}
		r, err := bridge.NewRules(set.rules, origin, nil)
		if err != nil {
			return err
		}
		for _, f := range append(r.Explain(m), set.pass.Explain(m, cfg.Gateway.Name)...) {
			rules++
			taken = taken || f.Refused == ""
			if err := a.writeFinding(set.where, f, asJSON); err != nil {
				return err
			}
		}
	}
	switch {
	case taken:
		return nil
	case rules == 0:
		return errors.New("the configuration has no rules for messages")
	}
	if !asJSON {
		fmt.Fprintln(a.err, "no rule makes anything of this message")
	}
	return errSilent
}

func (a *app) writeFinding(where string, f bridge.Finding, asJSON bool) error {
	if asJSON {
		events := make([]any, 0, len(f.Readings))
		for _, r := range f.Readings {
			o := payloadObject(r.Payload)
			o["topic"] = string(r.Topic)
			events = append(events, o)
		}
		return a.writeJSON(map[string]any{"where": where, "rule": f.Rule, "refused": f.Refused, "events": events})
	}
	if f.Refused != "" {
		_, err := fmt.Fprintf(a.out, "%s %s: no: %s\n", where, f.Rule, f.Refused)
		return err
	}
	verb := ""
	if f.Call {
		verb = "calls "
	}
	for _, r := range f.Readings {
		if _, err := fmt.Fprintf(a.out, "%s %s: %s%s %s\n", where, f.Rule, verb, r.Topic, payloadWords(r.Payload)); err != nil {
			return err
		}
	}
	return nil
}
