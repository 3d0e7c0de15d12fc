package fleet

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// The keys of rows. That of a stream's mark is its topic; the others begin with a byte
// that no topic has.
const (
	gapPrefix     = "\x00gap\x00"     // topic, NUL, and epoch and first number, 8 bytes each, big-endian
	gatewayPrefix = "\x00gateway\x00" // name
	alarmPrefix   = "\x00alarm\x00"   // topic
)

func gatewayKey(name string) string { return gatewayPrefix + name }
func alarmKey(topic string) string  { return alarmPrefix + topic }

func gapKey(g *Gap) string {
	b := append([]byte(gapPrefix+g.Topic), 0)
	return string(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, g.Epoch), g.From))
}

// The first byte of a row. Marks of version 1 lack Late.
const (
	rowVersion = 1
	markLate   = 2
)

// row returns the content of a row; nil = there is none any more.
func (v *View) row(key string) []byte {
	switch {
	case strings.HasPrefix(key, gapPrefix):
		for i := range v.gaps {
			if gapKey(&v.gaps[i]) == key {
				return v.gaps[i].record()
			}
		}
	case strings.HasPrefix(key, gatewayPrefix):
		if g := v.gateways[strings.TrimPrefix(key, gatewayPrefix)]; g != nil {
			return g.record()
		}
	case strings.HasPrefix(key, alarmPrefix):
		if a := v.alarms[strings.TrimPrefix(key, alarmPrefix)]; a != nil {
			return a.record()
		}
	default:
		if m := v.marks[key]; m != nil {
			return m.record()
		}
	}
	return nil
}

var errRow = errors.New("not a row of the fleet view")

// Restore adds a row as it was saved. Gateways are offline until they say something.
func (v *View) Restore(key string, b []byte) error {
	topic, isGap := strings.CutPrefix(key, gapPrefix)
	alarm, isAlarm := strings.CutPrefix(key, alarmPrefix)
	own, isGateway := strings.CutPrefix(key, gatewayPrefix)
	switch {
	case isGap && len(topic) > 17 && topic[len(topic)-17] == 0:
		topic = topic[:len(topic)-17]
	case isAlarm:
		topic = alarm
	case isGateway:
		topic = "gantry." + own + "."
	case !isGap:
		topic = key
	}
	name, ok := gatewayOf(topic)
	if !ok {
		return errRow
	}
	g := v.gateway(name)
	if g == nil {
		return errRow
	}
	switch {
	case isGap:
		return v.restoreGap(g, topic, key, b)
	case isAlarm:
		a, err := readAlarm(topic, b)
		if err == nil && v.alarms[topic] == nil {
			v.alarms[topic] = &a
			g.Alarms++
		}
		return err
	case isGateway:
		return g.read(b)
	}
	m, err := readMark(b)
	if err != nil {
		return err
	}
	v.marks[topic] = &m
	g.Streams++
	g.Missing += m.Missing
	g.Late += m.Late
	g.Doubles += m.Doubles
	return nil
}

func (v *View) restoreGap(g *Gateway, topic, key string, b []byte) error {
	gap, err := readGap(topic, key, b)
	if err != nil {
		return err
	}
	if len(v.gaps) >= maxGaps {
		return errRow
	}
	// Their keys are not in the order of time.
	i, _ := slices.BinarySearchFunc(v.gaps, gap, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.From, b.From))
	})
	v.remember(g, gap, i)
	delete(v.dirty, key)
	return nil
}

// numbers is a version and numbers as uvarint.
func numbers(version byte, list ...uint64) []byte {
	b := []byte{version}
	for _, n := range list {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// readNumbers reads numbers, and returns what follows them.
func readNumbers(b []byte, version byte, into ...*uint64) (rest []byte, err error) {
	if len(b) == 0 || b[0] != version {
		return nil, errRow
	}
	b = b[1:]
	for _, p := range into {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			return nil, errRow
		}
		*p, b = n, b[size:]
	}
	return b, nil
}

func (m *Mark) record() []byte {
	return numbers(markLate, m.Epoch, m.Seq, m.Missing, m.Doubles, m.Late)
}

func readMark(b []byte) (m Mark, err error) {
	version, into := byte(rowVersion), []*uint64{&m.Epoch, &m.Seq, &m.Missing, &m.Doubles}
	if len(b) > 0 && b[0] == markLate {
		version, into = markLate, append(into, &m.Late)
	}
	rest, err := readNumbers(b, version, into...)
	if err == nil && len(rest) > 0 {
		err = errRow
	}
	return m, err
}

func (g *Gap) record() []byte {
	uncertain := uint64(0)
	if g.Uncertain {
		uncertain = 1
	}
	return append(numbers(rowVersion, g.To, uint64(g.At), uncertain), g.Kind...)
}

func readGap(topic, key string, b []byte) (g Gap, err error) {
	var at, uncertain uint64
	kind, err := readNumbers(b, rowVersion, &g.To, &at, &uncertain)
	place := []byte(key[len(key)-16:])
	g.Topic, g.Kind, g.At, g.Uncertain = topic, string(kind), int64(at), uncertain == 1
	g.Epoch, g.From = binary.BigEndian.Uint64(place), binary.BigEndian.Uint64(place[8:])
	if err != nil || g.Kind != Events && g.Kind != Queue || g.From > g.To || g.At < 0 {
		return g, errRow
	}
	return g, nil
}

func (a *Alarm) record() []byte {
	return append(numbers(rowVersion, uint64(a.At), uint64(a.Measured)), a.State...)
}

func readAlarm(topic string, b []byte) (a Alarm, err error) {
	var at, measured uint64
	state, err := readNumbers(b, rowVersion, &at, &measured)
	a = Alarm{Topic: topic, State: string(state), At: int64(at), Measured: int64(measured)}
	if err != nil || a.State != Raised && a.State != Acknowledged || a.At < 0 || a.Measured < 0 {
		return a, errRow
	}
	return a, nil
}

// record of a gateway: offline since, or 0 while it is connected; seen, newest, depth + 1,
// age + 1.
func (g *Gateway) record() []byte {
	since := uint64(g.Since)
	if g.Connected {
		since = 0
	}
	return numbers(rowVersion, since, uint64(g.Seen), uint64(g.Newest), uint64(g.Depth+1), uint64(g.Age+1))
}

func (g *Gateway) read(b []byte) error {
	var n [5]uint64
	rest, err := readNumbers(b, rowVersion, &n[0], &n[1], &n[2], &n[3], &n[4])
	if err != nil || len(rest) > 0 || slices.Max(n[:]) > 1<<62 {
		return errRow
	}
	g.Since, g.Seen, g.Newest, g.Depth, g.Age = int64(n[0]), int64(n[1]), int64(n[2]), int64(n[3])-1, int64(n[4])-1
	return nil
}
