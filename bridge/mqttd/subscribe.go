package mqttd

import (
	"fmt"
	"slices"
	"strings"

	"gantry/bridge"
	"gantry/bridge/internal/packet"
	"gantry/wamp"
)

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
	text    string // as the client wrote it
	group   string // of a shared subscription; "" = its own
	options packet.Filter
	subID   uint32 // 0 = none
	topics  []wamp.ID
}

// topic is a subscription in the realm, which several filters may share.
type topic struct {
	pattern bridge.Pattern
	filters []*filter
}

// parseFilter takes a filter apart, $share/GROUP/FILTER for a shared one (4.8.2).
func parseFilter(text string) (*filter, error) {
	f := &filter{text: text}
	if rest, ok := strings.CutPrefix(text, "$share/"); ok {
		group, inner, ok := strings.Cut(rest, "/")
		if !ok || group == "" || strings.ContainsAny(group, "+#") || inner == "" { // MQTT-4.8.2-1, MQTT-4.8.2-2
			return nil, errShare
		}
		f.group, text = group, inner
	}
	var err error
	f.Filter, err = bridge.ParseFilter(text)
	return f, err
}

var errShare = &reasonError{packet.BadFilter, "a shared subscription has no group or no filter"}

// refuse counts a filter that is not subscribed to, logs a sample, and returns the code for
// it.
func (s *session) refuse(filter string, code byte) byte {
	s.stats.filters.Add(1)
	s.rare.Info("mqtt topic filter refused", "client", s.id, "filter", fmt.Sprintf("%.200q", filter), "code", fmt.Sprintf("0x%02x", code),
		"hint", "0x87: the rules of its role; 0x8f: no topic filter; 0x97: mqtt.max_filters")
	if s.version == packet.V5 {
		return code
	}
	return 0x80
}

// answerable refuses a packet whose answer, with n codes, the client would not take
// (MQTT-3.1.2-24).
func (s *session) answerable(n int) error {
	if s.maxPacket != 0 && uint32(packet.CodesSize(s.version, n)) > s.maxPacket {
		return &reasonError{packet.PacketTooLarge, "the answer to so many filters is larger than the client takes"}
	}
	return nil
}

// subscribe asks for the patterns of a SUBSCRIBE packet.
func (s *session) subscribe(p *packet.Subscribe) error {
	if err := s.answerable(len(p.Filters)); err != nil {
		return err
	}
	g := &group{ack: packet.TypeSuback, id: p.ID, codes: make([]byte, len(p.Filters))}
	fresh := map[string]*filter{}
	subID := p.Properties.Num(packet.SubscriptionID, 0)
	for i, o := range p.Filters {
		f, known := s.filters[o.Text], true
		if f == nil {
			f = fresh[o.Text]
		}
		if f == nil {
			parsed, err := parseFilter(o.Text)
			switch {
			case err != nil:
				g.codes[i] = s.refuse(o.Text, packet.BadFilter)
				continue
			case len(s.filters)+len(fresh) >= s.cfg.MaxFilters:
				g.codes[i] = s.refuse(o.Text, packet.QuotaExceeded)
				continue
			case parsed.group != "" && o.NoLocal: // MQTT-3.8.3-4
				return &reasonError{packet.ProtocolError, "a shared subscription with no local"}
			}
			f, known = parsed, false
			fresh[o.Text] = f
		} else if i >= s.cfg.MaxFilters {
			// The same filter over and over would ask for its last values as often.
			g.codes[i] = s.refuse(o.Text, packet.QuotaExceeded)
			continue
		}
		g.codes[i] = o.QoS
		f.options, f.subID = o, subID
		s.request(g, i, f, f.group == "" && (o.RetainHandling == 0 || o.RetainHandling == 1 && !known))
	}
	s.open(g)
	return nil
}

// request asks the router for the patterns of a filter.
func (s *session) request(g *group, entry int, f *filter, retained bool) {
	for _, pattern := range f.Patterns() {
		g.left++
		id := s.ask(request{group: g, entry: entry, filter: f, pattern: pattern})
		s.toRouter = append(s.toRouter, &wamp.Subscribe{
			Request: id, Topic: pattern.URI,
			Options: wamp.SubscribeOptions{Match: pattern.Match, GetRetained: retained},
		})
	}
}

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
	if g.ack != silentAck {
		s.out = packet.AppendCodes(s.out, s.version, g.ack, g.id, g.codes)
	}
	undo := &group{} // of what was refused in part
	for _, f := range g.failed {
		s.drop(f, undo)
	}
	s.open(undo)
	if g.ack == silentAck {
		s.restoring = false
	}
	s.record()
}

// silentAck is for the subscriptions that are made anew after a restart.
const silentAck = 0xff

// unsubscribe gives up the filters of an UNSUBSCRIBE packet.
func (s *session) unsubscribe(p *packet.Subscribe) error {
	if err := s.answerable(len(p.Filters)); err != nil {
		return err
	}
	g := &group{ack: packet.TypeUnsuback, id: p.ID, codes: make([]byte, len(p.Filters))}
	for i, o := range p.Filters {
		if f := s.filters[o.Text]; f != nil {
			s.drop(f, g)
		} else {
			g.codes[i] = packet.NoSubscription
		}
	}
	s.open(g)
	return nil
}

// drop takes a filter off its topics and unsubscribes from those that no other
// filter needs.
func (s *session) drop(f *filter, g *group) {
	delete(s.filters, f.text)
	s.shares.leave(f, s)
	for _, id := range f.topics {
		t := s.topics[id]
		t.filters = slices.DeleteFunc(t.filters, func(other *filter) bool { return other == f })
		if len(t.filters) > 0 {
			continue
		}
		delete(s.topics, id)
		g.left++
		s.toRouter = append(s.toRouter, &wamp.Unsubscribe{Request: s.ask(request{group: g}), Subscription: id})
	}
	f.topics = nil
}

func (s *session) groupAnswered(r request, subscription wamp.ID, err *wamp.ErrorReply) {
	g := r.group
	switch {
	case r.filter == nil: // UNSUBSCRIBE: gone either way
	case err != nil:
		if g.codes != nil {
			g.codes[r.entry] = s.refuse(r.filter.text, reasonOf(err.URI))
		}
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
	s.filters[f.text] = f
	s.shares.join(f, s)
	t := s.topics[id]
	if t == nil {
		t = &topic{pattern: p}
		s.topics[id] = t
	}
	if slices.Contains(t.filters, f) {
		return
	}
	t.filters = append(t.filters, f)
	f.topics = append(f.topics, id)
}
