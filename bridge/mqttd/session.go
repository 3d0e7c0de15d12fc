package mqttd

import (
	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge"
	"gantry/bridge/internal/packet"
	"gantry/internal/budget"
	"gantry/wamp"
)

// session is the state of one client between CONNACK and its end, without any
// I/O: packets of the client become messages to the router (toRouter), messages
// of the router become packets to the client (out). Its owner guards it.
type session struct {
	maxFilters, inFlight, queueBytes int
	memory                           *budget.Budget
	booked                           int // bytes of memory taken for what waits

	lastRequest wamp.ID
	requests    map[wamp.ID]request // that the router has not answered
	groups      int                 // SUBSCRIBE and UNSUBSCRIBE packets not answered yet
	toRouter    []wamp.Message

	filters map[string]*filter
	topics  map[wamp.ID]*topic
	exactly unreleased

	out      []byte // packets to the client
	writing  int    // bytes that have been taken from out and are being written
	nextID   uint16
	unacked  map[uint16]struct{} // identifiers at QoS 1 that the client has to acknowledge
	waiting  []delivery          // at QoS 1, behind the window
	waitSize int
	payload  []byte // scratch

	refused uint64 // PUBLISHes that the router refused
}

// request is what an answer of the router is for.
type request struct {
	publish byte   // packet type of the acknowledgement; 0 for the others
	id      uint16 // packet identifier of a PUBLISH
	group   *group
	entry   int     // index into group.codes
	filter  *filter // of a SUBSCRIBE
	pattern bridge.Pattern
}

// group is a SUBSCRIBE or UNSUBSCRIBE packet, which is answered once the router
// has answered all its requests.
type group struct {
	ack    byte // packet type of the answer; 0 = none
	id     uint16
	codes  []byte
	failed []*filter // that the router refused
	left   int
}

// filter is a topic filter that the client holds.
type filter struct {
	bridge.Filter
	qos    byte
	topics []wamp.ID
}

// topic is a subscription in the realm, which several filters may share.
type topic struct {
	pattern bridge.Pattern
	filters []*filter
}

// unreleased holds the identifiers of PUBLISH at QoS 2 that have no PUBREL yet.
// MQTT 3.1.1 lets a client use all 65535 at a time, and the PUBREL of the first
// comes behind the PUBLISH of the last, so there is no limit to keep; as bits they
// are 8 KiB at most, and none for clients that do not use QoS 2.
type unreleased struct {
	bits *[1 << 16 / 64]uint64 // nil while there are none
	n    int
}

// add reports whether id was not there before.
func (u *unreleased) add(id uint16) bool {
	if u.bits == nil {
		u.bits = new([1 << 16 / 64]uint64)
	}
	word, bit := &u.bits[id/64], uint64(1)<<(id%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	u.n++
	return true
}

func (u *unreleased) remove(id uint16) {
	if u.bits == nil {
		return
	}
	word, bit := &u.bits[id/64], uint64(1)<<(id%64)
	if *word&bit == 0 {
		return
	}
	*word &^= bit
	if u.n--; u.n == 0 {
		u.bits = nil
	}
}

// delivery is a finished PUBLISH at QoS 1 that waits for an identifier.
type delivery struct {
	packet []byte
	idAt   int
}

// maxRequests is how many requests may wait for the router before the client is
// read on.
const maxRequests = 1024

func newSession(cfg *Config, m *budget.Budget) *session {
	return &session{
		memory:     m,
		maxFilters: cfg.MaxFilters, inFlight: cfg.InFlight, queueBytes: cfg.QueueBytes,
		requests: map[wamp.ID]request{}, filters: map[string]*filter{}, topics: map[wamp.ID]*topic{},
		unacked: map[uint16]struct{}{},
	}
}

// settled reports whether the next packet of the client may be handled: what it
// asked for before has been answered, and it has read most of the answers.
func (s *session) settled() bool {
	return s.groups == 0 && len(s.requests) < maxRequests && s.queued() <= s.queueBytes
}

func (s *session) queued() int { return len(s.out) + s.writing }

// ask queues a request to the router and notes what its answer is for.
func (s *session) ask(r request) wamp.ID {
	s.lastRequest = wamp.NextID(s.lastRequest)
	s.requests[s.lastRequest] = r
	return s.lastRequest
}

// published turns a PUBLISH of the client into one of the router.
func (s *session) published(p *packets.PublishPacket) {
	m := &wamp.Publish{Topic: bridge.URIFromTopic(p.TopicName), Payload: bridge.PayloadFromMQTT(p.Payload)}
	m.Options.Passthru = bridge.Foreign(m.Payload)
	m.Options.IncludeMe = true // MQTT clients receive what they publish themselves
	m.Options.Retain = p.Retain && len(p.Payload) > 0
	m.Options.Unretain = p.Retain && len(p.Payload) == 0 // MQTT-3.3.1-10
	switch p.Qos {
	case 0:
		s.lastRequest = wamp.NextID(s.lastRequest)
		m.Request = s.lastRequest
	case 1:
		m.Options.Acknowledge = true
		m.Request = s.ask(request{publish: packets.Puback, id: p.MessageID})
	case 2:
		if !s.exactly.add(p.MessageID) {
			s.out = packet.AppendAck(s.out, packets.Pubrec, p.MessageID)
			return
		}
		m.Options.Acknowledge = true
		m.Request = s.ask(request{publish: packets.Pubrec, id: p.MessageID})
	}
	s.toRouter = append(s.toRouter, m)
}

// released ends the handshake of a PUBLISH at QoS 2.
func (s *session) released(id uint16) {
	s.exactly.remove(id)
	s.out = packet.AppendAck(s.out, packets.Pubcomp, id)
}

// subscribe asks for the patterns of a SUBSCRIBE packet.
func (s *session) subscribe(p *packets.SubscribePacket) {
	g := &group{ack: packets.Suback, id: p.MessageID, codes: make([]byte, len(p.Topics))}
	fresh := map[string]*filter{}
	for i, text := range p.Topics {
		f := s.filters[text]
		if f == nil {
			f = fresh[text]
		}
		if f == nil {
			parsed, err := bridge.ParseFilter(text)
			if err != nil || len(s.filters)+len(fresh) >= s.maxFilters {
				g.codes[i] = subackFailure
				continue
			}
			f = &filter{Filter: parsed}
			fresh[text] = f
		} else if i >= s.maxFilters {
			// The same filter over and over would ask for its last values as often.
			g.codes[i] = subackFailure
			continue
		}
		g.codes[i] = min(p.Qoss[i], 1)
		f.qos = g.codes[i]
		for _, pattern := range f.Patterns() {
			g.left++
			id := s.ask(request{group: g, entry: i, filter: f, pattern: pattern})
			s.toRouter = append(s.toRouter, &wamp.Subscribe{
				Request: id, Topic: pattern.URI,
				Options: wamp.SubscribeOptions{Match: pattern.Match, GetRetained: true},
			})
		}
	}
	s.open(g)
}

// subackFailure is the return code of a subscription that was refused.
const subackFailure = 0x80

// open begins to wait for a group's answers, or closes it if there are none to
// come.
func (s *session) open(g *group) {
	s.groups++
	if g.left == 0 {
		s.close(g)
	}
}

// close answers a packet all of whose requests have been answered.
func (s *session) close(g *group) {
	s.groups--
	if g.ack == 0 {
		return
	}
	s.out = packet.AppendAck(s.out, g.ack, g.id, g.codes...)
	undo := &group{} // of what was refused in part
	for _, f := range g.failed {
		s.drop(f, undo)
	}
	s.open(undo)
}

// unsubscribe gives up the filters of an UNSUBSCRIBE packet.
func (s *session) unsubscribe(p *packets.UnsubscribePacket) {
	g := &group{ack: packets.Unsuback, id: p.MessageID}
	for _, text := range p.Topics {
		if f := s.filters[text]; f != nil {
			s.drop(f, g)
		}
	}
	s.open(g)
}

// drop takes a filter off its topics and unsubscribes from those that no other
// filter needs.
func (s *session) drop(f *filter, g *group) {
	delete(s.filters, f.String())
	for _, id := range f.topics {
		t := s.topics[id]
		for i, other := range t.filters {
			if other == f {
				t.filters = append(t.filters[:i], t.filters[i+1:]...)
				break
			}
		}
		if len(t.filters) > 0 {
			continue
		}
		delete(s.topics, id)
		g.left++
		s.toRouter = append(s.toRouter, &wamp.Unsubscribe{Request: s.ask(request{group: g}), Subscription: id})
	}
	f.topics = nil
}

// answered books an answer of the router. err is nil for SUBSCRIBED, UNSUBSCRIBED
// and PUBLISHED.
func (s *session) answered(id, subscription wamp.ID, err *wamp.ErrorReply) {
	r, ok := s.requests[id]
	if !ok {
		return
	}
	delete(s.requests, id)
	if r.publish != 0 {
		if err != nil {
			s.refused++
		}
		s.out = packet.AppendAck(s.out, r.publish, r.id)
		return
	}
	g := r.group
	switch {
	case r.filter == nil: // UNSUBSCRIBE: gone either way
	case err != nil:
		g.codes[r.entry] = subackFailure
		g.failed = append(g.failed, r.filter)
	default:
		s.attach(r.filter, subscription, r.pattern)
	}
	if g.left--; g.left == 0 {
		s.close(g)
	}
}

// attach makes a filter receive the events of a subscription.
func (s *session) attach(f *filter, id wamp.ID, p bridge.Pattern) {
	s.filters[f.String()] = f
	t := s.topics[id]
	if t == nil {
		t = &topic{pattern: p}
		s.topics[id] = t
	}
	for _, other := range t.filters {
		if other == f {
			return
		}
	}
	t.filters = append(t.filters, f)
	f.topics = append(f.topics, id)
}

// event turns an event into a PUBLISH to the client. If it does not fit it returns
// errSlow for a live one at QoS 1, wamp.ErrQueueFull for others.
func (s *session) event(ev *wamp.Event) error {
	t := s.topics[ev.Subscription]
	if t == nil {
		return nil // unsubscribed while it was on its way
	}
	uri := ev.Details.Topic
	if uri == "" {
		uri = t.pattern.URI
	}
	name, _ := bridge.TopicFromURI(uri)
	qos, wanted := byte(0), false
	for _, f := range t.filters {
		if f.Matches(name) {
			wanted = true
			qos = max(qos, f.qos)
		}
	}
	if !wanted {
		return nil // the pattern covers more than the filters
	}
	if err := bridge.CheckTopic(name); err != nil {
		return &wamp.PayloadError{Text: "the URI has no MQTT topic: it " + err.Error()}
	}
	var err error
	if s.payload, err = bridge.AppendMQTT(s.payload[:0], ev.Payload); err != nil {
		return err
	}
	defer func() {
		if cap(s.payload) > keepBuffer {
			s.payload = nil
		}
	}()
	size := len(name) + len(s.payload) + 9
	room := s.queueBytes
	if ev.Details.Retained {
		// The last values of all topics come at once and nothing can hold them
		// back; to disconnect for it would end in the same again.
		room *= 4
	}
	if n := s.queued() + s.waitSize; n > 0 && n+size > room || !s.book(size) {
		if qos > 0 && !ev.Details.Retained {
			return errSlow
		}
		return wamp.ErrQueueFull
	}
	if qos == 0 {
		s.out, _ = packet.AppendPublish(s.out, name, 0, ev.Details.Retained, 0, s.payload)
		return nil
	}
	if len(s.waiting) == 0 && len(s.unacked) < s.inFlight {
		s.out, _ = packet.AppendPublish(s.out, name, 1, ev.Details.Retained, s.identifier(), s.payload)
		return nil
	}
	b, at := packet.AppendPublish(make([]byte, 0, size), name, 1, ev.Details.Retained, 0, s.payload)
	s.waiting = append(s.waiting, delivery{b, at})
	s.waitSize += len(b)
	return nil
}

// identifier returns a packet identifier that is not in use. The window is
// smaller than the number of identifiers.
func (s *session) identifier() uint16 {
	for {
		s.nextID++
		if _, used := s.unacked[s.nextID]; !used && s.nextID != 0 {
			s.unacked[s.nextID] = struct{}{}
			return s.nextID
		}
	}
}

// acknowledged books a PUBACK and sends what waited for it.
func (s *session) acknowledged(id uint16) {
	delete(s.unacked, id)
	for len(s.waiting) > 0 && len(s.unacked) < s.inFlight {
		d := s.waiting[0]
		s.waiting[0] = delivery{}
		s.waiting = s.waiting[1:]
		s.waitSize -= len(d.packet)
		packet.SetID(d.packet, d.idAt, s.identifier())
		s.out = append(s.out, d.packet...)
	}
	if len(s.waiting) == 0 {
		s.waiting = nil
	}
}
