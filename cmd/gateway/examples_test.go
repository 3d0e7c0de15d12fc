package main

import (
	"os"
	"path/filepath"
	"testing"

	"gantry/internal/config"
)

// TestShippedConfigurationsAreInOrder loads everything that a person may start
// from: the examples, the reference and the package's own file.
func TestShippedConfigurationsAreInOrder(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	paths := []string{
		filepath.Join(root, "docs", "reference.toml"),
		filepath.Join(root, "systemd", "gantry.toml"),
	}
	entries, err := os.ReadDir(filepath.Join(root, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		dir := filepath.Join(root, "examples", e.Name())
		if _, err := os.Stat(filepath.Join(dir, "gantry.toml")); err == nil { // and no program
			paths = append(paths, dir)
		}
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			cfg, errs := config.Load(path, kinds())
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if _, err := NewGateway(Options{Config: cfg, State: t.TempDir()}); err != nil {
				t.Error(err)
			}
		})
	}
}
