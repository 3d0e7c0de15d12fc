package conformance

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"gantry/wamp/wamptest"
)

var tableFile = flag.String("conformance-table", "", "write the table of items and links into this document")

// tableStart opens the part of the document that is generated; it goes to the end.
const tableStart = "<!-- generated: go test ./wamp/conformance -run TestChecklist -conformance-table ../../docs/conformance.md -->\n"

// ran are the links that the items of the checklist went over, and whether all
// that was tested there holds.
var ran struct {
	sync.Mutex
	by map[string]map[wamptest.Link]bool // item, link
}

// itemOf returns the name of the item that t belongs to, "" if it is none.
func itemOf(t *testing.T) string {
	name, found := strings.CutPrefix(t.Name(), "TestChecklist/")
	if !found {
		return ""
	}
	item, _, _ := strings.Cut(name, "/")
	return item
}

// ranOver notes that t goes over a link.
func ranOver(t *testing.T, l wamptest.Link) {
	item := itemOf(t)
	if item == "" || l.Transport == "" {
		return
	}
	l.Batched = false
	t.Cleanup(func() {
		ran.Lock()
		defer ran.Unlock()
		if ran.by == nil {
			ran.by = map[string]map[wamptest.Link]bool{}
		}
		if ran.by[item] == nil {
			ran.by[item] = map[wamptest.Link]bool{}
		}
		before, known := ran.by[item][l]
		ran.by[item][l] = !t.Failed() && (before || !known)
	})
}

// keepTable writes the table when t, which runs the checklist, has ended.
func keepTable(t *testing.T) {
	if *tableFile == "" {
		return
	}
	t.Cleanup(func() {
		old, err := os.ReadFile(*tableFile)
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(string(old), tableStart)
		if err := os.WriteFile(*tableFile, []byte(text+tableStart+"\n"+table()), 0o644); err != nil {
			t.Fatal(err)
		}
	})
}

// table is what the items have gone over, as Markdown.
func table() string {
	ran.Lock()
	defer ran.Unlock()
	var b strings.Builder
	links := wamptest.Links()
	b.WriteString("| item |")
	for _, l := range links {
		fmt.Fprintf(&b, " %s |", strings.Replace(l.String(), "-", " ", 1))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(links)) + "\n")
	for _, it := range checklist() {
		number, name, _ := strings.Cut(it.name, "_")
		fmt.Fprintf(&b, "| %s %s", number, strings.ReplaceAll(name, "_", " "))
		b.WriteString(" |")
		for _, l := range links {
			holds, tested := ran.by[it.name][l]
			switch {
			case !tested:
				b.WriteString("  |")
			case holds:
				b.WriteString(" yes |")
			default:
				b.WriteString(" **no** |")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// TestDocumentListsTheChecklist fails when the committed table is of another
// checklist than this one, or says that something does not hold.
func TestDocumentListsTheChecklist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, found := strings.Cut(string(text), tableStart)
	if !found {
		t.Fatalf("docs/conformance.md has no line %s", tableStart)
	}
	var listed []string
	for line := range strings.Lines(rows) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || cells[1] == " item " || cells[1] == "---" {
			continue
		}
		name := strings.TrimSpace(cells[1])
		listed = append(listed, strings.ReplaceAll(name, " ", "_"))
		if strings.Contains(line, "**no**") {
			t.Errorf("%s does not hold everywhere", name)
		}
		if !strings.Contains(line, "yes") {
			t.Errorf("%s was tested nowhere", name)
		}
	}
	var want []string
	for _, it := range checklist() {
		want = append(want, it.name)
	}
	if strings.Join(listed, "\n") != strings.Join(want, "\n") {
		t.Errorf("docs/conformance.md lists %d items, the checklist has %d: generate it anew\nlisted: %v\nhere:   %v", len(listed), len(want), listed, want)
	}
}
