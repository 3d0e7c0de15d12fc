package conformance

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// invalidText is the close code of text that is not UTF-8.
var invalidText = []uint16{1007}

// kosme is a Greek word that is written in sequences of two and three octets.
const kosme = "\u03ba\u1f79\u03c3\u03bc\u03b5"

// samples are octets by what is special about them. Whether they are text follows
// from RFC 3629.
func samples() map[string][]string {
	return map[string][]string{
		"a character of each length":        {"hello$world", "hello\u00a2world", "hello\u20acworld", "hello\U00024b62world", kosme},
		"a word cut short":                  prefixes(kosme),
		"first character of each length":    {"\x00", "\u0080", "\u0800", "\U00010000"},
		"sequences of five and six, first":  {"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80"},
		"last character of each length":     {"\x7f", "\u07ff", "\uffff", "\U0010ffff"},
		"sequences beyond the last":         {"\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80"},
		"borders":                           {"\ud7ff", "\ue000", "\ufffd", "\U0010ffff"},
		"continuations of nothing":          {"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80", "\x80\xbf\x80\xbf", "\x80\xbf\x80\xbf\x80", "\x80\xbf\x80\xbf\x80\xbf", span(0x80, 0xbf, "")},
		"starts without continuation":       {span(0xc0, 0xdf, " "), span(0xe0, 0xef, " "), span(0xf0, 0xf7, " "), span(0xf8, 0xfb, " "), span(0xfc, 0xfd, " ")},
		"the last continuation missing":     unfinished(),
		"unfinished sequences in a row":     {strings.Join(unfinished(), "")},
		"octets that never are in UTF-8":    {"\xfe", "\xff", "\xfe\xfe\xff\xff"},
		"a slash in more octets than due":   {"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf"},
		"the highest that would be shorter": {"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", "\xfc\x83\xbf\xbf\xbf\xbf"},
		"zero in more octets than due":      {"\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf8\x80\x80\x80\x80", "\xfc\x80\x80\x80\x80\x80"},
		"single surrogates":                 {"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf"},
		"surrogates in pairs":               pairs("\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf"),
		"points that are no characters":     noncharacters(),
		"specials":                          {"\ufff9", "\ufffa", "\ufffb", "\ufffc", "\ufffd", "\ufffe", "\uffff"},
	}
}

func prefixes(s string) []string {
	var list []string
	for n := 1; n <= len(s); n++ {
		list = append(list, s[:n])
	}
	return list
}

func span(from, to int, sep string) string {
	var b strings.Builder
	for c := from; c <= to; c++ {
		b.WriteByte(byte(c))
		b.WriteString(sep)
	}
	return b.String()
}

func unfinished() []string {
	return []string{
		"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xf8\x80\x80\x80", "\xfc\x80\x80\x80\x80",
		"\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xfb\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf",
	}
}

func pairs(high ...string) []string {
	var list []string
	for _, h := range high {
		for _, low := range []string{"\xed\xb0\x80", "\xed\xbf\xbf"} {
			list = append(list, h+low)
		}
	}
	return list
}

func noncharacters() []string {
	var list []string
	for plane := rune(0); plane <= 0x10; plane++ {
		list = append(list, string(plane<<16|0xfffe), string(plane<<16|0xffff))
	}
	return append(list, "\ufdd0", "\ufdef")
}

func encodingCases() []Case {
	var cases []Case
	add := func(name string, run func(p *peer)) {
		cases = append(cases, Case{Group: encoding, Name: name, op: opText, run: run})
	}
	for what, list := range samples() {
		for i, s := range list {
			add(fmt.Sprintf("%s, %d: % x", what, i+1, s), func(p *peer) { p.judgeText(s, p.parts(opText, []byte(s))...) })
		}
	}
	whole := kosme + "\U0001f300\u00e4\u20ac"
	for what, parts := range map[string][][]byte{
		"cut between characters":       {[]byte(kosme), []byte("\U0001f300"), []byte("\u00e4\u20ac")},
		"cut at every octet":           cutEvery([]byte(whole), 1),
		"cut at every third octet":     cutEvery([]byte(whole), 3),
		"cut growing":                  cutGrowing([]byte(whole)),
		"cut with empty parts between": {[]byte(whole[:1]), {}, []byte(whole[1:12]), {}, {}, []byte(whole[12:])},
	} {
		add("text "+what, func(p *peer) { p.judgeText(whole, p.parts(opText, parts...)...) })
		add("text "+what+" octet by octet", func(p *peer) {
			p.chop(1, p.parts(opText, parts...)...)
			p.echoes(opText, []byte(whole))
			p.done()
		})
	}
	for _, broken := range []string{kosme + "\xed\xa0\x80edited", kosme + "\xf4\x90\x80\x80edited", "\xff", strings.Repeat("a", 3000) + "\xc0\x80"} {
		for _, cut := range []int{1, 3, 1000} {
			parts := cutEvery([]byte(broken), cut)
			add(fmt.Sprintf("broken text of %d octets cut every %d: % .30x", len(broken), cut, broken), func(p *peer) {
				p.judgeText(broken, p.parts(opText, parts...)...)
			})
		}
	}
	add("a binary message that is no text", func(p *peer) {
		b := []byte("\xff\xfe\x80\xed\xa0\x80")
		p.say(opBinary, b)
		p.echoes(opBinary, b)
		p.done()
	})
	cases[len(cases)-1].op = opBinary
	return append(cases, fastCases()...)
}

// judgeText sends text and expects the echo if it is UTF-8.
func (p *peer) judgeText(text string, frames ...frame) {
	p.Helper()
	// An endpoint may hang up before it has read everything.
	_, _ = p.conn.Write(p.encode(frames...))
	if !utf8.ValidString(text) {
		p.fails(invalidText...)
		return
	}
	p.echoes(opText, []byte(text))
	p.done()
}

// fastCases expect text to fail as soon as it cannot become UTF-8 any more.
func fastCases() []Case {
	var cases []Case
	for what, s := range map[string]struct{ valid, wrong, rest string }{
		"beyond the last code point": {kosme + "\xf4", "\x90", "\x80\x80edited"},
		"a surrogate":                {kosme + "\xed", "\xa0", "\x80edited"},
		"a continuation of nothing":  {kosme, "\x80", "edited"},
		"a start within a sequence":  {kosme + "\xe1\xbd", "\xce", "\xbaedited"},
		"longer than due":            {kosme + "\xe0", "\x80", "\xafedited"},
		"an impossible octet":        {kosme, "\xff", "edited"},
	} {
		parts := [][]byte{[]byte(s.valid), []byte(s.wrong), []byte(s.rest)}
		cases = append(cases, Case{Group: encoding, op: opText, Name: what + " fails with its frame", run: func(p *peer) {
			f := p.parts(opText, parts...)
			p.send(f[0])
			p.fence()
			p.send(f[1])
			p.lateFails(f[2])
		}}, Case{Group: encoding, op: opText, Name: what + " fails within its frame", run: func(p *peer) {
			whole := p.encode(p.parts(opText, []byte(s.valid+s.wrong+s.rest))...)
			n := len(whole) - len(s.rest)
			if p.Patient {
				n = len(whole)
			}
			p.write(whole[:n-1])
			p.write(whole[n-1 : n])
			p.fails(invalidText...)
		}})
	}
	return cases
}

// lateFails expects the connection to fail at once, or behind the rest of the
// message where the endpoint is patient.
func (p *peer) lateFails(rest frame) {
	p.Helper()
	if p.Patient {
		p.send(rest)
	}
	p.fails(invalidText...)
}
