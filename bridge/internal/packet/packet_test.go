package packet_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge/internal/packet"
)

func read(b []byte, limit int) (packet.Frame, error) {
	r := bufio.NewReader(bytes.NewReader(b))
	first, err := r.ReadByte()
	if err != nil {
		return packet.Frame{}, err
	}
	return packet.Read(r, first, limit, nil, nil)
}

// wire is the table of packets: each byte string with what is wrong with it.
var wire = []struct {
	name string
	b    string
	bad  string // part of the error; "" = well formed
}{
	{"a CONNECT", "\x10\x0d" + "\x00\x04MQTT" + "\x04" + "\x02" + "\x00\x3c" + "\x00\x01c", ""},
	{"a CONNECT of 3.1", "\x10\x0f" + "\x00\x06MQIsdp" + "\x03" + "\x02" + "\x00\x3c" + "\x00\x01c", ""},
	{"a CONNECT with everything", "\x10\x1a" + "\x00\x04MQTT" + "\x04" + "\xee" + "\x00\x3c" +
		"\x00\x01c" + "\x00\x01w" + "\x00\x02hi" + "\x00\x01u" + "\x00\x01p", ""},
	{"the reserved flag", "\x10\x0d" + "\x00\x04MQTT" + "\x04" + "\x03" + "\x00\x3c" + "\x00\x01c", "reserved flag"},
	{"will QoS without will", "\x10\x0d" + "\x00\x04MQTT" + "\x04" + "\x0a" + "\x00\x3c" + "\x00\x01c", "without a will"},
	{"will retain without will", "\x10\x0d" + "\x00\x04MQTT" + "\x04" + "\x22" + "\x00\x3c" + "\x00\x01c", "without a will"},
	{"will QoS 3", "\x10\x14" + "\x00\x04MQTT" + "\x04" + "\x1e" + "\x00\x3c" + "\x00\x01c" + "\x00\x01w" + "\x00\x02hi", "QoS 3"},
	{"a will topic with wildcard", "\x10\x13" + "\x00\x04MQTT" + "\x04" + "\x06" + "\x00\x3c" + "\x00\x01c" + "\x00\x01+" + "\x00\x01h", "wildcards"},
	{"a password without user", "\x10\x10" + "\x00\x04MQTT" + "\x04" + "\x42" + "\x00\x3c" + "\x00\x01c" + "\x00\x01p", "without a user"},
	{"a client id beyond the end", "\x10\x0d" + "\x00\x04MQTT" + "\x04" + "\x02" + "\x00\x3c" + "\xff\xffc", "too early"},
	{"a protocol name beyond the end", "\x10\x04" + "\xff\xffMQ", "too early"},
	{"an empty CONNECT", "\x10\x00", "too early"},
	{"bytes behind CONNECT", "\x10\x0e" + "\x00\x04MQTT" + "\x04" + "\x02" + "\x00\x3c" + "\x00\x01cX", "behind the end"},
	{"a client id that is not UTF-8", "\x10\x0d" + "\x00\x04MQTT" + "\x04" + "\x02" + "\x00\x3c" + "\x00\x01\xff", "UTF-8"},
	{"a client id with a surrogate", "\x10\x0f" + "\x00\x04MQTT" + "\x04" + "\x02" + "\x00\x3c" + "\x00\x03\xed\xa0\x80", "UTF-8"},
	{"a client id with NUL", "\x10\x0d" + "\x00\x04MQTT" + "\x04" + "\x02" + "\x00\x3c" + "\x00\x01\x00", "NUL"},
	{"flags on CONNECT", "\x11\x0d" + "\x00\x04MQTT" + "\x04" + "\x02" + "\x00\x3c" + "\x00\x01c", "flags"},

	{"a PUBLISH", "\x30\x05" + "\x00\x01t" + "hi", ""},
	{"an empty PUBLISH", "\x31\x03" + "\x00\x01t", ""},
	{"a PUBLISH at QoS 1", "\x3a\x07" + "\x00\x01t" + "\x00\x07" + "hi", ""},
	{"QoS 3", "\x36\x07" + "\x00\x01t" + "\x00\x07" + "hi", "QoS 3"},
	{"DUP at QoS 0", "\x38\x05" + "\x00\x01t" + "hi", "DUP"},
	{"a topic beyond the end", "\x30\x05" + "\x00\x09t" + "hi", "too early"},
	{"a topic with #", "\x30\x05" + "\x00\x03a/#", "wildcards"},
	{"a topic with +", "\x30\x03" + "\x00\x01+", "wildcards"},
	{"an empty topic", "\x30\x04" + "\x00\x00" + "hi", "empty"},
	{"a topic with NUL", "\x30\x04" + "\x00\x02a\x00", "NUL"},
	{"a topic that is not UTF-8", "\x30\x04" + "\x00\x02a\x80", "UTF-8"},
	{"identifier 0", "\x32\x05" + "\x00\x01t" + "\x00\x00", "identifier"},
	{"no identifier", "\x32\x04" + "\x00\x01t" + "\x00", "too early"},

	{"a PUBACK", "\x40\x02\x00\x01", ""},
	{"a PUBACK of 3 bytes", "\x40\x03\x00\x01\x00", "behind the end"},
	{"a PUBACK without body", "\x40\x00", "too early"},
	{"a PUBACK for 0", "\x40\x02\x00\x00", "identifier"},
	{"a PUBREL", "\x62\x02\x00\x01", ""},
	{"a PUBREL with wrong flags", "\x60\x02\x00\x01", "flags"},

	{"a SUBSCRIBE", "\x82\x08" + "\x00\x01" + "\x00\x03a/#" + "\x01", ""},
	{"a SUBSCRIBE with flags 0", "\x80\x08" + "\x00\x01" + "\x00\x03a/#" + "\x01", "flags"},
	{"a SUBSCRIBE to nothing", "\x82\x02" + "\x00\x01", "too early"},
	{"a SUBSCRIBE without QoS", "\x82\x07" + "\x00\x01" + "\x00\x03a/#", "too early"},
	{"a SUBSCRIBE with QoS 3", "\x82\x08" + "\x00\x01" + "\x00\x03a/#" + "\x03", "QoS"},
	{"a SUBSCRIBE with a reserved bit", "\x82\x08" + "\x00\x01" + "\x00\x03a/#" + "\x81", "QoS"},
	{"a SUBSCRIBE with a bomb", "\x82\x06" + "\x00\x01" + "\xff\xffab", "too early"},
	{"a SUBSCRIBE to an empty filter", "\x82\x05" + "\x00\x01" + "\x00\x00" + "\x00", "empty"},
	{"an UNSUBSCRIBE", "\xa2\x07" + "\x00\x01" + "\x00\x03a/#", ""},
	{"an UNSUBSCRIBE from nothing", "\xa2\x02" + "\x00\x01", "too early"},
	{"a SUBACK", "\x90\x04\x00\x01\x00\x80", ""},
	{"a SUBACK without codes", "\x90\x02\x00\x01", "too early"},
	{"a SUBACK with code 3", "\x90\x03\x00\x01\x03", "return code"},

	{"a PINGREQ", "\xc0\x00", ""},
	{"a PINGREQ with a body", "\xc0\x01\x00", "behind the end"},
	{"a DISCONNECT", "\xe0\x00", ""},
	{"a DISCONNECT with flags", "\xe1\x00", "flags"},
	{"type 0", "\x00\x00", "reserved"},
	{"type 15", "\xf0\x00", "reserved"},
	{"a length of 5 bytes", "\xc0\xff\xff\xff\xff\x01", "4 bytes"},
}

func TestWire(t *testing.T) {
	t.Parallel()
	for _, c := range wire {
		f, err := read([]byte(c.b), 1<<10)
		if err == nil {
			err = packet.Check(f)
		}
		if err == nil && f.Type() != packet.TypeSuback {
			_, err = packet.Decode(f, packet.V311)
		}
		var form *packet.FormError
		switch {
		case c.bad == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.bad != "" && (!errors.As(err, &form) || !strings.Contains(form.Text, c.bad)):
			t.Errorf("%s: %v, want one about %q", c.name, err, c.bad)
		}
	}
}

func TestProtocol(t *testing.T) {
	t.Parallel()
	name, level, ok := packet.Protocol(packet.Frame{First: 0x10, Body: []byte("\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00")})
	if name != "MQTT" || level != 5 || !ok {
		t.Errorf("%q, %d, %v", name, level, ok)
	}
	if _, _, ok := packet.Protocol(packet.Frame{First: 0x10, Body: []byte("\x00\x04MQTT")}); ok {
		t.Error("a level that is not there was found")
	}
}

func TestTooLargeIsRefusedUnread(t *testing.T) {
	t.Parallel()
	r := bufio.NewReader(strings.NewReader("\xff\xff\xff\x7f" + "rest"))
	if _, err := packet.Read(r, 0x30, 256<<10, nil, nil); !errors.Is(err, packet.ErrTooLarge) {
		t.Fatalf("got %v", err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "rest" {
		t.Errorf("left %q", rest)
	}
}

func TestMemoryFollowsTheBytes(t *testing.T) {
	// A claim of 100 MB with 10 bytes behind it reserves next to nothing.
	b := append([]byte("\x30\xff\xff\xff\x2f"), "0123456789"...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		if _, err := read(b, 200<<20); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were reserved", n)
	}
}

func TestReadLargeBody(t *testing.T) {
	t.Parallel()
	payload := bytes.Repeat([]byte("gantry"), 30_000)
	b, _ := packet.AppendPublish(nil, packet.V311, &packet.Publish{Topic: "a/b", QoS: 1, Retain: true, ID: 7, Payload: payload})
	f, err := read(b, 256<<10)
	if err != nil {
		t.Fatal(err)
	}
	p, err := packet.Decode(f, packet.V311)
	if err != nil {
		t.Fatal(err)
	}
	pub := p.(*packet.Publish)
	if pub.Topic != "a/b" || pub.QoS != 1 || !pub.Retain || pub.ID != 7 || !bytes.Equal(pub.Payload, payload) {
		t.Errorf("got %.80v", pub)
	}
}

func TestAppendAgreesWithPaho(t *testing.T) {
	t.Parallel()
	pub, at := packet.AppendPublish(nil, packet.V311, &packet.Publish{Topic: "t", QoS: 1, Payload: []byte("x")})
	packet.SetID(pub, at, 9)
	for name, b := range map[string][]byte{
		"PUBLISH": pub, "CONNACK": packet.AppendConnack(nil, packet.V311, false, 5, nil), "PINGRESP": packet.AppendPingresp(nil),
		"SUBACK": packet.AppendCodes(nil, packet.V311, packet.TypeSuback, 3, []byte{0, 1, 0x80}), "PUBREL": packet.AppendAck(nil, packet.V311, packet.TypePubrel, 4, 0x92),
		"PUBACK": packet.AppendAck(nil, packet.V311, packet.TypePuback, 5, 0), "UNSUBACK": packet.AppendCodes(nil, packet.V311, packet.TypeUnsuback, 5, []byte{0}),
	} {
		p, err := packets.ReadPacket(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var again bytes.Buffer
		if err := p.Write(&again); err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("%s: % x, paho writes % x (%v)", name, b, again.Bytes(), err)
		}
		if f, err := read(b, 100); err != nil || packet.Check(f) != nil {
			t.Errorf("%s: %v, %v", name, err, packet.Check(f))
		}
	}
}

// FuzzDecode compares with paho's codec: what is let through says the same again when
// paho writes it.
func FuzzDecode(f *testing.F) {
	for _, c := range wire {
		f.Add([]byte(c.b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := read(b, 1<<16)
		if err != nil || packet.Check(frame) != nil {
			return
		}
		p, err := packets.ReadPacket(bytes.NewReader(packet.AppendFrame(nil, frame)))
		if err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if err := p.Write(&again); err != nil {
			t.Fatal(err)
		}
		back, err := read(again.Bytes(), 1<<16)
		if err != nil || !bytes.Equal(back.Body, frame.Body) || back.First != frame.First {
			if _, ok := p.(*packets.ConnackPacket); ok {
				return // paho drops the reserved bits
			}
			t.Fatalf("% x came back as % x (%v)", b, again.Bytes(), err)
		}
	})
}
