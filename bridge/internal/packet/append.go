package packet

import (
	"encoding/binary"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// AppendPublish appends a PUBLISH. topic has at most 65,535 bytes; id is ignored
// at QoS 0. idAt is the index of the identifier in the result, for SetID.
func AppendPublish(dst []byte, topic string, qos byte, retain bool, id uint16, payload []byte) (_ []byte, idAt int) {
	first := byte(packets.Publish<<4) | qos<<1
	if retain {
		first |= 1
	}
	n := 2 + len(topic) + len(payload)
	if qos > 0 {
		n += 2
	}
	dst = appendLength(append(dst, first), n)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(topic)))
	dst = append(dst, topic...)
	idAt = len(dst)
	if qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	return append(dst, payload...), idAt
}

// SetID writes the identifier of a PUBLISH at QoS 1 that AppendPublish made.
func SetID(b []byte, idAt int, id uint16) { binary.BigEndian.PutUint16(b[idAt:], id) }

// AppendAck appends a packet whose body is an identifier and codes: PUBACK,
// PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK.
func AppendAck(dst []byte, packetType byte, id uint16, codes ...byte) []byte {
	first := packetType << 4
	if packetType == packets.Pubrel {
		first |= 2
	}
	dst = appendLength(append(dst, first), 2+len(codes))
	return append(binary.BigEndian.AppendUint16(dst, id), codes...)
}

// AppendConnack appends a CONNACK without a session present.
func AppendConnack(dst []byte, code byte) []byte {
	return append(dst, packets.Connack<<4, 2, 0, code)
}

// AppendPingresp appends a PINGRESP.
func AppendPingresp(dst []byte) []byte { return append(dst, packets.Pingresp<<4, 0) }

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
