package uplink

import (
	"bytes"
	"encoding/binary"

	"gantry/wamp"
)

// replayKey marks the envelope of an event that was stored before the present
// connection: it is history, not news.
const replayKey = "replay"

// withReplay returns p with replay = true among its keyword arguments, put into
// the bytes without decoding them. A payload that has the key already, or that
// cannot be extended, is returned as it is.
func withReplay(p wamp.Payload) wamp.Payload {
	args, kwargs := p.Raw()
	if bytes.Contains(kwargs, []byte(replayKey)) {
		return p
	}
	var longer []byte
	switch p.Format() {
	case wamp.JSON:
		longer = replayJSON(kwargs)
	case wamp.MsgPack:
		longer = replayMsgPack(kwargs)
	case wamp.CBOR:
		longer = replayCBOR(kwargs)
	}
	if longer == nil {
		return p
	}
	return wamp.RawPayload(p.Format(), args, longer)
}

func replayJSON(kwargs []byte) []byte {
	rest := bytes.TrimLeft(kwargs, " \t\r\n")
	if len(rest) == 0 {
		return []byte(`{"` + replayKey + `":true}`)
	}
	if rest[0] != '{' {
		return nil
	}
	rest = bytes.TrimLeft(rest[1:], " \t\r\n")
	out := append(make([]byte, 0, len(rest)+24), `{"`+replayKey+`":true`...)
	if !bytes.HasPrefix(rest, []byte("}")) {
		out = append(out, ',')
	}
	return append(out, rest...)
}

// replayMsgPack counts one pair more in the map's header: fixmap, map 16 or map
// 32 (MessagePack specification, "map format family").
func replayMsgPack(kwargs []byte) []byte {
	n, rest := uint64(0), []byte(nil)
	switch {
	case len(kwargs) == 0:
	case kwargs[0]&0xf0 == 0x80:
		n, rest = uint64(kwargs[0]&0x0f), kwargs[1:]
	case kwargs[0] == 0xde && len(kwargs) >= 3:
		n, rest = uint64(binary.BigEndian.Uint16(kwargs[1:])), kwargs[3:]
	case kwargs[0] == 0xdf && len(kwargs) >= 5:
		n, rest = uint64(binary.BigEndian.Uint32(kwargs[1:])), kwargs[5:]
	default:
		return nil
	}
	n++
	out := make([]byte, 0, len(rest)+16)
	switch {
	case n < 16:
		out = append(out, 0x80|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, 0xde), uint16(n))
	case n < 1<<32:
		out = binary.BigEndian.AppendUint32(append(out, 0xdf), uint32(n))
	default:
		return nil
	}
	out = append(append(out, 0xa0|byte(len(replayKey))), replayKey...)
	return append(append(out, 0xc3), rest...)
}

// replayCBOR counts one pair more in the map's header: major type 5 (RFC 8949,
// 3.1), or puts the pair first in a map of indefinite length.
func replayCBOR(kwargs []byte) []byte {
	n, rest := uint64(0), []byte(nil)
	indefinite := false
	switch {
	case len(kwargs) == 0:
	case kwargs[0] >= 0xa0 && kwargs[0] <= 0xb7:
		n, rest = uint64(kwargs[0]-0xa0), kwargs[1:]
	case kwargs[0] == 0xb8 && len(kwargs) >= 2:
		n, rest = uint64(kwargs[1]), kwargs[2:]
	case kwargs[0] == 0xb9 && len(kwargs) >= 3:
		n, rest = uint64(binary.BigEndian.Uint16(kwargs[1:])), kwargs[3:]
	case kwargs[0] == 0xba && len(kwargs) >= 5:
		n, rest = uint64(binary.BigEndian.Uint32(kwargs[1:])), kwargs[5:]
	case kwargs[0] == 0xbf:
		indefinite, rest = true, kwargs[1:]
	default:
		return nil
	}
	n++
	out := make([]byte, 0, len(rest)+16)
	switch {
	case indefinite:
		out = append(out, 0xbf)
	case n < 24:
		out = append(out, 0xa0|byte(n))
	case n < 1<<8:
		out = append(out, 0xb8, byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, 0xb9), uint16(n))
	case n < 1<<32:
		out = binary.BigEndian.AppendUint32(append(out, 0xba), uint32(n))
	default:
		return nil
	}
	out = append(append(out, 0x60|byte(len(replayKey))), replayKey...)
	return append(append(out, 0xf5), rest...)
}
