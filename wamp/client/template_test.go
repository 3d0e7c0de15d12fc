package client_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gantry/wamp"
	"gantry/wamp/client"
)

func TestTemplate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text    string
		pattern wamp.URI
		match   wamp.Match
		uri     wamp.URI
		parts   []client.Part // nil: the URI does not fit
		values  []any
	}{
		{"com.shop.list", "com.shop.list", wamp.MatchExact, "com.shop.list", []client.Part{}, nil},
		{"com.shop.list", "com.shop.list", wamp.MatchExact, "com.shop", nil, nil},
		{"com.<p:int>.x", "com..x", wamp.MatchWildcard, "com.-7.x", []client.Part{{"p", "-7", -7, true}}, []any{-7}},
		{"com.<p:int>.x", "com..x", wamp.MatchWildcard, "com.07.x", nil, nil},
		{"com.<p:int>.x", "com..x", wamp.MatchWildcard, "com.7", nil, nil},
		{"com.<p:int>.x", "com..x", wamp.MatchWildcard, "com.7.x.y", nil, nil},
		{"<a>.<b:string>", ".", wamp.MatchWildcard, "é.b", []client.Part{{Name: "a", Text: "é"}, {Name: "b", Text: "b"}}, []any{"é", "b"}},
		{"com.<rest:suffix>", "com.", wamp.MatchPrefix, "com.a.b", []client.Part{{Name: "rest", Text: "a.b"}}, []any{"a.b"}},
		{"com.<rest:suffix>", "com.", wamp.MatchPrefix, "com.", nil, nil},
		{"com.<rest:suffix>", "com.", wamp.MatchPrefix, "com", nil, nil},
		{"<all:suffix>", "", wamp.MatchPrefix, "a", []client.Part{{Name: "all", Text: "a"}}, []any{"a"}},
	} {
		tpl, err := client.ParseTemplate(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if p, m := tpl.Pattern(); p != tt.pattern || m != tt.match {
			t.Errorf("%s: pattern %q, %v", tt.text, p, m)
		}
		parts, ok := tpl.Parse(tt.uri)
		if ok != (tt.parts != nil) || ok && len(tt.parts) > 0 && cmp.Diff(tt.parts, parts) != "" {
			t.Errorf("%s: %s has the parts %v, %v", tt.text, tt.uri, parts, ok)
		}
		if !ok {
			continue
		}
		if uri, err := tpl.Build(tt.values...); uri != tt.uri || err != nil {
			t.Errorf("%s: built %q, %v", tt.text, uri, err)
		}
	}
	for _, bad := range []string{
		"", ".", "com..x", "com.<", "com.<>", "com.<a", "com.a>", "com.<a:float>", "com.<a:>", "com.<a>.<a>", "com.x<a>", "com.<a b>",
		"com.<r:suffix>.x", "com.<a>.<r:suffix>", "com.a b.<c>",
	} {
		tpl, err := client.ParseTemplate(bad)
		if err == nil && bad != "com.<a b>" {
			t.Errorf("%q is taken as %v", bad, tpl)
		}
	}
	tpl, err := client.ParseTemplate("com.<a>.<n:int>")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]any{nil, {"a"}, {"a", "b"}, {"a.b", 1}, {"", 1}, {"a b", 1}, {"#", 1}, {"a", 1, 2}, {"a", "01"}} {
		if uri, err := tpl.Build(bad...); err == nil {
			t.Errorf("%v made %q", bad, uri)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"com.<p:int>.x", "com.<a>.<b:string>", "com.<rest:suffix>", "a.b", "<x:suffix>"} {
		f.Add(s, "com.1.x")
	}
	f.Fuzz(func(t *testing.T, text, uri string) {
		tpl, err := client.ParseTemplate(text)
		if err != nil {
			return
		}
		parts, ok := tpl.Parse(wamp.URI(uri))
		if !ok {
			return
		}
		if p, m := tpl.Pattern(); !p.Matches(m, wamp.URI(uri)) {
			t.Errorf("%q is read with %q, and its pattern %q does not bring it", uri, text, p)
		}
		var values []any
		for _, p := range parts {
			if p.IsInt {
				values = append(values, p.Int)
			} else {
				values = append(values, p.Text)
			}
		}
		if built, err := tpl.Build(values...); err != nil || string(built) != uri {
			t.Errorf("%q of %q became %q, %v", uri, text, built, err)
		}
	})
}
