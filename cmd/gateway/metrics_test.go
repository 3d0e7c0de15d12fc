package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMetricsAreDocumented compares the names in the sources with docs/metrics.md.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (counter|gauge) \\| [^|]*\\| [^|]+\\|$").FindAllStringSubmatch(string(b), -1) {
		documented[m[1]] = m[2]
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"((?:gantry|go|process)_[a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
			written[m[1]] = true
		}
	}
	if len(written) < 50 {
		t.Errorf("only %d metrics found", len(written))
	}
	for name := range written {
		kind := gauge
		if strings.HasSuffix(name, "_total") {
			kind = counter
		}
		if documented[name] != kind {
			t.Errorf("docs/metrics.md does not say what the %s %s means", kind, name)
		}
	}
	for name := range documented {
		if !written[name] {
			t.Errorf("docs/metrics.md has %s, which nobody writes", name)
		}
	}
}
