package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gantry/wamp"
)

// TestMetricsOfTheStore reads what outboxes and tables say of themselves while the far
// side of an uplink is away.
func TestMetricsOfTheStore(t *testing.T) {
	t.Parallel()
	p := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": `schema = 1
gateway.name = "field"
mqtt.listen = ""
[uplink.hq]
url = "rs+unix://` + filepath.Join(t.TempDir(), "gantry.sock") + `"
forward = ["point"]
`}), t.TempDir())
	s := p.join()
	for range 3 {
		if err := s.Publish(t.Context(), "gantry.field.point.tank.level", wamp.PublishOptions{Acknowledge: true, Retain: true}, wamp.Args(int64(1))); err != nil {
			t.Fatal(err)
		}
	}
	if n := queuedEvents(t, p, 3); n != 3 {
		t.Errorf("%d events are in the queue", n)
	}
	text := "\n" + get(t, "http://"+p.host()+"/metrics")
	for _, line := range []string{
		`gantry_outbox_records_total{outbox="hq"} 3`, `gantry_outbox_records_total{outbox="hq-dead"} 0`, `gantry_outbox_pending_bytes{outbox="hq"} 0`,
		`gantry_outbox_files{outbox="hq"} 1`, `gantry_outbox_lost_total{outbox="hq",reason="max_bytes"} 0`, `gantry_outbox_lost_total{outbox="hq",reason="crash"} 0`,
		`gantry_uplink_depth{uplink="hq"} 3`, `gantry_table_failing{table="last"} 0`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	for _, name := range []string{`gantry_outbox_bytes{outbox="hq"} `, `gantry_uplink_oldest_seconds{uplink="hq"} `, `gantry_table_entries{table="last"} `} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("no line %s", name)
		}
	}
}

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
