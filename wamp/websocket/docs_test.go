package websocket_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
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

// names returns what the package and its tests declare: Type, Type.Field,
// Type.Method, Function.
func names(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			declared(d, all)
		}
	}
	// A Config is part of both.
	for name := range all {
		if field, ok := strings.CutPrefix(name, "Config."); ok {
			all["Server."+field], all["Dialer."+field], all[field] = true, true, true
		}
	}
	return all
}

func declared(d ast.Decl, all map[string]bool) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			all[d.Name.Name] = true
			return
		}
		recv := d.Recv.List[0].Type
		if p, ok := recv.(*ast.StarExpr); ok {
			recv = p.X
		}
		all[recv.(*ast.Ident).Name+"."+d.Name.Name] = true
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				for _, n := range spec.Names {
					all[n.Name] = true
				}
			case *ast.TypeSpec:
				all[spec.Name.Name] = true
				if st, ok := spec.Type.(*ast.StructType); ok {
					for _, field := range st.Fields.List {
						for _, n := range field.Names {
							all[spec.Name.Name+"."+n.Name] = true
						}
					}
				}
			}
		}
	}
}

func TestWhatTheListOfParityNamesIsThere(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/parity.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Plain WebSocket\n")
	section, _, _ = strings.Cut(section, "\n## ")
	all := names(t)
	checked := 0
	for row := range strings.Lines(section) {
		_, here, ok := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		if !ok {
			continue
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(here, -1) {
			name := m[1]
			switch {
			case strings.HasPrefix(name, "examples/"):
				if _, err := os.Stat(filepath.Join("..", "..", name)); err != nil {
					t.Error(err)
				}
			case regexp.MustCompile(`^[A-Z][A-Za-z]+[a-z](\.[A-Z]\w*|_\w+)?$`).MatchString(name):
				if checked++; !all[name] {
					t.Errorf("there is no %s: %s", name, row)
				}
			}
		}
	}
	if checked < 80 {
		t.Errorf("only %d names are checked", checked)
	}
}
