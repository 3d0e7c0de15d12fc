package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// mqttText is a text as MQTT packets have it.
func mqttText(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }

// mqttPacket is a packet with its header.
func mqttPacket(first byte, body string) string {
	b := []byte{first}
	for n := len(body); ; {
		d := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			return string(append(b, d)) + body
		}
		b = append(b, d|0x80)
	}
}

func mqttConnectPacket(id string) string {
	return mqttPacket(0x10, mqttText("MQTT")+"\x04\x02\x00\x00"+mqttText(id))
}

// mqttConnected connects.
func (s *siege) mqttConnected(id string) (c net.Conn) {
	s.t.Helper()
	s.again(func() error {
		c = s.knock(s.p.mqtt)
		_, _ = io.WriteString(c, mqttConnectPacket(id))
		var b [4]byte
		if _, err := io.ReadFull(c, b[:]); err != nil || b != [4]byte{0x20, 2, 0, 0} {
			return fmt.Errorf("CONNACK: % x, %v", b, err)
		}
		return nil
	})
	return c
}

// mqttEndedHalfOpen counts connections that have made room for others before their CONNECT.
const mqttEndedHalfOpen = `gantry_mqtt_ended_total{why="half_open"}`

// mqttHalfOpen opens more connections than there may be and says little.
func mqttHalfOpen(s *siege) {
	begun := []string{"", "\x10", "\x10\xff\xff\x0f", mqttConnectPacket("x")[:12], "\x10\xff\xff\xff\x7f" + strings.Repeat("x", 1000)}
	s.crowd(scale(2000), s.p.mqtt, mqttEndedHalfOpen, func(i int) string { return begun[i%len(begun)] })
	s.garrison.rounds(s.t, 10)
}

// mqttFloods subscribes, publishes, pings and breaks the protocol.
func mqttFloods(s *siege) {
	var wg sync.WaitGroup
	for k := range scale(4) {
		c := s.mqttConnected(fmt.Sprintf("flood%d", k))
		wg.Go(func() { _, _ = io.Copy(io.Discard, c) })
		wg.Go(func() {
			for i := range 20_000 {
				topic := mqttText(fmt.Sprintf("flood/s%d/n%d", k, i))
				text := mqttPacket(0x30, topic+"x") + mqttPacket(0x32, topic+"\x00\x01x")
				if i%10 == 0 {
					text += mqttPacket(0x82, "\x00\x02"+topic+"\x01"+mqttText(strings.Repeat("+/", 100)+fmt.Sprint(i))+"\x00") + "\xc0\x00"
				}
				if _, err := io.WriteString(c, text); err != nil {
					return
				}
			}
		})
	}
	for i := range scale(300) {
		id := fmt.Sprint("bad", i%3) // one takes over from the other
		for _, bad := range []string{"\xf0\x00", "\x30\x02\x00\x05", "\x82\x05\x00\x01\x00\x00\x00", mqttConnectPacket(id), "\x30\xff\xff\xff\x7f"} {
			c := s.mqttConnected(id)
			_, _ = io.WriteString(c, bad)
			hungUp(s.t, c)
			_ = c.Close()
		}
	}
	s.garrison.rounds(s.t, 10)
	s.hangUp()
	wg.Wait()
}

// mqttDeaf subscribes at both qualities and never reads again.
func mqttDeaf(s *siege) {
	for i := range scale(100) {
		c := s.mqttConnected(fmt.Sprint("deaf", i))
		_, _ = io.WriteString(c, mqttPacket(0x82, "\x00\x01"+mqttText("siege/deaf/#")+string(rune(i%2))))
		var b [5]byte
		if _, err := io.ReadFull(c, b[:]); err != nil || b[0] != 0x90 {
			s.t.Fatalf("SUBACK: % x, %v", b, err)
		}
	}
	began := time.Now()
	body := strings.Repeat("x", 2000)
	r := s.infiltrate()
	r.each(scale(2000), func(i int) string { return fmt.Sprintf(`[16,%d,{},"siege.deaf.t%d",["%s"]]`, i+1, i%50, body) })
	r.fence()
	s.t.Logf("published within %s", time.Since(began).Round(time.Millisecond))
}
