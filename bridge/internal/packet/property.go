package packet

import (
	"encoding/binary"
	"strings"
)

// The identifiers of properties (MQTT 5, table 2-4).
const (
	PayloadFormat     = 1
	MessageExpiry     = 2
	ContentType       = 3
	ResponseTopic     = 8
	CorrelationData   = 9
	SubscriptionID    = 11
	SessionExpiry     = 17
	AssignedClientID  = 18
	ServerKeepAlive   = 19
	AuthMethod        = 21
	AuthData          = 22
	RequestProblem    = 23
	WillDelay         = 24
	RequestResponse   = 25
	ResponseInfo      = 26
	ServerReference   = 28
	ReasonString      = 31
	ReceiveMaximum    = 33
	TopicAliasMaximum = 34
	TopicAlias        = 35
	MaximumQoS        = 36
	RetainAvailable   = 37
	UserProperty      = 38
	MaximumPacket     = 39
	WildcardAvailable = 40
	SubIDAvailable    = 41
	SharedAvailable   = 42
)

// Property is one property of MQTT 5. Which field counts depends on its identifier.
type Property struct {
	ID   byte
	Num  uint32 // numbers
	Text string // texts, binary data, the value of a user property
	Name string // the name of a user property
}

// Properties are those of one packet in their order.
type Properties []Property

// Num returns the number of a property, or def where there is none.
func (p Properties) Num(id byte, def uint32) uint32 {
	for i := range p {
		if p[i].ID == id {
			return p[i].Num
		}
	}
	return def
}

// Text returns the text or the data of a property, and whether it is there.
func (p Properties) Text(id byte) (string, bool) {
	for i := range p {
		if p[i].ID == id {
			return p[i].Text, true
		}
	}
	return "", false
}

// How a property is encoded.
const (
	oneByte = iota + 1
	twoBytes
	fourBytes
	varying
	text
	data
	pair
)

// willPackets stands for the properties of a will among the packet types.
const willPackets = 0

// propertyForms holds for each identifier how it is encoded, and the packet types
// that it may be in, as bits.
var propertyForms = [43]struct {
	kind byte
	in   uint16
}{
	PayloadFormat:     {oneByte, 1<<TypePublish | 1<<willPackets},
	MessageExpiry:     {fourBytes, 1<<TypePublish | 1<<willPackets},
	ContentType:       {text, 1<<TypePublish | 1<<willPackets},
	ResponseTopic:     {text, 1<<TypePublish | 1<<willPackets},
	CorrelationData:   {data, 1<<TypePublish | 1<<willPackets},
	SubscriptionID:    {varying, 1<<TypePublish | 1<<TypeSubscribe},
	SessionExpiry:     {fourBytes, 1<<TypeConnect | 1<<TypeConnack | 1<<TypeDisconnect},
	AssignedClientID:  {text, 1 << TypeConnack},
	ServerKeepAlive:   {twoBytes, 1 << TypeConnack},
	AuthMethod:        {text, 1<<TypeConnect | 1<<TypeConnack | 1<<TypeAuth},
	AuthData:          {data, 1<<TypeConnect | 1<<TypeConnack | 1<<TypeAuth},
	RequestProblem:    {oneByte, 1 << TypeConnect},
	WillDelay:         {fourBytes, 1 << willPackets},
	RequestResponse:   {oneByte, 1 << TypeConnect},
	ResponseInfo:      {text, 1 << TypeConnack},
	ServerReference:   {text, 1<<TypeConnack | 1<<TypeDisconnect},
	ReasonString:      {text, 1<<TypeConnack | 1<<TypePuback | 1<<TypePubrec | 1<<TypePubrel | 1<<TypePubcomp | 1<<TypeSuback | 1<<TypeUnsuback | 1<<TypeDisconnect | 1<<TypeAuth},
	ReceiveMaximum:    {twoBytes, 1<<TypeConnect | 1<<TypeConnack},
	TopicAliasMaximum: {twoBytes, 1<<TypeConnect | 1<<TypeConnack},
	TopicAlias:        {twoBytes, 1 << TypePublish},
	MaximumQoS:        {oneByte, 1 << TypeConnack},
	RetainAvailable:   {oneByte, 1 << TypeConnack},
	UserProperty:      {pair, 0xffff},
	MaximumPacket:     {fourBytes, 1<<TypeConnect | 1<<TypeConnack},
	WildcardAvailable: {oneByte, 1 << TypeConnack},
	SubIDAvailable:    {oneByte, 1 << TypeConnack},
	SharedAvailable:   {oneByte, 1 << TypeConnack},
}

// maxProperties is how many properties one packet may have: in memory they take
// more than on the wire.
const maxProperties = 256

// properties takes the properties of a packet of type t (2.2.2).
func (c *cursor) properties(t byte) (list Properties) {
	n := c.varint()
	b := c.take(n)
	if c.err != nil || n == 0 {
		return nil
	}
	in := cursor{b: b}
	seen := uint64(0)
	for len(in.b) > 0 && in.err == nil {
		p := in.property(t)
		if bit := uint64(1) << p.ID; p.ID != UserProperty && !(p.ID == SubscriptionID && t == TypePublish) {
			if seen&bit != 0 {
				in.failProtocol("a property comes twice")
			}
			seen |= bit
		}
		if list = append(list, p); len(list) > maxProperties {
			in.fail("too many properties")
		}
	}
	if in.err != nil {
		c.err, c.b = in.err, nil
		return nil
	}
	return list
}

func (c *cursor) property(t byte) (p Property) {
	id := c.varint()
	if c.err != nil {
		return p
	}
	if id >= len(propertyForms) || propertyForms[id].kind == 0 || propertyForms[id].in>>t&1 == 0 {
		c.fail("a property is not for this packet")
		return p
	}
	p.ID = byte(id)
	switch propertyForms[id].kind {
	case oneByte:
		if b := c.take(1); b != nil {
			p.Num = uint32(b[0])
		}
		if p.Num > 1 {
			c.failProtocol("a property is neither 0 nor 1")
		}
	case twoBytes:
		if b := c.take(2); b != nil {
			p.Num = uint32(binary.BigEndian.Uint16(b))
		}
	case fourBytes:
		if b := c.take(4); b != nil {
			p.Num = binary.BigEndian.Uint32(b)
		}
	case varying:
		p.Num = uint32(c.varint())
	case text:
		p.Text = string(c.text())
	case data:
		p.Text = string(c.bytes())
	case pair:
		p.Name, p.Text = string(c.text()), string(c.text())
	}
	c.checkProperty(p)
	return p
}

// checkProperty refuses the values that no receiver may take.
func (c *cursor) checkProperty(p Property) {
	if c.err != nil {
		return
	}
	switch p.ID {
	case SubscriptionID, ReceiveMaximum, MaximumPacket, TopicAlias:
		if p.Num == 0 { // 3.8.2.1.2, 3.1.2.11.3, 3.1.2.11.4, MQTT-3.3.2-8
			c.failProtocol("a property is 0 that must not be")
		}
	case ResponseTopic:
		if p.Text == "" || strings.ContainsAny(p.Text, "+#") { // MQTT-3.3.2-14
			c.failProtocol("a response topic is empty or has wildcards")
		}
	}
}

// varint takes a variable byte integer: 1 to 4 bytes of 7 bits each (1.5.5), in no
// more of them than it needs (MQTT-1.5.5-1).
func (c *cursor) varint() int {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		b := c.take(1)
		if b == nil {
			return 0
		}
		n |= int(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			if b[0] == 0 && shift > 0 {
				c.fail("an integer has more bytes than it needs")
			}
			return n
		}
	}
	c.fail("an integer has more than 4 bytes")
	return 0
}

// appendProperties appends the properties with their length.
func appendProperties(dst []byte, list Properties) []byte {
	n := 0
	for i := range list {
		n += list[i].size()
	}
	dst = appendLength(dst, n)
	for i := range list {
		dst = list[i].append(dst)
	}
	return dst
}

// size is the length of a property on the wire.
func (p *Property) size() int {
	switch propertyForms[p.ID].kind {
	case oneByte:
		return 2
	case twoBytes:
		return 3
	case fourBytes:
		return 5
	case varying:
		return 1 + lengthSize(int(p.Num))
	case pair:
		return 5 + len(p.Name) + len(p.Text)
	}
	return 3 + len(p.Text)
}

func (p *Property) append(dst []byte) []byte {
	dst = append(dst, p.ID)
	switch propertyForms[p.ID].kind {
	case oneByte:
		return append(dst, byte(p.Num))
	case twoBytes:
		return binary.BigEndian.AppendUint16(dst, uint16(p.Num))
	case fourBytes:
		return binary.BigEndian.AppendUint32(dst, p.Num)
	case varying:
		return appendLength(dst, int(p.Num))
	case pair:
		dst = appendText(dst, p.Name)
	}
	return appendText(dst, p.Text)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// lengthSize is how many bytes appendLength appends.
func lengthSize(n int) int {
	size := 1
	for n >= 0x80 {
		n >>= 7
		size++
	}
	return size
}
