package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"gantry/internal/mosquitto"
)

// TestPublishRule has the points of a device appear at a broker as a rule says.
func TestPublishRule(t *testing.T) {
	t.Parallel()
	broker := mosquitto.NewBroker(t)
	sub := mosquitto.Subscribe(t, broker.Addr, "-t", "site/#", "-q", "1")
	startProgram(t, writeFiles(t, map[string]string{"gantry.toml": fmt.Sprintf(`schema = 1
gateway.name = "gw"
[mqtt]
listen = "127.0.0.1:0"
[broker.house]
url = "tcp://%s"
[[broker.house.publish]]
event = "point.{dev}.{point}"
topic = "site/{dev}/{point}"
payload = '{"v":{value:json},"t":{ts},"q":{q:json},"u":{unit:json}}'
scale = 10.0
retain = true
[device.tank]
driver = "sim"
[device.tank.point.level]
kind = "drift"
base = 50
unit = "%%"
`, broker.Addr)}), t.TempDir())
	deadline := time.After(patience)
	for {
		select {
		case line := <-sub.Lines():
			head, text, _ := strings.Cut(line, " 0 1 ")
			var m struct {
				V    *float64
				T    int64
				Q, U string
			}
			if head != "site/tank/level" || json.Unmarshal([]byte(text), &m) != nil || m.T == 0 || m.U != "%" {
				t.Fatal(line)
			}
			if m.Q == "good" && m.V != nil {
				return
			}
		case <-deadline:
			t.Fatal("no reading at the broker")
		}
	}
}
