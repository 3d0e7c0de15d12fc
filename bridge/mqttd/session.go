package mqttd

import (
	"strings"
	"sync/atomic"
	"time"

	"gantry/bridge"
	"gantry/bridge/internal/packet"
	"gantry/internal/budget"
	"gantry/internal/ratelog"
	"gantry/internal/wallclock"
	"gantry/wamp"
)

// session is the state of one client, without any I/O: packets of the client become
// messages to the router (toRouter), messages of the router become packets to the
// client (out). It outlives the connection where it is kept. Its owner guards it.
type session struct {
	cfg     *Config
	stats   *counters
	rare    *ratelog.Log
	memory  *budget.Budget
	shares  *shares
	journal *journal
	clock   *wallclock.Clock
	settles bool // acknowledgements wait for more than the journal
	owed    int  // acknowledgements that wait until something is kept
	booked  int  // bytes of memory taken for what waits

	id      string      // the client's identifier
	own     wamp.ID     // of the session in the realm
	kept    bool        // it outlives its connections
	online  bool        // somebody is connected
	present atomic.Bool // the same, for others
	resumed bool        // the connection goes on with what an earlier one has left
	version byte        // of MQTT

	saved     sessionRecord // what is on disk, without the filters
	restoring bool          // its filters are being subscribed to again

	lastRequest wamp.ID
	requests    map[wamp.ID]request // that the router has not answered
	groups      int                 // SUBSCRIBE and UNSUBSCRIBE packets not answered yet
	toRouter    []wamp.Message

	filters  map[string]*filter
	topics   map[wamp.ID]*topic
	exactly  unreleased
	arrivals map[uint16]*arrival // of those, what is waited for, by packet identifier
	turn     uint64              // of the last arrival
	aliases  []string            // of the client's topics, from 1 on

	outgoing
	past [2]uint64 // bytes of former connections, received and sent
}

// request is what an answer of the router is for.
type request struct {
	publish byte   // packet type of the acknowledgement; 0 for the others
	id      uint16 // packet identifier of a PUBLISH
	mark    uint64 // of the journal, when it came
	turn    uint64 // of the arrival at QoS 2
	call    *call
	group   *group
	entry   int     // index into group.codes
	filter  *filter // of a SUBSCRIBE
	pattern bridge.Pattern
}

// arrival is a PUBLISH at QoS 2 that has come. It is waited for by acknowledgements of
// its own and of its repetitions, which may be over only after its identifier has been
// released and used anew: then they are not those of the new one.
type arrival struct {
	turn    uint64
	mark    uint64 // of the journal, when it came
	routed  bool
	safe    bool // it is where it is kept
	waiting int  // acknowledgements
}

// unreleased holds the identifiers of PUBLISH at QoS 2 that have no PUBREL yet.
// MQTT lets a client use all 65535 at a time, and the PUBREL of the first comes
// behind the PUBLISH of the last, so there is no limit to keep; as bits they are
// 8 KiB at most, and none for clients that do not use QoS 2.
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

// remove reports whether id was there.
func (u *unreleased) remove(id uint16) bool {
	if u.bits == nil {
		return false
	}
	word, bit := &u.bits[id/64], uint64(1)<<(id%64)
	if *word&bit == 0 {
		return false
	}
	*word &^= bit
	if u.n--; u.n == 0 {
		u.bits = nil
	}
	return true
}

// maxRequests is how many requests may wait for the router before the client is
// read on.
const maxRequests = 1024

// maxAliases is how many topic aliases there may be in each direction.
const maxAliases = 32

func (s *Server) newSession(id string, version byte) *session {
	return &session{
		cfg: &s.cfg, stats: &s.stats, rare: s.rare, memory: s.memory, shares: s.shares, journal: s.journal, clock: s.clock, settles: s.receipts != nil,
		id: id, version: version, online: true,
		requests: map[wamp.ID]request{}, filters: map[string]*filter{}, topics: map[wamp.ID]*topic{}, arrivals: map[uint16]*arrival{},
		outgoing: outgoing{window: s.cfg.InFlight, unacked: map[uint16]*delivery{}},
	}
}

// settled reports whether the next packet of the client may be handled: what it
// asked for before has been answered, and it has read most of the answers.
func (s *session) settled() bool {
	return s.groups == 0 && len(s.requests)+s.owed < maxRequests && s.queued() <= s.cfg.QueueBytes
}

// ask queues a request to the router and notes what its answer is for.
func (s *session) ask(r request) wamp.ID {
	s.lastRequest = wamp.NextID(s.lastRequest)
	s.requests[s.lastRequest] = r
	return s.lastRequest
}

// tell queues a publication that needs no answer.
func (s *session) tell(m *wamp.Publish) {
	s.lastRequest = wamp.NextID(s.lastRequest)
	m.Request = s.lastRequest
	s.toRouter = append(s.toRouter, m)
}

// publication returns what a PUBLISH of the client, or its will, is in the realm.
func (s *session) publication(p *packet.Publish) *wamp.Publish {
	m := &wamp.Publish{Topic: bridge.URIFromTopic(p.Topic)}
	m.Payload, m.Options.Passthru = bridge.Publication(p.Payload, propertiesOf(p.Properties, s.clock))
	m.Options.IncludeMe = true // MQTT clients receive what they publish themselves
	m.Options.Retain = p.Retain && len(p.Payload) > 0
	m.Options.Unretain = p.Retain && len(p.Payload) == 0 // MQTT-3.3.1-6
	return m
}

// propertiesOf returns those of MQTT's properties that travel with a message.
func propertiesOf(list packet.Properties, clock *wallclock.Clock) *bridge.Properties {
	out := &bridge.Properties{}
	for _, p := range list {
		switch p.ID {
		case packet.PayloadFormat:
			out.Text = p.Num == 1
		case packet.ContentType:
			out.ContentType = p.Text
		case packet.ResponseTopic:
			out.Response = p.Text
		case packet.CorrelationData:
			out.Correlation = p.Text
		case packet.MessageExpiry:
			out.Expires = clock.Now().Add(time.Duration(p.Num) * time.Second).UnixMicro()
		case packet.UserProperty:
			out.User = append(out.User, [2]string{p.Name, p.Text})
		}
	}
	return out
}

// reasonError ends a connection with a reason code.
type reasonError struct {
	code byte
	text string
}

func (e *reasonError) Error() string { return e.text }

// resolve puts a topic in the place of an alias, and learns new ones.
func (s *session) resolve(p *packet.Publish) error {
	alias := p.Properties.Num(packet.TopicAlias, 0)
	if alias == 0 {
		return nil
	}
	if alias > maxAliases { // MQTT-3.3.2-9
		return &reasonError{packet.BadTopicAlias, "a topic alias is above the maximum"}
	}
	if s.aliases == nil {
		s.aliases = make([]string, maxAliases+1)
	}
	if p.Topic != "" {
		s.aliases[alias] = p.Topic
	} else if p.Topic = s.aliases[alias]; p.Topic == "" {
		return &reasonError{packet.ProtocolError, "a topic alias stands for nothing"}
	}
	return nil
}

// published turns a PUBLISH of the client into a request to the router, unless it has
// come before: then it returns the acknowledgement of what the first one said.
func (s *session) published(p *packet.Publish) (ack pending, err error) {
	if err := s.resolve(p); err != nil {
		return ack, err
	}
	if p.QoS == 2 && !s.exactly.add(p.ID) {
		return s.repeated(p.ID), nil
	}
	r := request{id: p.ID, mark: s.journal.mark(), publish: [3]byte{0, packet.TypePuback, packet.TypePubrec}[p.QoS]}
	if p.QoS == 2 {
		s.turn++
		r.turn = s.turn
		s.arrivals[p.ID] = &arrival{turn: r.turn, mark: r.mark}
	}
	m := s.publication(p)
	if response, ok := p.Properties.Text(packet.ResponseTopic); ok && !strings.HasPrefix(p.Topic, "$") && !p.Retain {
		s.call(r, m, p, response)
		return ack, nil
	}
	s.route(r, m)
	return ack, nil
}

// repeated answers a PUBLISH at QoS 2 that has come before, as late as the first one:
// its sender forgets the message when it has the answer.
func (s *session) repeated(id uint16) (ack pending) {
	s.stats.repeated.Add(1)
	first := s.arrivals[id]
	switch {
	case first == nil || first.safe:
		s.out = packet.AppendAck(s.out, s.version, packet.TypePubrec, id, packet.Success)
	case first.routed:
		return pending{packet.TypePubrec, id, first.mark, first.turn}
	}
	return ack // the router's answer to the first one is that to both
}

// route hands a publication to the router.
func (s *session) route(r request, m *wamp.Publish) {
	if r.publish == 0 {
		s.tell(m)
		return
	}
	m.Options.Acknowledge = true
	m.Options.KeepOrRefuse = s.version == packet.V5 // 3.1.1 has no word for it
	m.Request = s.ask(r)
	s.toRouter = append(s.toRouter, m)
}

// released ends the handshake of a PUBLISH at QoS 2. An unknown identifier is no error
// during recovery (3.7.2.1): the PUBCOMP may have been lost with a connection, and
// clients take the code for a failure of what has been delivered.
func (s *session) released(id uint16) {
	code := byte(packet.IDNotFound)
	if s.resumed {
		code = packet.Success
	}
	delete(s.arrivals, id)
	if s.exactly.remove(id) {
		code = packet.Success
		if s.kept {
			s.journal.add(Change{Key: receivedKey(s.id, id)})
		}
	}
	s.out = packet.AppendAck(s.out, s.version, packet.TypePubcomp, id, code)
}

// answered books an answer of the router. err is nil for SUBSCRIBED, UNSUBSCRIBED
// and PUBLISHED. It returns an acknowledgement that must wait until what has been
// queued for kept sessions is on disk; 0 is none.
func (s *session) answered(id, subscription wamp.ID, err *wamp.ErrorReply) (ack pending) {
	r, ok := s.requests[id]
	if !ok {
		return ack
	}
	delete(s.requests, id)
	if r.call != nil {
		return s.failed(r, err)
	}
	if r.publish != 0 {
		if err == nil {
			return s.taken(r)
		}
		s.stats.refused.Add(1)
		code := reasonOf(err.URI)
		if r.publish == packet.TypePubrec {
			if s.arrival(r.id, r.turn) == nil {
				return ack
			}
			delete(s.arrivals, r.id)
			if s.version == packet.V5 {
				s.exactly.remove(r.id) // the handshake ends with the refusal (4.3.3)
			}
		}
		s.out = packet.AppendAck(s.out, s.version, r.publish, r.id, code)
		return ack
	}
	if r.group != nil {
		s.groupAnswered(r, subscription, err)
	}
	return ack
}

// pending is an acknowledgement that waits for the disk.
type pending struct {
	publish byte // packet type; 0 = none
	id      uint16
	mark    uint64 // of the journal, before it was routed
	turn    uint64 // of the arrival at QoS 2
}

// taken books a publication that the router has routed.
func (s *session) taken(r request) pending {
	if first := s.arrival(r.id, r.turn); first != nil {
		first.routed = true
	}
	p := pending{r.publish, r.id, r.mark, r.turn}
	if !s.settles {
		s.receipt(p)
	}
	return p
}

// arrival returns the PUBLISH at QoS 2 that has the identifier, nil if it has been
// released or refused meanwhile.
func (s *session) arrival(id uint16, turn uint64) *arrival {
	if a := s.arrivals[id]; a != nil && a.turn == turn {
		return a
	}
	return nil
}

// receipt notes that a message at QoS 2 of a kept session has been taken, unless it has
// been released meanwhile.
func (s *session) receipt(p pending) {
	if a := s.arrival(p.id, p.turn); a != nil && !a.safe && s.kept {
		s.journal.add(Change{Key: receivedKey(s.id, p.id), Value: []byte{1}})
	}
}

// forgetReceived lets a packet identifier of QoS 2 be used anew.
func (s *session) forgetReceived(id uint16) {
	delete(s.arrivals, id)
	if s.exactly.remove(id) && s.kept {
		s.journal.add(Change{Key: receivedKey(s.id, id)})
	}
}

// reasonOf returns the reason code for an error of the router.
func reasonOf(uri wamp.URI) byte {
	switch uri {
	case wamp.ErrURINotAuthorized, wamp.ErrURIAuthorizationFailed:
		return packet.NotAuthorized
	case wamp.ErrURIInvalidURI:
		return packet.BadTopic
	case wamp.ErrURILimit:
		return packet.QuotaExceeded
	}
	return packet.Unspecified
}
