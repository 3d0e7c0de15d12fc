package mqttd_test

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"gantry/bridge/mqttd"
	"gantry/internal/mosquitto"
	"gantry/wamp"
)

func (w *world) sub(t *testing.T, args ...string) *mosquitto.Subscriber {
	t.Helper()
	return mosquitto.Subscribe(t, w.addr, args...)
}

func (w *world) pub(t *testing.T, stdin string, args ...string) {
	t.Helper()
	mosquitto.Publish(t, w.addr, strings.NewReader(stdin), args...)
}

func TestMosquittoClients(t *testing.T) {
	t.Parallel()
	mosquitto.Need(t, "mosquitto_sub", "mosquitto-clients")
	w := newWorld(t, mqttd.Config{}, false)
	for qos := range 3 {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			q := fmt.Sprint(qos)
			base := "house" + q
			w.pub(t, "", "-t", base+"/kept", "-m", "last", "-r", "-q", q)
			all := w.sub(t, "-t", base+"/#", "-q", q, "-i", "all"+q)
			all.Expect(base + "/kept 1 " + q + " last")
			some := w.sub(t, "-t", base+"/+/temp", "-q", q)
			exact := w.sub(t, "-t", base+"/kitchen/temp", "-q", q)

			w.pub(t, "", "-t", base+"/kitchen/temp", "-m", "21.5", "-q", q)
			w.pub(t, "", "-t", base+"/bath/temp", "-m", `{"t": 24}`, "-q", q)
			w.pub(t, "", "-t", base+"/bath/humidity", "-m", "text with spaces", "-q", q)
			w.pub(t, "", "-t", base, "-n", "-q", q)
			kitchen, bath := base+"/kitchen/temp 0 "+q+" 21.5", base+"/bath/temp 0 "+q+` {"t": 24}`
			all.Expect(kitchen, bath, base+"/bath/humidity 0 "+q+" text with spaces", base+" 0 "+q+" ")
			some.Expect(kitchen, bath)
			exact.Expect(kitchen)

			// Many lines through one connection, in order.
			var in strings.Builder
			for i := range 300 {
				fmt.Fprintln(&in, i)
			}
			w.pub(t, in.String(), "-t", base+"/kitchen/temp", "-l", "-q", q)
			for i := range 300 {
				exact.Expect(fmt.Sprint(base, "/kitchen/temp 0 ", q, " ", i))
			}

			// Forgotten: nothing for whoever comes now.
			w.pub(t, "", "-t", base+"/kept", "-n", "-r", "-q", q)
			late := w.sub(t, "-t", base+"/kept", "-q", q)
			w.pub(t, "", "-t", base+"/kept", "-m", "live", "-q", q)
			late.Expect(base + "/kept 0 " + q + " live")
		})
	}
}

func TestMosquittoClientsOfVersion5(t *testing.T) {
	t.Parallel()
	mosquitto.Need(t, "mosquitto_sub", "mosquitto-clients")
	w := newWorld(t, mqttd.Config{}, false)
	for qos := range 3 {
		q := fmt.Sprint(qos)
		base := "five" + q
		w.pub(t, "", "-V", "mqttv5", "-t", base+"/kept", "-m", "last", "-r", "-q", q)
		all := w.sub(t, "-V", "mqttv5", "-t", base+"/#", "-q", q)
		all.Expect(base + "/kept 1 " + q + " last")
		w.pub(t, "", "-V", "mqttv5", "-t", base+"/a", "-m", "x", "-q", q, "-D", "publish", "user-property", "k", "v",
			"-D", "publish", "content-type", "text/plain")
		all.Expect(base + "/a 0 " + q + " x")
		var in strings.Builder
		for i := range 200 {
			fmt.Fprintln(&in, i)
		}
		w.pub(t, in.String(), "-V", "mqttv5", "-t", base+"/b", "-l", "-q", q)
		for i := range 200 {
			all.Expect(fmt.Sprint(base, "/b 0 ", q, " ", i))
		}
	}
}

func TestMosquittoWill(t *testing.T) {
	t.Parallel()
	mosquitto.Need(t, "mosquitto_sub", "mosquitto-clients")
	w := newWorld(t, mqttd.Config{}, false)
	watch := w.sub(t, "-t", "lwt/#")
	path := mosquitto.Need(t, "mosquitto_sub", "mosquitto-clients")
	host, port, _ := net.SplitHostPort(w.addr)
	cmd := exec.Command(path, "-h", host, "-p", port, "-t", "x", "-d",
		"--will-topic", "lwt/node", "--will-payload", "offline", "--will-retain", "--will-qos", "1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Its first output is buffered; the router knows when it has joined.
	deadline := time.Now().Add(patience)
	for w.server.Stats().Open < 2 || w.router.Stats("gantry").Sessions < 2 {
		if time.Now().After(deadline) {
			t.Fatal("mosquitto_sub has not joined")
		}
		time.Sleep(5 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
	watch.Expect("lwt/node 0 0 offline")
	w.sub(t, "-t", "lwt/#").Expect("lwt/node 1 0 offline")
}

func TestMosquittoAndWAMP(t *testing.T) {
	t.Parallel()
	mosquitto.Need(t, "mosquitto_pub", "mosquitto-clients")
	w := newWorld(t, mqttd.Config{}, false)
	s := w.session()
	events := make(chan *wamp.Event, 16)
	if _, err := s.Subscribe(t.Context(), "sensors.", wamp.SubscribeOptions{Match: wamp.MatchPrefix}, func(ev *wamp.Event) { events <- ev }); err != nil {
		t.Fatal(err)
	}
	w.pub(t, "", "-t", "sensors/Küche/1", "-m", "[1,2]", "-q", "2")
	select {
	case ev := <-events:
		if raw, _ := ev.Payload.Raw(); ev.Details.Topic != "sensors.K%C3%BCche.1" || string(raw) != "[[1,2]]" {
			t.Errorf("%+v %s", ev.Details, raw)
		}
	case <-time.After(patience):
		t.Fatal("no event")
	}
}

func TestPahoClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{}, false)
	wait := func(tok paho.Token) {
		t.Helper()
		if !tok.WaitTimeout(patience) {
			t.Fatal("paho is stuck")
		}
		if tok.Error() != nil {
			t.Fatal(tok.Error())
		}
	}
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + w.addr).SetClientID("paho").
		SetAutoReconnect(false).SetKeepAlive(30 * time.Second).SetOnConnectHandler(nil))
	wait(c.Connect())
	defer c.Disconnect(250)
	got := make(chan string, 4000)
	wait(c.Subscribe("load/+", 1, func(_ paho.Client, m paho.Message) { got <- m.Topic() + " " + string(m.Payload()) }))
	const n = 2000
	var last paho.Token
	for i := range n {
		last = c.Publish(fmt.Sprint("load/", i%3), byte(i%3), false, fmt.Sprint(i))
	}
	wait(last)
	for i := range n {
		want := fmt.Sprint("load/", i%3, " ", i)
		select {
		case line := <-got:
			if line != want {
				t.Fatalf("message %d: got %q, want %q", i, line, want)
			}
		case <-time.After(patience):
			t.Fatalf("message %d did not come; %+v", i, w.server.Stats())
		}
	}
	wait(c.Unsubscribe("load/+"))
}
