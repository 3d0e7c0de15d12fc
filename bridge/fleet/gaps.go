package fleet

import (
	"slices"
)

// The kinds of gaps.
const (
	Events = "events" // numbers of one topic that have not come
	Queue  = "queue"  // numbers of an uplink's queue that the gateway has lost, of any topic
)

// Gap is a run of events that are missing.
type Gap struct {
	Topic     string // of kind Queue: that of the alarm
	Kind      string
	Epoch     uint64 // 0 for kind Queue
	From, To  uint64 // the first and the last that are missing
	At        int64  // when that was noticed, microseconds UTC
	Uncertain bool   // nothing may be missing: they may have come just before the hub was restarted; or the gateway has crashed and cannot know
}

// Lost notes that a gateway says what it has lost from one of its queues, which topic
// tells apart, or may have lost in a crash. It returns nil when that is known.
func (v *View) Lost(gateway, topic string, from, to uint64, crash bool, at int64) *Gap {
	g := v.gateways[gateway]
	gap := Gap{Topic: topic, Kind: Queue, From: from, To: to, At: at, Uncertain: crash}
	if g == nil || from == 0 || from > to {
		return nil
	}
	if i := slices.IndexFunc(v.gaps, func(o Gap) bool { return o.Topic == topic && o.From == from }); i >= 0 {
		if to <= v.gaps[i].To {
			return nil
		}
		// More was lost before the gateway's cursor had passed the first of it.
		v.forget(i)
	}
	return v.open(g, gap)
}

// open remembers a gap. The oldest goes when there are too many.
func (v *View) open(g *Gateway, gap Gap) *Gap {
	if len(v.gaps) >= maxGaps {
		v.forget(0)
	}
	v.remember(g, gap, len(v.gaps))
	return &gap
}

func (v *View) remember(g *Gateway, gap Gap, i int) {
	v.gaps = slices.Insert(v.gaps, i, gap)
	v.gapsOf[gap.Topic]++
	g.Gaps++
	v.dirty[gapKey(&gap)] = true
}

func (v *View) forget(i int) {
	gap := v.gaps[i]
	v.gaps = slices.Delete(v.gaps, i, i+1)
	if v.gapsOf[gap.Topic]--; v.gapsOf[gap.Topic] == 0 {
		delete(v.gapsOf, gap.Topic)
	}
	if name, ok := gatewayOf(gap.Topic); ok && v.gateways[name] != nil {
		v.gateways[name].Gaps--
	}
	v.dirty[gapKey(&gap)] = true
}

// fill takes a late event out of its gap; late is false when it is in none. filled is
// the gap of which nothing is left.
func (v *View) fill(g *Gateway, e Event) (late bool, filled *Gap) {
	if v.gapsOf[e.Topic] == 0 {
		return false, nil
	}
	i := slices.IndexFunc(v.gaps, func(o Gap) bool {
		return o.Topic == e.Topic && o.Kind == Events && o.Epoch == e.Epoch && o.From <= e.Seq && e.Seq <= o.To
	})
	if i < 0 {
		return false, nil
	}
	whole := v.gaps[i]
	v.forget(i)
	before, after := whole, whole
	before.To, after.From = e.Seq-1, e.Seq+1
	if after.From <= after.To && len(v.gaps) < maxGaps {
		v.remember(g, after, i)
	}
	if before.From <= before.To && len(v.gaps) < maxGaps {
		v.remember(g, before, i)
	}
	if whole.From == whole.To {
		filled = &whole
	}
	return true, filled
}

// Gaps returns those that are remembered, the oldest first.
func (v *View) Gaps() []Gap { return slices.Clone(v.gaps) }
