package node

import (
	"bytes"
	"encoding/binary"

	"gantry/drivers/internal/checksum"
)

// The frame: body and checksum, made free of zeros by COBS, and one zero behind.
// Source: docs/node-protocol.md, "Frames".
const (
	maxBody  = 250
	crcBytes = 2
	// maxStuffed is the longest frame without its zero: COBS adds one byte to up to
	// 254.
	maxStuffed = maxBody + crcBytes + 1
)

// crc is CRC-16/IBM-3740.
var crc = checksum.CRC{Width: 16, Poly: 0x1021, Init: 0xFFFF}.Func().Sum

// appendFrame appends the frame of a body of up to maxBody bytes.
func appendFrame(out, body []byte) []byte {
	sum := binary.LittleEndian.AppendUint16(nil, uint16(crc(body)))
	// A zero before frees the receiver of what noise has left.
	out = append(out, 0)
	code := len(out)
	out = append(out, 0)
	for _, part := range [2][]byte{body, sum} {
		for _, b := range part {
			if b == 0 {
				out[code] = byte(len(out) - code)
				code = len(out)
			}
			out = append(out, b)
		}
	}
	out[code] = byte(len(out) - code)
	return append(out, 0)
}

// decoder cuts a stream of bytes into bodies, in memory of fixed size.
type decoder struct {
	buf  [maxStuffed]byte
	n    int
	over bool // the present frame is longer than any
	body [maxStuffed]byte
}

// damage says why bytes are no frame.
type damage struct {
	why    string // too_long, stuffing, too_short, checksum
	sample []byte
}

// next takes bytes out of in up to the end of a frame. It returns the body, valid
// until the following call, or what is wrong with the frame; neither where in ends
// before the frame or the frame is empty.
func (d *decoder) next(in []byte) (rest, body []byte, bad *damage) {
	end := bytes.IndexByte(in, 0)
	if end < 0 {
		d.keep(in)
		return nil, nil, nil
	}
	d.keep(in[:end])
	body, why := d.unstuff()
	if why != "" {
		bad = &damage{why, bytes.Clone(d.buf[:min(d.n, 64)])}
	}
	d.n, d.over = 0, false
	return in[end+1:], body, bad
}

func (d *decoder) keep(p []byte) {
	n := copy(d.buf[d.n:], p)
	d.n += n
	d.over = d.over || n < len(p)
}

// unstuff undoes COBS and checks the checksum.
func (d *decoder) unstuff() (body []byte, why string) {
	in := d.buf[:d.n]
	switch {
	case d.over:
		return nil, "too_long"
	case len(in) == 0:
		return nil, ""
	}
	out := d.body[:0]
	for len(in) > 0 {
		n := int(in[0])
		if n > len(in) {
			return nil, "stuffing"
		}
		out = append(out, in[1:n]...)
		if in = in[n:]; len(in) > 0 && n < 0xFF {
			out = append(out, 0)
		}
	}
	if len(out) < headBytes+crcBytes {
		return nil, "too_short"
	}
	body = out[:len(out)-crcBytes]
	if uint16(crc(body)) != binary.LittleEndian.Uint16(out[len(body):]) {
		return nil, "checksum"
	}
	return body, ""
}
