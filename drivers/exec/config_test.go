package exec_test

import (
	"errors"
	"strings"
	"testing"

	"gantry/drivers"
	driver "gantry/drivers/exec"
)

func TestBadConfigurationNamesTheKey(t *testing.T) {
	t.Parallel()
	const once = `
command = ["/bin/true"]
parse = { json = true }
[point.p]
from = "p"
write = { command = ["/bin/true", "{value}"] }
[action.a]
command = ["/bin/true", "{n}"]
args = { n = { type = "int" } }
`
	const child = "mode = \"child\"\ncommand = [\"/bin/true\"]\n[point.p]\nwritable = true\n[action.a]\n"
	for _, tt := range []struct{ base, from, to, key string }{
		{once, `command = ["/bin/true"]`, `mode = "often"`, "mode"},
		{once, `command = ["/bin/true"]`, ``, "command"},
		{once, `command = ["/bin/true"]`, `command = [""]`, "command"},
		{once, `command = ["/bin/true"]`, "command = [\"/bin/true\"]\nmax_output = 1", "max_output"},
		{once, `command = ["/bin/true"]`, "command = [\"/bin/true\"]\nexit = { 256 = \"ok\" }", "exit.256"},
		{once, `command = ["/bin/true"]`, "command = [\"/bin/true\"]\nexit = { 2 = \"\" }", "exit.2"},
		{once, `command = ["/bin/true"]`, "command = [\"/bin/true\"]\nenv = { \"A=B\" = \"\" }", "env"},
		{once, `{ json = true }`, `{ json = true, regex = "x" }`, "parse"},
		{once, `{ json = true }`, `{}`, "parse"},
		{once, `from = "p"`, `code = true`, "point.p.code"},
		{once, `from = "p"`, `type = "bytes"`, "point.p.type"},
		{once, `from = "p"`, `writable = true`, "point.p.writable"},
		{once, `["/bin/true", "{value}"]`, `["/bin/true"]`, "point.p.write.command"},
		{once, `["/bin/true", "{value}"]`, `["/bin/true", "{value}", "{x}"]`, "point.p.write.command"},
		{once, `["/bin/true", "{value}"]`, `["{value}"]`, "point.p.write.command"},
		{once, `["/bin/true", "{value}"]`, `["/bin/true", "{value}"], decimals = 99`, "point.p.write.decimals"},
		{once, `["/bin/true", "{n}"]`, `[]`, "action.a.command"},
		{once, `n = { type = "int" }`, `n = { type = "number" }`, "action.a.args.n.type"},
		{once, `n = { type = "int" }`, `N = { type = "int" }`, "action.a.args.N"},
		{child, `writable = true`, `silent = true`, "point.p.silent"},
		{child, `writable = true`, `from = "x"`, "point.p"},
		{child, `[action.a]`, "[action.a]\ncommand = [\"x\"]", "action.a.command"},
		{child, `mode = "child"`, "mode = \"child\"\nparse = { json = true }", "mode"},
		{child, "[point.p]\nwritable = true\n[action.a]\n", "", "point"},
	} {
		text := strings.Replace(tt.base, tt.from, tt.to, 1)
		if text == tt.base {
			t.Errorf("%s is not there", tt.from)
		}
		_, err := driver.New(parse(t, text), drivers.Env{})
		var ce *drivers.ConfigError
		if !errors.As(err, &ce) || ce.Key != tt.key || ce.Text == "" || ce.Allowed == "" {
			t.Errorf("%s: error %v, want one about %s that tells what is allowed", tt.to, err, tt.key)
		}
	}
	for _, text := range []string{once, child} {
		if _, err := driver.New(parse(t, text), drivers.Env{}); err != nil {
			t.Error(err)
		}
	}
}
