package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gantry/wamp"
	"gantry/wamp/client"
)

// redraw is the shortest time between two pictures of the live table.
const redraw = 200 * time.Millisecond

func (a *app) devicesCommand() *cobra.Command {
	var asJSON, once bool
	cmd := &cobra.Command{
		Use:   "devices",
		Short: "Show devices, their state and their last readings",
		Long: `Shows every device of every gateway in the realm with its state and the last
reading of each of its points, live until Ctrl-C. --once, and an output that is no
terminal, show the present state only.

With --json each device is one line: {"gateway": ..., "device": ..., "state": ...,
"reason": ..., "since": microseconds, "points": {NAME: {"value": ..., "unit": ...,
"q": ..., "ts": ...}}}; live, a device is printed again when it has changed.
` + exitCodesHelp,
		Example: `  gantry devices
  gantry devices --once --json | jq .points`,
		Args: cobra.NoArgs,
	}
	r := a.remoteFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print devices as JSON, one per line")
	cmd.Flags().BoolVar(&once, "once", false, "print the present state and end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !asJSON && !a.terminal {
			once = true
		}
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			t := newDeviceTable()
			if err := t.watch(cmd.Context(), s); err != nil {
				return err
			}
			if once {
				return a.showDevices(t, asJSON)
			}
			return a.followDevices(cmd.Context(), s, t, asJSON)
		})
	}
	cmd.AddCommand(a.arrivalCommands()...)
	return cmd
}

// showDevices prints the table once.
func (a *app) showDevices(t *deviceTable, asJSON bool) error {
	if !asJSON {
		_, err := a.out.Write(t.render(time.Now()))
		return err
	}
	for _, d := range t.changed() {
		if err := a.writeJSON(d); err != nil {
			return err
		}
	}
	return nil
}

// followDevices prints the table, or what has changed in it, until ctx ends.
func (a *app) followDevices(ctx context.Context, s *client.Session, t *deviceTable, asJSON bool) error {
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		var err error
		if asJSON {
			err = a.showDevices(t, true)
		} else {
			// Home, the lines each cleared to their end, then clear what is below.
			picture := bytes.ReplaceAll(t.render(time.Now()), []byte("\n"), []byte("\x1b[K\n"))
			_, err = fmt.Fprintf(a.out, "\x1b[H%s\x1b[J", picture)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.Done():
			return lost(s)
		case <-tick.C:
		}
	}
}

// deviceTable gathers the state and the readings of devices from their events.
type deviceTable struct {
	mu      sync.Mutex // guards what follows, between event handlers and output
	devices map[deviceKey]*deviceRow
}

type deviceKey struct{ gateway, device string }

type deviceRow struct {
	state, reason string // "" without an event that says so, as of devices that MQTT rules make
	since         time.Time
	points        map[string]reading
	dirty         bool // changed since changed was last called
}

func newDeviceTable() *deviceTable { return &deviceTable{devices: map[deviceKey]*deviceRow{}} }

// watch subscribes to the devices of all gateways. When it returns, the values
// that the router keeps are in the table: they precede the answer to the last
// subscription, which is for topics that nobody uses.
func (t *deviceTable) watch(ctx context.Context, s wamp.Session) error {
	kept := wamp.SubscribeOptions{GetRetained: true}
	if _, err := client.SubscribeWith(ctx, s, "gantry.<gw>.state.<dev>.link", kept, t.link); err != nil {
		return err
	}
	if _, err := client.SubscribeWith(ctx, s, "gantry.<gw>.point.<dev>.<point>", kept, t.point); err != nil {
		return err
	}
	_, err := client.Subscribe(ctx, s, "gantry.<gw>.cli_barrier.<dev>.<name>", func(wamp.Payload, *wamp.Event) {})
	return err
}

// row returns the row of a device, which has changed; t.mu is held.
func (t *deviceTable) row(key deviceKey) *deviceRow {
	if t.devices[key] == nil {
		t.devices[key] = &deviceRow{points: map[string]reading{}}
	}
	t.devices[key].dirty = true
	return t.devices[key]
}

// linkEvent is the state of a device (docs/topics.md).
type linkEvent struct {
	Gateway string `wamp:"<gw>"`
	Device  string `wamp:"<dev>"`
	State   string `wamp:"0"`
	Reason  string `wamp:"reason,optional"`
	Since   int64  `wamp:"since,optional"` // microseconds
}

func (t *deviceTable) link(v linkEvent, _ *wamp.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row := t.row(deviceKey{v.Gateway, v.Device})
	row.state, row.reason = v.State, v.Reason
	if v.Since != 0 {
		row.since = time.UnixMicro(v.Since)
	}
}

// pointEvent is the topic of a reading.
type pointEvent struct {
	Gateway string `wamp:"<gw>"`
	Device  string `wamp:"<dev>"`
	Point   string `wamp:"<point>"`
}

func (t *deviceTable) point(v pointEvent, ev *wamp.Event) {
	r, ok := readingOf(ev.Payload)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.row(deviceKey{v.Gateway, v.Device}).points[v.Point] = r
}

func (t *deviceTable) keys() []deviceKey {
	return slices.SortedFunc(maps.Keys(t.devices), func(a, b deviceKey) int {
		return cmp.Or(strings.Compare(a.gateway, b.gateway), strings.Compare(a.device, b.device))
	})
}

// changed returns the devices that have changed since the last time.
func (t *deviceTable) changed() []wamp.Dict {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []wamp.Dict
	for _, key := range t.keys() {
		row := t.devices[key]
		if !row.dirty {
			continue
		}
		row.dirty = false
		points := wamp.Dict{}
		for name, r := range row.points {
			p := wamp.Dict{"value": r.value, "unit": r.unit, "q": r.quality}
			if r.why != "" {
				p["why"] = r.why
			}
			if !r.at.IsZero() {
				p["ts"] = r.at.UnixMicro()
			}
			points[name] = p
		}
		d := wamp.Dict{"gateway": key.gateway, "device": key.device, "state": cmp.Or(row.state, "unknown"), "points": points}
		if row.reason != "" {
			d["reason"] = row.reason
		}
		if !row.since.IsZero() {
			d["since"] = row.since.UnixMicro()
		}
		list = append(list, d)
	}
	return list
}

// render draws the table as it is at now.
func (t *deviceTable) render(now time.Time) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.devices) == 0 {
		return []byte("no devices\n")
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GATEWAY\tDEVICE\tSTATE\tFOR\tPOINT\tVALUE\tQUALITY\tAGE")
	for _, key := range t.keys() {
		row := t.devices[key]
		state := cmp.Or(clean(row.state), "-")
		if row.reason != "" {
			state += " (" + clean(row.reason) + ")"
		}
		head := fmt.Sprintf("%s\t%s\t%s\t%s", clean(key.gateway), clean(key.device), state, age(now, row.since))
		if len(row.points) == 0 {
			fmt.Fprintf(w, "%s\t\t\t\t\n", head)
		}
		for _, name := range slices.Sorted(maps.Keys(row.points)) {
			r := row.points[name]
			value := "-"
			if r.value != nil {
				value = strings.TrimSpace(text(r.value) + " " + clean(r.unit))
			}
			quality := clean(strings.TrimSuffix(r.quality+": "+r.why, ": "))
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", head, clean(name), value, quality, age(now, r.at))
			head = "\t\t\t"
		}
	}
	// A buffer takes everything.
	_ = w.Flush()
	return b.Bytes()
}

// age shows how long ago t was.
func age(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return ""
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
