package modbus

import (
	"time"

	"gantry/drivers/internal/checksum"
)

// maxFrame is the longest RTU frame: unit, PDU, CRC. Source: Modbus over Serial
// Line V1.02, section 2.5.1.
const maxFrame = 1 + maxPDU + 2

// crcOf is CRC-16/MODBUS. Source: V1.02, section 6.2.2.
var crcOf, _ = checksum.Named("crc16_modbus")

// crc returns the checksum of b. It goes on the wire with its low byte first.
func crc(b []byte) uint16 { return uint16(crcOf.Sum(b)) }

// appendRTU appends the frame that carries a PDU to or from a unit.
func appendRTU(b []byte, unit byte, pdu []byte) []byte {
	start := len(b)
	b = append(append(b, unit), pdu...)
	c := crc(b[start:])
	return append(b, byte(c), byte(c>>8))
}

// answerIn looks for the answer to a request in what came over the line: noise may
// precede it, and late answers of this unit and others. It returns the response
// PDU, which aliases b, or nil. odd is true if a frame of the unit came that is no
// answer to this request.
func answerIn(b []byte, unit byte, req []byte) (resp []byte, odd bool) {
	for at := 0; at+4 <= len(b); at++ {
		if b[at] != unit {
			continue
		}
		n, ok := responseLength(b[at+1:])
		if end := at + 1 + n + 2; !ok || end > len(b) || !intact(b[at:end]) {
			continue
		}
		pdu := b[at+1 : at+1+n]
		if _, err := checkResponse(req, pdu); err == nil || isException(err) {
			return pdu, odd
		}
		odd = true
		at += n + 2
	}
	return nil, odd
}

// intact reports whether the frame's checksum is right.
func intact(frame []byte) bool {
	n := len(frame) - 2
	c := crc(frame[:n])
	return frame[n] == byte(c) && frame[n+1] == byte(c>>8)
}

// charBits is how long a character is on the line. Source: V1.02, section 2.5.1:
// start, 8 data bits, parity and stop, or two stop bits.
const charBits = 11

// charTime returns how long n characters take.
func charTime(n, baud int) time.Duration {
	return time.Duration(n) * charBits * time.Second / time.Duration(baud)
}

// frameGap returns the silence between two frames: 3.5 characters, and 1.75 ms
// above 19200 bits per second. Source: V1.02, section 2.5.1.1.
func frameGap(baud int) time.Duration {
	if baud > 19200 {
		return 1750 * time.Microsecond
	}
	return charTime(7, baud) / 2
}
