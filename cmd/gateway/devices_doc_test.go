package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gantry/internal/config"
)

// TestSamplesOfDevicesAreInOrder loads every sample of docs/devices.md as users
// would: as a device file.
func TestSamplesOfDevicesAreInOrder(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "devices.md"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"gantry.toml": "schema = 1\n"}
	for i, block := range strings.Split(string(text), "```toml\n")[1:] {
		sample, _, _ := strings.Cut(block, "```")
		files[fmt.Sprintf("devices.d/sample%d.toml", i+1)] = sample
	}
	cfg, errs := config.Load(writeFiles(t, files), kinds())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if len(cfg.Devices) != len(files)-1 || len(cfg.Devices) < 4 {
		t.Errorf("%d devices in %d files", len(cfg.Devices), len(files)-1)
	}
}
