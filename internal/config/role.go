package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gantry/drivers/hub"
	"gantry/wamp/router"
)

// roles checks the tables [role.NAME] and what refers to them.
func (d *decoder) roles(m *mainFile) {
	for _, name := range sortedKeys(m.Role) {
		if name == router.RoleTrusted {
			d.fail([]string{"role", name}, "is the role of the gateway's own components, which may do everything", "another name")
		}
		if !hub.ValidName(name) {
			d.fail([]string{"role", name}, fmt.Sprintf("%.80q is no name", name), "1 to 64 of a-z 0-9 _")
		}
		d.subjects(name)
		d.rules(name, m.Role[name])
	}
	d.anonymousRole(m)
}

// rules adds what the router has to say against a role, but for the rules that
// could not be read: whatever is missing there is a consequence.
func (d *decoder) rules(name string, c router.RoleConfig) {
	unread := map[string]bool{}
	for i := range c.Rules {
		key := "rules[" + strconv.Itoa(i) + "]"
		at := show([]string{"role", name}) + "." + key
		unread[key] = slices.ContainsFunc(d.errs, func(e *Error) bool { return strings.HasPrefix(e.Key, at) })
	}
	err := c.Validate()
	if err == nil {
		return
	}
	for _, err := range splitJoined(err) {
		if rule, _, _ := strings.Cut(asKeyError(err).Key, "."); !unread[rule] {
			d.complain([]string{"role", name}, err)
		}
	}
}

// subjects refuses rules that leave out what they are about: as an empty prefix
// that would be everything.
func (d *decoder) subjects(role string) {
	all, _ := d.doc.root["role"].(map[string]any)
	table, _ := all[role].(map[string]any)
	rules, _ := table["rules"].([]any)
	for i, r := range rules {
		if rule, ok := r.(map[string]any); ok && rule["uri"] == nil {
			d.fail([]string{"role", role, "rules\x00" + strconv.Itoa(i), "uri"}, "is missing", "a URI; everything is match = \"prefix\" and uri = \"\"")
		}
	}
}

func (d *decoder) anonymousRole(m *mainFile) {
	at := []string{"listen", "anonymous_role"}
	name := m.Listen.AnonymousRole
	listen, _ := d.doc.root["listen"].(map[string]any)
	_, given := listen["anonymous_role"]
	_, known := m.Role[name]
	switch {
	case name == router.RoleTrusted:
		d.fail(at, "is the role of the gateway's own components, which may do everything", "another role")
	case !hub.ValidName(name):
		d.fail(at, fmt.Sprintf("%.80q is no name", name), "1 to 64 of a-z 0-9 _")
	case given && len(m.Role) > 0 && !known:
		// Not given, it is how one says that nobody may join without a name.
		names := sortedKeys(m.Role)
		d.fail(at, fmt.Sprintf("%.80q is no role", name)+nearest(name, names), quotedNames(names))
	}
}

// Position tells where a key of the main file is, such as "role.viewer.rules[0]";
// the line is that of the nearest table around one that is not there.
func (c *Config) Position(key string) (file string, line int) {
	return c.positions.file, c.positions.line(unshow(key))
}
