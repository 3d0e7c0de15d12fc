package router

import (
	"slices"
	"strings"

	"gantry/wamp"
)

// table finds values by URI under the three match policies. An exact lookup costs
// one map access however many entries there are; prefixes cost one access per
// distinct length in use, wildcards one step per component and branch.
type table[T any] struct {
	exact    map[string]T
	prefix   map[string]T
	lengths  []prefixLength // distinct lengths of prefixes, ascending
	wildcard *node[T]
	patterns int // prefixes and wildcards held
}

type prefixLength struct{ length, count int }

// node is one component of wildcard patterns. The child under "" matches any
// component.
type node[T any] struct {
	children map[string]*node[T]
	value    T
	set      bool
}

func newTable[T any]() table[T] {
	return table[T]{exact: map[string]T{}, prefix: map[string]T{}, wildcard: &node[T]{}}
}

// get returns the value stored under exactly this policy and URI.
func (t *table[T]) get(m wamp.Match, uri wamp.URI) (v T, ok bool) {
	switch m {
	case wamp.MatchPrefix:
		v, ok = t.prefix[string(uri)]
	case wamp.MatchWildcard:
		n := t.wildcard
		for rest, more := string(uri), true; more; {
			var c string
			c, rest, more = strings.Cut(rest, ".")
			if n = n.children[c]; n == nil {
				return v, false
			}
		}
		return n.value, n.set
	default:
		v, ok = t.exact[string(uri)]
	}
	return v, ok
}

// put stores v. The URI is kept; the caller owns its memory.
func (t *table[T]) put(m wamp.Match, uri wamp.URI, v T) {
	switch m {
	case wamp.MatchPrefix:
		if _, ok := t.prefix[string(uri)]; !ok {
			t.patterns++
			i, found := slices.BinarySearchFunc(t.lengths, len(uri), func(e prefixLength, n int) int { return e.length - n })
			if !found {
				t.lengths = slices.Insert(t.lengths, i, prefixLength{length: len(uri)})
			}
			t.lengths[i].count++
		}
		t.prefix[string(uri)] = v
	case wamp.MatchWildcard:
		n := t.wildcard
		for rest, more := string(uri), true; more; {
			var c string
			c, rest, more = strings.Cut(rest, ".")
			next := n.children[c]
			if next == nil {
				next = &node[T]{}
				if n.children == nil {
					n.children = map[string]*node[T]{}
				}
				n.children[c] = next
			}
			n = next
		}
		if !n.set {
			t.patterns++
		}
		n.value, n.set = v, true
	default:
		t.exact[string(uri)] = v
	}
}

// remove takes the value under exactly this policy and URI out of the table.
func (t *table[T]) remove(m wamp.Match, uri wamp.URI) {
	switch m {
	case wamp.MatchPrefix:
		if _, ok := t.prefix[string(uri)]; !ok {
			return
		}
		delete(t.prefix, string(uri))
		t.patterns--
		i, _ := slices.BinarySearchFunc(t.lengths, len(uri), func(e prefixLength, n int) int { return e.length - n })
		if t.lengths[i].count--; t.lengths[i].count == 0 {
			t.lengths = slices.Delete(t.lengths, i, i+1)
		}
	case wamp.MatchWildcard:
		if t.wildcard.remove(string(uri)) {
			t.patterns--
		}
	default:
		delete(t.exact, string(uri))
	}
}

// remove takes the pattern rest out below n and prunes what has become empty.
func (n *node[T]) remove(rest string) bool {
	c, rest, more := strings.Cut(rest, ".")
	child := n.children[c]
	if child == nil {
		return false
	}
	removed := false
	if more {
		removed = child.remove(rest)
	} else if child.set {
		var zero T
		child.value, child.set, removed = zero, false, true
	}
	if !child.set && len(child.children) == 0 {
		delete(n.children, c)
	}
	return removed
}

// match appends every value whose pattern covers uri: the exact one first, then
// prefixes from short to long, then wildcards.
func (t *table[T]) match(dst []T, uri wamp.URI) []T {
	if v, ok := t.exact[string(uri)]; ok {
		dst = append(dst, v)
	}
	if t.patterns == 0 {
		return dst
	}
	for _, l := range t.lengths {
		if l.length > len(uri) {
			break
		}
		if v, ok := t.prefix[string(uri[:l.length])]; ok {
			dst = append(dst, v)
		}
	}
	return t.wildcard.match(dst, string(uri))
}

func (n *node[T]) match(dst []T, rest string) []T {
	if len(n.children) == 0 {
		return dst
	}
	c, rest, more := strings.Cut(rest, ".")
	for _, key := range [2]string{c, ""} {
		if child := n.children[key]; child != nil {
			if more {
				dst = child.match(dst, rest)
			} else if child.set {
				dst = append(dst, child.value)
			}
		}
		if c == "" {
			break
		}
	}
	return dst
}

// longestPrefix returns the value of the longest prefix that covers uri.
func (t *table[T]) longestPrefix(uri wamp.URI) (v T, ok bool) {
	for i := len(t.lengths) - 1; i >= 0; i-- {
		if l := t.lengths[i].length; l <= len(uri) {
			if v, ok = t.prefix[string(uri[:l])]; ok {
				return v, true
			}
		}
	}
	return v, false
}

// closer reports whether wildcard pattern a fits a URI that both match more
// closely than b: the one with the longer first run of literal components wins,
// on a tie the one with the longer next run, and so on
// (AP "Pattern-based Registrations", conflict resolution).
func closer(a, b wamp.URI) bool { return slices.Compare(literalRuns(a), literalRuns(b)) > 0 }

// literalRuns returns the lengths, in components, of the runs of literals that
// wildcards separate. A pattern that opens with a wildcard has a first run of 0.
func literalRuns(u wamp.URI) []int {
	var runs []int
	n, wild := 0, false
	for c := range strings.SplitSeq(string(u), ".") {
		switch {
		case c != "":
			n, wild = n+1, false
		case !wild:
			runs = append(runs, n)
			n, wild = 0, true
		}
	}
	return append(runs, n)
}
