package bridge_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"gantry/bridge"
	"gantry/wamp"
)

func TestURIFromTopic(t *testing.T) {
	t.Parallel()
	for topic, uri := range map[string]wamp.URI{
		"a/b":                   "a.b",
		"/":                     "%.%",
		"/a":                    "%.a",
		"a/":                    "a.%",
		"a//b":                  "a.%.b",
		"$SYS/broker/load":      "%24SYS.broker.load",
		"sensors/room 1":        "sensors.room%201",
		"a.b/c":                 "a%2Eb.c",
		"%":                     "%25",
		"a%20b":                 "a%2520b",
		"Küche/t":               "K%C3%BCche.t",
		"zigbee2mqtt/0x00-1_2":  "zigbee2mqtt.0x00-1_2",
		"gantry/gw/point/d/p":   "gantry.gw.point.d.p",
		"\ufeffbom":             "%EF%BB%BFbom",
		"shellies/1,2;3&4=5?!~": "shellies.1%2C2%3B3%264%3D5%3F%21%7E",
	} {
		got := bridge.URIFromTopic(topic)
		if got != uri {
			t.Errorf("URIFromTopic(%q) = %q, want %q", topic, got, uri)
		}
		if !got.Valid(false, wamp.MatchExact) {
			t.Errorf("URIFromTopic(%q) = %q is no valid URI", topic, got)
		}
		back, exact := bridge.TopicFromURI(got)
		if back != topic || !exact {
			t.Errorf("TopicFromURI(%q) = %q, %v", got, back, exact)
		}
	}
}

func TestTopicFromForeignURI(t *testing.T) {
	t.Parallel()
	for uri, topic := range map[wamp.URI]string{
		"com.größe":  "com/größe",
		"a/b.c":      "a%2Fb/c",
		"a+.b":       "a%2B/b",
		"a.%2f":      "a/%2f",
		"a.%41":      "a/%41",
		"a.%2B":      "a/%2B",
		"a.%00":      "a/%00",
		"a.%C3":      "a/%C3",
		"a.\xff":     "a/%FF",
		"a.%.%%":     "a//%%",
		"a..b":       "a//b",
		"":           "",
		"a.b%20c.%2": "a/b c/%2",
	} {
		got, exact := bridge.TopicFromURI(uri)
		if got != topic || exact {
			t.Errorf("TopicFromURI(%q) = %q, %v, want %q, false", uri, got, exact, topic)
		}
		if uri != "" && bridge.CheckTopic(got) != nil {
			t.Errorf("TopicFromURI(%q) = %q: %v", uri, got, bridge.CheckTopic(got))
		}
	}
}

func FuzzTopicRoundTrip(f *testing.F) {
	for _, s := range []string{"a/b", "/", "//", "$SYS/x", "a b/ü/", "%", "%/%25", "a.b", "\x01", "+/#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u := bridge.URIFromTopic(s)
		if bridge.CheckTopic(s) == nil {
			if back, exact := bridge.TopicFromURI(u); back != s || !exact {
				t.Fatalf("%q -> %q -> %q, %v", s, u, back, exact)
			}
			if len(u) <= wamp.MaxURILength && !u.Valid(false, wamp.MatchExact) {
				t.Fatalf("%q -> %q is no valid URI", s, u)
			}
		}
		// The string as a URI: its topic is one, and exact means what it says.
		topic, exact := bridge.TopicFromURI(wamp.URI(s))
		if s != "" && len(topic) <= bridge.MaxTopic && topic != "" && bridge.CheckTopic(topic) != nil {
			t.Fatalf("URI %q has the topic %q: %v", s, topic, bridge.CheckTopic(topic))
		}
		if same := bridge.URIFromTopic(topic) == wamp.URI(s) && bridge.CheckTopic(topic) == nil; same != exact {
			t.Fatalf("URI %q, topic %q: exact %v, want %v", s, topic, exact, same)
		}
	})
}

func TestParseFilter(t *testing.T) {
	t.Parallel()
	type patterns = []bridge.Pattern
	for filter, want := range map[string]patterns{
		"a/b":       {{"a.b", wamp.MatchExact}},
		"a/+/b":     {{"a..b", wamp.MatchWildcard}},
		"+":         {{"", wamp.MatchWildcard}},
		"/+":        {{"%.", wamp.MatchWildcard}},
		"a/#":       {{"a", wamp.MatchExact}, {"a.", wamp.MatchPrefix}},
		"#":         {{"", wamp.MatchPrefix}},
		"/#":        {{"%", wamp.MatchExact}, {"%.", wamp.MatchPrefix}},
		"a/+/b/#":   {{"a.", wamp.MatchPrefix}},
		"+/b/#":     {{"", wamp.MatchPrefix}},
		"/+/#":      {{"%.", wamp.MatchPrefix}},
		"a b/ü/+/x": {{"a%20b.%C3%BC..x", wamp.MatchWildcard}},
	} {
		f, err := bridge.ParseFilter(filter)
		if err != nil {
			t.Errorf("%q: %v", filter, err)
			continue
		}
		got := f.Patterns()
		if len(got) != len(want) {
			t.Errorf("%q: patterns %v, want %v", filter, got, want)
			continue
		}
		for i := range got {
			if got[i] != want[i] || !got[i].URI.Valid(false, got[i].Match) {
				t.Errorf("%q: pattern %v, want %v", filter, got[i], want[i])
			}
		}
	}
	for _, filter := range []string{"", "a/#/b", "a#", "#a", "##", "a+", "+a/b", "a/b+/c", "a\x00", "\xff", strings.Repeat("a", 65536)} {
		if _, err := bridge.ParseFilter(filter); err == nil {
			t.Errorf("%.20q was accepted", filter)
		}
	}
}

// naive is section 4.7 of MQTT 3.1.1, written as plainly as possible.
func naive(filter, topic []string) bool {
	switch {
	case len(filter) == 1 && filter[0] == "#":
		return true // the parent level included
	case len(filter) == 0 || len(topic) == 0:
		return len(filter) == len(topic)
	case filter[0] != "+" && filter[0] != topic[0]:
		return false
	}
	return naive(filter[1:], topic[1:])
}

func FuzzFilter(f *testing.F) {
	for _, s := range [][2]string{
		{"a/+/b", "a/x/b"}, {"a/#", "a"}, {"a/#", "a/"}, {"#", "$SYS/x"}, {"+/x", "$SYS/x"}, {"$SYS/#", "$SYS/x"},
		{"+/+", "/finance"}, {"/+", "/finance"}, {"+", "/finance"}, {"a/+/#", "a"}, {"a/+/#", "a/b"}, {"+/a/#", "x/a/c/d"},
		{"a.b", "a/b"}, {"a/%", "a/"}, {"sport/+", "sport/"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		parsed, err := bridge.ParseFilter(filter)
		if err != nil || bridge.CheckTopic(topic) != nil || !utf8.ValidString(topic) {
			return
		}
		want := naive(strings.Split(filter, "/"), strings.Split(topic, "/")) &&
			(topic[0] != '$' || filter[0] != '+' && filter[0] != '#')
		if got := parsed.Matches(topic); got != want {
			t.Fatalf("filter %q, topic %q: %v, want %v", filter, topic, got, want)
		}
		hits := 0
		uri := bridge.URIFromTopic(topic)
		for _, p := range parsed.Patterns() {
			if p.URI.Matches(p.Match, uri) {
				hits++
			}
		}
		if want && hits != 1 || hits > 1 {
			t.Fatalf("filter %q, topic %q: %d of the patterns %v match %q", filter, topic, hits, parsed.Patterns(), uri)
		}
	})
}
