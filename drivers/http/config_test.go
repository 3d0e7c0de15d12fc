package http_test

import (
	"errors"
	"strings"
	"testing"

	"gantry/drivers"
	driver "gantry/drivers/http"
)

func TestConfigErrorsNameTheKey(t *testing.T) {
	t.Parallel()
	hook := strings.ReplaceAll(hookText, "SECRET", "env:NONE")
	for _, tt := range []struct{ base, from, to, key string }{
		{plugText, `url = "URL"`, ``, "url"},
		{plugText, `url = "URL"`, `url = "ftp://x"`, "url"},
		{plugText, `url = "URL"`, `url = "http://me:pw@x"`, "url"},
		{plugText, `url = "URL"`, `url = "http://x?a=b"`, "url"},
		{plugText, `url = "URL"`, `url = "x"`, "url"},
		{plugText, `url = "URL"`, "url = \"URL\"\nmax_body = 10", "max_body"},
		{plugText, `url = "URL"`, "url = \"URL\"\nuser = \"me\"", "password"},
		{plugText, `url = "URL"`, "url = \"URL\"\ntoken_header = \"X\"", "token_header"},
		{plugText, `url = "URL"`, "url = \"URL\"\nheader = { Authorization = \"x\" }", "header.Authorization"},
		{plugText, `url = "URL"`, "url = \"URL\"\nheader = { \"a b\" = \"x\" }", "header.a b"},
		{plugText, `url = "URL"`, "url = \"URL\"\nca = \"/none.pem\"", "ca"},
		{plugText, `[request.status]`, `[request.hook]`, "request.hook"},
		{plugText, `path = "/status"`, `path = "status"`, "request.status.path"},
		{plugText, `path = "/status"`, `path = "/a b"`, "request.status.path"},
		{plugText, `path = "/status"`, `path = "/%zz"`, "request.status.path"},
		{plugText, `path = "/status"`, "path = \"/status\"\nmethod = \"PUT\"", "request.status.method"},
		{plugText, `path = "/status"`, "path = \"/status\"\nbody = \"x\"", "request.status.body"},
		{plugText, `path = "/status"`, "path = \"/status\"\ncontent_type = \"x\"", "request.status.content_type"},
		{plugText, `path = "/status"`, `path = "/{value}"`, "request.status.path"},
		{plugText, `parse = { json = true }`, `parse = { regex = "(" }`, "request.status.parse.regex"},
		{plugText, `from = "meters.0.power"`, `from = "meters.#"`, "point"},
		{plugText, `from = "meters.0.power"`, `from = "$meters"`, "point"},
		{plugText, `from = "meters.0.power"`, `request = "x"`, "point.power.request"},
		{plugText, `from = "meters.0.power"`, `silent = true`, "point.power.silent"},
		{plugText, `from = "meters.0.power"`, `status = true`, "point.power.status"},
		{plugText, `from = "meters.0.power"`, "from = \"x\"\ntype = \"bytes\"", "point.power.type"},
		{plugText, `from = "on"`, "from = \"on\"\nsilent = true", "point.on.silent"},
		{plugText, `/relay?turn={value}`, `/relay`, "point.on.write"},
		{plugText, `/relay?turn={value}`, `/relay?turn={x}`, "point.on.write.path"},
		{plugText, `from = "ison"`, `from = "is..on"`, "point.on.write.from"},
		{plugText, `from = "ison"`, `decimals = 1`, "point.on.write.decimals"},
		{plugText, `from = "ison"`, `expect = "("`, "point.on.write.expect"},
		{plugText, `method = "PUT"`, `method = "put"`, "action.say.method"},
		{plugText, `"say":"{what}"`, `"say":{what}`, "action.say.body"},
		{plugText, `n = { type = "int" }`, `N = { type = "int" }`, "action.say.args.N"},
		{plugText, `[request.status]`, "[request.other]\npath = \"/\"\n[request.status]", "point.on.request"},
		{hook, `secret = "env:NONE"`, ``, "hook.secret"},
		{hook, `secret = "env:NONE"`, "secret = \"env:NONE\"\nrate = -1.0", "hook.rate"},
		{hook, `secret = "env:NONE"`, "secret = \"env:NONE\"\nheader = \"a b\"", "hook.header"},
		{hook, `secret = "env:NONE"`, "secret = \"env:NONE\"\nsignature = { prefix = \"x\" }", "hook.signature.header"},
		{hook, `secret = "env:NONE"`, "secret = \"env:NONE\"\nsignature = { header = \"x\", encoding = \"rot13\" }", "hook.signature.encoding"},
		{hook, `secret = "env:NONE"`, "secret = \"env:NONE\"\nquery = \"x\"\nsignature = { header = \"x\" }", "hook.signature"},
		{hook, `secret = "env:NONE"`, "secret = \"env:NONE\"\nform = true", "hook.form"},
		{hook, `parse = { json = true }`, ``, "hook.parse"},
		{hook, `from = "env.t"`, `status = true`, "point.t.status"},
	} {
		text := strings.Replace(tt.base, tt.from, tt.to, 1)
		if text == tt.base {
			t.Errorf("%s is not there", tt.from)
		}
		_, err := driver.New(parse(t, text, "http://192.0.2.1"), drivers.Env{})
		var ce *drivers.ConfigError
		if !errors.As(err, &ce) || ce.Key != tt.key || ce.Text == "" || ce.Allowed == "" {
			t.Errorf("%s: error %v, want one about %s that tells what is allowed", tt.to, err, tt.key)
		}
	}
	for _, text := range []string{plugText, hook, commandsText} {
		if _, err := driver.New(parse(t, text, "http://192.0.2.1"), drivers.Env{}); err != nil {
			t.Error(err)
		}
	}
	if _, err := driver.New(driver.Config{}, drivers.Env{}); err == nil {
		t.Error("a device of nothing was taken")
	}
}
