package modbus

import (
	"encoding/binary"
)

// mbapBytes is the length of the header before a PDU: transaction, protocol,
// length, unit. Source: Modbus Messaging on TCP/IP V1.0b, section 3.1.3.
const mbapBytes = 7

// appendMBAP appends the frame that carries a PDU over TCP.
func appendMBAP(b []byte, transaction uint16, unit byte, pdu []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, transaction)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(1+len(pdu)))
	return append(append(b, unit), pdu...)
}

// parseMBAP takes the first frame of b apart; pdu aliases b. n is its length, 0
// while it is incomplete. ok is false if b is not Modbus: then nothing that
// follows can be told apart either.
func parseMBAP(b []byte) (transaction uint16, unit byte, pdu []byte, n int, ok bool) {
	if len(b) < mbapBytes {
		return 0, 0, nil, 0, true
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if b[2] != 0 || b[3] != 0 || length < 2 || length > 1+maxPDU {
		return 0, 0, nil, 0, false
	}
	if n = mbapBytes - 1 + length; len(b) < n {
		return 0, 0, nil, 0, true
	}
	return binary.BigEndian.Uint16(b), b[6], b[mbapBytes:n], n, true
}
