package wamp_test

import (
	"strings"
	"testing"

	"gantry/wamp"
)

func TestURIValid(t *testing.T) {
	t.Parallel()
	// One column per way of reading: w wildcard, p prefix, e exact; upper case if
	// legal under the strict rules too.
	tests := []struct {
		name  string
		uri   wamp.URI
		legal string
	}{
		{"a plain URI", "com.myapp.topic1", "EPW"},
		{"one component", "topic", "EPW"},
		{"one letter per component", "a.b.c", "EPW"},
		{"digits and underscore", "a_1._2.3", "EPW"},
		{"capital letters are loose", "com.MyApp.topic", "epw"},
		{"hyphens are loose", "com.my-app.topic", "epw"},
		{"non-ASCII letters are loose", "com.zürich.температура", "epw"},
		{"the replacement character is a character", "com.\uFFFD", "epw"},
		{"a slash is loose", "a/b.c", "epw"},
		{"a number sign is never legal", "com.my#app", ""},
		{"a blank is never legal", "com.my app", ""},
		{"a tab is never legal", "com.\tapp", ""},
		{"a line feed at the end is never legal", "com.app\n", ""},
		{"NUL is never legal", "com.\x00", ""},
		{"a no-break space is white space", "com.my\u00a0app", ""},
		{"a next-line character is white space", "com.my\u0085app", ""},
		{"an ideographic space is white space", "com.\u3000", ""},
		{"text that is not UTF-8 is never legal", "com.\xff\xfe", ""},
		{"nothing is a pattern only", "", "PW"},
		{"a dot alone is two empty components", ".", "W"},
		{"an empty component in the middle", "com..topic", "W"},
		{"two empty components in the middle", "com...topic", "W"},
		{"an empty component in front", ".com.topic", "W"},
		{"an empty component at the end", "com.topic.", "PW"},
		{"two empty components at the end", "com.topic..", "W"},
		{"an empty component does not make strict loose", "Com..topic", "w"},
		{"the longest", wamp.URI(strings.Repeat("a", wamp.MaxURILength)), "EPW"},
		{"one byte more", wamp.URI(strings.Repeat("a", wamp.MaxURILength+1)), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for letter, m := range map[string]wamp.Match{
				"e": wamp.MatchExact, "p": wamp.MatchPrefix, "w": wamp.MatchWildcard,
			} {
				strict := strings.Contains(tt.legal, strings.ToUpper(letter))
				loose := strict || strings.Contains(tt.legal, letter)
				if got := tt.uri.Valid(false, m); got != loose {
					t.Errorf("%q loose %s: %v, want %v", tt.uri, m, got, loose)
				}
				if got := tt.uri.Valid(true, m); got != strict {
					t.Errorf("%q strict %s: %v, want %v", tt.uri, m, got, strict)
				}
			}
		})
	}
}

func TestURIReserved(t *testing.T) {
	t.Parallel()
	for u, want := range map[wamp.URI]bool{
		"wamp": true, "wamp.": true, "wamp.session.count": true,
		"wampx": false, "wampx.foo": false, "com.wamp": false, "": false, "Wamp.x": false,
	} {
		if got := u.Reserved(); got != want {
			t.Errorf("%q: %v, want %v", u, got, want)
		}
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern wamp.URI
		match   wamp.Match
		name    wamp.URI
		want    bool
	}{
		{"a.b", wamp.MatchExact, "a.b", true},
		{"a.b", wamp.MatchExact, "a.b.c", false},
		{"a.b", wamp.MatchExact, "a.B", false},
		{"a..c", wamp.MatchExact, "a.b.c", false},
		{"", wamp.MatchPrefix, "anything.at.all", true},
		{"a.b", wamp.MatchPrefix, "a.b", true},
		{"a.b", wamp.MatchPrefix, "a.bc.d", true},
		{"a.b.", wamp.MatchPrefix, "a.bc.d", false},
		{"a.b.", wamp.MatchPrefix, "a.b.c", true},
		{"a.b.", wamp.MatchPrefix, "a.b", false},
		{"b", wamp.MatchPrefix, "a.b", false},
		{"a..c", wamp.MatchWildcard, "a.b.c", true},
		{"a..c", wamp.MatchWildcard, "a.b.d", false},
		{"a..c", wamp.MatchWildcard, "a.c", false},
		{"a..c", wamp.MatchWildcard, "a.b.b.c", false},
		{"a..c", wamp.MatchWildcard, "a.b.c.d", false},
		{".b.c", wamp.MatchWildcard, "a.b.c", true},
		{"a.b.", wamp.MatchWildcard, "a.b.c", true},
		{"a.b.", wamp.MatchWildcard, "a.b", false},
		{"..", wamp.MatchWildcard, "a.b.c", true},
		{"..", wamp.MatchWildcard, "a.b", false},
		{"", wamp.MatchWildcard, "a", true},
		{"", wamp.MatchWildcard, "a.b", false},
		{"gantry..point..temperature", wamp.MatchWildcard, "gantry.gw1.point.boiler.temperature", true},
		{"gantry..point..temperature", wamp.MatchWildcard, "gantry.gw1.point.boiler.pressure", false},
		{"a.b", wamp.MatchWildcard, "a.b", true},
		{"a.b", wamp.MatchInvalid, "a.b", true},
		{"a..", wamp.MatchInvalid, "a.b.c", false},
	}
	for _, tt := range tests {
		if got := tt.pattern.Matches(tt.match, tt.name); got != tt.want {
			t.Errorf("%q %s %q: %v, want %v", tt.pattern, tt.match, tt.name, got, tt.want)
		}
	}
}

func TestNamesOnTheWireReadBack(t *testing.T) {
	t.Parallel()
	for _, m := range []wamp.Match{wamp.MatchExact, wamp.MatchPrefix, wamp.MatchWildcard} {
		if got, ok := wamp.ParseMatch(m.String()); !ok || got != m {
			t.Errorf("match %s: %v %v", m, got, ok)
		}
	}
	for _, v := range []wamp.Invoke{
		wamp.InvokeSingle, wamp.InvokeRoundRobin, wamp.InvokeRandom, wamp.InvokeFirst, wamp.InvokeLast,
	} {
		if got, ok := wamp.ParseInvoke(v.String()); !ok || got != v {
			t.Errorf("invoke %s: %v %v", v, got, ok)
		}
	}
	for _, m := range []wamp.CancelMode{wamp.CancelKillNoWait, wamp.CancelKill, wamp.CancelSkip} {
		if got, ok := wamp.ParseCancelMode(m.String()); !ok || got != m {
			t.Errorf("mode %s: %v %v", m, got, ok)
		}
	}
	for _, s := range []string{"Exact", "invalid", "prefix "} {
		if _, ok := wamp.ParseMatch(s); ok {
			t.Errorf("match %q is taken", s)
		}
		if _, ok := wamp.ParseInvoke(s); ok {
			t.Errorf("invoke %q is taken", s)
		}
		if _, ok := wamp.ParseCancelMode(s); ok {
			t.Errorf("mode %q is taken", s)
		}
	}
	if m, ok := wamp.ParseMatch(""); !ok || m != wamp.MatchExact {
		t.Error("an absent match is not exact")
	}
	if i, ok := wamp.ParseInvoke(""); !ok || i != wamp.InvokeSingle {
		t.Error("an absent invoke is not single")
	}
	if m, ok := wamp.ParseCancelMode(""); !ok || m != wamp.CancelKillNoWait {
		t.Error("an absent mode is not killnowait")
	}
}
