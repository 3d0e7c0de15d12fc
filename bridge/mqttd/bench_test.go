package mqttd_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge/mqttd"
	"gantry/wamp"
)

// BenchmarkToWAMP is a PUBLISH at QoS 1 with a subscriber in the router's process.
func BenchmarkToWAMP(b *testing.B) {
	w := newWorld(b, mqttd.Config{}, false)
	s := w.session()
	if _, err := s.Subscribe(b.Context(), "a.b", wamp.SubscribeOptions{}, func(*wamp.Event) {}); err != nil {
		b.Fatal(err)
	}
	m := w.mqtt()
	m.connect("c", nil)
	b.ReportAllocs()
	for b.Loop() {
		m.publish("a/b", "21.5", 1, false, 7)
		m.ack(packets.Puback, 7)
	}
}

// BenchmarkToMQTT is a PUBLISH at QoS 0 that its own client receives.
func BenchmarkToMQTT(b *testing.B) {
	w := newWorld(b, mqttd.Config{}, false)
	m := w.mqtt()
	m.connect("c", nil)
	m.subscribe(1, 0, "a/b")
	b.ReportAllocs()
	for b.Loop() {
		m.publish("a/b", "21.5", 0, false, 0)
		m.expect("a/b", "21.5", 0, false)
	}
}

// BenchmarkKept is a PUBLISH for which a kept session waits that is connected, until it has been
// acknowledged: with sessions in memory, and with sessions on disk, where that is the wait for it.
// A burst is so many at a time.
func BenchmarkKept(b *testing.B) {
	for _, disk := range []bool{false, true} {
		for qos := byte(1); qos <= 2; qos++ {
			for _, burst := range []int{1, 20} {
				b.Run(fmt.Sprintf("disk=%v/qos=%d/burst=%d", disk, qos, burst), func(b *testing.B) { keep(b, disk, qos, burst) })
			}
		}
	}
}

func keep(b *testing.B, disk bool, qos byte, burst int) {
	w := newWorld(b, mqttd.Config{}, false)
	if disk {
		w = onDisk(b)
	}
	sub, pub := w.mqtt(), w.mqtt()
	sub.join("kept", false)
	sub.subscribe(1, qos, "a/b")
	pub.join("pub", true)
	took := make(chan struct{}) // closed when the subscriber's connection has ended
	go func() {
		defer close(took)
		for {
			p, err := packets.ReadPacket(sub.conn)
			if err != nil {
				return
			}
			switch p := p.(type) {
			case *packets.PublishPacket:
				sub.bare([]byte{0, packets.Puback, packets.Pubrec}[p.Qos], p.MessageID)
			case *packets.PubrelPacket:
				sub.bare(packets.Pubcomp, p.MessageID)
			}
		}
	}()
	_ = sub.conn.SetReadDeadline(time.Time{})
	began := cpu()
	for n := 0; b.Loop(); n++ {
		if pub.publish("a/b", "21.5", qos, false, uint16(n%burst+1)); n%burst == burst-1 {
			pub.finish(qos, burst)
		}
	}
	b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "cpu-us/op")
	_ = sub.conn.Close()
	<-took
}

// finish takes the acknowledgements of the messages from 1 to n.
func (m *mqtt) finish(qos byte, n int) {
	for id := uint16(1); int(id) <= n; id++ {
		m.ack([]byte{0, packets.Puback, packets.Pubrec}[qos], id)
	}
	for id := uint16(1); int(id) <= n && qos == 2; id++ {
		m.bare(packets.Pubrel, id)
	}
	for id := uint16(1); int(id) <= n && qos == 2; id++ {
		m.ack(packets.Pubcomp, id)
	}
}

// cpu is the time that this process has computed.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // of itself it does not fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
