package packet

import "encoding/binary"

// AppendPublish appends a PUBLISH of the given version. Its topic has at most 65,535
// bytes. idAt is the index of the identifier in the result, for SetID; at QoS 0 there
// is none.
func AppendPublish(dst []byte, version byte, p *Publish) (_ []byte, idAt int) {
	first := byte(TypePublish<<4) | p.QoS<<1
	if p.Retain {
		first |= 1
	}
	if p.Dup {
		first |= dup
	}
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if version == V5 {
		n += propertiesSize(p.Properties)
	}
	dst = appendLength(append(dst, first), n)
	dst = appendText(dst, p.Topic)
	idAt = len(dst)
	if p.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.ID)
	}
	if version == V5 {
		dst = appendProperties(dst, p.Properties)
	}
	return append(dst, p.Payload...), idAt
}

const dup = 1 << 3

// PublishSize is how many bytes AppendPublish appends.
func PublishSize(version byte, p *Publish) int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if version == V5 {
		n += propertiesSize(p.Properties)
	}
	return 1 + lengthSize(n) + n
}

func propertiesSize(list Properties) int {
	n := 0
	for i := range list {
		n += list[i].size()
	}
	return lengthSize(n) + n
}

// AppendAck appends PUBACK, PUBREC, PUBREL or PUBCOMP. code is for MQTT 5 alone.
func AppendAck(dst []byte, version, packetType byte, id uint16, code byte) []byte {
	first := packetType << 4
	if packetType == TypePubrel {
		first |= 2
	}
	if version == V5 && code != 0 {
		return append(binary.BigEndian.AppendUint16(append(dst, first, 3), id), code)
	}
	return binary.BigEndian.AppendUint16(append(dst, first, 2), id)
}

// CodesSize returns the bytes of what AppendCodes appends for n codes.
func CodesSize(version byte, n int) int {
	return len(AppendCodes(nil, version, TypeSuback, 0, make([]byte, n)))
}

// AppendCodes appends a SUBACK or UNSUBACK. The codes are left out in the UNSUBACK of
// MQTT 3.1.1, which has none.
func AppendCodes(dst []byte, version, packetType byte, id uint16, codes []byte) []byte {
	n := 2 + len(codes)
	switch {
	case version == V5:
		n++
	case packetType == TypeUnsuback:
		n, codes = 2, nil
	}
	dst = binary.BigEndian.AppendUint16(appendLength(append(dst, packetType<<4), n), id)
	if version == V5 {
		dst = append(dst, 0)
	}
	return append(dst, codes...)
}

// BareConnackSize is the bytes of a CONNACK of MQTT 5 without properties.
const BareConnackSize = 5

// ConnackSize returns the bytes of a CONNACK of MQTT 5.
func ConnackSize(list Properties) int { return len(AppendConnack(nil, V5, false, 0, list)) }

// AppendConnack appends a CONNACK. list is for MQTT 5 alone.
func AppendConnack(dst []byte, version byte, present bool, code byte, list Properties) []byte {
	flags := byte(0)
	if present {
		flags = 1
	}
	if version != V5 {
		return append(dst, TypeConnack<<4, 2, flags, code)
	}
	dst = appendLength(append(dst, TypeConnack<<4), 2+propertiesSize(list))
	return appendProperties(append(dst, flags, code), list)
}

// AppendDisconnect appends a DISCONNECT of MQTT 5.
func AppendDisconnect(dst []byte, code byte) []byte {
	return append(dst, TypeDisconnect<<4, 1, code)
}

// AppendPingresp appends a PINGRESP.
func AppendPingresp(dst []byte) []byte { return append(dst, TypePingresp<<4, 0) }

// AppendFrame appends a packet as it was read.
func AppendFrame(dst []byte, f Frame) []byte {
	return append(appendLength(append(dst, f.First), len(f.Body)), f.Body...)
}

func appendLength(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// SetID writes the identifier of a PUBLISH above QoS 0 that AppendPublish made.
func SetID(b []byte, idAt int, id uint16) { binary.BigEndian.PutUint16(b[idAt:], id) }
