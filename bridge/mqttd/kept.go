package mqttd

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"gantry/bridge/internal/packet"
	"gantry/internal/wallclock"
	"gantry/wamp"
)

// The keys of a table. A client identifier holds no NUL.
func sessionKey(id string) []byte { return []byte("s\x00" + id) }

func messageKey(id string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte("m\x00"+id+"\x00"), seq)
}

func receivedKey(id string, packetID uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte("r\x00"+id+"\x00"), packetID)
}

// sessionRecord is a kept session on disk.
type sessionRecord struct {
	Who     wamp.Restored
	Version byte
	Expiry  time.Duration  // after its connection has ended; negative = never
	Gone    wallclock.Mark // when it ended; zero = it has not
	Filters []filterRecord
}

type filterRecord struct {
	Options packet.Filter
	SubID   uint32
}

// messageRecord is a message that a client has not acknowledged, on disk.
type messageRecord struct {
	ID, QoS    uint16
	Retain     bool
	Released   bool
	Topic      string
	Payload    []byte
	Properties packet.Properties `json:",omitempty"`
	Lasts      int64             `json:",omitempty"` // microseconds from At on until it expires; 0 = for ever
	At         wallclock.Mark    `json:",omitzero"`
}

func (d *delivery) encode(clock *wallclock.Clock) []byte {
	m := &d.message
	r := messageRecord{ID: m.ID, QoS: uint16(m.QoS), Retain: m.Retain, Released: d.released, Topic: m.Topic, Payload: m.Payload, Properties: textSafe(m.Properties)}
	if !d.expires.IsZero() {
		r.Lasts, r.At = max(time.Until(d.expires).Microseconds(), 1), clock.Mark()
	}
	// A structure of texts and numbers always has an encoding.
	b, _ := json.Marshal(r)
	return b
}

// textSafe writes binary data in a form that JSON keeps.
func textSafe(list packet.Properties) packet.Properties {
	for i, p := range list {
		if p.ID == packet.CorrelationData {
			out := append(packet.Properties(nil), list...)
			out[i].Text = latin1(p.Text)
			return out
		}
	}
	return list
}

// latin1 turns bytes into the runes of their numbers.
func latin1(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

func unLatin1(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}

// record writes the session itself.
func (s *session) record() {
	if !s.kept || s.restoring {
		return
	}
	r := s.saved
	r.Version = s.version
	for _, f := range s.filters {
		r.Filters = append(r.Filters, filterRecord{f.options, f.subID})
	}
	b, err := json.Marshal(r)
	if err == nil {
		s.journal.add(Change{Key: sessionKey(s.id), Value: b})
	}
}

// erase removes all that is on disk.
func (s *session) erase() {
	if !s.kept {
		return
	}
	s.kept = false
	s.journal.add(Change{Key: sessionKey(s.id)})
	for _, d := range s.unacked {
		s.journal.add(Change{Key: messageKey(s.id, d.seq)})
	}
	if s.exactly.bits == nil {
		return
	}
	for id := range 1 << 16 {
		if s.exactly.bits[id/64]>>(id%64)&1 != 0 {
			s.journal.add(Change{Key: receivedKey(s.id, uint16(id))})
		}
	}
}

// stored is what a table holds of one client.
type stored struct {
	record   sessionRecord
	messages []*delivery
	received []uint16
}

// load reads a table.
func load(t Table, clock *wallclock.Clock) (map[string]*stored, error) {
	all := map[string]*stored{}
	of := func(id string) *stored {
		if all[id] == nil {
			all[id] = &stored{}
		}
		return all[id]
	}
	err := t.Each(func(key, value []byte) error {
		kind, rest, ok := strings.Cut(string(key), "\x00")
		if !ok {
			return fmt.Errorf("mqtt sessions: key %q", key)
		}
		if kind == "s" {
			return json.Unmarshal(value, &of(rest).record)
		}
		id, number, _ := strings.Cut(rest, "\x00")
		st := of(id)
		switch {
		case kind == "m" && len(number) == 8:
			var m messageRecord
			if err := json.Unmarshal(value, &m); err != nil {
				return err
			}
			for i, p := range m.Properties {
				if p.ID == packet.CorrelationData {
					m.Properties[i].Text = unLatin1(p.Text)
				}
			}
			d := &delivery{seq: binary.BigEndian.Uint64([]byte(number)), onDisk: true, released: m.Released, sent: true, perhaps: true,
				message: packet.Publish{ID: m.ID, QoS: byte(m.QoS), Retain: m.Retain, Topic: m.Topic, Payload: m.Payload, Properties: m.Properties}}
			if m.Lasts != 0 {
				d.expires = time.Now().Add(lasting(m.Lasts) - clock.Since(m.At))
			}
			d.size = packet.PublishSize(packet.V5, &d.message)
			st.messages = append(st.messages, d)
		case kind == "r" && len(number) == 2:
			st.received = append(st.received, binary.BigEndian.Uint16([]byte(number)))
		default:
			return fmt.Errorf("mqtt sessions: key %q", key)
		}
		return nil
	})
	return all, err
}

// restore fills in what a table holds. All messages count as sent, for some may have
// been; those beyond the client's window wait all the same.
func (s *session) restore(st *stored) {
	s.kept, s.saved, s.restoring = true, st.record, true
	s.saved.Filters = nil
	for i, d := range st.messages {
		s.lastSeq = max(s.lastSeq, d.seq)
		s.nextID = max(s.nextID, d.message.ID)
		s.unacked[d.message.ID] = d
		s.waitSize += d.size
		if i < s.window {
			s.inFlight++
			continue
		}
		d.sent = false
		s.waiting = append(s.waiting, d)
	}
	for _, id := range st.received {
		s.exactly.add(id)
	}
	g := &group{ack: silentAck, codes: make([]byte, len(st.record.Filters))}
	for i, r := range st.record.Filters {
		f, err := parseFilter(r.Options.Text)
		if err != nil {
			g.codes[i] = s.refuse(r.Options.Text, packet.BadFilter)
			continue
		}
		f.options, f.subID = r.Options, r.SubID
		s.request(g, i, f, false)
	}
	s.open(g)
}
