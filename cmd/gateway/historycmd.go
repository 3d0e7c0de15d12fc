package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"

	"github.com/spf13/cobra"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

func (a *app) historyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Read the events that a gateway keeps",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("history needs a subcommand: export")}
		},
	}
	cmd.AddCommand(a.historyExportCommand())
	return cmd
}

func (a *app) historyExportCommand() *cobra.Command {
	var file, match string
	var after int64
	cmd := &cobra.Command{
		Use:   "export TOPIC",
		Short: "Write the events of a history as lines of JSON",
		Long: `Writes the events that the router keeps of a topic or pattern ([[history]] of its
configuration), oldest first, up to those of now, as lines of JSON: _record (its
number), timestamp, publication, details, args, kwargs (docs/files.md).

With -o it goes on behind the last line of FILE: run it again after an interruption,
or later, for what has come since.
` + exitCodesHelp,
		Example: `  gantry history export gantry.gw.alarm. --match prefix -o alarms.jsonl
  gantry history export gantry..point.. --match wildcard --after 5000 | jq .args`,
		Args: cobra.ExactArgs(1),
	}
	r := a.remoteFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&match, "match", "exact", "exact, prefix or wildcard, as the history is configured")
	f.StringVarP(&file, "output", "o", "", "write to FILE, going on where it ends")
	f.Int64Var(&after, "after", 0, "only what came behind the record of that number")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		if _, ok := wamp.ParseMatch(match); !ok || after < 0 {
			return usageError{errors.New("--match takes exact, prefix or wildcard, --after a number from 0 on")}
		}
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			e := &historyExport{session: s, after: after}
			if err := e.find(cmd.Context(), words[0], match); err != nil {
				return err
			}
			if file == "" {
				return e.write(cmd.Context(), a.out)
			}
			out, err := e.resume(cmd.Context(), file, !cmd.Flags().Changed("after"), a.err)
			if err != nil {
				return err
			}
			return errors.Join(e.write(cmd.Context(), out), out.Sync(), out.Close())
		})
	}
	return cmd
}

// recordStart is how each line of an export begins: keys are in order.
const recordStart = `{"_record":`

// historyExport reads a history page by page.
type historyExport struct {
	session *client.Session
	id      any   // of the subscription that the history belongs to
	after   int64 // the record that was written last
}

func (e *historyExport) find(ctx context.Context, topic, match string) (err error) {
	e.id, err = answerOf(e.session.Call(ctx, "wamp.subscription.lookup", wamp.CallOptions{}, wamp.Args(topic, wamp.Dict{"match": match})))
	if err == nil && e.id == nil {
		err = fmt.Errorf("nothing is kept of %s (match %s): topic and match are those of a [[history]] in the gateway's configuration", topic, match)
	}
	return err
}

// page returns the events behind a record.
func (e *historyExport) page(ctx context.Context, after int64, more wamp.Dict) ([]wamp.Dict, error) {
	kwargs := wamp.Dict{"_after_record": after}
	maps.Copy(kwargs, more)
	got, err := answerOf(e.session.Call(ctx, "wamp.subscription.get_events", wamp.CallOptions{}, wamp.Values(wamp.List{e.id}, kwargs)))
	list, _ := got.(wamp.List)
	events := make([]wamp.Dict, 0, len(list))
	for _, v := range list {
		d, _ := v.(wamp.Dict)
		if recordOf(d) == 0 {
			return nil, errors.New("the router does not number its events: only Gantry does, and older versions do not")
		}
		events = append(events, d)
	}
	return events, err
}

func recordOf(event wamp.Dict) int64 { n, _ := event["_record"].(int64); return n }

// write writes what follows, up to the newest event at its start.
func (e *historyExport) write(ctx context.Context, out io.Writer) error {
	newest, err := e.page(ctx, e.after, wamp.Dict{"reverse": true, "limit": 1})
	if err != nil || len(newest) == 0 {
		return err
	}
	for end := recordOf(newest[0]); e.after < end; {
		events, err := e.page(ctx, e.after, nil)
		if err != nil {
			return fmt.Errorf("%w; go on by --after %d", err, e.after)
		}
		if len(events) == 0 {
			return nil // the rest has been dropped meanwhile
		}
		var lines []byte
		for _, ev := range events {
			delete(ev, "subscription") // it is another one after a restart
			line, err := jsonOf(ev)
			if err != nil {
				return err
			}
			lines = append(append(lines, line...), '\n')
		}
		if _, err := out.Write(lines); err != nil {
			return err
		}
		e.after = recordOf(events[len(events)-1])
	}
	return nil
}

// resume opens a file to write to. Unless it is told where to go on, that is behind
// the last whole line, whose event the history must still have, or have dropped. What
// is behind that line is cut off.
func (e *historyExport) resume(ctx context.Context, name string, behind bool, warn io.Writer) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, err
	}
	line, end, err := lastLine(f)
	if err == nil && behind && line != nil {
		err = e.follow(ctx, line, name, warn)
	}
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// follow sets after to the record of a line.
func (e *historyExport) follow(ctx context.Context, line []byte, name string, warn io.Writer) error {
	v, err := serialize.ParseValue(wamp.JSON, line, serialize.Limits{Bytes: len(line)})
	last, _ := v.(wamp.Dict)
	record := recordOf(last)
	if err != nil || record == 0 {
		return fmt.Errorf("%s: its last line is no event with a _record", name)
	}
	events, err := e.page(ctx, record-1, wamp.Dict{"limit": 1})
	if err != nil {
		return err
	}
	switch {
	case len(events) == 0 || recordOf(events[0]) == record && events[0]["publication"] != last["publication"]:
		return fmt.Errorf("%s: the history has not, or no longer, the event of its last line, record %d; write to another file, or say by --after where to go on", name, record)
	case recordOf(events[0]) > record+1:
		fmt.Fprintf(warn, "gantry: the gateway no longer keeps the events from record %d to %d\n", record+1, recordOf(events[0])-1)
	}
	e.after = record
	return nil
}

// maxLine bounds a line of an export: a message has 16 MiB at most.
const maxLine = 64 << 20

// lastLine returns the last whole line of an export, nil if there is none, and where
// it ends.
func lastLine(f *os.File) (line []byte, end int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	size := info.Size()
	for n := min(size, 64<<10); n > 0; n = min(size, 2*n) {
		b := make([]byte, n)
		if _, err := f.ReadAt(b, size-n); err != nil {
			return nil, 0, err
		}
		stop := bytes.LastIndexByte(b, '\n')
		start := bytes.LastIndexByte(b[:max(stop, 0)], '\n') + 1
		switch {
		case start > 0 || n == size && stop >= 0:
			return b[start:stop], size - n + int64(stop) + 1, nil
		case n == size && bytes.HasPrefix(append(b, recordStart[min(len(b), len(recordStart)):]...), []byte(recordStart)):
			return nil, 0, nil // the first line was cut off
		case n == size || n > maxLine:
			return nil, 0, fmt.Errorf("%s is no export of a history", f.Name())
		}
	}
	return nil, 0, nil
}
