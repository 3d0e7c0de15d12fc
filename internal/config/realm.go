package config

import (
	"fmt"
	"time"

	"gantry/wamp"
)

// Realm is the table [realm]: how the realms of the gateway treat their sessions.
type Realm struct {
	// Also are realms beside the gateway's own.
	Also []string `toml:"also"`
	// OnDemand begins the names of realms that are made when somebody joins them.
	// "" = none.
	OnDemand string `toml:"on_demand"`
	// MaxOnDemand bounds them. Default 64.
	MaxOnDemand int `toml:"max_on_demand"`
	// StrictURIs allows only lower-case letters, digits and _ in URIs.
	StrictURIs bool `toml:"strict_uris"`
	// StrictRequestIDs ends sessions whose request IDs do not run 1, 2, 3.
	StrictRequestIDs bool `toml:"strict_request_ids"`
	// Overflow is what happens to events for a subscriber that does not read fast
	// enough. Default drop_oldest.
	Overflow string `toml:"overflow"`
	// RetainedTTL is how long last values are kept. 0 = until replaced.
	RetainedTTL time.Duration `toml:"retained_ttl"`
}

// History is one table [[history]]: events of the gateway's realm that are kept.
type History struct {
	// Topic is the topic or pattern. Required.
	Topic string `toml:"topic"`
	// Match is exact, prefix or wildcard. Default exact.
	Match string `toml:"match"`
	// MaxBytes bounds it on disk. Default 16 MiB.
	MaxBytes int64 `toml:"max_bytes"`
	// MaxAge drops what is older, by files. 0 = never.
	MaxAge time.Duration `toml:"max_age"`
}

// realms checks [realm] and [[history]].
func (d *decoder) realms(m *mainFile) {
	const uri = "parts without spaces or #, joined by dots"
	seen := map[string]bool{m.Gateway.Realm: true}
	for i, name := range m.Realm.Also {
		at := []string{"realm", fmt.Sprintf("also\x00%d", i)}
		switch u := wamp.URI(name); {
		case !u.Valid(m.Realm.StrictURIs, wamp.MatchExact) || u.Reserved():
			d.fail(at, fmt.Sprintf("%.80q is no realm", name), uri)
		case seen[name]:
			d.fail(at, fmt.Sprintf("%.80q is there already", name), "each realm once")
		}
		seen[name] = true
	}
	if p := m.Realm.OnDemand; p != "" && !wamp.URI(p).Valid(m.Realm.StrictURIs, wamp.MatchPrefix) {
		d.fail([]string{"realm", "on_demand"}, fmt.Sprintf("%.80q begins no URI", p), uri)
	}
	if m.Realm.MaxOnDemand < 0 {
		d.fail([]string{"realm", "max_on_demand"}, fmt.Sprintf("is %d", m.Realm.MaxOnDemand), "0 (the default) or more")
	}
	if _, ok := wamp.ParseOverflow(m.Realm.Overflow); !ok {
		d.fail([]string{"realm", "overflow"}, fmt.Sprintf("is %.40q", m.Realm.Overflow), "drop_oldest, latest, drop_newest, disconnect")
	}
	if m.Realm.RetainedTTL < 0 {
		d.fail([]string{"realm", "retained_ttl"}, "is negative", `0, or a duration such as "24h"`)
	}
	type subject struct {
		topic string
		match wamp.Match
	}
	kept := map[subject]bool{}
	for i, h := range m.History {
		at := func(key string) []string { return []string{fmt.Sprintf("history\x00%d", i), key} }
		match, ok := wamp.ParseMatch(h.Match)
		switch {
		case !ok:
			d.fail(at("match"), fmt.Sprintf("is %.40q", h.Match), "exact, prefix, wildcard")
		case h.Topic == "" || !wamp.URI(h.Topic).Valid(m.Realm.StrictURIs, match):
			d.fail(at("topic"), fmt.Sprintf("%.80q is no topic for match %s", h.Topic, match), uri)
		case kept[subject{h.Topic, match}]:
			d.fail(at("topic"), fmt.Sprintf("%.80q is there already", h.Topic), "each topic once")
		}
		kept[subject{h.Topic, match}] = true
		if h.MaxBytes != 0 && (h.MaxBytes < 1<<20 || h.MaxBytes > 1<<40) {
			d.fail(at("max_bytes"), fmt.Sprintf("is %d", h.MaxBytes), "bytes, 1048576 (1 MiB) to 1099511627776 (1 TiB)")
		}
		if h.MaxAge < 0 {
			d.fail(at("max_age"), "is negative", `0, or a duration such as "72h"`)
		}
	}
}
