package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"gantry/wamp"
	"gantry/wamp/client"
)

func (a *app) publishCommand() *cobra.Command {
	var (
		retain, asJSON bool
		timeout        time.Duration
	)
	cmd := &cobra.Command{
		Use:   "publish TOPIC [ARGUMENT | NAME=VALUE]...",
		Short: "Publish an event",
		Long: `Publishes an event and waits until the router has accepted it.
` + argumentsHelp + exitCodesHelp,
		Example: `  gantry publish sensors.hall.temperature 21.5 unit=Cel
  gantry publish --retain site.mode '"night"'`,
		Args: cobra.MinimumNArgs(1),
	}
	r := a.remoteFlags(cmd)
	cmd.Flags().BoolVar(&retain, "retain", false, "keep it as the topic's last value for later subscribers")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a refusal as JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "longest wait for the router's answer")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		payload, err := parseArguments(words[1:])
		if err != nil {
			return err
		}
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			err := s.Publish(ctx, wamp.URI(words[0]), wamp.PublishOptions{Acknowledge: true, Retain: retain}, payload)
			if asJSON {
				return a.jsonError(err)
			}
			return err
		})
	}
	return cmd
}
