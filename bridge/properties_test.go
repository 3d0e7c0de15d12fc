package bridge_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/bridge"
	"gantry/wamp"
)

func TestPropertiesComeBack(t *testing.T) {
	t.Parallel()
	want := &bridge.Properties{Text: true, ContentType: "text/plain", Response: "reply/1", Correlation: "\x00\xff", Expires: 12,
		User: [][2]string{{"k", "v"}, {"k", "w"}}}
	for _, text := range []string{"", "21.5", "on", "\x00\xff", `{"a":1}`} {
		p, err := bridge.WithProperties(bridge.PayloadFromMQTT([]byte(text)), want)
		if err != nil {
			t.Fatal(err)
		}
		rest, got := bridge.CutProperties(p)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
		if b, err := bridge.AppendMQTT(nil, rest); string(b) != text || err != nil {
			t.Errorf("%q came back as %q, %v", text, b, err)
		}
	}
}

func TestOtherKeywordsStay(t *testing.T) {
	t.Parallel()
	p := wamp.Values(wamp.List{1}, wamp.Dict{"q": "good", "mqtt": wamp.Dict{"content_type": "x", "correlation": []byte{1, 2}}})
	rest, props := bridge.CutProperties(p)
	if props == nil || props.ContentType != "x" || props.Correlation != "\x01\x02" {
		t.Fatalf("%+v", props)
	}
	if b, err := bridge.AppendMQTT(nil, rest); string(b) != `{"args":[1],"kwargs":{"q":"good"}}` || err != nil {
		t.Errorf("%s, %v", b, err)
	}
	odd := wamp.Values(wamp.List{1}, wamp.Dict{"mqtt": "not a dictionary"})
	if rest, props := bridge.CutProperties(odd); props != nil || rest.Format() != odd.Format() {
		t.Error("what is no dictionary was taken")
	}
}

func TestPlainMessage(t *testing.T) {
	t.Parallel()
	now := time.UnixMicro(1000)
	for _, c := range []struct {
		name  string
		props bridge.Properties
		fresh bool
	}{
		{"no properties", bridge.Properties{}, true},
		{"properties", bridge.Properties{ContentType: "application/json", Expires: 1001}, true},
		{"expired", bridge.Properties{Expires: 1000}, false},
	} {
		p, err := bridge.WithProperties(bridge.PayloadFromMQTT([]byte(`{"t": 21.5}`)), &c.props)
		if err != nil {
			t.Fatal(err)
		}
		b, fresh, err := bridge.PlainMessage(p, now)
		if err != nil || fresh != c.fresh || fresh && string(b) != `{"t": 21.5}` {
			t.Errorf("%s: %s, %t, %v", c.name, b, fresh, err)
		}
	}
}
