package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

func (a *app) mqttParkedCommand() *cobra.Command {
	var (
		broker      string
		after, drop int64
		asJSON      bool
	)
	cmd := &cobra.Command{
		Use:   "parked",
		Short: "List or drop MQTT messages that were set aside",
		Long: `Lists the messages of external brokers that were set aside because the realm refused
what the rules make of them, five times each: the oldest first, at most 100 at a
time. --drop drops those of a broker up to a number of the list.

With --json each message is one line: {"broker": ..., "seq": ..., "topic": ...,
"payload": ..., "qos": ..., "retained": ..., "reason": ..., "at": microseconds}.
` + gatewayHelp,
		Example: `  gantry mqtt parked
  gantry mqtt parked --broker house --drop 17`,
		Args: cobra.NoArgs,
	}
	r, gateway := a.remoteFlags(cmd), gatewayFlag(cmd)
	cmd.Flags().StringVar(&broker, "broker", "", "only those of [broker.NAME]")
	cmd.Flags().Int64Var(&after, "after", 0, "list those behind this number")
	cmd.Flags().Int64Var(&drop, "drop", 0, "drop those up to this number; needs --broker")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print messages as JSON, one per line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		verb, kwargs := "parked", wamp.Dict{"broker": broker, "after": after}
		if drop != 0 {
			if broker == "" || drop < 0 || after != 0 {
				return usageError{errors.New("--drop takes a number of the list, together with --broker and without --after")}
			}
			verb, kwargs = "drop", wamp.Dict{"broker": broker, "up_to": drop}
		}
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			gw, err := gatewayOf(cmd.Context(), s, *gateway)
			if err != nil {
				return err
			}
			procedure := "gantry." + gw + ".sys.mqtt." + verb
			p, err := s.Call(cmd.Context(), wamp.URI(procedure), wamp.CallOptions{}, wamp.Values(nil, kwargs))
			if err != nil || drop != 0 {
				return unserved(err, procedure)
			}
			return a.writeParked(p, asJSON)
		})
	}
	return cmd
}

func (a *app) writeParked(p wamp.Payload, asJSON bool) error {
	args, _, err := serialize.Values(p)
	if err != nil {
		return err
	}
	if len(args) != 1 {
		return errors.New("the answer is no list of messages")
	}
	list, _ := args[0].(wamp.List)
	if len(list) == 0 && !asJSON {
		_, err := fmt.Fprintln(a.out, "no messages are set aside")
		return err
	}
	for _, v := range list {
		m, _ := v.(wamp.Dict)
		if b, ok := m["payload"].([]byte); ok {
			m["payload"] = string(b)
		}
		if asJSON {
			if err := a.writeJSON(m); err != nil {
				return err
			}
			continue
		}
		at, _ := m["at"].(int64)
		if _, err := fmt.Fprintf(a.out, "%v %v  %s  %q  %v  %.200q\n", m["broker"], m["seq"],
			time.UnixMicro(at).UTC().Format(time.RFC3339), m["topic"], m["reason"], m["payload"]); err != nil {
			return err
		}
	}
	return nil
}
