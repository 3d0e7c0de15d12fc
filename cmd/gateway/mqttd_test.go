package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"
	paho "github.com/eclipse/paho.mqtt.golang"

	"gantry/internal/mosquitto"
	"gantry/wamp"
	"gantry/wamp/websocket"
)

// mqttPeer is a client of MQTT 5 that speaks bare packets.
type mqttPeer struct {
	net.Conn
}

// mqttJoin connects, with a session that is kept for an hour, and returns the reason code.
func mqttJoin(t *testing.T, nc net.Conn, id, user, password string) (mqttPeer, byte) {
	t.Helper()
	t.Cleanup(func() { _ = nc.Close() })
	hour := uint32(3600)
	_ = nc.SetDeadline(time.Now().Add(2 * patience))
	c := &v5.Connect{ProtocolName: "MQTT", ProtocolVersion: 5, ClientID: id, Properties: &v5.Properties{SessionExpiryInterval: &hour}}
	if user != "" {
		c.UsernameFlag, c.Username, c.PasswordFlag, c.Password = true, user, true, []byte(password)
	}
	if _, err := c.WriteTo(nc); err != nil {
		t.Fatal(err)
	}
	p, err := v5.ReadPacket(nc)
	if err != nil {
		t.Fatal(err)
	}
	return mqttPeer{nc}, p.Content.(*v5.Connack).ReasonCode
}

// exactly is a subscriber at QoS 2 with what it has to remember.
type exactly struct {
	held map[uint16]bool // identifiers without PUBREL
	got  map[string]int  // by payload
	end  chan struct{}   // closed when the payload "end" has come
}

// receive takes messages until the connection ends or limit have come. It answers only
// some in time, so that a kill finds every state of the handshake.
func (e *exactly) receive(m mqttPeer, limit int) {
	for len(e.got) < limit {
		p, err := v5.ReadPacket(m)
		if err != nil {
			return
		}
		var answer io.WriterTo
		switch p := p.Content.(type) {
		case *v5.Publish:
			if !e.held[p.PacketID] {
				e.held[p.PacketID] = true
				e.got[string(p.Payload)]++
				if string(p.Payload) == "end" && e.got["end"] == 1 {
					close(e.end)
				}
			}
			answer = &v5.Pubrec{PacketID: p.PacketID, Properties: &v5.Properties{}}
		case *v5.Pubrel:
			delete(e.held, p.PacketID)
			answer = &v5.Pubcomp{PacketID: p.PacketID, Properties: &v5.Properties{}}
		default:
			continue
		}
		if _, err := answer.WriteTo(m); err != nil {
			return
		}
	}
}

// publishUntilCut publishes messages at a QoS until the connection ends, and returns
// those that were acknowledged.
func publishUntilCut(m mqttPeer, round int, qos byte, acked *sync.Map) {
	for i := 1; i < 60000; i++ {
		text := fmt.Sprintf("%d-%d-%d", round, qos, i)
		if _, err := (&v5.Publish{Topic: "crash/x", Payload: []byte(text), QoS: qos, PacketID: uint16(i), Properties: &v5.Properties{}}).WriteTo(m); err != nil {
			return
		}
		for {
			p, err := v5.ReadPacket(m)
			if err != nil {
				return
			}
			if rec, ok := p.Content.(*v5.Pubrec); ok {
				acked.Store(text, true) // the message is the server's from here on
				if _, err := (&v5.Pubrel{PacketID: rec.PacketID, Properties: &v5.Properties{}}).WriteTo(m); err != nil {
					return
				}
				continue
			}
			if _, ok := p.Content.(*v5.Puback); ok {
				acked.Store(text, true)
			}
			break
		}
	}
}

// TestMQTTSessionSurvivesKillNine kills the gateway while a subscriber at QoS 2 with a
// kept session takes what two publishers send. In the end it has everything that was
// acknowledged, and nothing twice.
func TestMQTTSessionSurvivesKillNine(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\n[mqtt]\nlisten = \"127.0.0.1:0\"\n"})
	dial := func(p *program) net.Conn {
		nc, err := net.Dial("tcp", p.mqtt)
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	sub := &exactly{map[uint16]bool{}, map[string]int{}, make(chan struct{})}
	var acked sync.Map
	count := func() (n int) {
		acked.Range(func(any, any) bool { n++; return true })
		return n
	}
	for round := range 3 {
		p := startProgram(t, config, state)
		m, code := mqttJoin(t, dial(p), "sub", "", "")
		if code != 0 {
			t.Fatalf("CONNACK %#x", code)
		}
		if round == 0 {
			_, _ = (&v5.Subscribe{PacketID: 1, Subscriptions: []v5.SubOptions{{Topic: "crash/#", QoS: 2}}, Properties: &v5.Properties{}}).WriteTo(m)
			if _, err := v5.ReadPacket(m); err != nil {
				t.Fatal(err)
			}
		}
		var all sync.WaitGroup
		all.Go(func() { sub.receive(m, 1<<30) })
		before := count()
		for qos := byte(1); qos <= 2; qos++ {
			pub, _ := mqttJoin(t, dial(p), fmt.Sprint("pub", round, qos), "", "")
			all.Go(func() { publishUntilCut(pub, round, qos, &acked) })
		}
		for late := time.Now().Add(2 * patience); count() < before+40 && time.Now().Before(late); {
			time.Sleep(5 * time.Millisecond)
		}
		p.kill()
		all.Wait()
	}
	p := startProgram(t, config, state)
	m, _ := mqttJoin(t, dial(p), "sub", "", "")
	var done sync.WaitGroup
	done.Go(func() { sub.receive(m, 1<<30) })
	// What comes after everything else; whatever came twice would follow soon.
	pub, _ := mqttJoin(t, dial(p), "last", "", "")
	_, _ = (&v5.Publish{Topic: "crash/x", Payload: []byte("end"), QoS: 1, PacketID: 1, Properties: &v5.Properties{}}).WriteTo(pub)
	if _, err := v5.ReadPacket(pub); err != nil {
		t.Fatal(err)
	}
	select {
	case <-sub.end:
	case <-time.After(patience):
		t.Error("the last message does not come")
	}
	_ = m.SetDeadline(time.Now().Add(2 * time.Second))
	done.Wait()
	if sub.got["end"] != 1 || count() < 100 {
		t.Fatalf("the last message came %d times; %d acknowledged", sub.got["end"], count())
	}
	acked.Range(func(text, _ any) bool {
		if n := sub.got[text.(string)]; n != 1 {
			t.Errorf("%s, which was acknowledged, came %d times", text, n)
		}
		return true
	})
	t.Logf("%d acknowledged, %d delivered", count(), len(sub.got))
}

// keptPeer connects to a program with a session that is kept.
func keptPeer(t *testing.T, p *program) mqttPeer {
	t.Helper()
	nc, err := net.Dial("tcp", p.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	m, code := mqttJoin(t, nc, "sub", "", "")
	if code != 0 {
		t.Fatalf("CONNACK %#x", code)
	}
	return m
}

// subscribeToTheEnd has the session of keptPeer subscribe to end/# and leaves it alone.
func subscribeToTheEnd(t *testing.T, p *program) {
	t.Helper()
	m := keptPeer(t, p)
	if _, err := (&v5.Subscribe{PacketID: 1, Subscriptions: []v5.SubOptions{{Topic: "end/#", QoS: 1}}, Properties: &v5.Properties{}}).WriteTo(m); err != nil {
		t.Fatal(err)
	}
	if _, err := v5.ReadPacket(m); err != nil {
		t.Fatal(err)
	}
	_ = m.Close()
}

// TestMQTTSessionSurvivesTheEnd stops the gateway while a WAMP session publishes to a kept
// session whose client is away: what was acknowledged to the very end is there afterwards.
func TestMQTTSessionSurvivesTheEnd(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\n[mqtt]\nlisten = \"127.0.0.1:0\"\n"})
	p := startProgram(t, config, state)
	subscribeToTheEnd(t, p)
	s, begun, acked := p.join(), make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for s.Publish(t.Context(), "end.x", wamp.PublishOptions{Acknowledge: true}, wamp.Args(int64(n))) == nil {
			if n++; n == 50 {
				close(begun)
			}
		}
		acked <- n
	}()
	select {
	case <-begun:
	case <-time.After(patience):
		t.Fatal("nothing is acknowledged")
	}
	p.stop()
	want := <-acked

	p = startProgram(t, config, state)
	m := keptPeer(t, p)
	p.command("publish", "end.y", "true")
	for n := 0; ; {
		got, err := v5.ReadPacket(m)
		if err != nil {
			t.Fatal(err)
		}
		message, ok := got.Content.(*v5.Publish)
		if !ok {
			continue
		}
		if message.Topic == "end/y" {
			if n < want {
				t.Errorf("%d messages have come, %d were acknowledged", n, want)
			}
			break
		}
		if string(message.Payload) != strconv.Itoa(n) {
			t.Fatalf("%q in place of %d", message.Payload, n)
		}
		n++
		if _, err := (&v5.Puback{PacketID: message.PacketID, Properties: &v5.Properties{}}).WriteTo(m); err != nil {
			t.Fatal(err)
		}
	}
	p.stop()
}

// TestWhatABrokerHandedOverSurvivesTheEnd ends the gateway while messages of a broker come
// in: what the broker does not send again has reached a client of the gateway's own
// listener that is away, before and behind the end.
func TestWhatABrokerHandedOverSurvivesTheEnd(t *testing.T) {
	t.Parallel()
	const flying, guests = 50, 100 // messages on their way, and sessions to be ended
	broker := mosquitto.NewBroker(t, "max_queued_messages 0")
	state := t.TempDir()
	config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[broker.plant]\nurl = \"tcp://" + broker.Addr + "\"\npersistent = true\n" +
		"[[broker.plant.pass]]\ntopic = \"end/#\"\ndirection = \"in\"\nqos = 1\n"})
	p := startProgram(t, config, state)
	subscribeToTheEnd(t, p)
	for range guests {
		p.join()
	}
	within(t, patience, "the broker's client", func() bool { return p.metric(`gantry_broker_connected{broker="plant"}`) == 1 })
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + broker.Addr).SetClientID("source"))
	if done := c.Connect(); !done.WaitTimeout(patience) || done.Error() != nil {
		t.Fatal(done.Error())
	}
	defer c.Disconnect(0)
	quit, sent := make(chan struct{}), make(chan int, 1)
	go func() {
		var all []paho.Token
		for n := 0; ; n++ {
			select {
			case <-quit:
				sent <- n
				return
			default:
			}
			all = append(all, c.Publish("end/x", 1, false, strconv.Itoa(n)))
			if n < flying {
				continue
			}
			if done := all[n-flying]; !done.WaitTimeout(patience) || done.Error() != nil {
				t.Error(done.Error())
			}
		}
	}()
	within(t, patience, "messages", func() bool { return p.metric("gantry_broker_passed_in_total") > 50 })
	p.stop()
	close(quit)
	want := <-sent

	p = startProgram(t, config, state)
	m := keptPeer(t, p)
	seen := map[string]bool{}
	for len(seen) < want {
		got, err := v5.ReadPacket(m)
		if err != nil {
			t.Fatalf("%d messages of %d have come: %v", len(seen), want, err)
		}
		message, ok := got.Content.(*v5.Publish)
		if !ok {
			continue
		}
		seen[string(message.Payload)] = true
		if _, err := (&v5.Puback{PacketID: message.PacketID, Properties: &v5.Properties{}}).WriteTo(m); err != nil {
			t.Fatal(err)
		}
	}
	p.stop()
}

// TestMQTTByEveryDoor logs in over plain TCP, TLS and WebSocket, with the right password
// and with a wrong one.
func TestMQTTByEveryDoor(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	files := map[string]string{"gantry.toml": fmt.Sprintf(`schema = 1
[listen]
http = "127.0.0.1:0"
anonymous = "none"
tls = { cert = "%s", key = "%s" }
[mqtt]
listen = "127.0.0.1:0"
listen_tls = "127.0.0.1:0"
[user.ann]
role = "all"
password = "env:MQTT_ANN"
[role.all]
[[role.all.rules]]
uri = ""
match = "prefix"
allow = ["publish", "subscribe", "call"]
`, cert, key)}
	p := startProgram(t, writeFiles(t, files), t.TempDir(), "MQTT_ANN=correct horse")
	insecure := &tls.Config{InsecureSkipVerify: true}
	doors := map[string]func() (net.Conn, error){
		"TCP": func() (net.Conn, error) { return net.Dial("tcp", p.mqtt) },
		"TLS": func() (net.Conn, error) { return tls.Dial("tcp", p.mqtts, insecure) },
		"WebSocket": func() (net.Conn, error) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			d := websocket.Dialer{TLS: insecure, Subprotocols: []string{"mqtt"}, Header: http.Header{}}
			c, err := d.Dial(ctx, strings.TrimSuffix(p.url, "/ws")+"/mqtt")
			if err != nil {
				return nil, err
			}
			return c.Stream(websocket.StreamBinary), nil
		},
	}
	for _, broker := range []string{p.mqtt, "mqtts://" + p.mqtts, strings.TrimSuffix(p.url, "/ws") + "/mqtt"} {
		broker = strings.Replace(broker, "127.0.0.1", "localhost", 1) // as the certificate says
		for password, want := range map[string]int{"correct horse": exitOK, "": exitUsage} {
			a := newApp(strings.NewReader(""), t.Output(), t.Output(), func(k string) string {
				return map[string]string{"GANTRY_PASSWORD": password}[k]
			})
			args := []string{"mqtt", "publish", "--broker", broker, "--ca", cert, "--user", "ann", "--qos", "2", "--retain", "a/b", "x"}
			if code := a.main(t.Context(), args); code != want {
				t.Errorf("%v, password %q: code %d, want %d", args, password, code, want)
			}
		}
		a := newApp(strings.NewReader(""), t.Output(), t.Output(), func(string) string { return "" })
		if code := a.main(t.Context(), []string{"mqtt", "publish", "--broker", broker, "--ca", cert, "a/b", "x"}); code != exitNoRouter {
			t.Errorf("%s, nobody: code %d", broker, code)
		}
	}
	for i, password := range []string{"correct horse", "wrong"} { // a wrong one makes everybody wait
		want := [2]byte{0, 0x86}[i]
		for name, dial := range doors {
			nc, err := dial()
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			m, code := mqttJoin(t, nc, name, "ann", password)
			if code != want {
				t.Errorf("%s, password %q: CONNACK %#x, want %#x", name, password, code, want)
			}
			if code == 0 {
				_, _ = (&v5.Publish{Topic: "a", Payload: []byte("x"), QoS: 1, PacketID: 1, Properties: &v5.Properties{}}).WriteTo(m)
				if got, err := v5.ReadPacket(m); err != nil || got.Type != v5.PUBACK {
					t.Errorf("%s: %v, %v", name, got, err)
				}
			}
			_ = nc.Close()
		}
	}
}
