package packet_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	v5 "github.com/eclipse/paho.golang/packets"

	"gantry/bridge/internal/packet"
)

const connect5 = "\x00\x04MQTT" + "\x05" + "\x02" + "\x00\x3c"

// frame5 is a packet with its header.
func frame5(first byte, body string) string {
	return string(packet.AppendFrame(nil, packet.Frame{First: first, Body: []byte(body)}))
}

// wire5 is the table of packets of MQTT 5: each with what is wrong with it and the
// reason code that says so.
var wire5 = []struct {
	name, b, bad string
	code         byte
}{
	{"CONNECT", frame5(0x10, connect5+"\x00"+"\x00\x01c"), "", 0},
	{"CONNECT with every property", frame5(0x10, connect5+"\x14"+"\x11\x00\x00\x00\x0a"+"\x21\x00\x05"+"\x22\x00\x02"+"\x17\x00"+"\x19\x01"+"\x27\x00\x00\x01\x00"+"\x00\x01c"), "", 0},
	{"CONNECT with a property twice [MQTT-3.1.2.11]", frame5(0x10, connect5+"\x06"+"\x21\x00\x05"+"\x21\x00\x05"+"\x00\x01c"), "twice", 0x82},
	{"CONNECT with receive maximum 0 [3.1.2.11.3]", frame5(0x10, connect5+"\x03"+"\x21\x00\x00"+"\x00\x01c"), "is 0", 0x82},
	{"CONNECT with maximum packet 0 [3.1.2.11.4]", frame5(0x10, connect5+"\x05"+"\x27\x00\x00\x00\x00"+"\x00\x01c"), "is 0", 0x82},
	{"CONNECT with request problem 2 [3.1.2.11.7]", frame5(0x10, connect5+"\x02"+"\x17\x02"+"\x00\x01c"), "0 nor 1", 0x82},
	{"CONNECT with data and no method [3.1.2.11.10]", frame5(0x10, connect5+"\x04"+"\x16\x00\x01x"+"\x00\x01c"), "without a method", 0x82},
	{"CONNECT with a PUBLISH's property", frame5(0x10, connect5+"\x03"+"\x23\x00\x01"+"\x00\x01c"), "not for this", 0x81},
	{"CONNECT with an unknown property", frame5(0x10, connect5+"\x02"+"\x7f\x00"+"\x00\x01c"), "not for this", 0x81},
	{"CONNECT with properties beyond its end", frame5(0x10, connect5+"\xff\x7f"+"\x00\x01c"), "too early", 0x81},
	{"CONNECT with a password alone", frame5(0x10, "\x00\x04MQTT\x05\x42\x00\x3c"+"\x00"+"\x00\x01c"+"\x00\x01p"), "", 0},
	{"CONNECT with a delayed will", frame5(0x10, "\x00\x04MQTT\x05\x06\x00\x3c"+"\x00"+"\x00\x01c"+"\x05\x18\x00\x00\x00\x05"+"\x00\x01w"+"\x00\x02hi"), "", 0},
	{"a length in more bytes than it needs [MQTT-1.5.5-1]", frame5(0x10, connect5+"\x80\x00"+"\x00\x01c"), "more bytes than", 0x81},

	{"PUBLISH", frame5(0x30, "\x00\x01t"+"\x00"+"hi"), "", 0},
	{"PUBLISH with everything", frame5(0x32, "\x00\x01t"+"\x00\x07"+"\x25"+"\x01\x01"+"\x02\x00\x00\x00\x0a"+"\x23\x00\x03"+"\x08\x00\x01r"+"\x09\x00\x02\x00\xff"+"\x26\x00\x01k\x00\x01v"+"\x26\x00\x01k\x00\x01w"+"\x03\x00\x01j"+"hi"), "", 0},
	{"PUBLISH by alias", frame5(0x30, "\x00\x00"+"\x03\x23\x00\x01"+"hi"), "", 0},
	{"PUBLISH without topic or alias", frame5(0x30, "\x00\x00"+"\x00"+"hi"), "neither", 0x82},
	{"PUBLISH with alias 0 [MQTT-3.3.2-8]", frame5(0x30, "\x00\x01t"+"\x03\x23\x00\x00"+"hi"), "is 0", 0x82},
	{"PUBLISH with a subscription identifier [MQTT-3.3.4-6]", frame5(0x30, "\x00\x01t"+"\x02\x0b\x01"+"hi"), "from a client", 0x82},
	{"PUBLISH with a wildcard to respond to [MQTT-3.3.2-14]", frame5(0x30, "\x00\x01t"+"\x06\x08\x00\x03a/#"+"hi"), "wildcards", 0x82},
	{"PUBLISH with too many properties", frame5(0x30, "\x00\x01t"+"\x95\x0a"+strings.Repeat("\x26\x00\x00\x00\x00", 265)+"hi"), "too many", 0x81},

	{"PUBACK", "\x40\x02\x00\x01", "", 0},
	{"PUBACK with a code", "\x40\x03\x00\x01\x10", "", 0},
	{"PUBACK with a code and nothing", "\x40\x04\x00\x01\x10\x00", "", 0},
	{"PUBACK with bytes behind", "\x40\x05\x00\x01\x10\x00\x00", "behind", 0x81},
	{"PUBREL with a reason", frame5(0x62, "\x00\x01\x92"+"\x05\x1f\x00\x02no"), "", 0},

	{"SUBSCRIBE", frame5(0x82, "\x00\x01"+"\x02\x0b\x07"+"\x00\x01a"+"\x2d"), "", 0},
	{"SUBSCRIBE with identifier 0", frame5(0x82, "\x00\x01"+"\x02\x0b\x00"+"\x00\x01a"+"\x01"), "is 0", 0x82},
	{"SUBSCRIBE with two identifiers", frame5(0x82, "\x00\x01"+"\x04\x0b\x01\x0b\x02"+"\x00\x01a"+"\x01"), "twice", 0x82},
	{"SUBSCRIBE with reserved options [MQTT-3.8.3-5]", frame5(0x82, "\x00\x01"+"\x00"+"\x00\x01a"+"\x41"), "reserved", 0x81},
	{"SUBSCRIBE with retain handling 3", frame5(0x82, "\x00\x01"+"\x00"+"\x00\x01a"+"\x31"), "reserved", 0x81},
	{"SUBSCRIBE at QoS 3 [MQTT-3.8.3-4]", frame5(0x82, "\x00\x01"+"\x00"+"\x00\x01a"+"\x03"), "QoS", 0x81},
	{"SUBSCRIBE to nothing [MQTT-3.8.3-2]", frame5(0x82, "\x00\x01"+"\x00"), "too early", 0x81},
	{"UNSUBSCRIBE", frame5(0xa2, "\x00\x01"+"\x00"+"\x00\x01a"), "", 0},
	{"DISCONNECT", "\xe0\x00", "", 0},
	{"DISCONNECT with a code", "\xe0\x01\x04", "", 0},
	{"DISCONNECT with an expiry", "\xe0\x07\x00\x05\x11\x00\x00\x00\x01", "", 0},
	{"AUTH", "\xf0\x00", "", 0},
	{"AUTH with flags", "\xf1\x00", "flags", 0x81},
}

func TestWireOfVersion5(t *testing.T) {
	t.Parallel()
	for _, c := range wire5 {
		f, err := read([]byte(c.b), 1<<12)
		if err == nil {
			_, err = packet.Decode(f, packet.V5)
		}
		var form *packet.FormError
		switch {
		case c.bad == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.bad != "" && (!errors.As(err, &form) || !strings.Contains(form.Text, c.bad) || form.Code != c.code):
			t.Errorf("%s: %v (%+v), want one about %q", c.name, err, form, c.bad)
		}
	}
}

func TestPublishComesBack(t *testing.T) {
	t.Parallel()
	want := &packet.Publish{Topic: "a/b", QoS: 2, Dup: true, Retain: true, ID: 77, Payload: []byte("hi"), Properties: packet.Properties{
		{ID: packet.ContentType, Text: "text/plain"}, {ID: packet.SubscriptionID, Num: 300}, {ID: packet.UserProperty, Name: "k", Text: "v"},
		{ID: packet.MessageExpiry, Num: 12}, {ID: packet.PayloadFormat, Num: 1}, {ID: packet.CorrelationData, Text: "\x00\xff"},
	}}
	b, _ := packet.AppendPublish(nil, packet.V5, want)
	if len(b) != packet.PublishSize(packet.V5, want) {
		t.Errorf("%d bytes, %d expected", len(b), packet.PublishSize(packet.V5, want))
	}
	cp, err := v5.ReadPacket(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	got := cp.Content.(*v5.Publish)
	pr := got.Properties
	if got.Topic != "a/b" || got.QoS != 2 || !got.Duplicate || !got.Retain || got.PacketID != 77 || string(got.Payload) != "hi" ||
		pr.ContentType != "text/plain" || *pr.SubscriptionIdentifier != 300 || pr.User[0].Value != "v" || *pr.MessageExpiry != 12 ||
		*pr.PayloadFormat != 1 || string(pr.CorrelationData) != "\x00\xff" {
		t.Errorf("paho reads %v %v", got, pr)
	}
}

// FuzzVersion5 proves that nothing in a packet ends the program, and that paho, which
// checks less, reads what is let through as well.
func FuzzVersion5(f *testing.F) {
	for _, c := range wire5 {
		f.Add([]byte(c.b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := read(b, 1<<16)
		if err != nil {
			return
		}
		p, err := packet.Decode(frame, packet.V5)
		if err != nil {
			return
		}
		if c, ok := p.(*packet.Connect); ok && c.Version != packet.V5 {
			return
		}
		if frame.Type() == packet.TypeConnack || frame.Type() == packet.TypeSuback || frame.Type() == packet.TypeUnsuback {
			return
		}
		if m, ok := p.(*packet.Publish); ok {
			if m.QoS == 0 && m.Dup {
				t.Fatal("DUP at QoS 0")
			}
			again, _ := packet.AppendPublish(nil, packet.V5, m)
			back, err := read(again, 1<<17)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(back.Body, frame.Body) {
				t.Fatalf("% x came back as % x", frame.Body, back.Body)
			}
		}
	})
}
