package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gantry/bridge"
	"gantry/bridge/fleet"
	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/transport"
)

var _ fleet.Table = mapTable{}

// openFleet opens what a hub keeps of its gateways, before the store runs.
func (r *run) openFleet() (err error) {
	if r.cfg.Gateway.Hub {
		r.marks, err = r.store.Table("fleet", store.TableConfig{MaxEntries: 1 << 17, MaxBytes: 80 << 20})
	}
	return err
}

// startFleet starts a hub's view of other gateways and returns when it misses nothing.
func (r *run) startFleet(ctx context.Context, origin *bridge.Origin) error {
	if !r.cfg.Gateway.Hub {
		return nil
	}
	s, err := r.join(ctx, "fleet", transport.PipeConfig{Lossless: true})
	if err != nil {
		return err
	}
	f, err := fleet.New(origin, s, mapTable{r.marks}, time.Now, r.log.With("room", "fleet"))
	if err != nil {
		return err
	}
	r.fleet.Store(f)
	// Behind the listeners: what has come from them is in the view that is saved.
	r.back.run("fleet", f.Run)
	return awaitReady(ctx, f.Ready())
}

// fleetMetrics writes what a hub knows of each gateway.
func (g *Gateway) fleetMetrics(m *metrics) {
	f := g.fleet.Load()
	if f == nil {
		return
	}
	all := f.Gateways()
	for _, c := range []struct {
		name, kind, help string
		of               func(*fleet.Gateway) uint64
	}{
		{"gantry_fleet_connected", gauge, "1 while the gateway is connected.", func(g *fleet.Gateway) uint64 {
			if g.Connected {
				return 1
			}
			return 0
		}},
		{"gantry_fleet_behind", gauge, "Events that wait in the gateway, as it has said last.", func(g *fleet.Gateway) uint64 { return uint64(max(g.Depth, 0)) }},
		{"gantry_fleet_gaps", gauge, "Gaps that are remembered.", func(g *fleet.Gateway) uint64 { return uint64(max(g.Gaps, 0)) }},
		{"gantry_fleet_alarms", gauge, "Alarms that are not cleared.", func(g *fleet.Gateway) uint64 { return uint64(max(g.Alarms, 0)) }},
		{"gantry_fleet_events_total", counter, "Events that came since the start.", func(g *fleet.Gateway) uint64 { return g.Events }},
		{"gantry_fleet_missing_total", counter, "Events that were missing when the next one came.", func(g *fleet.Gateway) uint64 { return g.Missing }},
		{"gantry_fleet_late_total", counter, "Those of them that came after all.", func(g *fleet.Gateway) uint64 { return g.Late }},
		{"gantry_fleet_doubles_total", counter, "Events that came again, or out of order.", func(g *fleet.Gateway) uint64 { return g.Doubles }},
		{"gantry_fleet_streams", gauge, "Streams that are known.", func(g *fleet.Gateway) uint64 { return g.Streams }},
	} {
		m.family(c.name, c.kind, c.help)
		for i := range all {
			m.value(float64(c.of(&all[i])), "gateway", all[i].Name)
		}
	}
}

func (a *app) fleetCommand() *cobra.Command {
	cmd := a.fleetVerb("fleet", "list", "Show the gateways whose uplinks lead to a hub",
		`Shows the gateways that a hub (gateway.hub = true) has heard of: which are connected,
since when, when they were heard last, how many events wait there and how old the
oldest is, and how many have gone missing or came twice (docs/fleet.md).`,
		"gateway", "connected", "since", "seen", "behind", "behind_s", "gaps", "alarms", "streams", "events", "missing", "doubles")
	cmd.AddCommand(
		a.fleetVerb("gaps", "gaps", "Show which events are missing", `Shows the events of gateways that have not come, as a hub has noticed by their numbers,
and (kind queue) what gateways say they have lost from the queues of their uplinks.`,
			"topic", "ep", "from", "to", "at", "uncertain", "kind"),
		a.fleetVerb("alarms", "alarms", "Show the alarms of gateways", "Shows the alarms of gateways that have not been cleared.", "topic", "state", "at", "ts"),
	)
	return cmd
}

// fleetVerb is a command that shows the list that sys.fleet.<verb> returns.
func (a *app) fleetVerb(use, verb, short, long string, columns ...string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: use, Short: short,
		Long: long + "\nWith --json each is one line, in the form of gantry.<gw>.sys.fleet." + verb + ".\n" + gatewayHelp,
		Args: cobra.NoArgs,
	}
	r, gateway := a.remoteFlags(cmd), gatewayFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON, one per line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			gw, err := gatewayOf(cmd.Context(), s, *gateway)
			if err != nil {
				return err
			}
			procedure := "gantry." + gw + ".sys.fleet." + verb
			got, err := answerOf(s.Call(cmd.Context(), wamp.URI(procedure), wamp.CallOptions{}, wamp.Payload{}))
			if err != nil {
				return unserved(err, procedure)
			}
			list, _ := got.(wamp.List)
			return a.showRows(list, columns, asJSON)
		})
	}
	return cmd
}

// timeColumns are the columns that are microseconds UTC.
var timeColumns = []string{"since", "seen", "at", "ts"}

// showRows prints dictionaries as a table. What they do not have is "-".
func (a *app) showRows(list wamp.List, columns []string, asJSON bool) error {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	cells := func(of func(column string) string) {
		for i, c := range columns {
			fmt.Fprint(w, "\t"[:min(i, 1)], of(c))
		}
		fmt.Fprintln(w)
	}
	cells(func(c string) string { return string(bytes.ToUpper([]byte(c))) })
	for _, v := range list {
		if asJSON {
			if err := a.writeJSON(v); err != nil {
				return err
			}
			continue
		}
		row, _ := v.(wamp.Dict)
		cells(func(c string) string {
			v, there := row[c]
			at, _ := v.(int64)
			switch {
			case there && !slices.Contains(timeColumns, c):
				return text(v)
			case at == 0:
				return "-"
			}
			return time.UnixMicro(at).UTC().Format(time.RFC3339)
		})
	}
	if asJSON {
		return nil
	}
	// A buffer takes everything.
	_ = w.Flush()
	_, err := a.out.Write(b.Bytes())
	return err
}
