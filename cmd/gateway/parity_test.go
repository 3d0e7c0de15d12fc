package main

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

// named finds names of packages in code of a document: `client.Run`,
// `wamp.CallOptions.Cancel`.
var named = regexp.MustCompile("`(?:[a-z]+ )?(client|router|transport|auth|wamp)\\.([A-Z]\\w*)(?:\\.(\\w+))?")

// What the documents name is there.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	t.Parallel()
	rooms := map[string]map[string]bool{}
	for room, dir := range map[string]string{
		"wamp": "wamp", "client": "wamp/client", "router": "wamp/router", "transport": "wamp/transport", "auth": "wamp/auth",
	} {
		rooms[room] = exported(t, filepath.Join("..", "..", dir))
	}
	for _, doc := range []string{"parity.md", "programming-wamp.md"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "docs", doc))
		if err != nil {
			t.Fatal(err)
		}
		found := named.FindAllStringSubmatch(string(b), -1)
		if len(found) < 10 {
			t.Errorf("%s names %d things only", doc, len(found))
		}
		for _, m := range found {
			name := strings.TrimSuffix(m[2]+"."+m[3], ".")
			if !rooms[m[1]][name] {
				t.Errorf("%s: there is no %s.%s", doc, m[1], name)
			}
		}
	}
}

// exported returns the exported names of a package, and Type.Field and Type.Method.
func exported(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				name := n.Name.Name
				if n.Recv != nil {
					name = strings.Trim(typeName(n.Recv.List[0].Type), "*") + "." + name
				}
				names[name] = true
				return false
			case *ast.ValueSpec:
				for _, id := range n.Names {
					names[id.Name] = true
				}
			case *ast.TypeSpec:
				names[n.Name.Name] = true
				for _, field := range fields(n.Type) {
					names[n.Name.Name+"."+field] = true
				}
			}
			return true
		})
	}
	return names
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// fields returns the names of a struct's fields, embedded ones apart.
func fields(e ast.Expr) (names []string) {
	s, ok := e.(*ast.StructType)
	if !ok {
		return nil
	}
	for _, f := range s.Fields.List {
		for _, id := range f.Names {
			names = append(names, id.Name)
		}
	}
	return names
}
