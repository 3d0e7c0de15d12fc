package router

import (
	"strings"

	"gantry/wamp"
)

// covers reports whether every URI that pattern p (policy pm) matches is matched
// by pattern r (policy rm) as well. Both are valid for their policies. The limit
// on the length of a URI is left out of the account.
func covers(rm wamp.Match, r string, pm wamp.Match, p string) bool {
	switch {
	case pm == wamp.MatchExact:
		return wamp.URI(r).Matches(rm, wamp.URI(p))
	case rm == wamp.MatchPrefix && pm == wamp.MatchPrefix:
		return strings.HasPrefix(p, r)
	case rm == wamp.MatchPrefix && pm == wamp.MatchWildcard:
		return strings.HasPrefix(wildcardLead(p), r)
	case rm == wamp.MatchExact && pm == wamp.MatchWildcard:
		return p == r // r has no empty component, so neither has p
	case rm == wamp.MatchWildcard && pm == wamp.MatchWildcard:
		return componentwise(r, p, false)
	}
	// A prefix matches URIs of any number of components, and more than one URI.
	return false
}

// overlaps reports whether some URI is matched by both patterns.
func overlaps(rm wamp.Match, r string, pm wamp.Match, p string) bool {
	switch {
	case pm == wamp.MatchExact:
		return wamp.URI(r).Matches(rm, wamp.URI(p))
	case rm == wamp.MatchExact:
		return wamp.URI(p).Matches(pm, wamp.URI(r))
	case rm == wamp.MatchPrefix && pm == wamp.MatchPrefix:
		return strings.HasPrefix(p, r) || strings.HasPrefix(r, p)
	case rm == wamp.MatchPrefix && pm == wamp.MatchWildcard:
		return begins(p, r)
	case rm == wamp.MatchWildcard && pm == wamp.MatchPrefix:
		return begins(r, p)
	case rm == wamp.MatchWildcard && pm == wamp.MatchWildcard:
		return componentwise(r, p, true)
	}
	return true // an unknown policy might match anything
}

// componentwise compares two wildcard patterns component by component: those of r
// may be empty, and with either those of p, too.
func componentwise(r, p string, either bool) bool {
	for {
		rc, rr, rm := strings.Cut(r, ".")
		pc, pr, pm := strings.Cut(p, ".")
		if rm != pm || rc != "" && rc != pc && !(either && pc == "") {
			return false
		}
		if !rm {
			return true
		}
		r, p = rr, pr
	}
}

// begins reports whether some URI that the wildcard pattern matches begins with
// prefix.
func begins(wildcard, prefix string) bool {
	for {
		wc, wr, wm := strings.Cut(wildcard, ".")
		pc, pr, pm := strings.Cut(prefix, ".")
		if !pm {
			return wc == "" || strings.HasPrefix(wc, pc)
		}
		if !wm || wc != "" && wc != pc {
			return false
		}
		wildcard, prefix = wr, pr
	}
}

// wildcardLead is the literal text that every URI begins with that the wildcard
// pattern matches.
func wildcardLead(p string) string {
	for i := 0; ; {
		c, _, more := strings.Cut(p[i:], ".")
		if c == "" {
			return p[:i]
		}
		if i += len(c) + 1; !more {
			return p
		}
	}
}

// field is what of an identity a placeholder in a rule stands for. The values are
// the bits of a set.
type field uint8

const (
	fieldAuthID field = 1 << iota
	fieldAuthRole
)

// placeholders are the only uses of braces in a rule's URI.
var placeholders = map[string]field{"{authid}": fieldAuthID, "{authrole}": fieldAuthRole}

func (f field) of(who *Identity) string {
	if f == fieldAuthID {
		return who.AuthID
	}
	return who.AuthRole
}

// fillable returns the fields of an identity that are one URI component and may
// stand where a placeholder is. What has a dot would reach into names of others.
func fillable(who *Identity) (set field) {
	for _, f := range [...]field{fieldAuthID, fieldAuthRole} {
		if v := f.of(who); strings.IndexByte(v, '.') < 0 && wamp.URI(v).Valid(false, wamp.MatchExact) {
			set |= f
		}
	}
	return set
}

// part is a piece of a rule's URI: text, or a placeholder.
type part struct {
	text  string
	field field // 0: text
}

// pattern is the URI of a rule, taken apart.
type pattern struct {
	match  wamp.Match
	text   string   // as it is written
	needs  field    // the placeholders in it
	parts  []part   // with placeholders, exact and prefix: the pieces
	levels [][]part // with placeholders, wildcard: the pieces of each component
	lead   string   // what everything that it stands for begins with
}

func newPattern(text string, m wamp.Match) pattern {
	p := pattern{match: m, text: text, lead: text}
	if m == wamp.MatchWildcard {
		p.lead = wildcardLead(text)
	}
	whole := cutParts(text)
	for _, piece := range whole {
		p.needs |= piece.field
	}
	if p.needs == 0 {
		return p
	}
	if whole[0].field != 0 {
		p.lead = ""
	} else if len(whole[0].text) < len(p.lead) {
		p.lead = whole[0].text
	}
	if m != wamp.MatchWildcard {
		p.parts = whole
		return p
	}
	for c := range strings.SplitSeq(text, ".") {
		p.levels = append(p.levels, cutParts(c))
	}
	return p
}

// cutParts cuts a text at its placeholders.
func cutParts(text string) (parts []part) {
	for text != "" {
		open := strings.IndexByte(text, '{')
		if open < 0 {
			return append(parts, part{text: text})
		}
		if open > 0 {
			parts = append(parts, part{text: text[:open]})
		}
		end := open + strings.IndexByte(text[open:], '}') + 1
		parts = append(parts, part{field: placeholders[text[open:end]]})
		text = text[end:]
	}
	return parts
}

// fill returns the pattern's URI for one identity.
func (p *pattern) fill(who *Identity) string {
	if p.needs == 0 {
		return p.text
	}
	var b strings.Builder
	for _, piece := range cutParts(p.text) {
		if piece.field != 0 {
			b.WriteString(piece.field.of(who))
		} else {
			b.WriteString(piece.text)
		}
	}
	return b.String()
}

// matches reports whether the pattern, filled in for who, matches one URI. It
// allocates nothing.
func (p *pattern) matches(who *Identity, uri string) bool {
	if !strings.HasPrefix(uri, p.lead) {
		return false
	}
	switch {
	case p.needs == 0 && p.match == wamp.MatchExact:
		return len(uri) == len(p.lead)
	case p.needs == 0 && p.match == wamp.MatchPrefix:
		return true
	case p.needs == 0:
		return wamp.URI(p.text).Matches(wamp.MatchWildcard, wamp.URI(uri))
	case p.match == wamp.MatchWildcard:
		return p.matchesLevels(who, uri)
	}
	rest, ok := consume(uri, p.parts, who)
	return ok && (rest == "" || p.match == wamp.MatchPrefix)
}

func (p *pattern) matchesLevels(who *Identity, uri string) bool {
	for i, level := range p.levels {
		c, rest, more := strings.Cut(uri, ".")
		if more != (i < len(p.levels)-1) {
			return false
		}
		if len(level) > 0 {
			if left, ok := consume(c, level, who); !ok || left != "" {
				return false
			}
		}
		uri = rest
	}
	return true
}

// consume takes the pieces from the beginning of s.
func consume(s string, parts []part, who *Identity) (rest string, ok bool) {
	for i := range parts {
		text := parts[i].text
		if f := parts[i].field; f != 0 {
			text = f.of(who)
		}
		if s, ok = strings.CutPrefix(s, text); !ok {
			return s, false
		}
	}
	return s, true
}
