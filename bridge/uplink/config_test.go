package uplink_test

import (
	"strings"
	"testing"
	"time"

	"gantry/bridge/uplink"
)

func TestConfigSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	good := uplink.Config{URL: "ws://host/ws"}
	for want, change := range map[string]func(*uplink.Config){
		"":                              func(*uplink.Config) {},
		`kind: is "coap"`:               func(c *uplink.Config) { c.Kind = "coap" },
		`url: "ws://host/ws" is no add`: func(c *uplink.Config) { c.Kind, c.URL = "wamp", "http://x" },
		`url: "coap://x" is no address`: func(c *uplink.Config) { c.Kind, c.URL = "mqtt", "coap://x" },
		`tls: is there for a`:           func(c *uplink.Config) { c.Kind, c.URL, c.CA = "mqtt", "tcp://x", "/none" },
		`tls.ca: `:                      func(c *uplink.Config) { c.Kind, c.URL, c.CA = "mqtt", "mqtts://x", "/none" },
		`realm: or key`:                 func(c *uplink.Config) { c.Kind, c.URL, c.Realm = "mqtt", "tcp://x", "r" },
		`mqtt.format: is "xml"`:         func(c *uplink.Config) { c.MQTT.Format = "xml" },
		`mqtt.node: "a/b" is`:           func(c *uplink.Config) { c.MQTT.Node = "a/b" },
		`forward[0]: is "job", which`: func(c *uplink.Config) {
			c.Kind, c.URL, c.MQTT.Format, c.Forward = "mqtt", "tcp://x", "sparkplug", []string{"job"}
		},
		`include[1]: "gantry.g1.point..a" is no`: func(c *uplink.Config) { c.Include = []string{"point..a", "gantry.g1.point..a"} },
		`exclude[0]: "" is no`:                   func(c *uplink.Config) { c.Exclude = []string{""} },
		`sample[0].every: is 0s`:                 func(c *uplink.Config) { c.Sample = []uplink.Sample{{Topic: "point.."}} },
		`sample[0].topic: "a b" is no`:           func(c *uplink.Config) { c.Sample = []uplink.Sample{{Topic: "a b", Every: time.Second}} },
		`rate.bytes: is -1`:                      func(c *uplink.Config) { c.Rate.Bytes = -1 },
	} {
		c := good
		change(&c)
		err := c.Validate()
		want = strings.Replace(want, "ws://host/ws", "http://x", 1)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
