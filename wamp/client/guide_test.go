package client_test

import (
	"bytes"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

var updateGuide = flag.Bool("guide", false, "write the code of the examples into docs/programming-wamp.md")

const guide = "../../docs/programming-wamp.md"

// snippet is a block of Go in the guide, below the names of the declarations of
// example_test.go that it shows: the body of an example, all of anything else.
var snippet = regexp.MustCompile("(?s)<!-- example_test.go: ([^>]*) -->\n```go\n(.*?)```\n")

// The guide shows code that is compiled and run.
func TestGuideShowsTheExamples(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	code := declarations(t, source)
	blocks := 0
	made := snippet.ReplaceAllStringFunc(string(text), func(block string) string {
		blocks++
		names := snippet.FindStringSubmatch(block)[1]
		var parts []string
		for name := range strings.FieldsSeq(names) {
			if code[name] == "" {
				t.Errorf("there is no %s in example_test.go", name)
			}
			parts = append(parts, code[name])
		}
		return "<!-- example_test.go: " + names + " -->\n```go\n" + strings.Join(parts, "\n") + "```\n"
	})
	if all := strings.Count(string(text), "```go\n"); all != blocks || blocks == 0 {
		t.Errorf("%d blocks of Go, of which %d say which example they show", all, blocks)
	}
	switch {
	case *updateGuide:
		if err := os.WriteFile(guide, []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
	case made != string(text):
		t.Error("the guide does not show the examples as they are; write them with: go test ./wamp/client -run Guide -guide")
	}
}

// declarations returns the code of a file by name.
func declarations(t *testing.T, source []byte) map[string]string {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "example_test.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	cut := func(from, to token.Pos) []byte { return source[fset.Position(from).Offset:fset.Position(to).Offset] }
	code := map[string]string{}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				code[receiver(d)] += string(cut(d.Pos(), d.End())) + "\n"
				continue
			}
			if strings.HasPrefix(name, "Example") {
				body := bytes.Trim(cut(d.Body.Lbrace+1, d.Body.Rbrace), "\n")
				code[name] = string(bytes.ReplaceAll(append([]byte("\n"), body...), []byte("\n\t"), []byte("\n")))[1:] + "\n"
				continue
			}
			code[name] = string(cut(d.Pos(), d.End())) + "\n"
		case *ast.GenDecl:
			if len(d.Specs) == 1 {
				if s, ok := d.Specs[0].(*ast.TypeSpec); ok {
					code[s.Name.Name] = string(cut(d.Pos(), d.End())) + "\n\n" + code[s.Name.Name]
				}
			}
		}
	}
	return code
}

// receiver returns the name of the type that a method belongs to.
func receiver(d *ast.FuncDecl) string {
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	return t.(*ast.Ident).Name
}
