package uplink

import (
	"encoding/binary"
	"errors"

	"gantry/wamp"
)

// record is one event in the queue:
//
//	0  1               version
//	1  flags           1 retain, 2 arguments, 4 keyword arguments, 8 tried before, 16 reason, 32 passthru, 64 only
//	2  format          wamp.Format of the payload: 1 JSON, 2 MsgPack, 3 CBOR
//	3  topic           length as uvarint, bytes; so are all that follow
//	   tries           with flag 8: number of refusals, time of the last in
//	                   microseconds UTC, both as uvarint
//	   reason          with flag 16: why it was set aside
//	   passthru        with flag 32: scheme, serializer, cipher, key id
//	   only            with flag 64: the uplink that it is for, of those that share the queue
//	   arguments       with flag 2
//	   keyword args    with flag 4
type record struct {
	topic    wamp.URI
	retain   bool
	payload  wamp.Payload // raw
	passthru *wamp.Passthru

	tries   uint64 // refusals so far
	triedAt uint64 // last refusal, microseconds UTC
	reason  string // of a dead letter
	only    string // the uplink that it is for; "" = all that share the queue
}

const recordVersion = 1

const (
	flagRetain = 1 << iota
	flagArgs
	flagKwargs
	flagTried
	flagReason
	flagPassthru
	flagOnly
	flagsKnown = 1<<iota - 1
)

var errRecord = errors.New("not an event of the queue")

// append appends the record to dst. The payload must be raw.
func (r *record) append(dst []byte) []byte {
	args, kwargs := r.payload.Raw()
	var flags byte
	set := func(on bool, flag byte) {
		if on {
			flags |= flag
		}
	}
	set(r.retain, flagRetain)
	set(args != nil, flagArgs)
	set(kwargs != nil, flagKwargs)
	set(r.tries > 0, flagTried)
	set(r.reason != "", flagReason)
	set(r.passthru != nil, flagPassthru)
	set(r.only != "", flagOnly)
	dst = append(dst, recordVersion, flags, byte(r.payload.Format()))
	dst = appendText(dst, string(r.topic))
	if r.tries > 0 {
		dst = binary.AppendUvarint(dst, r.tries)
		dst = binary.AppendUvarint(dst, r.triedAt)
	}
	if r.reason != "" {
		dst = appendText(dst, r.reason)
	}
	if p := r.passthru; p != nil {
		for _, s := range []string{p.Scheme, p.Serializer, p.Cipher, p.KeyID} {
			dst = appendText(dst, s)
		}
	}
	if r.only != "" {
		dst = appendText(dst, r.only)
	}
	if args != nil {
		dst = append(binary.AppendUvarint(dst, uint64(len(args))), args...)
	}
	if kwargs != nil {
		dst = append(binary.AppendUvarint(dst, uint64(len(kwargs))), kwargs...)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// parseRecord reads a record. The payload aliases b.
func parseRecord(b []byte) (r record, err error) {
	if len(b) < 3 || b[0] != recordVersion || b[1]&^flagsKnown != 0 ||
		b[2] == 0 || wamp.Format(b[2]) >= wamp.FormatCount {
		return r, errRecord
	}
	flags, format := b[1], wamp.Format(b[2])
	p := parser{b: b[3:]}
	r.topic, r.retain = wamp.URI(p.bytes()), flags&flagRetain != 0
	if flags&flagTried != 0 {
		r.tries, r.triedAt = p.number(), p.number()
		p.bad = p.bad || r.tries == 0
	}
	if flags&flagReason != 0 {
		r.reason = string(p.bytes())
		p.bad = p.bad || r.reason == ""
	}
	if flags&flagPassthru != 0 {
		r.passthru = &wamp.Passthru{
			Scheme: string(p.bytes()), Serializer: string(p.bytes()), Cipher: string(p.bytes()), KeyID: string(p.bytes()),
		}
	}
	if flags&flagOnly != 0 {
		r.only = string(p.bytes())
		p.bad = p.bad || r.only == ""
	}
	var args, kwargs []byte
	if flags&flagArgs != 0 {
		args = p.bytes()
	}
	if flags&flagKwargs != 0 {
		kwargs = p.bytes()
	}
	if p.bad || len(p.b) != 0 || !r.topic.Valid(false, wamp.MatchExact) {
		return record{}, errRecord
	}
	r.payload = wamp.RawPayload(format, args, kwargs)
	return r, nil
}

// parser takes fields off the front of b until one is bad.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) number() uint64 {
	n, w := binary.Uvarint(p.b)
	if w <= 0 {
		p.bad = true
		return 0
	}
	p.b = p.b[w:]
	return n
}

// bytes returns a field that aliases b; it is never nil.
func (p *parser) bytes() []byte {
	n := p.number()
	if n > uint64(len(p.b)) {
		p.bad = true
		return []byte{}
	}
	field := p.b[:n:n]
	p.b = p.b[n:]
	return field
}
