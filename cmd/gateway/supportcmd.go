package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"gantry/bridge/files"
	"gantry/wamp"
	"gantry/wamp/client"
)

func (a *app) supportCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "support",
		Short: "Fetch what helps to find out what is wrong with a gateway",
		Long: `Has a running gateway make a support bundle and fetches it, going on where it was
interrupted: run it again. The bundle is a tar.gz archive of versions, configuration,
state, metrics, the last lines of the log, store, goroutines and the machine's own
figures. No secret is in it (docs/files.md).
` + gatewayHelp,
		Example: `  gantry support
  gantry support --url wss://hub.example/ws --gateway barn -o barn.tar.gz`,
		Args: cobra.NoArgs,
	}
	r, gateway := a.remoteFlags(cmd), gatewayFlag(cmd)
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to FILE; default: support-GATEWAY.tar.gz")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.with(cmd.Context(), r, func(s *client.Session) error {
			gw, err := gatewayOf(cmd.Context(), s, *gateway)
			if err != nil {
				return err
			}
			if file == "" {
				file = bundleMark + gw + ".tar.gz"
			}
			return a.fetchBundle(cmd.Context(), s, gw, file)
		})
	}
	return cmd
}

// fetchBundle fetches the bundle of which there is a part, or a new one, and removes it
// from the gateway.
func (a *app) fetchBundle(ctx context.Context, s *client.Session, gw, to string) error {
	name, err := bundleOf(ctx, s, gw, to+partSuffix)
	if err == nil && name == "" {
		var made wamp.Dict
		made, err = client.Call[wamp.Dict](ctx, s, supportProcedure(gw))
		name, _ = made["name"].(string)
	}
	if err == nil {
		err = a.getFile(ctx, s, gw, []string{name, to})
	}
	if err != nil {
		return err
	}
	// The gateway keeps the last ones anyway, and whoever may fetch may not remove.
	_, _ = client.Call[string](ctx, s, files.Procedure(gw, "remove"), name)
	return nil
}

// bundleOf returns the bundle of the gateway that begins as a part does; "" for none.
func bundleOf(ctx context.Context, s *client.Session, gw, part string) (string, error) {
	f, err := os.Open(part)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	size, sum, err := fileSum(f)
	if err != nil || size == 0 {
		return "", err
	}
	list, err := client.Call[wamp.List](ctx, s, files.Procedure(gw, "list"))
	if err != nil {
		return "", err
	}
	for _, v := range list {
		d, _ := v.(wamp.Dict)
		name, _ := d["name"].(string)
		if !strings.HasPrefix(name, bundleMark) || d["partial"] == true {
			continue
		}
		if about, err := client.Call[wamp.Dict](ctx, s, files.Procedure(gw, "stat"), name, size); err == nil && about["sha256_start"] == sum {
			return name, nil
		}
	}
	return "", nil
}
