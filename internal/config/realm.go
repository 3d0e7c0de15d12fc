package config

import (
	"fmt"
	"slices"
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
	RealmRules
	// Of are the rules of realms that differ, by name. Each of them is there as those
	// of Also are.
	Of map[string]RealmChanges `toml:"of"`
}

// RealmRules are how a realm treats its sessions.
type RealmRules struct {
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

// RealmChanges is the table [realm.of.NAME]: what is different in one realm. What is
// missing is as in [realm].
type RealmChanges struct {
	StrictURIs       *bool          `toml:"strict_uris"`
	StrictRequestIDs *bool          `toml:"strict_request_ids"`
	Overflow         *string        `toml:"overflow"`
	RetainedTTL      *time.Duration `toml:"retained_ttl"`
}

// For returns the rules of a realm.
func (r *Realm) For(name string) RealmRules {
	c, rules := r.Of[name], r.RealmRules
	change(&rules.StrictURIs, c.StrictURIs)
	change(&rules.StrictRequestIDs, c.StrictRequestIDs)
	change(&rules.Overflow, c.Overflow)
	change(&rules.RetainedTTL, c.RetainedTTL)
	return rules
}

func change[T any](v, to *T) {
	if to != nil {
		*v = *to
	}
}

// Names returns all realms that are there from the start, without the gateway's own.
func (r *Realm) Names(own string) []string {
	all := slices.Concat(r.Also, sortedKeys(r.Of))
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(name string) bool { return name == own })
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
	// Commit is sampled: an event is on disk after a second; or confirmed: after
	// milliseconds, and an acknowledged publication is answered then. Default sampled.
	Commit string `toml:"commit"`
}

// Confirmed reports whether acknowledged publications wait for the disk.
func (h *History) Confirmed() bool { return h.Commit == "confirmed" }

// realmRules checks what the table at says of realms.
func (d *decoder) realmRules(at []string, r RealmRules) {
	if _, ok := wamp.ParseOverflow(r.Overflow); !ok {
		d.fail(append(slices.Clone(at), "overflow"), fmt.Sprintf("is %.40q", r.Overflow), "drop_oldest, latest, drop_newest, disconnect")
	}
	if r.RetainedTTL < 0 {
		d.fail(append(slices.Clone(at), "retained_ttl"), "is negative", `0, or a duration such as "24h"`)
	}
}

// realms checks [realm] and [[history]].
func (d *decoder) realms(m *mainFile) {
	const uri = "parts without spaces or #, joined by dots"
	seen := map[string]bool{m.Gateway.Realm: true}
	for i, name := range m.Realm.Also {
		at := []string{"realm", fmt.Sprintf("also\x00%d", i)}
		switch u := wamp.URI(name); {
		case !u.Valid(m.Realm.For(name).StrictURIs, wamp.MatchExact) || u.Reserved():
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
	d.realmRules([]string{"realm"}, m.Realm.RealmRules)
	for _, name := range sortedKeys(m.Realm.Of) {
		at, rules := []string{"realm", "of", name}, m.Realm.For(name)
		if u := wamp.URI(name); !u.Valid(rules.StrictURIs, wamp.MatchExact) || u.Reserved() {
			d.fail(at, fmt.Sprintf("%.80q is no realm", name), uri)
		}
		own := m.Realm.Of[name]
		if own.Overflow == nil {
			rules.Overflow = ""
		}
		if own.RetainedTTL == nil {
			rules.RetainedTTL = 0
		}
		d.realmRules(at, rules)
	}
	strict := m.Realm.For(m.Gateway.Realm).StrictURIs
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
		case h.Topic == "" || !wamp.URI(h.Topic).Valid(strict, match):
			d.fail(at("topic"), fmt.Sprintf("%.80q is no topic for match %s", h.Topic, match), uri)
		case kept[subject{h.Topic, match}]:
			d.fail(at("topic"), fmt.Sprintf("%.80q is there already", h.Topic), "each topic once")
		}
		kept[subject{h.Topic, match}] = true
		if h.MaxBytes != 0 && (h.MaxBytes < 1<<20 || h.MaxBytes > 1<<40) {
			d.fail(at("max_bytes"), fmt.Sprintf("is %d", h.MaxBytes), "bytes, 1048576 (1 MiB) to 1099511627776 (1 TiB)")
		}
		if h.Commit != "" && h.Commit != "sampled" && !h.Confirmed() {
			d.fail(at("commit"), fmt.Sprintf("is %.40q", h.Commit), "sampled, confirmed")
		}
		if h.MaxAge < 0 {
			d.fail(at("max_age"), "is negative", `0, or a duration such as "72h"`)
		}
	}
}
