package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gantry/wamp"
)

func TestTableAgreesWithTheDefinitionOfMatching(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	component := func(wild bool) string {
		if wild && random.IntN(3) == 0 {
			return ""
		}
		return string(rune('a' + random.IntN(3)))
	}
	uri := func(wild bool) wamp.URI {
		parts := make([]string, 1+random.IntN(4))
		for i := range parts {
			parts[i] = component(wild)
		}
		return wamp.URI(strings.Join(parts, "."))
	}
	type key struct {
		match wamp.Match
		uri   wamp.URI
	}
	tab := newTable[key]()
	held := map[key]bool{}
	for range 20_000 {
		k := key{wamp.Match(random.IntN(3)), ""}
		k.uri = uri(k.match == wamp.MatchWildcard)
		if k.match == wamp.MatchPrefix && random.IntN(2) == 0 {
			k.uri = k.uri[:random.IntN(len(k.uri)+1)]
		}
		if random.IntN(2) == 0 {
			tab.put(k.match, k.uri, k)
			held[k] = true
		} else {
			tab.remove(k.match, k.uri)
			delete(held, k)
		}
		name := uri(false)
		var want []key
		for h := range held {
			if h.uri.Matches(h.match, name) {
				want = append(want, h)
			}
		}
		got := tab.match(nil, name)
		order := func(a, b key) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
		slices.SortFunc(want, order)
		slices.SortFunc(got, order)
		if !slices.Equal(want, got) {
			t.Fatalf("%s is matched by %v, want %v", name, got, want)
		}
		if v, ok := tab.get(k.match, k.uri); ok != held[k] || ok && v != k {
			t.Fatalf("get %v: %v, %v", k, v, ok)
		}
	}
	for k := range held {
		tab.remove(k.match, k.uri)
	}
	if len(tab.exact)+len(tab.prefix)+len(tab.lengths)+len(tab.wildcard.children)+tab.patterns != 0 {
		t.Errorf("an emptied table still holds something: %+v", tab)
	}
}

func TestCloserWildcardHasTheLongerLiteralRuns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ better, worse wamp.URI }{
		{"a.b..d", "a...d"},
		{"a.b.c.", "a.b..d"},
		{"a1.b2..d4.e5", "a1.b2..d4."},
		{"a...d.e", "a..c.."},
		{"a..", "..c"},
		{"a.", ".b"},
	} {
		if !closer(c.better, c.worse) || closer(c.worse, c.better) {
			t.Errorf("%s should be closer than %s", c.better, c.worse)
		}
	}
	if closer("a..c", "a..d") || closer("a..d", "a..c") {
		t.Error("patterns of the same shape are equally close")
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{0, 20_000} {
		for _, match := range []wamp.Match{wamp.MatchExact, wamp.MatchPrefix, wamp.MatchWildcard} {
			tab := newTable[int]()
			for i := range n {
				tab.put(match, wamp.URI(fmt.Sprintf("gantry.gw%d.point..temperature", i)), i)
			}
			tab.put(wamp.MatchExact, "gantry.barn.point.scale.weight", 1)
			var dst []int
			b.Run(fmt.Sprintf("%s/%d", match, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					dst = tab.match(dst[:0], "gantry.barn.point.scale.weight")
				}
			})
		}
	}
}

// FuzzTable holds any URIs under any policy against matching by hand.
func FuzzTable(f *testing.F) {
	f.Add("ea.b\npa.\nwa..c\nw.b.\np", "a.b.c")
	f.Add("w\nw.\nw..\npa\npab\nea", "a")
	f.Add("wa..\nwa.b.\nw..c\nea.b.c", "a.b.c")
	f.Fuzz(func(t *testing.T, patterns, name string) {
		if !wamp.URI(name).Valid(false, wamp.MatchExact) {
			return // nobody publishes or calls there
		}
		type key struct {
			match wamp.Match
			uri   string
		}
		tab, held := newTable[key](), map[key]bool{}
		for line := range strings.SplitSeq(patterns, "\n") {
			if line == "" || len(held) > 50 {
				continue
			}
			k := key{map[byte]wamp.Match{'p': wamp.MatchPrefix, 'w': wamp.MatchWildcard}[line[0]], line[1:]}
			tab.put(k.match, wamp.URI(k.uri), k)
			held[k] = true
		}
		want := map[key]bool{}
		longest := -1
		for k := range held {
			if got, ok := tab.get(k.match, wamp.URI(k.uri)); !ok || got != k {
				t.Fatalf("%+v is found as %+v, %v", k, got, ok)
			}
			switch {
			case k.match == wamp.MatchExact && k.uri == name, k.match == wamp.MatchWildcard && byHand(k.uri, name):
				want[k] = true
			case k.match == wamp.MatchPrefix && strings.HasPrefix(name, k.uri):
				want[k] = true
				longest = max(longest, len(k.uri))
			}
		}
		got := tab.match(nil, wamp.URI(name))
		for _, k := range got {
			if !want[k] {
				t.Fatalf("%q is matched by %+v", name, k)
			}
			delete(want, k)
		}
		if len(want) > 0 {
			t.Fatalf("%q is not matched by %+v", name, want)
		}
		if k, ok := tab.longestPrefix(wamp.URI(name)); ok != (longest >= 0) || ok && len(k.uri) != longest {
			t.Fatalf("the longest prefix of %q is %+v, %v", name, k, ok)
		}
		for k := range held {
			tab.remove(k.match, wamp.URI(k.uri))
		}
		if len(tab.exact)+len(tab.prefix)+len(tab.lengths)+len(tab.wildcard.children)+tab.patterns > 0 {
			t.Fatalf("something is left: %+v", tab)
		}
	})
}

// byHand reports whether a wildcard pattern covers a URI: as many components, each of
// which is the same or empty in the pattern.
func byHand(pattern, uri string) bool {
	p, u := strings.Split(pattern, "."), strings.Split(uri, ".")
	if len(p) != len(u) {
		return false
	}
	for i := range p {
		if p[i] != "" && p[i] != u[i] {
			return false
		}
	}
	return true
}
