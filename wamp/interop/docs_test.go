package interop_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gantry/wamp/interop"
)

// TestKindsAreComplete checks that every transport and method is either there or
// lacking for a reason, and that nothing is both.
func TestKindsAreComplete(t *testing.T) {
	t.Parallel()
	for _, k := range interop.Kinds() {
		for _, scheme := range interop.Schemes() {
			has := slices.ContainsFunc(k.Links, func(l interop.Link) bool { return l.Scheme == scheme })
			if has == (k.Lacks[scheme] != "") {
				t.Errorf("%s, transport %s: there %t, lacking %q", k.Name, scheme, has, k.Lacks[scheme])
			}
		}
		for _, method := range interop.Methods() {
			if has := slices.Contains(k.Methods, method); has == (k.Lacks[method] != "") {
				t.Errorf("%s, method %s: there %t, lacking %q", k.Name, method, has, k.Lacks[method])
			}
		}
	}
}

// TestVersionsAreThoseInstalled compares what Kinds say with what is pinned.
func TestVersionsAreThoseInstalled(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("js", "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	var pkg struct{ Dependencies map[string]string }
	if err := json.Unmarshal(b, &pkg); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join("nexus", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := pkg.Dependencies["autobahn"], interop.AutobahnJS().Version; got != want {
		t.Errorf("autobahn is %s, not %s", got, want)
	}
	if got, want := pkg.Dependencies["wampy"], interop.Wampy().Version; got != want {
		t.Errorf("wampy is %s, not %s", got, want)
	}
	if want := "nexus/v3 v" + interop.Nexus().Version; !strings.Contains(string(mod), want) {
		t.Errorf("go.mod does not have %s", want)
	}
}

// TestDocsStateTheTable checks docs/interop.md against the libraries and what the
// scenarios leave out.
func TestDocsStateTheTable(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "interop.md"))
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	// However it begins a sentence and wherever its lines break.
	says := func(why string) bool {
		return strings.Contains(strings.ToLower(strings.Join(strings.Fields(doc), " ")), strings.ToLower(why))
	}
	for _, k := range interop.Kinds() {
		if row := row(k); !strings.Contains(doc, row+"\n") {
			t.Errorf("docs/interop.md lacks this row:\n%s", row)
		}
		for _, why := range k.Lacks {
			if !says(why) {
				t.Errorf("docs/interop.md does not say of %s: %s", k.Name, why)
			}
		}
	}
	for _, s := range scenarios {
		for who, why := range s.except {
			if !says(why) {
				t.Errorf("docs/interop.md does not say of %s: %s", who, why)
			}
		}
	}
}

// row is a library in the table of docs/interop.md.
func row(k interop.Kind) string {
	var transports []string
	for _, scheme := range interop.Schemes() {
		var serializers []string
		for _, l := range k.Links {
			if l.Scheme == scheme {
				serializers = append(serializers, l.Serializer)
			}
		}
		switch len(serializers) {
		case 0:
		case 3:
			transports = append(transports, scheme)
		default:
			transports = append(transports, scheme+" ("+strings.Join(serializers, ", ")+")")
		}
	}
	return fmt.Sprintf("| %s | %s | %s | json, msgpack, cbor | %s |", k.Name, k.Version,
		strings.Join(transports, ", "), strings.Join(k.Methods, ", "))
}
