package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gantry/bridge/shapes"
	"gantry/internal/config"
)

// TestSamplesOfDevicesAreInOrder loads every sample of the pages that have whole
// devices in them as users would: as a device file.
func TestSamplesOfDevicesAreInOrder(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"devices.md", "drivers/external.md", "drivers/line.md", "drivers/sim.md"} {
		t.Run(page, func(t *testing.T) {
			text := readDoc(t, page)
			files := map[string]string{"gantry.toml": "schema = 1\n"}
			for i, block := range strings.Split(text, "```toml\n")[1:] {
				sample, _, _ := strings.Cut(block, "```")
				if !strings.Contains(sample, "[device.") {
					files["gantry.toml"] += sample
					continue
				}
				files[fmt.Sprintf("devices.d/sample%d.toml", i+1)] = sample
			}
			cfg, errs := config.Load(writeFiles(t, files), kinds())
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if len(cfg.Devices) != len(files)-1 || len(cfg.Devices) < 2 {
				t.Errorf("%d devices in %d files", len(cfg.Devices), len(files)-1)
			}
		})
	}
}

// TestEveryDriverIsDocumented wants of each driver what a user looks for: a page, the
// keys, a configuration to start from, which other tests load.
func TestEveryDriverIsDocumented(t *testing.T) {
	t.Parallel()
	reference := readDoc(t, "reference.toml")
	var examples strings.Builder
	files, err := filepath.Glob(filepath.Join("..", "..", "examples", "*", "devices.d", "*.toml"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join("..", "..", "examples", "*", "gantry.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, more...) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		examples.Write(b)
	}
	list := regexp.MustCompile(`(?m)^driver = .*# required: (.*)$`).FindStringSubmatch(reference)
	if list == nil {
		t.Fatal("reference.toml does not list the drivers")
	}
	var names []string
	page := readDoc(t, "shapes.md")
	shaped := map[string]bool{}
	for _, k := range shapes.Kinds() {
		// They are named in a broker's table, and need no file.
		if shaped[k.Name] = true; !strings.Contains(page, `"`+k.Name+`"`) {
			t.Errorf("docs/shapes.md does not say %q", k.Name)
		}
	}
	for _, k := range kinds() {
		if shaped[k.Name] {
			continue
		}
		names = append(names, k.Name)
		key := fmt.Sprintf("driver = %q", k.Name)
		start := key
		if k.Finder != nil { // whose devices need no file
			start = "[discovery." + k.Name + "]"
		}
		for where, text := range map[string]string{"docs/drivers/" + k.Name + ".md": readDoc(t, "drivers/"+k.Name+".md"), "docs/reference.toml": reference} {
			if !strings.Contains(text, key) && !strings.Contains(text, start) {
				t.Errorf("%s does not say %s", where, key)
			}
		}
		if !strings.Contains(examples.String(), start) {
			t.Errorf("no example has %s", start)
		}
	}
	if want := strings.Join(names, ", "); list[1] != want {
		t.Errorf("reference.toml lists %s, there are %s", list[1], want)
	}
}

// readDoc returns a page of docs.
func readDoc(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
