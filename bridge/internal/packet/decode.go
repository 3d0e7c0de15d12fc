package packet

import "bytes"

// The types of control packets (2.1.2).
const (
	TypeConnect     = 1
	TypeConnack     = 2
	TypePublish     = 3
	TypePuback      = 4
	TypePubrec      = 5
	TypePubrel      = 6
	TypePubcomp     = 7
	TypeSubscribe   = 8
	TypeSuback      = 9
	TypeUnsubscribe = 10
	TypeUnsuback    = 11
	TypePingreq     = 12
	TypePingresp    = 13
	TypeDisconnect  = 14
	TypeAuth        = 15
)

// The protocol levels that Decode knows.
const (
	V31  = 3
	V311 = 4
	V5   = 5
)

// Connect is CONNECT (3.1).
type Connect struct {
	Version          byte
	Clean            bool
	KeepAlive        uint16 // seconds
	ClientID         string
	Will             *Publish // nil: none
	User             string
	Password         []byte
	HasUser, HasPass bool
	Properties       Properties
}

// Publish is PUBLISH (3.3), or a will.
type Publish struct {
	Topic       string // empty with a topic alias
	QoS         byte
	Retain, Dup bool
	ID          uint16 // 0 at QoS 0
	Payload     []byte // of the frame
	Properties  Properties
}

// Ack is PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7), DISCONNECT (3.14, no ID) or
// AUTH (3.15, no ID).
type Ack struct {
	Type       byte
	ID         uint16
	Code       byte // reason code; 0 in 3.1.1
	Properties Properties
}

// Subscribe is SUBSCRIBE (3.8), or UNSUBSCRIBE (3.10), which has no options.
type Subscribe struct {
	ID         uint16
	Filters    []Filter
	Properties Properties
}

// Filter is a topic filter with its options (3.8.3.1).
type Filter struct {
	Text              string
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0 send, 1 send if the subscription is new, 2 do not send
}

// Decode checks a packet that a client sends in the given version and returns it as a
// *Connect (whose version is its own), *Publish, *Ack, *Subscribe; nil for those
// without content. Strings are copies; the payload of a PUBLISH is f's. The error is
// a *FormError.
func Decode(f Frame, version byte) (any, error) {
	if err := checkFlags(f.First, version); err != nil {
		return nil, err
	}
	c := cursor{b: f.Body}
	p := c.packet(f, version)
	if len(c.b) > 0 && c.err == nil {
		c.fail("bytes behind the end")
	}
	if c.err != nil {
		e := c.err.(*FormError)
		return nil, &FormError{Text: f.Name() + ": " + e.Text, Code: e.Code}
	}
	return p, nil
}

func (c *cursor) packet(f Frame, version byte) any {
	switch t := f.Type(); t {
	case TypeConnect:
		return c.connect()
	case TypePublish:
		return c.publish(f.First, version)
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp:
		a := &Ack{Type: t, ID: c.id()}
		if version == V5 {
			c.reason(a)
		}
		return a
	case TypeSubscribe:
		return c.subscribe(version)
	case TypeUnsubscribe:
		s := &Subscribe{ID: c.id()}
		if version == V5 {
			s.Properties = c.properties(TypeUnsubscribe)
		}
		for first := true; first || len(c.b) > 0; first = false {
			s.Filters = append(s.Filters, Filter{Text: c.filter()})
		}
		return s
	case TypeDisconnect, TypeAuth:
		a := &Ack{Type: t}
		if version == V5 {
			c.reason(a)
		}
		return a
	}
	return nil
}

// reason takes the reason code and the properties, both of which may be left out
// (3.4.2.1).
func (c *cursor) reason(a *Ack) {
	if len(c.b) == 0 || c.err != nil {
		return
	}
	a.Code = c.take(1)[0]
	if len(c.b) > 0 {
		a.Properties = c.properties(a.Type)
	}
}

func (c *cursor) publish(first, version byte) *Publish {
	p := &Publish{QoS: first >> 1 & 3, Retain: first&1 != 0, Dup: first&8 != 0}
	p.Topic = c.topic(version == V5)
	if p.QoS > 0 {
		p.ID = c.id()
	}
	if version == V5 {
		p.Properties = c.properties(TypePublish)
		if p.Topic == "" && c.err == nil && p.Properties.Num(TopicAlias, 0) == 0 { // MQTT-3.3.2-8, 3.3.2.3.4
			c.failProtocol("neither a topic nor an alias")
		}
		if p.Properties.Num(SubscriptionID, 0) != 0 { // MQTT-3.3.4-6
			c.failProtocol("a subscription identifier from a client")
		}
	}
	p.Payload, c.b = c.b, nil
	return p
}

func (c *cursor) subscribe(version byte) *Subscribe {
	s := &Subscribe{ID: c.id()}
	if version == V5 {
		s.Properties = c.properties(TypeSubscribe)
	}
	for first := true; first || len(c.b) > 0; first = false {
		f := Filter{Text: c.filter()}
		b := c.take(1)
		if b == nil {
			break
		}
		o := b[0]
		if f.QoS = o & 3; f.QoS == 3 || version != V5 && o > 2 {
			c.fail("a requested QoS is above 2") // MQTT-3.8.3-4
		}
		f.NoLocal, f.RetainAsPublished, f.RetainHandling = o&4 != 0, o&8 != 0, o>>4&3
		if o&0xc0 != 0 || f.RetainHandling == 3 { // MQTT-3.8.3-5
			c.fail("reserved subscription options")
		}
		s.Filters = append(s.Filters, f)
	}
	return s
}

// connect takes CONNECT (3.1).
func (c *cursor) connect() *Connect {
	p := &Connect{}
	c.text()
	level, flags, alive := c.take(1), c.take(1), c.take(2)
	if c.err != nil {
		return p
	}
	const (
		reserved = 1 << 0
		clean    = 1 << 1
		will     = 1 << 2
		willQoS  = 3 << 3
		retain   = 1 << 5
		password = 1 << 6
		user     = 1 << 7
	)
	p.Version, p.KeepAlive = level[0], uint16(alive[0])<<8|uint16(alive[1])
	f := flags[0]
	switch {
	case f&reserved != 0: // MQTT-3.1.2-3
		c.fail("the reserved flag is set")
	case f&will == 0 && f&(willQoS|retain) != 0: // MQTT-3.1.2-13, MQTT-3.1.2-15
		c.fail("will flags without a will")
	case f&willQoS == willQoS: // MQTT-3.1.2-14
		c.fail("the will has QoS 3")
	case f&user == 0 && f&password != 0 && p.Version != V5: // MQTT-3.1.2-22; 5 allows it
		c.fail("a password without a user name")
	}
	p.Clean, p.HasUser, p.HasPass = f&clean != 0, f&user != 0, f&password != 0
	if p.Version == V5 {
		p.Properties = c.properties(TypeConnect)
		if _, ok := p.Properties.Text(AuthMethod); !ok {
			if _, ok := p.Properties.Text(AuthData); ok { // 3.1.2.11.10
				c.failProtocol("authentication data without a method")
			}
		}
	}
	p.ClientID = string(c.text())
	if f&will != 0 {
		w := &Publish{QoS: f >> 3 & 3, Retain: f&retain != 0}
		if p.Version == V5 {
			w.Properties = c.properties(willPackets)
		}
		w.Topic, w.Payload = c.topic(false), bytes.Clone(c.bytes())
		p.Will = w
	}
	if p.HasUser {
		p.User = string(c.text())
	}
	if p.HasPass {
		p.Password = bytes.Clone(c.bytes())
	}
	return p
}
