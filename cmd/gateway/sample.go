package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gantry/bridge"
	"gantry/drivers"
	"gantry/drivers/hub"
)

// sampleCall returns a call to try, as words of a command line: an action with
// progress if there is one, else another action, else a point to write or read.
func sampleCall(gateway string, devices []hub.Device) string {
	best, rank := "", 0
	offer := func(r int, call func() string) {
		if r > rank {
			best, rank = call(), r
		}
	}
	for _, dev := range devices {
		if dev.Config.Disabled || dev.Driver == nil {
			continue
		}
		desc := dev.Driver.Describe()
		for _, p := range desc.Points {
			if p.Writable {
				offer(2, func() string {
					return fmt.Sprintf("%s %s", hub.SetProcedure(gateway, dev.Name, p.ID), sampleValue(p))
				})
			} else if p.Readable {
				offer(1, func() string { return string(hub.GetProcedure(gateway, dev.Name, p.ID)) })
			}
		}
		for _, act := range desc.Actions {
			r := 3
			if act.Progressive {
				r = 4
			}
			offer(r, func() string {
				words := []string{string(hub.DoProcedure(gateway, dev.Name, act.ID))}
				for _, arg := range act.Args {
					words = append(words, arg.ID+"="+sampleValue(arg))
				}
				return strings.Join(words, " ")
			})
		}
	}
	return best
}

// sampleValue returns a value that a point allows, quoted for a shell.
func sampleValue(p drivers.Point) string {
	switch p.Type {
	case drivers.Bool:
		return "true"
	case drivers.Text:
		if len(p.Enum) > 0 {
			return shellWord(p.Enum[0])
		}
		return "text"
	case drivers.Bytes:
		return `'"\u0000AA=="'`
	}
	v := 1.0
	switch {
	case p.Min != nil && p.Max != nil:
		v = *p.Min + (*p.Max-*p.Min)/2
	case p.Min != nil:
		v = *p.Min
	case p.Max != nil:
		v = *p.Max
	}
	if p.Type == drivers.Int {
		v = math.Trunc(v)
	}
	return strconv.FormatFloat(roundWithin(v, p), 'f', -1, 64)
}

// roundWithin returns the number with the fewest digits near v between the bounds of p,
// or v.
func roundWithin(v float64, p drivers.Point) float64 {
	for digits := 1; digits < 17; digits++ {
		r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', digits, 64), 64)
		if err == nil && (p.Min == nil || r > *p.Min) && (p.Max == nil || r < *p.Max) {
			return r
		}
	}
	return v
}

// shellWord quotes s where a shell would not take it as one word.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// sampleMessage returns an MQTT message to try, its topic and its payload: one
// that the first simple rule turns into readings, or else any.
func sampleMessage(rules []bridge.MapConfig) (topic, message string) {
	for i := range rules {
		m := &rules[i]
		if m.Regex != "" || m.Each != "" || len(m.Fields)+len(m.GoodIf)+len(m.BadIf) > 0 || m.Time != "" {
			continue
		}
		if message, ok := samplePayload(m); ok {
			return sampleTopic(rules[i].Topic), message
		}
	}
	return "sensors/hall/climate", `{"temperature": 21.5}`
}

// sampleTopic fills the levels of a rule's topic: a named one with its name.
func sampleTopic(filter string) string {
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		switch name, named := strings.CutPrefix(l, "{"); {
		case named:
			levels[i] = strings.TrimSuffix(name, "}")
		case l == "+", l == "#":
			levels[i] = "x"
		}
	}
	return strings.Join(levels, "/")
}

// samplePayload returns a payload from which a rule makes readings. ok is false
// when a path has more than plain names in it.
func samplePayload(rule *bridge.MapConfig) (message string, ok bool) {
	if rule.Points == nil && rule.Path == "" {
		return text(sampleScalar(rule.Type)), true
	}
	object := map[string]any{}
	add := func(path, kind string) {
		names := strings.Split(strings.TrimPrefix(path, "$."), ".")
		ok = ok && path != "" && !strings.Contains(path, `\`)
		at := object
		for _, name := range names[:len(names)-1] {
			inner, _ := at[name].(map[string]any)
			if inner == nil {
				inner = map[string]any{}
				at[name] = inner
			}
			at = inner
		}
		at[names[len(names)-1]] = sampleScalar(kind)
	}
	ok = true
	if rule.Points == nil {
		add(rule.Path, rule.Type)
	}
	for _, p := range rule.Points {
		switch p := p.(type) {
		case string:
			add(p, rule.Type)
		case map[string]any:
			path, _ := p["path"].(string)
			kind, given := p["type"].(string)
			if !given {
				kind = rule.Type
			}
			add(path, kind)
		}
	}
	return text(object), ok
}

// sampleScalar returns a value that a sensor might send.
func sampleScalar(kind string) any {
	switch kind {
	case "bool":
		return true
	case "text":
		return "on"
	case "int":
		return 21
	}
	return 21.5
}
