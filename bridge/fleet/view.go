package fleet

import (
	"cmp"
	"maps"
	"slices"

	"gantry/wamp"
)

// Bounds of a view.
const (
	maxGateways = 1000
	maxStreams  = 100_000 // of all gateways together
	maxGaps     = 1000    // the newest are kept
	maxAlarms   = 1000    // of all gateways together
	maxSessions = 8       // of one gateway
)

// Mark is what is known of one stream, which is one topic.
type Mark struct {
	Epoch, Seq uint64 // the highest that has come
	Missing    uint64 // events that were missing when the next one came
	Late       uint64 // those of them that came after all
	Doubles    uint64 // events that came again, or too late to be in order
	fresh      bool   // has grown since the start of the program
}

// Gateway is what is known of one gateway. Times are microseconds UTC.
type Gateway struct {
	Name      string
	Connected bool
	Since     int64  // since when it is, or is not; by the hub's clock
	Seen      int64  // last event, by the hub's clock
	Newest    int64  // its time of measurement, by the gateway's clock
	Replay    bool   // it came out of the gateway's queue
	Depth     int64  // events that wait in the gateway, as it says; -1 = it has not said
	Age       int64  // how old the oldest of them is, microseconds; -1 = it does not know
	Events    uint64 // since the hub's start
	Streams   uint64
	Missing   uint64 // events that were missing when the next one came
	Late      uint64 // those of them that came after all
	Doubles   uint64
	Gaps      int // gaps that are remembered
	Alarms    int // alarms that are raised

	sessions int // that publish under its name
}

// View is the state of all gateways. It has no lock and no clock.
type View struct {
	gateways map[string]*Gateway
	marks    map[string]*Mark
	gaps     []Gap // oldest first
	gapsOf   map[string]int
	alarms   map[string]*Alarm
	sessions map[wamp.ID][]*Gateway // who publishes under whose name
	dirty    map[string]bool        // keys of rows that are not on disk
	Ignored  uint64                 // events beyond the bounds
}

// NewView returns a view that knows nothing.
func NewView() *View {
	return &View{
		gateways: map[string]*Gateway{}, marks: map[string]*Mark{}, gapsOf: map[string]int{}, alarms: map[string]*Alarm{},
		sessions: map[wamp.ID][]*Gateway{}, dirty: map[string]bool{},
	}
}

// Begin ends the restoring, at the time at, from when those are offline that were
// connected before.
func (v *View) Begin(at int64) {
	for _, g := range v.gateways {
		if g.Since == 0 {
			g.Since = at
		}
	}
}

// Event is one event of a gateway. Seq 0 = it has no number.
type Event struct {
	Gateway, Topic string
	Session        wamp.ID // that has published it; 0 = not known
	Epoch, Seq     uint64
	Measured       int64
	Replay         bool
}

// News is what an event has shown.
type News struct {
	Gap    *Gap     // events are missing
	Filled *Gap     // events that were missing are all there now
	Online *Gateway // a gateway is connected
}

// gateway returns what is known of a gateway, nil where there is no room for it.
func (v *View) gateway(name string) *Gateway {
	g := v.gateways[name]
	if g == nil && len(v.gateways) < maxGateways {
		g = &Gateway{Name: name, Depth: -1, Age: -1}
		v.gateways[name] = g
	}
	return g
}

// Note notes an event that has come at the time at.
func (v *View) Note(e Event, at int64) (news News) {
	g := v.gateway(e.Gateway)
	if g == nil {
		v.Ignored++
		return news
	}
	if v.connect(g, e.Session, at) {
		now := *g
		news.Online = &now
	}
	g.Seen = at
	g.Events++
	v.dirty[gatewayKey(g.Name)] = true
	if e.Measured > 0 {
		g.Newest, g.Replay = e.Measured, e.Replay
	}
	if e.Seq == 0 {
		return news
	}
	m := v.marks[e.Topic]
	switch {
	case m == nil && len(v.marks) >= maxStreams:
		v.Ignored++
		return news
	case m == nil:
		// What came before the hub knew the stream is not its business.
		v.marks[e.Topic] = &Mark{Epoch: e.Epoch, Seq: e.Seq, fresh: true}
		v.dirty[e.Topic] = true
		g.Streams++
		return news
	}
	v.dirty[e.Topic] = true
	if e.Epoch < m.Epoch || e.Epoch == m.Epoch && e.Seq <= m.Seq {
		late, filled := v.fill(g, e)
		if late {
			m.Late++
			g.Late++
		} else {
			m.Doubles++
			g.Doubles++
		}
		news.Filled = filled
		return news
	}
	next := uint64(1)
	if e.Epoch == m.Epoch {
		next = m.Seq + 1
	}
	if e.Seq > next {
		m.Missing += e.Seq - next
		g.Missing += e.Seq - next
		news.Gap = v.open(g, Gap{Topic: e.Topic, Kind: Events, Epoch: e.Epoch, From: next, To: e.Seq - 1, At: at, Uncertain: !m.fresh})
	}
	m.Epoch, m.Seq, m.fresh = e.Epoch, e.Seq, true
	return news
}

// connect notes the session of a gateway and reports whether it is its first one.
func (v *View) connect(g *Gateway, id wamp.ID, at int64) bool {
	if id == 0 || g.sessions >= maxSessions || slices.Contains(v.sessions[id], g) {
		return false
	}
	v.sessions[id] = append(v.sessions[id], g)
	if g.sessions++; g.sessions > 1 {
		return false
	}
	g.Connected, g.Since = true, at
	return true
}

// Left notes that a session has ended, and returns the gateways that have none any
// more.
func (v *View) Left(id wamp.ID, at int64) (offline []Gateway) {
	for _, g := range v.sessions[id] {
		if g.sessions--; g.sessions == 0 {
			g.Connected, g.Since = false, at
			v.dirty[gatewayKey(g.Name)] = true
			offline = append(offline, *g)
		}
	}
	delete(v.sessions, id)
	return offline
}

// Queue notes how many events wait in a gateway, and the age of the oldest.
func (v *View) Queue(gateway string, depth, age int64) {
	if g := v.gateways[gateway]; g != nil {
		g.Depth, g.Age = depth, age
		v.dirty[gatewayKey(gateway)] = true
	}
}

// Gateways returns all gateways by name.
func (v *View) Gateways() []Gateway {
	all := make([]Gateway, 0, len(v.gateways))
	for _, g := range v.gateways {
		all = append(all, *g)
	}
	slices.SortFunc(all, func(a, b Gateway) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Unsaved returns the rows that have changed, and takes them for saved. Nil = the row
// is to go.
func (v *View) Unsaved() map[string][]byte {
	rows := make(map[string][]byte, len(v.dirty))
	for key := range v.dirty {
		rows[key] = v.row(key)
	}
	clear(v.dirty)
	return rows
}

// Spoil takes back that rows were saved.
func (v *View) Spoil(rows map[string][]byte) {
	for key := range maps.Keys(rows) {
		v.dirty[key] = true
	}
}
