package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"gantry/internal/config"
)

// defaultConfig is where the package puts the configuration.
const defaultConfig = "/etc/gantry"

const configHelp = `The configuration is one file, or a directory with gantry.toml and a file for each
device in devices.d/*.toml. docs/reference.toml explains every key.`

func (a *app) checkCommand() *cobra.Command {
	var (
		path   string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration without a running gateway",
		Long: `Reads the configuration as gantry run would and reports everything that is wrong
with it: file, line, key, and what is allowed. It opens no device and no port.
` + configHelp + `

With --json the answer is one object: {"ok": ..., "devices": [...], "errors":
[{"file": ..., "line": ..., "key": ..., "text": ..., "allowed": ..., "device": ...}]};
an error with a device stops that device only.

Exit codes: 0 in order, 1 errors, 2 wrong usage.`,
		Example: `  gantry check --config /etc/gantry
  gantry check --config examples/demo --json`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&path, "config", defaultConfig, "configuration directory or file")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.RunE = func(*cobra.Command, []string) error {
		cfg, errs := config.Load(path, kinds())
		if asJSON {
			if err := a.writeJSON(checkResult(cfg, errs)); err != nil {
				return err
			}
		}
		if len(errs) > 0 {
			if !asJSON {
				fmt.Fprintf(a.err, "%v\n", errs)
			}
			return errSilent
		}
		if asJSON {
			return nil
		}
		_, err := fmt.Fprintf(a.out, "%s: in order, gateway %s with %s\n", path, cfg.Gateway.Name, count(len(cfg.Devices), "device"))
		return err
	}
	return cmd
}

func checkResult(cfg *config.Config, errs config.Errors) map[string]any {
	devices, list := []any{}, []any{}
	if cfg != nil {
		for _, d := range cfg.Devices {
			devices = append(devices, d.Name)
		}
	}
	for _, e := range errs {
		list = append(list, map[string]any{
			"file": e.File, "line": e.Line, "key": e.Key, "text": e.Text, "allowed": e.Allowed, "device": e.Device,
		})
	}
	return map[string]any{"ok": len(errs) == 0, "devices": devices, "errors": list}
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
