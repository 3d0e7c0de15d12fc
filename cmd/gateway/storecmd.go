package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gantry/store"
)

func (a *app) storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look after what a gateway has stored",
		Long: `Works on a state directory. status, check and export may look at that of a gateway
that runs: at a copy of one file after the other, in the directory for temporary files
(TMPDIR), and not at what it has in memory alone, of which gantry call
(gantry.NAME.sys.queue.status) and its metrics tell. compact needs a stopped one.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("store needs a subcommand: status, check, export, compact")}
		},
	}
	cmd.AddCommand(a.storeStatusCommand(), a.storeCheckCommand(), a.storeExportCommand(), a.storeCompactCommand(), a.storeApartCommand())
	return cmd
}

// stateFlag adds the flag that says where the store is.
func stateFlag(cmd *cobra.Command) func() string {
	state := cmd.Flags().String("state", defaultState, "state directory of the gateway")
	return func() string { return filepath.Join(*state, "store") }
}

// outboxSummary is an outbox in the answer of gantry store status.
type outboxSummary struct {
	Outbox  string `json:"outbox"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	Records uint64 `json:"records"`
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
	Acked   uint64 `json:"acknowledged"`
	Waiting uint64 `json:"waiting"`
	Damaged int    `json:"damaged_files"`
}

// summarize puts the reports of each outbox together.
func summarize(reports []store.Report) []outboxSummary {
	all := []outboxSummary{}
	for _, r := range reports {
		if r.Outbox == "" {
			continue
		}
		i := slices.IndexFunc(all, func(s outboxSummary) bool { return s.Outbox == r.Outbox })
		if i < 0 {
			i = len(all)
			all = append(all, outboxSummary{Outbox: r.Outbox, First: r.First, Acked: r.Acked})
		}
		s := &all[i]
		s.Files++
		s.Bytes += r.Bytes
		s.Records += r.Records
		s.Last = max(s.Last, r.Last)
		if r.Err != nil {
			s.Damaged++
		}
		if r.Last > s.Acked {
			s.Waiting += min(r.Records, r.Last-s.Acked)
		}
	}
	return all
}

func (a *app) storeStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "What waits in each outbox",
		Args:    cobra.NoArgs,
		Example: "  gantry store status --state /var/lib/gantry",
	}
	dir := stateFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print the result as JSON")
	cmd.RunE = func(*cobra.Command, []string) error {
		reports, err := store.Inspect(dir())
		if err != nil {
			return err
		}
		all := summarize(reports)
		if *asJSON {
			return a.writeJSON(all)
		}
		if len(all) == 0 {
			_, err := fmt.Fprintln(a.out, "no outboxes")
			return err
		}
		for _, s := range all {
			if _, err := fmt.Fprintf(a.out, "%s: %d waiting, records %d to %d in %s of %d bytes, acknowledged to %d\n",
				s.Outbox, s.Waiting, s.First, s.Last, count(s.Files, "file"), s.Bytes, s.Acked); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func (a *app) storeCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read every file with every record and say what is damaged",
		Long: `Reads every file with every record and changes nothing, also while the gateway
runs. What is damaged the gateway sets aside when it opens the file, and keeps what
can be read of it.

Exit codes: 0 all in order, 1 something is damaged, 2 wrong usage.`,
		Args:    cobra.NoArgs,
		Example: "  gantry store check --state /var/lib/gantry",
	}
	dir := stateFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		reports, err := store.Inspect(dir())
		if err != nil {
			return err
		}
		var failed error
		for _, r := range reports {
			verdict := "in order"
			if r.Err != nil {
				verdict, failed = strings.ReplaceAll(r.Err.Error(), "\n", "; "), errSilent
			}
			if _, err := fmt.Fprintf(a.out, "%s: %s, %d bytes, %d records\n", r.Path, verdict, r.Bytes, r.Records); err != nil {
				return err
			}
		}
		return failed
	}
	return cmd
}

func (a *app) storeExportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export OUTBOX",
		Short: "Print the records of an outbox as lines of JSON",
		Long: `Prints every undamaged record, oldest first, as one line of JSON: epoch, seq,
written (microseconds UTC), record (base64). Acknowledged ones are among them
while their file is there.`,
		Args:    cobra.ExactArgs(1),
		Example: "  gantry store export --state /var/lib/gantry hq > hq.jsonl",
	}
	dir := stateFlag(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		out := json.NewEncoder(a.out)
		return store.Export(dir(), args[0], func(epoch, seq uint64, clock int64, record []byte) error {
			return out.Encode(struct {
				Epoch   uint64 `json:"epoch"`
				Seq     uint64 `json:"seq"`
				Written int64  `json:"written"`
				Record  []byte `json:"record"`
			}{epoch, seq, clock, record})
		})
	}
	return cmd
}

func (a *app) storeCompactCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "compact",
		Short:   "Rewrite files where that makes them smaller",
		Args:    cobra.NoArgs,
		Example: "  gantry store compact --state /var/lib/gantry",
	}
	dir := stateFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		before, after, err := store.Compact(dir())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "%d bytes before, %d after\n", before, after)
		return err
	}
	return cmd
}
