package main

import (
	"io/fs"
	"path/filepath"
	"testing"

	"gantry/internal/config"
)

// elsewhere says what a configuration needs that only its own test has.
var elsewhere = map[string]string{
	"tls.toml": "a certificate",
}

// TestShippedConfigurationsAreInOrder loads everything that a person may start
// from: the examples, the reference and the package's own file.
func TestShippedConfigurationsAreInOrder(t *testing.T) {
	// What users of the examples are told to export: proofs of no password.
	t.Setenv("EXAMPLE_STORED", "TICKET-SHA-256$ZFbZzqIkqJ1Ht1kHO2XAt6d5ZJ4V4WoXdWdm9jN1W0k=")
	root := filepath.Join("..", "..")
	paths := []string{
		filepath.Join(root, "docs", "reference.toml"),
		filepath.Join(root, "systemd", "gantry.toml"),
	}
	err := filepath.WalkDir(filepath.Join(root, "examples"), func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "devices.d" || e.Name() == "node_modules"):
			return filepath.SkipDir
		case e.Name() == "gantry.toml":
			paths = append(paths, filepath.Dir(path)) // with devices.d
		case filepath.Ext(path) == ".toml":
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		t.Run(path[len(root)+1:], func(t *testing.T) {
			cfg, errs := config.Load(path, kinds())
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			_, err := NewGateway(Options{Config: cfg, State: t.TempDir()})
			if why := elsewhere[filepath.Base(path)]; err != nil && why == "" {
				t.Error(err)
			}
		})
	}
}
