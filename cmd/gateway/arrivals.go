package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gantry/drivers/hub"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// The subcommands of "gantry devices": devices that appear by themselves.

const gatewayHelp = `
Where several gateways share the realm, --gateway says which.
` + exitCodesHelp

// gatewayFlag adds --gateway to a command.
func gatewayFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("gateway", "", "name of the gateway; needed where the realm has several")
}

// gatewayOf returns the name given, or that of the only gateway in the realm: each
// hub registers a pattern for the points that nobody has.
func gatewayOf(ctx context.Context, s *client.Session, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	list, err := answerOf(s.Call(ctx, "wamp.registration.list", wamp.CallOptions{}, wamp.Payload{}))
	if err != nil {
		return "", fmt.Errorf("look for gateways: %w; name one by --gateway", err)
	}
	patterns, _ := list.(wamp.Dict)
	ids, _ := patterns["wildcard"].(wamp.List)
	var names []string
	for _, id := range ids {
		about, err := answerOf(s.Call(ctx, "wamp.registration.get", wamp.CallOptions{}, wamp.Args(id)))
		d, _ := about.(wamp.Dict)
		uri, _ := d["uri"].(string)
		if part := strings.Split(uri, "."); err == nil && len(part) == 5 && part[0] == "gantry" && part[2] == "get" {
			names = append(names, part[1])
		}
	}
	slices.Sort(names)
	switch names = slices.Compact(names); len(names) {
	case 1:
		return names[0], nil
	case 0:
		return "", fmt.Errorf("there is no gateway in the realm")
	}
	return "", usageError{fmt.Errorf("the realm has several gateways, %s: name one by --gateway", clean(strings.Join(names, ", ")))}
}

// answerOf returns the first value of a result.
func answerOf(p wamp.Payload, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	args, _, err := serialize.Values(p)
	if err != nil || len(args) == 0 {
		return nil, err
	}
	return args[0], nil
}

func (a *app) pendingCommand() *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "pending",
		Short: "Show devices that have appeared by themselves and wait for a decision",
		Long: `Shows the devices that have appeared and that nobody has accepted or ignored yet;
with --all also those. With --json each is one line, in the form of
gantry.<gw>.sys.device.pending.
` + gatewayHelp,
		Example: `  gantry devices pending
  gantry devices pending --all --json`,
		Args: cobra.NoArgs,
	}
	r, gateway := a.remoteFlags(cmd), gatewayFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print devices as JSON, one per line")
	cmd.Flags().BoolVar(&all, "all", false, "those that are accepted or ignored too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			gw, err := gatewayOf(cmd.Context(), s, *gateway)
			if err != nil {
				return err
			}
			got, err := answerOf(s.Call(cmd.Context(), hub.SysProcedure(gw, "pending"), wamp.CallOptions{}, wamp.Values(nil, wamp.Dict{"all": all})))
			if err != nil {
				return err
			}
			list, _ := got.(wamp.List)
			return a.showCandidates(list, asJSON)
		})
	}
	return cmd
}

// showCandidates prints what sys.device.pending has returned.
func (a *app) showCandidates(list wamp.List, asJSON bool) error {
	if asJSON {
		for _, c := range list {
			if err := a.writeJSON(c); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.out, "no devices wait for a decision")
		return err
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CANDIDATE\tSTATE\tNAME\tMODEL\tDESCRIPTION")
	for _, v := range list {
		c, _ := v.(wamp.Dict)
		word := func(key string) string { s, _ := c[key].(string); return clean(s) }
		name, about := word("name"), word("description")
		if device := word("device"); device != "" {
			name = device
		}
		if why := word("why"); why != "" {
			about = why
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", word("candidate"), word("state"), name, word("model"), about)
	}
	// A buffer takes everything.
	_ = w.Flush()
	_, err := a.out.Write(b.Bytes())
	return err
}

// decisionCommand is one of accept, ignore and forget.
func (a *app) decisionCommand(verb, short, long string, named bool) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     verb + " CANDIDATE",
		Short:   short,
		Long:    long + "\n" + gatewayHelp,
		Example: "  gantry devices " + verb + " node:55736303831351",
		Args:    cobra.ExactArgs(1),
	}
	r, gateway := a.remoteFlags(cmd), gatewayFlag(cmd)
	if named {
		cmd.Flags().StringVar(&name, "name", "", "name of the device: 1 to 64 of a-z 0-9 _; default: the one that it proposes")
	}
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			gw, err := gatewayOf(cmd.Context(), s, *gateway)
			if err != nil {
				return err
			}
			kwargs := wamp.Dict{}
			if name != "" {
				kwargs["name"] = name
			}
			got, err := answerOf(s.Call(cmd.Context(), hub.SysProcedure(gw, verb), wamp.CallOptions{}, wamp.Values(wamp.List{words[0]}, kwargs)))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, text(got))
			return err
		})
	}
	return cmd
}

// arrivalCommands are the subcommands of "gantry devices".
func (a *app) arrivalCommands() []*cobra.Command {
	return []*cobra.Command{
		a.pendingCommand(),
		a.decisionCommand("accept", "Make a device that has appeared a device of the gateway",
			`Makes a device of a candidate that "gantry devices pending" shows, writes
devices.d/NAME.toml for it, and prints the name.`, true),
		a.decisionCommand("ignore", "Hear no more of a device that has appeared",
			`Leaves a candidate out of "gantry devices pending" for ever; it is noted in
ignored.toml, beside gantry.toml.`, false),
		a.decisionCommand("forget", "Take back that a device was accepted or ignored",
			`Takes back "accept" or "ignore". A device that was accepted is removed together
with its file devices.d/NAME.toml.`, false),
	}
}
