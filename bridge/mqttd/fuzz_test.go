package mqttd_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"

	"gantry/bridge/internal/packet"
	"gantry/bridge/mqttd"
)

// allowed are the reason codes that a server may send, by packet type (MQTT 5, table 2-6).
var allowed = map[byte][]byte{
	packet.TypeConnack:  {0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f},
	packet.TypePuback:   {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
	packet.TypePubrec:   {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
	packet.TypePubrel:   {0, 0x92},
	packet.TypePubcomp:  {0, 0x92},
	packet.TypeSuback:   {0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2},
	packet.TypeUnsuback: {0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91},
	packet.TypeDisconnect: {0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
		0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2},
}

// answers judges what a listener sends on one connection.
type answers struct {
	version   byte   // of the client; 0: it has sent no CONNECT that names one
	aliases   uint16 // that the client takes
	maxPacket int    // that the client takes; 0: any
	connected bool   // CONNACK has come
	over      bool   // nothing may come any more
}

// read judges all packets until the connection ends.
func (a *answers) read(t *testing.T, r *bufio.Reader) {
	t.Helper()
	for {
		first, err := r.ReadByte()
		if err != nil {
			return
		}
		f, err := packet.Read(r, first, 1<<20, nil, nil)
		if err != nil {
			// The connection may be cut in the middle of a packet, but what there is of
			// one has a form.
			if _, malformed := err.(*packet.FormError); malformed {
				t.Fatalf("first byte %#x: %v", first, err)
			}
			return
		}
		if err := a.judge(f); err != nil {
			t.Fatalf("%s % x: %v", f.Name(), f.Body, err)
		}
	}
}

// judge takes the next packet.
func (a *answers) judge(f packet.Frame) error {
	switch kind := f.Type(); {
	case a.over:
		return fmt.Errorf("a packet behind the last one")
	case a.connected == (kind == packet.TypeConnack):
		return fmt.Errorf("CONNACK comes first, and once")
	case a.version == 0:
		return fmt.Errorf("an answer to no CONNECT")
	}
	a.connected = true
	if a.version != packet.V5 {
		return a.judgeOld(f)
	}
	return a.judgeFive(f)
}

// judgeOld judges a packet of 3.1 or 3.1.1.
func (a *answers) judgeOld(f packet.Frame) error {
	switch f.Type() {
	case packet.TypeConnack:
		a.over = f.Body[1] != 0
		if f.Body[0] > 1 || f.Body[1] > 5 || a.over && f.Body[0] != 0 { // MQTT-3.2.2-4
			return fmt.Errorf("session present %d, return code %d", f.Body[0], f.Body[1])
		}
	case packet.TypePublish, packet.TypePuback, packet.TypePubrec, packet.TypePubrel, packet.TypePubcomp, packet.TypeSuback, packet.TypeUnsuback, packet.TypePingresp:
	default:
		return fmt.Errorf("not for a server to send")
	}
	return packet.Check(f)
}

// judgeFive judges a packet of version 5, with the codec of others.
func (a *answers) judgeFive(f packet.Frame) error {
	whole := append([]byte{f.First}, length(len(f.Body))...)
	whole = append(whole, f.Body...)
	r := bytes.NewReader(whole)
	p, err := v5.ReadPacket(r)
	if err != nil || r.Len() > 0 {
		return fmt.Errorf("%d bytes are left, %v", r.Len(), err)
	}
	if a.maxPacket > 0 && len(whole) > a.maxPacket { // MQTT-3.1.2-24
		return fmt.Errorf("%d bytes", len(whole))
	}
	var codes []byte
	switch p := p.Content.(type) {
	case *v5.Connack:
		codes = []byte{p.ReasonCode}
		if a.over = p.ReasonCode >= 0x80; a.over && p.SessionPresent { // MQTT-3.2.2-6
			return fmt.Errorf("a session with code %#x", p.ReasonCode)
		}
	case *v5.Publish:
		return a.judgePublish(p)
	case *v5.Puback:
		codes = []byte{p.ReasonCode}
	case *v5.Pubrec:
		codes = []byte{p.ReasonCode}
	case *v5.Pubrel:
		codes = []byte{p.ReasonCode}
	case *v5.Pubcomp:
		codes = []byte{p.ReasonCode}
	case *v5.Suback:
		codes = p.Reasons
	case *v5.Unsuback:
		codes = p.Reasons
	case *v5.Disconnect:
		a.over, codes = true, []byte{p.ReasonCode}
	case *v5.Pingresp:
		return nil
	default:
		return fmt.Errorf("not for a server to send")
	}
	if kind := f.Type(); kind >= packet.TypePuback && kind <= packet.TypeUnsuback && f.Body[0] == 0 && f.Body[1] == 0 {
		return fmt.Errorf("the packet identifier is 0")
	}
	for _, code := range codes {
		if !slices.Contains(allowed[f.Type()], code) {
			return fmt.Errorf("reason code %#x", code)
		}
	}
	if len(codes) == 0 {
		return fmt.Errorf("no reason code")
	}
	return nil
}

func (a *answers) judgePublish(p *v5.Publish) error {
	switch alias := p.Properties.TopicAlias; {
	case alias != nil && (*alias == 0 || *alias > a.aliases): // MQTT-3.3.2-11
		return fmt.Errorf("topic alias %d", *alias)
	case p.Topic == "" && alias == nil, strings.ContainsAny(p.Topic, "+#\x00"):
		return fmt.Errorf("topic %q", p.Topic)
	case (p.QoS > 0) != (p.PacketID != 0), p.QoS == 0 && p.Duplicate:
		return fmt.Errorf("QoS %d, identifier %d, DUP %v", p.QoS, p.PacketID, p.Duplicate)
	}
	return nil
}

// length is a remaining length.
func length(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// What FuzzConnection sends before the bytes.
const (
	nothing = iota
	connectOf311
	connectOf5
	connects
)

// FuzzConnection throws bytes at a connection, after CONNECT or instead of it, and judges
// what comes back.
func FuzzConnection(f *testing.F) {
	f.Add(byte(nothing), []byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c"))
	f.Add(byte(connectOf311), []byte("\x30\x05\x00\x01thi\x82\x06\x00\x01\x00\x01a\x01\xc0\x00\xe0\x00"))
	f.Add(byte(connectOf311), []byte("\x34\x07\x00\x01t\x00\x01hi\x62\x02\x00\x01\xa2\x05\x00\x01\x00\x01a"))
	const hello5 = "\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01d"
	f.Add(byte(nothing), []byte(hello5+"\x82\x07\x00\x01\x00\x00\x01a\x01\x32\x08\x00\x01a\x00\x02\x00hi\xe0\x02\x04\x00"))
	f.Add(byte(nothing), []byte(hello5+"\x30\x09\x00\x01t\x03\x23\x00\x01hi\x30\x08\x00\x00\x03\x23\x00\x01hi\xc0\x00"))
	f.Add(byte(nothing), []byte(hello5+"\x82\x11\x00\x01\x02\x0b\x07\x00\x09$share/g/a\x02"))
	const subscribe = "\x82\x07\x00\x01\x00\x00\x01#\x02"
	f.Add(byte(connectOf5), []byte(subscribe+"\x34\x08\x00\x01a\x00\x02\x00hi\x62\x02\x00\x02\x34\x08\x00\x01a\x00\x03\x00hi\x50\x02\x00\x01"))
	f.Add(byte(connectOf5), []byte(subscribe+strings.Repeat("\x32\x08\x00\x01a\x00\x02\x00hi", 8)+"\x40\x02\x00\x01\x40\x02\x00\x02"))
	f.Add(byte(connectOf5), []byte(subscribe+"\x31\x0d\x00\x01a\x08\x26\x00\x01k\x00\x02vwx\xa2\x06\x00\x04\x00\x00\x01#\xf0\x00"))
	f.Add(byte(connectOf5), []byte("\x32\x10\x00\x0bforbidden/x\x00\x07\x00\x62\x02\x00\x09\xe0\x00"))
	w := newWorld(f, mqttd.Config{MaxPacket: 4096}, false)
	n := 0
	f.Fuzz(func(t *testing.T, before byte, b []byte) {
		n++
		conn := w.dial()
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(patience))
		a := &answers{}
		switch before % connects {
		case connectOf311:
			b = slices.Concat([]byte("\x10\x14\x00\x04MQTT\x04\x02\x00\x00\x00\x08"), fmt.Appendf(nil, "%08d", n), b)
		case connectOf5: // receive maximum 3, maximum packet size 200, 5 topic aliases
			b = slices.Concat([]byte("\x10\x20\x00\x04MQTT\x05\x02\x00\x00\x0b\x21\x00\x03\x27\x00\x00\x00\xc8\x22\x00\x05\x00\x08"), fmt.Appendf(nil, "%08d", n), b)
		}
		a.readConnect(b)
		_, _ = conn.Write(b)
		_ = conn.(*net.TCPConn).CloseWrite()
		a.read(t, bufio.NewReader(conn))
		if before%connects != nothing && !a.connected {
			t.Fatalf("no CONNACK: %+v", w.server.Stats())
		}
	})
}

// readConnect finds out what a client says of itself, if it begins with a CONNECT.
func (a *answers) readConnect(b []byte) {
	r := bufio.NewReader(bytes.NewReader(b))
	first, err := r.ReadByte()
	if err != nil || first>>4 != packet.TypeConnect {
		return
	}
	f, err := packet.Read(r, first, 1<<20, nil, nil)
	if err != nil && err != io.ErrUnexpectedEOF {
		return
	}
	name, level, ok := packet.Protocol(f)
	if !ok || name != "MQTT" && name != "MQIsdp" {
		return
	}
	a.version = level
	if level != packet.V5 || name != "MQTT" {
		a.version = packet.V311
		return
	}
	if p, err := packet.Decode(f, level); err == nil {
		list := p.(*packet.Connect).Properties
		a.aliases = uint16(list.Num(packet.TopicAliasMaximum, 0))
		a.maxPacket = int(list.Num(packet.MaximumPacket, 0))
	}
}
