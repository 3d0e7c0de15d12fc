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
		`url: "nats:///" is no address of a NATS`:     natsConfig(func(c *uplink.Config) { c.URL = "nats:///" }),
		`url: has nats:// and tls://`:                 natsConfig(func(c *uplink.Config) { c.URL = "nats://a,tls://b" }),
		`url: is without TLS and there are ca`:        natsConfig(func(c *uplink.Config) { c.CA = "/none" }),
		`url: has a user name in it`:                  natsConfig(func(c *uplink.Config) { c.URL = "nats://u:p@a" }),
		`realm: is there for kind nats`:               natsConfig(func(c *uplink.Config) { c.Realm = "r" }),
		`nats.stream: is missing`:                     natsConfig(func(c *uplink.Config) { c.NATS.Create = true }),
		`nats.stream: "a.b" is no name`:               natsConfig(func(c *uplink.Config) { c.NATS.Stream = "a.b" }),
		`nats.subjects[1]: "gantry.>" would keep`:     natsConfig(func(c *uplink.Config) { c.NATS.Subjects = []string{"gantry.*.point.>", "gantry.>"} }),
		`nats.subjects[0]: "gantry..point" is no`:     natsConfig(func(c *uplink.Config) { c.NATS.Subjects = []string{"gantry..point"} }),
		`nats.subjects: is empty`:                     natsConfig(func(c *uplink.Config) { c.NATS.Subjects = []string{} }),
		`nats.duplicates: is 2m0s; allowed: 100ms up`: natsConfig(func(c *uplink.Config) { c.NATS.MaxAge = time.Minute }),
		`nats.replicas: is 6`:                         natsConfig(func(c *uplink.Config) { c.NATS.Replicas = 6 }),
		`nats.storage: is "ram"`:                      natsConfig(func(c *uplink.Config) { c.NATS.Storage = "ram" }),
		`nats.on_full: is "wait"`:                     natsConfig(func(c *uplink.Config) { c.NATS.OnFull = "wait" }),
		`include[1]: "gantry.g1.point..a" is no`:      func(c *uplink.Config) { c.Include = []string{"point..a", "gantry.g1.point..a"} },
		`exclude[0]: "" is no`:                        func(c *uplink.Config) { c.Exclude = []string{""} },
		`sample[0].every: is 0s`:                      func(c *uplink.Config) { c.Sample = []uplink.Sample{{Topic: "point.."}} },
		`sample[0].topic: "a b" is no`:                func(c *uplink.Config) { c.Sample = []uplink.Sample{{Topic: "a b", Every: time.Second}} },
		`rate.bytes: is -1`:                           func(c *uplink.Config) { c.Rate.Bytes = -1 },
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

// natsConfig makes a configuration of kind nats and changes it.
func natsConfig(change func(*uplink.Config)) func(*uplink.Config) {
	return func(c *uplink.Config) {
		c.Kind, c.URL = "nats", "nats://host,nats://host2:4333"
		change(c)
	}
}
