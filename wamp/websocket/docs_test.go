package websocket_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// lines returns the text without indentation and empty lines, each line ended.
func lines(text string) string {
	var all strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			all.WriteString(line + "\n")
		}
	}
	return all.String()
}

func TestThePageIsMadeOfExamples(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/programming-websocket.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	examples := "\n" + lines(string(source))
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 15 {
		t.Errorf("only %d pieces of Go on the page", len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(examples, "\n"+lines(b[1])) {
			t.Errorf("this is not in example_test.go:\n%s", b[1])
		}
	}
	// Links within the page lead somewhere.
	for _, m := range regexp.MustCompile(`\]\(#([a-z-]+)\)`).FindAllStringSubmatch(string(page), -1) {
		heading := strings.ReplaceAll(m[1], "-", " ")
		if !regexp.MustCompile(`(?mi)^#+ ` + heading + `$`).Match(page) {
			t.Errorf("no heading for #%s", m[1])
		}
	}
}
