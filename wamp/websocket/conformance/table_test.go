package conformance_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"gantry/wamp/websocket/conformance"
)

const document = "../../../docs/websocket-conformance.md"

var tableFile = flag.String("websocket-table", "", "write the table of groups and counts into this document")

// tableStart opens the part of the document that is generated, and tableEnd ends it.
const (
	tableStart = "<!-- generated: go test ./wamp/websocket/conformance -run TestConformance -websocket-table ../../../docs/websocket-conformance.md -->\n"
	tableEnd   = "<!-- end of what is generated -->\n"
)

// count is how many cases of a group have passed on a side, and how many have not.
type count struct{ passed, failed int }

// ran are the counts by side and group.
var ran struct {
	sync.Mutex
	by map[[2]string]count
}

// keep counts t, which runs a case, when it has ended.
func keep(t *testing.T, side, group string) {
	t.Cleanup(func() {
		ran.Lock()
		defer ran.Unlock()
		if ran.by == nil {
			ran.by = map[[2]string]count{}
		}
		c := ran.by[[2]string{side, group}]
		if t.Failed() {
			c.failed++
		} else {
			c.passed++
		}
		ran.by[[2]string{side, group}] = c
	})
}

// keepTable writes the table when t, which runs all cases, has ended.
func keepTable(t *testing.T) {
	if *tableFile == "" {
		return
	}
	t.Cleanup(func() {
		ran.Lock()
		defer ran.Unlock()
		old, err := os.ReadFile(*tableFile)
		if err != nil {
			t.Fatal(err)
		}
		head, _, found := strings.Cut(string(old), tableStart)
		_, foot, ended := strings.Cut(string(old), tableEnd)
		if !found || !ended {
			t.Fatalf("%s has no part between %s and %s", *tableFile, tableStart, tableEnd)
		}
		if err := os.WriteFile(*tableFile, []byte(head+tableStart+table(ran.by)+tableEnd+foot), 0o644); err != nil {
			t.Fatal(err)
		}
	})
}

// table is counts as Markdown.
func table(by map[[2]string]count) string {
	var b strings.Builder
	b.WriteString("\n| group | server | client |\n|---|---|---|\n")
	sum := map[string]int{}
	for _, group := range conformance.Groups() {
		fmt.Fprintf(&b, "| %s |", group)
		for _, side := range []string{"server", "client"} {
			c := by[[2]string{side, group}]
			sum[side] += c.passed
			fmt.Fprintf(&b, " %d", c.passed)
			if c.failed > 0 {
				fmt.Fprintf(&b, ", **%d fail**", c.failed)
			}
			b.WriteString(" |")
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "| all | %d | %d |\n\n", sum["server"], sum["client"])
	return b.String()
}

// TestDocumentCountsTheCases fails when the committed table is of other cases than
// there are, or says that some do not pass.
func TestDocumentCountsTheCases(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	by := map[[2]string]count{}
	names := map[string]bool{}
	for _, c := range conformance.Cases() {
		if names[c.Group+c.Name] {
			t.Errorf("two cases are named %s, %s", c.Group, c.Name)
		}
		names[c.Group+c.Name] = true
		for side, suits := range map[string]bool{"server": c.ForServer(endpoint), "client": c.ForClient(endpoint)} {
			if suits {
				n := by[[2]string{side, c.Group}]
				n.passed++
				by[[2]string{side, c.Group}] = n
			}
		}
	}
	if want := tableStart + table(by) + tableEnd; !strings.Contains(string(text), want) {
		t.Errorf("docs/websocket-conformance.md is of other cases: generate it anew; there are\n%s", want)
	}
}
