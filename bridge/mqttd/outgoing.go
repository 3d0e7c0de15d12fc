package mqttd

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"gantry/bridge"
	"gantry/bridge/internal/packet"
	"gantry/wamp"
)

// outgoing is what goes to the client.
type outgoing struct {
	out     []byte // packets
	writing int    // bytes that have been taken from out and are being written

	window    int    // messages above QoS 0 that the client takes at a time
	maxPacket uint32 // that the client takes; 0 = any
	aliasRoom int    // aliases that the client takes
	sentAs    map[string]uint16

	lastSeq  uint64
	nextID   uint16
	unacked  map[uint16]*delivery // above QoS 0: sent ones, and those that wait
	inFlight int                  // of those, sent
	waiting  []*delivery          // in their order
	waitSize int                  // bytes of unacked that are held
	payload  []byte               // scratch
}

// delivery is a message above QoS 0 that the client has not acknowledged.
type delivery struct {
	seq      uint64
	message  packet.Publish
	expires  time.Time // with a monotonic reading, whatever the machine's clock does; zero = never
	size     int       // bytes that it holds
	sent     bool
	perhaps  bool // only perhaps: before a restart
	released bool // PUBREC has come
	onDisk   bool
}

func (o *outgoing) queued() int { return len(o.out) + o.writing }

// match finds what an event is for the client: at which QoS, whether as a retained
// one, and for which subscription identifiers.
func (s *session) match(ev *wamp.Event, t *topic, name string, p *packet.Publish) (wanted bool) {
	for _, f := range t.filters {
		if !f.Matches(name) ||
			f.options.NoLocal && ev.Details.From != 0 && ev.Details.From == s.own || // MQTT-3.8.3-3
			f.group != "" && !s.shares.takes(f, s, ev.Publication) {
			continue
		}
		wanted = true
		p.QoS = max(p.QoS, f.options.QoS)
		p.Retain = p.Retain || ev.Details.Retained || f.options.RetainAsPublished && ev.Details.Kept // MQTT-3.3.1-12, -13
		if f.subID != 0 {
			p.Properties = append(p.Properties, packet.Property{ID: packet.SubscriptionID, Num: f.subID}) // MQTT-3.3.4-3
		}
	}
	return wanted
}

// event turns an event into a PUBLISH to the client. If it does not fit it returns
// errSlow for a live one above QoS 0, errFull while nobody is connected, and
// wamp.ErrQueueFull for others.
func (s *session) event(ev *wamp.Event, now time.Time) error {
	t := s.topics[ev.Subscription]
	if t == nil {
		return nil // unsubscribed while it was on its way
	}
	uri := ev.Details.Topic
	if uri == "" {
		uri = t.pattern.URI
	}
	name, _ := bridge.TopicFromURI(uri)
	p := packet.Publish{Topic: name}
	if !s.match(ev, t, name, &p) {
		return nil // the pattern covers more than the filters
	}
	if err := bridge.CheckTopic(name); err != nil {
		return &wamp.PayloadError{Text: "the URI has no MQTT topic: it " + err.Error()}
	}
	payload, props := bridge.CutProperties(ev.Payload)
	var expires time.Time
	if props != nil {
		if props.Expires != 0 {
			left := props.Expires - s.clock.Now().UnixMicro()
			if left <= 0 {
				s.expired(name)
				return nil
			}
			expires = now.Add(lasting(left))
		}
		p.Properties = s.appendOwn(p.Properties, props, name)
	}
	var err error
	if s.payload, err = props.AppendMQTT(s.payload[:0], payload); err != nil {
		return err
	}
	defer func() {
		if cap(s.payload) > keepBuffer {
			s.payload = nil
		}
	}()
	p.Payload = s.payload
	return s.enqueue(&p, expires, ev.Details.Retained, now)
}

// lasting is the time until a message expires, given in microseconds; it is no longer than MQTT
// has a form for.
func lasting(us int64) time.Duration {
	return time.Duration(min(us, math.MaxUint32*1_000_000)) * time.Microsecond
}

// appendOwn appends the properties that travel with a message on a topic, but for its expiry.
// What WAMP sessions have written there may be more than MQTT takes.
func (s *session) appendOwn(list packet.Properties, p *bridge.Properties, topic string) packet.Properties {
	cut := 0
	if p.Text {
		list = append(list, packet.Property{ID: packet.PayloadFormat, Num: 1})
	}
	for id, text := range map[byte]string{packet.ContentType: p.ContentType, packet.ResponseTopic: p.Response, packet.CorrelationData: p.Correlation} {
		switch {
		case text == "":
		case len(text) > bridge.MaxTopic, id == packet.ResponseTopic && bridge.CheckTopic(text) != nil:
			cut++
		default:
			list = append(list, packet.Property{ID: id, Text: text})
		}
	}
	for _, u := range p.User {
		if len(u[0]) > bridge.MaxTopic || len(u[1]) > bridge.MaxTopic {
			cut++
			continue
		}
		list = append(list, packet.Property{ID: packet.UserProperty, Name: u[0], Text: u[1]})
	}
	if cut > 0 {
		s.stats.cut.Add(uint64(cut))
		s.rare.Often("mqtt message goes without some of its properties: they are too long, or the response topic is none",
			func() []any { return []any{"client", s.id, "topic", topic, "properties", cut} })
	}
	return list
}

// enqueue sends a message or has it wait. initial tells of a last value. The router sends
// those as there is room; half of the queue is left to live messages, so that the client is
// not behind for them.
func (s *session) enqueue(p *packet.Publish, expires time.Time, initial bool, now time.Time) error {
	if p.QoS == 0 && !s.online {
		s.stats.away.Add(1)
		return nil // 3.1.2.5: not part of the session
	}
	size := packet.PublishSize(s.version, p)
	if s.online && !s.fits(p, expires) {
		return errOversize
	}
	room := s.cfg.QueueBytes
	if initial {
		if room /= 2; p.QoS > 0 && s.kept && s.journal.crowded() {
			return wamp.ErrQueueFull
		}
	}
	if n := s.queued() + s.waitSize; n > 0 && n+size > room || !s.book(size) || p.QoS > 0 && len(s.unacked) >= maxUnacked {
		switch {
		case p.QoS == 0 || initial:
			return wamp.ErrQueueFull
		case s.online:
			return errSlow
		}
		return errFull
	}
	if p.QoS == 0 {
		s.emit(p, expires, now)
		return nil
	}
	s.lastSeq++
	p.ID = s.identifier()
	d := &delivery{seq: s.lastSeq, message: *p, expires: expires}
	s.unacked[p.ID] = d
	if s.kept || len(s.waiting) > 0 || s.inFlight >= s.window {
		d.message.Payload = append([]byte(nil), p.Payload...)
		d.size = size
		s.waitSize += size
	}
	if s.kept {
		s.journal.add(Change{Key: messageKey(s.id, d.seq), Value: d.encode(s.clock)})
	} else {
		d.onDisk = true
	}
	s.waiting = append(s.waiting, d)
	s.pump(now)
	return nil
}

// maxUnacked leaves some identifiers free, so that one is found soon.
const maxUnacked = 60000

// pump sends what waits, as the client's window allows. What is to be delivered
// exactly once is not sent before its identifier is on disk.
func (s *session) pump(now time.Time) {
	n := 0
	for _, d := range s.waiting {
		if !s.online || s.inFlight >= s.window || d.message.QoS == 2 && !d.onDisk && s.journal.durable() {
			break
		}
		n++
		switch {
		case !d.expires.IsZero() && !now.Before(d.expires):
			s.expired(d.message.Topic)
			s.forget(d)
			continue
		case !s.fits(&d.message, d.expires):
			s.oversize(d)
			continue
		}
		d.sent = true
		s.inFlight++
		s.emit(&d.message, d.expires, now)
		if !s.kept {
			s.waitSize -= d.size
			d.size, d.message = 0, packet.Publish{ID: d.message.ID, QoS: d.message.QoS}
		}
	}
	if s.waiting = slices.Delete(s.waiting, 0, n); len(s.waiting) == 0 {
		s.waiting = nil
	}
}

// fits reports whether the client takes a message with all that it is sent with, but a topic
// alias.
func (s *session) fits(p *packet.Publish, expires time.Time) bool {
	if s.maxPacket == 0 {
		return true
	}
	m := *p
	if !expires.IsZero() {
		m.Properties = append(slices.Clip(m.Properties), packet.Property{ID: packet.MessageExpiry})
	}
	return uint32(packet.PublishSize(s.version, &m)) <= s.maxPacket
}

// oversize gives up a message that has become too large for the client, which has connected
// with another maximum: for the sender it has been delivered (MQTT-3.1.2-25).
func (s *session) oversize(d *delivery) {
	s.stats.oversize.Add(1)
	s.rare.Warn("mqtt message dropped", "client", s.id, "topic", d.message.Topic, "error", errOversize, "hint", hintOversize)
	s.forget(d)
}

// expired counts a message that is not sent any more (MQTT-3.3.2-5).
func (s *session) expired(topic string) {
	s.stats.expired.Add(1)
	s.rare.Often("mqtt message expired before it was sent", func() []any { return []any{"client", s.id, "topic", topic} })
}

// abandon counts what the client has not acknowledged when its session ends.
func (s *session) abandon() {
	n := len(s.unacked)
	if n == 0 {
		return
	}
	s.stats.abandoned.Add(uint64(n))
	s.rare.Info("mqtt session ended with messages that its client has not acknowledged", "client", s.id, "messages", n)
}

// emit writes a PUBLISH.
func (s *session) emit(p *packet.Publish, expires, now time.Time) {
	if s.version != packet.V5 {
		s.out, _ = packet.AppendPublish(s.out, s.version, p)
		return
	}
	m := *p
	if !expires.IsZero() {
		left := max(1, int64(expires.Sub(now)/time.Second)) // MQTT-3.3.2-6
		m.Properties = append(slices.Clip(m.Properties), packet.Property{ID: packet.MessageExpiry, Num: uint32(min(left, 1<<32-1))})
	}
	if s.aliasRoom > 0 {
		s.alias(&m)
	}
	s.out, _ = packet.AppendPublish(s.out, s.version, &m)
}

// alias puts an alias in the place of the topic, or beside it the first time, where there is one
// left and the packet does not become too large by it.
func (s *session) alias(m *packet.Publish) {
	alias, known := s.sentAs[m.Topic]
	if !known && len(s.sentAs) >= s.aliasRoom {
		return
	}
	if !known {
		alias = uint16(len(s.sentAs) + 1)
	}
	short := *m
	short.Properties = append(slices.Clip(m.Properties), packet.Property{ID: packet.TopicAlias, Num: uint32(alias)})
	if known {
		short.Topic = ""
	}
	if !s.fits(&short, time.Time{}) {
		return
	}
	if !known {
		if s.sentAs == nil {
			s.sentAs = map[string]uint16{}
		}
		s.sentAs[m.Topic] = alias
	}
	*m = short
}

// identifier returns a packet identifier that is not in use.
func (s *session) identifier() uint16 {
	for {
		s.nextID++
		if _, used := s.unacked[s.nextID]; !used && s.nextID != 0 {
			return s.nextID
		}
	}
}

// forget ends the delivery of a message.
func (s *session) forget(d *delivery) {
	delete(s.unacked, d.message.ID)
	s.waitSize -= d.size
	if d.sent {
		s.inFlight--
	}
	if s.kept {
		s.journal.add(Change{Key: messageKey(s.id, d.seq)})
	}
}

// acknowledged books a PUBACK, or a PUBCOMP, or a PUBREC with an error, and sends what
// waited for it.
func (s *session) acknowledged(id uint16, qos byte, now time.Time) {
	if d := s.unacked[id]; d != nil && d.sent && d.message.QoS == qos {
		s.forget(d)
		s.pump(now)
	}
}

// received books a PUBREC. It reports whether PUBREL has to wait for the disk.
func (s *session) received(id uint16) (d *delivery) {
	d = s.unacked[id]
	if d == nil || !d.sent || d.message.QoS != 2 {
		s.out = packet.AppendAck(s.out, s.version, packet.TypePubrel, id, packet.IDNotFound)
		return nil
	}
	if !d.released {
		d.released = true
		s.waitSize -= d.size
		d.size, d.message = 0, packet.Publish{ID: id, QoS: 2}
		if s.kept {
			s.journal.add(Change{Key: messageKey(s.id, d.seq), Value: d.encode(s.clock)})
		}
	}
	return d
}

// resume sends again what the last connection has left open (4.4), in its order.
func (s *session) resume(now time.Time) {
	open := slices.SortedFunc(maps.Values(s.unacked), func(a, b *delivery) int { return cmp.Compare(a.seq, b.seq) })
	for _, d := range open {
		switch {
		case !d.sent:
		case d.released:
			s.out = packet.AppendAck(s.out, s.version, packet.TypePubrel, d.message.ID, packet.Success)
		case !s.fits(&d.message, d.expires):
			s.oversize(d)
		case d.perhaps && d.message.QoS == 1 && !d.expires.IsZero() && !now.Before(d.expires):
			s.expired(d.message.Topic)
			s.forget(d)
		default:
			m := d.message
			m.Dup = true // MQTT-3.3.1-1
			s.emit(&m, d.expires, now)
		}
	}
	s.pump(now)
}

// newest returns the delivery that has been queued since the sequence number before,
// if there is one.
func (s *session) newest(before uint64) *delivery {
	if s.lastSeq == before {
		return nil
	}
	if n := len(s.waiting); n > 0 && s.waiting[n-1].seq == s.lastSeq {
		return s.waiting[n-1]
	}
	return nil
}
