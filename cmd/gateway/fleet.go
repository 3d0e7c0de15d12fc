package main

import (
	"bytes"
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gantry/bridge/fleet"
	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/transport"
)

var _ fleet.Table = mapTable{}

// openFleet opens the marks of a hub, before the store runs.
func (r *run) openFleet() (err error) {
	if r.cfg.Gateway.Hub {
		r.marks, err = r.store.Table("fleet", store.TableConfig{MaxEntries: 1 << 17, MaxBytes: 80 << 20})
	}
	return err
}

// startFleet starts a hub's view of other gateways and returns when it misses nothing.
func (r *run) startFleet(ctx context.Context) error {
	if !r.cfg.Gateway.Hub {
		return nil
	}
	s, err := r.join(ctx, "fleet", transport.PipeConfig{Lossless: true})
	if err != nil {
		return err
	}
	f, err := fleet.New(r.cfg.Gateway.Name, s, mapTable{r.marks}, time.Now, r.log.With("room", "fleet"))
	if err != nil {
		return err
	}
	r.fleet.Store(f)
	r.front.run("fleet", f.Run)
	select {
	case <-f.Ready():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
		{"gantry_fleet_events_total", counter, "Events that came since the start.", func(g *fleet.Gateway) uint64 { return g.Events }},
		{"gantry_fleet_missing_total", counter, "Events that never came.", func(g *fleet.Gateway) uint64 { return g.Missing }},
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
	var asJSON, gaps bool
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "Show the gateways whose uplinks lead to a hub",
		Long: `Shows the gateways that a hub (gateway.hub = true) has heard of: when, how far behind
they are, and how many events are missing or came twice; with --gaps which are missing.
With --json each is one line, in the form of gantry.<gw>.sys.fleet.list and gaps.
` + gatewayHelp,
		Example: `  gantry fleet
  gantry fleet --gaps --json`,
		Args: cobra.NoArgs,
	}
	r, gateway := a.remoteFlags(cmd), gatewayFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON, one per line")
	cmd.Flags().BoolVar(&gaps, "gaps", false, "show events that are missing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		verb, columns := "list", []string{"gateway", "seen", "newest", "replay", "streams", "events", "missing", "doubles"}
		if gaps {
			verb, columns = "gaps", []string{"topic", "ep", "from", "to", "at", "uncertain"}
		}
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			gw, err := gatewayOf(cmd.Context(), s, *gateway)
			if err != nil {
				return err
			}
			got, err := answerOf(s.Call(cmd.Context(), wamp.URI("gantry."+gw+".sys.fleet."+verb), wamp.CallOptions{}, wamp.Payload{}))
			if err != nil {
				return err
			}
			list, _ := got.(wamp.List)
			return a.showRows(list, columns, asJSON)
		})
	}
	return cmd
}

// showRows prints dictionaries as a table. Columns that are times are seen, newest and at.
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
			at, _ := row[c].(int64)
			switch {
			case c != "seen" && c != "newest" && c != "at":
				return text(row[c])
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
