package config_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/internal/config"
)

// finds is a finder that finds nothing.
type finds struct{ Ports []string }

func (*finds) Run(ctx context.Context, _ drivers.Found) error { <-ctx.Done(); return nil }

func findable() drivers.Kind {
	k := drivers.FoundKind("node")
	k.Finder = &drivers.FinderKind{
		Config: func() any {
			return &struct {
				Ports []string `toml:"ports"`
			}{}
		},
		New: func(cfg any, _ drivers.Env) (drivers.Finder, error) {
			ports := cfg.(*struct {
				Ports []string `toml:"ports"`
			}).Ports
			if len(ports) == 0 {
				return nil, &drivers.ConfigError{Key: "ports", Text: "is empty", Allowed: "paths"}
			}
			return &finds{ports}, nil
		},
	}
	return k
}

// loadFound writes a configuration and loads it with a kind that can be found.
func loadFound(t *testing.T, files map[string]string) (string, *config.Config, config.Errors) {
	t.Helper()
	dir := write(t, files)
	cfg, errs := config.Load(dir, []drivers.Kind{findable()})
	return dir, cfg, errs
}

func TestAcceptedDevicesAreLoadedAgain(t *testing.T) {
	t.Parallel()
	dir, cfg, errs := loadFound(t, map[string]string{"gantry.toml": "schema = 1\n"})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	d := cfg.Decisions()
	a := hub.Acceptance{Device: "stable", Kind: "node", ID: "a1/b:2", About: "Node\n[device.evil]"}
	if err := d.Accept(a); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "devices.d", "stable.toml"))
	if want := "# Node [device.evil]\n[device.stable]\ndriver = \"node\"\nfound = \"a1/b:2\"\n"; err != nil || string(text) != want {
		t.Errorf("file: %q, %v, want %q", text, err, want)
	}
	if err := d.Accept(a); err == nil || !strings.Contains(err.Error(), "stable.toml exists already") {
		t.Errorf("over a file: %v", err)
	}
	if err := d.Ignore([]string{"node:1", "node:2"}); err != nil {
		t.Fatal(err)
	}
	cfg, errs = config.Load(dir, []drivers.Kind{findable()})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if !slices.Equal(cfg.Ignored, []string{"node:1", "node:2"}) || len(cfg.Devices) != 1 {
		t.Fatalf("ignored %q, devices %v", cfg.Ignored, cfg.Devices)
	}
	dev, err := cfg.Devices[0].Build(drivers.Env{})
	if err != nil || dev.Name != "stable" || dev.Found != "node:a1/b:2" || dev.Driver != nil {
		t.Errorf("device %+v, %v", dev, err)
	}
	if err := d.Forget("stable"); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(filepath.Join(dir, "devices.d"))
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestDecisionsThatCannotBeKeptSayWhatToDo(t *testing.T) {
	t.Parallel()
	a := hub.Acceptance{Device: "stable", Kind: "node", ID: "1"}
	dir, cfg, errs := loadFound(t, map[string]string{
		"gantry.toml":        "schema = 1\n",
		"devices.d/two.toml": "[device.two]\ndriver = \"node\"\nfound = \"2\"\n[device.three]\ndriver = \"node\"\nfound = \"3\"\n",
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	d := cfg.Decisions()
	if err := d.Forget("two"); err == nil || !strings.Contains(err.Error(), "two.toml holds more than the device: take [device.two] out of it") {
		t.Errorf("forget: %v", err)
	}
	if err := d.Forget("three"); err == nil || !strings.Contains(err.Error(), "take [device.three] out of the file where it is") {
		t.Errorf("forget: %v", err)
	}
	single, errs := config.Load(filepath.Join(dir, "gantry.toml"), []drivers.Kind{findable()})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for what, err := range map[string]error{"accept": single.Decisions().Accept(a), "ignore": single.Decisions().Ignore(nil), "forget": single.Decisions().Forget("two")} {
		if err == nil || !strings.Contains(err.Error(), "a single file") || !strings.Contains(err.Error(), "gantry.toml") {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A file in the folder's place cannot be written into, not even by root.
	bare, cfg, _ := loadFound(t, map[string]string{"gantry.toml": "schema = 1\n"})
	if err := os.WriteFile(filepath.Join(bare, "devices.d"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	err := cfg.Decisions().Accept(a)
	if want := `write a table [device.stable] with driver = "node" and found = "1" into ` + bare; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("accept: %v, want %q in it", err, want)
	}
}

func TestDiscoveryIsChecked(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[discovery.node]\nports = [\"/dev/x\"]\naccept = \"all\"\nmax = 5": "",
		"[discovery.node]\nports = [\"/dev/x\"]\naccept = \"some\"":         `discovery.node.accept: is "some"; allowed: "none", "all"`,
		"[discovery.node]\nports = [\"/dev/x\"]\nmax = -1":                  "discovery.node.max: is -1; allowed: 0 (256) to 10000",
		"[discovery.node]": "discovery.node.ports: is empty; allowed: paths",
		"[discovery.nod]":  `discovery.nod: there is no way to find devices of the kind "nod", did you mean node?; allowed: "node"`,
	} {
		_, cfg, errs := loadFound(t, map[string]string{"gantry.toml": "schema = 1\n" + text})
		switch {
		case want == "" && (len(errs) > 0 || len(cfg.Sources) != 1 || cfg.Sources[0].Hub != hub.SourceConfig{Accept: hub.AcceptAll, Max: 5}):
			t.Errorf("%s: %v", text, errs)
		case want != "" && (len(errs) != 1 || !strings.HasSuffix(errs[0].Error(), want)):
			t.Errorf("%s:\n%v, want %s", text, errs, want)
		}
	}
	_, cfg, errs := loadFound(t, map[string]string{"gantry.toml": "schema = 1\n", "ignored.toml": "ignore = []\n"})
	if cfg != nil || len(errs) != 1 {
		t.Errorf("a list that says nothing: %v", errs)
	}
}
