package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

func (a *app) laterCommand() *cobra.Command {
	var (
		key            string
		ttl, delay     time.Duration
		replace, again bool
	)
	cmd := &cobra.Command{
		Use:   "later PROCEDURE [ARGUMENT | NAME=VALUE]...",
		Short: "Queue a command for a device or gateway that may be away",
		Long: `Queues a call of gantry.<gw>.set.<dev>.<point> or gantry.<gw>.do.<dev>.<action> and
prints the job's id. It is called as soon as the device, or the whole gateway, can be
reached, never after --ttl, and not twice. The same --key names the same job: to queue
it again changes nothing, and --replace puts a new value in place of the one that waits.
"gantry jobs" shows what became of it.
` + argumentsHelp + exitCodesHelp,
		Example: `  gantry later --ttl 8h gantry.barn.set.greenhouse.lamp true
  gantry later --ttl 1h --key night --replace gantry.barn.set.boiler.max 45
  gantry later --ttl 24h gantry.barn.do.greenhouse.move to=80`,
		Args: cobra.MinimumNArgs(1),
	}
	r := a.remoteFlags(cmd)
	f := cmd.Flags()
	f.DurationVar(&ttl, "ttl", time.Hour, "never call it after this time; at most 720h")
	f.DurationVar(&delay, "delay", 0, "do not call it before this time")
	f.StringVar(&key, "key", "", "what you know the job by: 1 to 64 bytes")
	f.BoolVar(&replace, "replace", false, "take the place of the job that waits under --key")
	f.BoolVar(&again, "again", false, "may be called again where it is not known what came of a call")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		p := strings.Split(words[0], ".")
		if len(p) != 5 || p[2] != "set" && p[2] != "do" {
			return usageError{errors.New("later takes gantry.<gw>.set.<dev>.<point> or gantry.<gw>.do.<dev>.<action>")}
		}
		payload, err := parseArguments(words[1:])
		if err != nil {
			return err
		}
		args, with, err := serialize.Values(payload)
		if err != nil {
			return err
		}
		args = append(wamp.List{p[4]}, args...)
		if len(with) > 0 {
			args = append(args, with)
		}
		kwargs := wamp.Dict{"ttl_ms": ttl.Milliseconds(), "replace": replace, "again": again}
		if delay > 0 {
			kwargs["delay_ms"] = delay.Milliseconds()
		}
		if key != "" {
			kwargs["key"] = key
		}
		uri := wamp.URI(strings.Join([]string{p[0], p[1], "later", p[3], p[2]}, "."))
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			id, err := answerOf(s.Call(cmd.Context(), uri, wamp.CallOptions{}, wamp.Values(args, kwargs)))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, text(id))
			return err
		})
	}
	return cmd
}

func (a *app) jobsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "jobs [JOB]",
		Short: "Show queued commands, or one of them",
		Long: `Shows the queued commands that a gateway keeps, and the last ones that have ended;
with --json each is one line, in the form of gantry.<gw>.sys.job.list.
` + gatewayHelp,
		Example: `  gantry jobs
  gantry jobs --json 4wq2uuz6fbbyy3fnmxpx7hcmzy
  gantry jobs cancel 4wq2uuz6fbbyy3fnmxpx7hcmzy`,
		Args: cobra.MaximumNArgs(1),
	}
	r, gateway := a.remoteFlags(cmd), gatewayFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print jobs as JSON, one per line")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			gw, err := gatewayOf(cmd.Context(), s, *gateway)
			if err != nil {
				return err
			}
			if len(words) == 1 {
				got, err := answerOf(s.Call(cmd.Context(), jobProcedure(gw, "get"), wamp.CallOptions{}, wamp.Args(words[0])))
				if err != nil {
					return err
				}
				return a.showJobs(wamp.List{got}, asJSON)
			}
			got, err := answerOf(s.Call(cmd.Context(), jobProcedure(gw, "list"), wamp.CallOptions{}, wamp.Payload{}))
			if err != nil {
				return err
			}
			list, _ := got.(wamp.List)
			return a.showJobs(list, asJSON)
		})
	}
	cmd.AddCommand(a.jobsCancelCommand())
	return cmd
}

func jobProcedure(gateway, verb string) wamp.URI {
	return wamp.URI("gantry." + gateway + ".sys.job." + verb)
}

func (a *app) jobsCancelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cancel JOB",
		Short:   "Cancel a queued command that has not been called yet",
		Long:    "Cancels a job that is queued. One that has been called cannot be taken back.\n" + gatewayHelp,
		Example: `  gantry jobs cancel 4wq2uuz6fbbyy3fnmxpx7hcmzy`,
		Args:    cobra.ExactArgs(1),
	}
	r, gateway := a.remoteFlags(cmd), gatewayFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			gw, err := gatewayOf(cmd.Context(), s, *gateway)
			if err != nil {
				return err
			}
			_, err = s.Call(cmd.Context(), jobProcedure(gw, "cancel"), wamp.CallOptions{}, wamp.Args(words[0]))
			return err
		})
	}
	return cmd
}

func (a *app) showJobs(list wamp.List, asJSON bool) error {
	if asJSON {
		for _, j := range list {
			if err := a.writeJSON(j); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.out, "no commands are queued")
		return err
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "JOB\tSTATE\tPROCEDURE\tKEY\tBY\tCHANGED\tWHY")
	for _, v := range list {
		j, _ := v.(wamp.Dict)
		word := func(key string) string { s, _ := j[key].(string); return clean(s) }
		at, _ := j["changed"].(int64)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", word("job"), word("state"), word("procedure"), word("key"), word("authid"),
			time.UnixMicro(at).UTC().Format(time.RFC3339), strings.TrimSpace(word("error")+" "+word("why")))
	}
	// A buffer takes everything.
	_ = w.Flush()
	_, err := a.out.Write(b.Bytes())
	return err
}
