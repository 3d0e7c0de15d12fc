package fleet

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
)

// Bounds of a view.
const (
	maxGateways = 1000
	maxStreams  = 100_000 // of all gateways together
	maxGaps     = 1000    // the newest are kept
)

// Mark is what is known of one stream, which is one topic.
type Mark struct {
	Epoch, Seq uint64 // the highest that has come
	Missing    uint64 // events that never came
	Doubles    uint64 // events that came again, or too late to be in order
	fresh      bool   // has grown since the start of the program
}

// Gap is a run of events that are missing.
type Gap struct {
	Topic     string
	Epoch     uint64
	From, To  uint64 // the first and the last that are missing
	At        int64  // when that was noticed, microseconds UTC
	Uncertain bool   // they may have come just before the hub was restarted
}

// Gateway is what is known of one gateway.
type Gateway struct {
	Name    string
	Seen    int64  // last event, microseconds UTC by the hub's clock; 0 = not since its start
	Newest  int64  // its time of measurement, by the gateway's clock
	Replay  bool   // it came out of the gateway's queue
	Events  uint64 // since the hub's start
	Streams uint64
	Missing uint64
	Doubles uint64
}

// View is the state of all streams. It has no lock and no clock.
type View struct {
	gateways map[string]*Gateway
	marks    map[string]*Mark
	gaps     []Gap
	dirty    map[string]bool // topics whose mark is not on disk
	Ignored  uint64          // events beyond the bounds
}

// NewView returns a view that knows nothing.
func NewView() *View {
	return &View{gateways: map[string]*Gateway{}, marks: map[string]*Mark{}, dirty: map[string]bool{}}
}

// Event is one event of a gateway. Seq 0 = it has no number.
type Event struct {
	Gateway, Topic string
	Epoch, Seq     uint64
	Measured       int64
	Replay         bool
}

// Note notes an event that has come at the time at, and returns the gap that it shows.
func (v *View) Note(e Event, at int64) (gap Gap, found bool) {
	g := v.gateways[e.Gateway]
	if g == nil {
		if len(v.gateways) >= maxGateways {
			v.Ignored++
			return gap, false
		}
		g = &Gateway{Name: e.Gateway}
		v.gateways[e.Gateway] = g
	}
	g.Seen, g.Newest, g.Replay = at, e.Measured, e.Replay
	g.Events++
	if e.Seq == 0 {
		return gap, false
	}
	m := v.marks[e.Topic]
	switch {
	case m == nil && len(v.marks) >= maxStreams:
		v.Ignored++
		return gap, false
	case m == nil:
		// What came before the hub knew the stream is not its business.
		v.marks[e.Topic] = &Mark{Epoch: e.Epoch, Seq: e.Seq, fresh: true}
		v.dirty[e.Topic] = true
		g.Streams++
		return gap, false
	case e.Epoch < m.Epoch || e.Epoch == m.Epoch && e.Seq <= m.Seq:
		m.Doubles++
		g.Doubles++
		v.dirty[e.Topic] = true
		return gap, false
	}
	next := uint64(1)
	if e.Epoch == m.Epoch {
		next = m.Seq + 1
	}
	if e.Seq > next {
		gap, found = Gap{Topic: e.Topic, Epoch: e.Epoch, From: next, To: e.Seq - 1, At: at, Uncertain: !m.fresh}, true
		m.Missing += e.Seq - next
		g.Missing += e.Seq - next
		if v.gaps = append(v.gaps, gap); len(v.gaps) > maxGaps {
			v.gaps = v.gaps[1:]
		}
	}
	m.Epoch, m.Seq, m.fresh = e.Epoch, e.Seq, true
	v.dirty[e.Topic] = true
	return gap, found
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

// Gaps returns those that are remembered, the oldest first.
func (v *View) Gaps() []Gap { return slices.Clone(v.gaps) }

// Unsaved returns the records of the marks that have changed, and takes them for saved.
func (v *View) Unsaved() map[string][]byte {
	rows := make(map[string][]byte, len(v.dirty))
	for topic := range v.dirty {
		rows[topic] = v.marks[topic].record()
	}
	clear(v.dirty)
	return rows
}

// Spoil takes back that rows were saved.
func (v *View) Spoil(rows map[string][]byte) {
	for topic := range maps.Keys(rows) {
		v.dirty[topic] = true
	}
}

// Restore adds a mark as it was saved.
func (v *View) Restore(gateway, topic string, record []byte) error {
	m, err := readMark(record)
	if err != nil {
		return err
	}
	g := v.gateways[gateway]
	if g == nil {
		g = &Gateway{Name: gateway}
		v.gateways[gateway] = g
	}
	v.marks[topic] = &m
	g.Streams++
	g.Missing += m.Missing
	g.Doubles += m.Doubles
	return nil
}

const recordVersion = 1

// record is version, epoch, seq, missing and doubles, all but the first as uvarint.
func (m *Mark) record() []byte {
	b := []byte{recordVersion}
	for _, n := range []uint64{m.Epoch, m.Seq, m.Missing, m.Doubles} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

var errRecord = errors.New("not the record of a stream")

func readMark(b []byte) (m Mark, err error) {
	if len(b) == 0 || b[0] != recordVersion {
		return m, errRecord
	}
	b = b[1:]
	for _, p := range []*uint64{&m.Epoch, &m.Seq, &m.Missing, &m.Doubles} {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			return m, errRecord
		}
		*p, b = n, b[size:]
	}
	if len(b) > 0 {
		return m, errRecord
	}
	return m, nil
}
