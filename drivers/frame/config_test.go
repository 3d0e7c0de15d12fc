package frame_test

import (
	"errors"
	"strings"
	"testing"

	"gantry/drivers"
	"gantry/drivers/frame"
)

const good = `
port = { path = "/dev/null" }
frame = { kind = "fixed", start = "AA", size = 8 }
checksum = { kind = "sum8" }
[message.a]
match = { 1 = "01" }
request = "AA 01 {checksum}"
timeout = "1s"
[message.b]
match = { 1 = "02" }
[point.x]
message = "a"
at = 2
type = "u16"
write = { template = "AA 03 {value} {checksum}", answer = "b" }
[action.go]
template = "AA 04 {n} {checksum}"
args = { n = { type = "u8" } }
`

func TestBadConfigurationNamesTheKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ from, to, key string }{
		{`path = "/dev/null"`, ``, "port"},
		{`port = { path = "/dev/null" }`, `tcp = "192.0.2.7"`, "tcp"},
		{`port =`, "tcp = \"192.0.2.7:4001\"\nport =", "tcp"},
		{`port = { path = "/dev/null" }`, "tcp = \"192.0.2.7:4001\"\nline = { baud = 9600 }", "line"},
		{`kind = "fixed"`, `kind = "slip"`, "frame.kind"},
		{`size = 8`, `size = 1`, "frame.size"},
		{`size = 8`, `size = 2000`, "frame.size"},
		{`size = 8`, `size = 8, max = 100000`, "frame.max"},
		{`size = 8`, `size = 8, idle = "0s"`, "frame.idle"},
		{`size = 8`, `size = 8, start = "AAAAAAAAAAAAAAAAAA"`, "frame.start"},
		{`size = 8`, `size = 8, length = { at = 2 }`, "frame.length"},
		{`size = 8`, `size = 8, escape = { byte = "10" }`, "frame.escape"},
		{`kind = "fixed", start = "AA", size = 8`, `kind = "length", start = "AA"`, "frame.length"},
		{`kind = "fixed", start = "AA", size = 8`, `kind = "length", start = "AA", length = { at = 0 }`, "frame.length.at"},
		{`kind = "fixed", start = "AA", size = 8`, `kind = "length", start = "AA", length = { at = 1, size = 3 }`, "frame.length.size"},
		{`kind = "fixed", start = "AA", size = 8`, `kind = "delimiter", start = "AA"`, "frame.end"},
		{`kind = "fixed", start = "AA", size = 8`, `kind = "delimiter", start = "AA", end = "BB", escape = { byte = "1010" }`, "frame.escape.byte"},
		{`kind = "fixed", start = "AA", size = 8`, `kind = "delimiter", start = "AA", end = "BB", escape = { byte = "10", xor = 1, map = { 01 = "02" } }`, "frame.escape.map"},
		{`kind = "fixed", start = "AA", size = 8`, `kind = "delimiter", start = "AA", end = "BB", escape = { byte = "10", map = { 1 = "02" } }`, "frame.escape.map.1"},
		{`kind = "sum8"`, `kind = "crc9"`, "checksum.kind"},
		{`kind = "sum8"`, `kind = "sum8", poly = 7`, "checksum.width"},
		{`kind = "sum8"`, `kind = "crc", width = 9, poly = 7`, "checksum.width"},
		{`kind = "sum8"`, `kind = "crc", width = 8, poly = 0x107`, "checksum.poly"},
		{`kind = "sum8"`, `kind = "sum16", at = -1`, "checksum.at"},
		{`kind = "sum8"`, `kind = "sum8", from = -1, to = -2`, "checksum.to"},
		{`kind = "sum8"`, `kind = "sum8", order = "middle"`, "checksum.order"},
		{`port =`, "order = \"cdab\"\nport =", "order"},
		{`port =`, "settle = \"1h\"\nport =", "settle"},
		{`match = { 1 = "01" }`, `match = { x = "01" }`, "message.a.match"},
		{`match = { 1 = "01" }`, `match = { 1 = "" }`, "message.a.match.1"},
		{`timeout = "1s"`, `timeout = "1h"`, "message.a.timeout"},
		{`timeout = "1s"`, `retries = 11`, "message.a.retries"},
		{`request = "AA 01 {checksum}"`, ``, "message.a.request"},
		{`request = "AA 01 {checksum}"`, `request = "AA 1 {checksum}"`, "message.a.request"},
		{`request = "AA 01 {checksum}"`, `request = "01 {checksum}"`, "message.a.request"},
		{`request = "AA 01 {checksum}"`, `request = "AA {checksum} 01"`, "message.a.request"},
		{`request = "AA 01 {checksum}"`, `request = "AA {value} {checksum}"`, "message.a.request"},
		{`request = "AA 01 {checksum}"`, `request = "AA {length} {checksum}"`, "message.a.request"},
		{`message = "a"`, `message = "c"`, "point.x.message"},
		{`message = "a"`, ``, "point.x.message"},
		{`at = 2`, ``, "point.x.message"},
		{`at = 2`, `at = 100000`, "point.x.at"},
		{`type = "u16"`, `type = "u7"`, "point.x.type"},
		{`type = "u16"`, "type = \"u16\"\norder = \"abc\"", "point.x.order"},
		{`type = "u16"`, "type = \"u16\"\nlength = 2", "point.x.length"},
		{`type = "u16"`, "type = \"u16\"\nbit = 16", "point.x.bit"},
		{`type = "u16"`, "type = \"i16\"\nbit = 1", "point.x.bit"},
		{`type = "u16"`, "type = \"u16\"\nbit = 1", "point.x.write"},
		{`type = "u16"`, `type = "number"`, "point.x.write"},
		{`type = "u16"`, "type = \"text\"\nlength = 2\nabsent = 1", "point.x.absent"},
		{`AA 03 {value}`, `AA 03`, "point.x.write.template"},
		{`answer = "b"`, `answer = "c"`, "point.x.write.answer"},
		{`answer = "b"`, `refusal = "b"`, "point.x.write.refusal"},
		{`answer = "b"`, `timeout = "0s"`, "point.x.write.timeout"},
		{`{ n = { type = "u8" } }`, `{ n = { type = "number" } }`, "action.go.args.n.length"},
		{`{ n = { type = "u8" } }`, `{ checksum = { type = "u8" } }`, "action.go.args.checksum"},
		{`{ n = { type = "u8" } }`, `{ n = { type = "u8" }, m = { type = "u8" } }`, "action.go.template"},
	} {
		text := strings.Replace(good, tt.from, tt.to, 1)
		if strings.Contains(tt.to, "start = ") && strings.Contains(tt.to, "size = 8") {
			text = strings.Replace(text, `start = "AA", `, "", 1)
		}
		if text == good {
			t.Errorf("%s is not there", tt.from)
		}
		_, err := frame.New(parse(t, text), drivers.Env{})
		var ce *drivers.ConfigError
		if !errors.As(err, &ce) || ce.Key != tt.key || ce.Text == "" || ce.Allowed == "" {
			t.Errorf("%s: error %v, want one about %s that tells what is allowed", tt.to, err, tt.key)
		}
	}
	bare := strings.NewReplacer(`checksum = { kind = "sum8" }`, "", "{checksum}", "", `start = "AA", `, "").Replace(good)
	if _, err := frame.New(parse(t, bare), drivers.Env{}); err == nil {
		t.Error("frames that may begin anywhere are taken")
	}
	if _, err := frame.New(parse(t, good), drivers.Env{}); err != nil {
		t.Error(err)
	}
}
