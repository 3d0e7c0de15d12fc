package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gantry/drivers"
	"gantry/drivers/internal/web"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is one that is known, or cannot be read if it is empty.
type secret string

func (s secret) Reveal() (string, error) {
	if s == "" {
		return "", errors.New("it is not there")
	}
	return string(s), nil
}

func TestDoorkeeper(t *testing.T) {
	t.Parallel()
	const token = "correct horse"
	for _, tt := range []struct {
		name   string
		keeper web.Doorkeeper
		target string
		header http.Header
		want   bool
	}{
		{"a bearer", web.Doorkeeper{}, "/", http.Header{"Authorization": {"Bearer " + token}}, true},
		{"in another case", web.Doorkeeper{}, "/", http.Header{"Authorization": {"bearer " + token}}, true},
		{"another scheme", web.Doorkeeper{}, "/", http.Header{"Authorization": {"Basic " + token}}, false},
		{"no scheme", web.Doorkeeper{}, "/", http.Header{"Authorization": {token}}, false},
		{"a part", web.Doorkeeper{}, "/", http.Header{"Authorization": {"Bearer " + token[:8]}}, false},
		{"more", web.Doorkeeper{}, "/", http.Header{"Authorization": {"Bearer " + token + "s"}}, false},
		{"nothing", web.Doorkeeper{}, "/", nil, false},
		{"a header", web.Doorkeeper{Header: "X-Token"}, "/", http.Header{"X-Token": {token}}, true},
		{"a bearer in place of a header", web.Doorkeeper{Header: "X-Token"}, "/", http.Header{"Authorization": {"Bearer " + token}}, false},
		{"a query that is not asked for", web.Doorkeeper{}, "/?key=correct+horse", nil, false},
		{"a query", web.Doorkeeper{Query: "key"}, "/?key=correct+horse", nil, true},
		{"a broken query", web.Doorkeeper{Query: "key"}, "/?%zz&key=", nil, false},
		{"a wrong header beside a query", web.Doorkeeper{Query: "key"}, "/?key=correct+horse", http.Header{"Authorization": {"Bearer x"}}, false},
	} {
		tt.keeper.Token = []byte(token)
		r := httptest.NewRequest("GET", tt.target, nil)
		r.Header = tt.header
		if got := tt.keeper.Knows(r); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	for _, s := range []secret{"", "short", "7 bytes"} {
		if _, err := web.Key("token", s); err == nil || !strings.HasPrefix(err.Error(), "token: ") {
			t.Errorf("%q: %v", s, err)
		}
	}
	if k, err := web.Key("token", secret("8 bytes.")); string(k) != "8 bytes." || err != nil {
		t.Errorf("%q, %v", k, err)
	}
	c := web.ClientConfig{Token: secret("a\r\nX-Evil: 1")}
	if _, err := c.Headers(); err == nil || strings.Contains(err.Error(), "Evil") {
		t.Errorf("a secret with a line end: %v", err)
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for raw, ok := range map[string]bool{
		"http://192.0.2.1": true, "https://plug.local:8443/api": true, "http://[2001:db8::1]/": true,
		"": false, "192.0.2.1": false, "ws://x": false, "http://": false, "http://me@x": false, "http://x#y": false, "http:x": false, "http://x y": false,
	} {
		_, err := web.ParseURL("url", raw, "http", "https")
		var ce *drivers.ConfigError
		if (err == nil) != ok || err != nil && (!errors.As(err, &ce) || ce.Key != "url" || ce.Allowed == "") {
			t.Errorf("%q: %v", raw, err)
		}
	}
}
