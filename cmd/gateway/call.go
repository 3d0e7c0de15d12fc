package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gantry/wamp"
	"gantry/wamp/client"
)

func (a *app) callCommand() *cobra.Command {
	var (
		asJSON  bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "call PROCEDURE [ARGUMENT | NAME=VALUE]...",
		Short: "Call a procedure and print its result",
		Long: `Calls a procedure and prints its result: each positional value and each keyword
value on a line. Progressive results are shown as they come, on standard error.
Ctrl-C cancels the call; the procedure is told.
` + argumentsHelp + `

With --json every result is one line on standard output: {"args": [...], "kwargs":
{...}}, with "progress": true for progressive ones; a refusal is {"error": URI,
"args": [...], "kwargs": {...}}.
` + exitCodesHelp,
		Example: `  gantry call gantry.demo.get.greenhouse.temperature
  gantry call gantry.demo.set.greenhouse.lamp true
  gantry call gantry.demo.do.greenhouse.move to=80
  gantry call --json gantry.demo.sys.device.list`,
		Args: cobra.MinimumNArgs(1),
	}
	r := a.remoteFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print results as JSON, one per line")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "cancel the call after this time; 0 = never")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		if timeout < 0 {
			return usageError{fmt.Errorf("--timeout is negative")}
		}
		payload, err := parseArguments(words[1:])
		if err != nil {
			return err
		}
		progress := func(p wamp.Payload) {
			if asJSON {
				o := payloadObject(p)
				o["progress"] = true
				// A broken pipe shows at the final result.
				_ = a.writeJSON(o)
				return
			}
			fmt.Fprintf(a.err, "... %s\n", payloadWords(p))
		}
		opts := wamp.CallOptions{Timeout: uint64((timeout + time.Millisecond - 1) / time.Millisecond)}
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			result, err := s.CallProgress(cmd.Context(), wamp.URI(words[0]), opts, payload, progress)
			err = unserved(err, words[0])
			switch {
			case err != nil && asJSON:
				return a.jsonError(err)
			case err != nil:
				return err
			case asJSON:
				return a.writeJSON(payloadObject(result))
			}
			for _, line := range payloadLines(result) {
				if _, err := fmt.Fprintln(a.out, line); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}
