package fleet

import (
	"cmp"
	"maps"
	"slices"
)

// The states of an alarm, which is one topic gantry.<gw>.alarm.<dev>.<name>.
const (
	Raised       = "raised"
	Acknowledged = "acknowledged" // raised, and somebody knows
	Cleared      = "cleared"
)

// Alarm is an alarm of a gateway that has not been cleared.
type Alarm struct {
	Topic    string
	State    string // Raised or Acknowledged
	At       int64  // when its last event came, microseconds UTC by the hub's clock
	Measured int64  // the event's own time, by the gateway's clock
}

// Alarm notes an event of an alarm. Others than the three states are none.
func (v *View) Alarm(gateway string, a Alarm) {
	g, old := v.gateways[gateway], v.alarms[a.Topic]
	switch {
	case g == nil:
		return
	case a.State == Cleared:
		if old == nil {
			return
		}
		delete(v.alarms, a.Topic)
		g.Alarms--
	case a.State != Raised && a.State != Acknowledged:
		return
	case old == nil && len(v.alarms) >= maxAlarms:
		v.Ignored++
		return
	default:
		if old == nil {
			g.Alarms++
		}
		v.alarms[a.Topic] = &a
	}
	v.dirty[alarmKey(a.Topic)] = true
}

// Alarms returns those that are not cleared, by topic.
func (v *View) Alarms() []Alarm {
	all := make([]Alarm, 0, len(v.alarms))
	for a := range maps.Values(v.alarms) {
		all = append(all, *a)
	}
	slices.SortFunc(all, func(a, b Alarm) int { return cmp.Compare(a.Topic, b.Topic) })
	return all
}
