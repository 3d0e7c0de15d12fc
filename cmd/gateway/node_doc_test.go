package main

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExamplesOfTheNodeProtocol finds every line of bytes of docs/node-protocol.md
// among the frames that both sides are tested with.
func TestExamplesOfTheNodeProtocol(t *testing.T) {
	t.Parallel()
	read := func(path ...string) string {
		text, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	_, examples, _ := strings.Cut(read("docs", "node-protocol.md"), "## Examples")
	frames := read("drivers", "node", "testdata", "frames.txt")
	n := 0
	for line := range strings.Lines(examples) {
		bytes := strings.ReplaceAll(strings.TrimSpace(line), " ", "")
		if !strings.HasPrefix(line, "    ") {
			continue
		}
		n++
		if _, err := hex.DecodeString(bytes); err != nil || !strings.Contains(frames, bytes) {
			t.Errorf("not in frames.txt: %s", line)
		}
	}
	if n < 10 {
		t.Errorf("only %d lines of bytes", n)
	}
}
