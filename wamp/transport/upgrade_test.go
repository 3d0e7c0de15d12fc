package transport

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
)

const plainRequest = "GET /ws HTTP/1.1\r\nHost: gateway.local:8080\r\nUser-Agent: x/1 (y; \"z\")\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: wamp.2.cbor, wamp.2.json\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nOrigin: http://gateway.local:8080\r\nCookie: a=b\r\n\r\n"

// unusualRequests are for the HTTP server to decide on.
var unusualRequests = map[string]string{
	"another path":            strings.Replace(plainRequest, "/ws", "/wss", 1),
	"a query":                 strings.Replace(plainRequest, "/ws", "/ws?a", 1),
	"an escaped path":         strings.Replace(plainRequest, "/ws", "/%77s", 1),
	"a whole URL":             strings.Replace(plainRequest, "/ws", "http://gateway.local/ws", 1),
	"another method":          strings.Replace(plainRequest, "GET", "POST", 1),
	"HTTP/1.0":                strings.Replace(plainRequest, "HTTP/1.1", "HTTP/1.0", 1),
	"no upgrade":              strings.Replace(plainRequest, ", Upgrade", "", 1),
	"another upgrade":         strings.Replace(plainRequest, "Upgrade: websocket", "Upgrade: h2c", 1),
	"another version":         strings.Replace(plainRequest, "13", "12", 1),
	"a short key":             strings.Replace(plainRequest, "AAAAAAAAAAAAAAAAAAAAAA==", "AAAA", 1),
	"a key that is no base64": strings.Replace(plainRequest, "AAAAAAAAAAAAAAAAAAAAAA==", "AAAA-AAAAAAAAAAAAAAAAA==", 1),
	"no host":                 strings.Replace(plainRequest, "Host", "Hose", 1),
	"two hosts":               strings.Replace(plainRequest, "\r\n\r\n", "\r\nHOST: a\r\n\r\n", 1),
	"a strange host":          strings.Replace(plainRequest, "gateway.local:8080", "gateway/local", 1),
	"two origins":             strings.Replace(plainRequest, "\r\n\r\n", "\r\norigin: http://a\r\n\r\n", 1),
	"a body":                  strings.Replace(plainRequest, "\r\n\r\n", "\r\nContent-Length: 4\r\n\r\n", 1),
	"a body in chunks":        strings.Replace(plainRequest, "\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n", 1),
	"an expectation":          strings.Replace(plainRequest, "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1),
	"a folded line":           strings.Replace(plainRequest, "\r\n\r\n", "\r\n more\r\n\r\n", 1),
	"a space before a colon":  strings.Replace(plainRequest, "Origin:", "Origin :", 1),
	"a line without a colon":  strings.Replace(plainRequest, "\r\n\r\n", "\r\nmore\r\n\r\n", 1),
	"an empty header":         strings.Replace(plainRequest, "Cookie: a=b", "Cookie:", 1),
	"a tab":                   strings.Replace(plainRequest, "a=b", "a=\tb", 1),
	"a NUL":                   strings.Replace(plainRequest, "a=b", "a=\x00b", 1),
	"a lone line feed":        strings.Replace(plainRequest, "Cookie: a=b", "Cookie: a=b\nX: y", 1),
	"UTF-8":                   strings.Replace(plainRequest, "a=b", "a=ö", 1),
	"something behind it":     plainRequest + "\x81\x80\x00\x00\x00\x00",
	"two of them":             plainRequest + plainRequest,
	"a part of it":            plainRequest[:len(plainRequest)-1],
	"nothing":                 "",
	"an empty line":           "\r\n\r\n",
}

func TestOnlyAPlainRequestIsUpgradedAtOnce(t *testing.T) {
	t.Parallel()
	got, ok := plainUpgrade([]byte(plainRequest), "/ws")
	want := [heads]string{
		"gateway.local:8080", "keep-alive, Upgrade", "websocket", "AAAAAAAAAAAAAAAAAAAAAA==", "13", "wamp.2.cbor, wamp.2.json",
		"permessage-deflate; client_max_window_bits", "http://gateway.local:8080", "a=b",
	}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("%t: %s", ok, diff)
	}
	for name, request := range unusualRequests {
		if _, ok := plainUpgrade([]byte(request), "/ws"); ok {
			t.Errorf("with %s it is", name)
		}
	}
}

// FuzzPlainUpgrade: what is taken for a plain request the HTTP server reads just
// so, and the library finds to be a handshake.
func FuzzPlainUpgrade(f *testing.F) {
	f.Add([]byte(plainRequest))
	for _, request := range unusualRequests {
		f.Add([]byte(request))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		values, ok := plainUpgrade(b, "/ws")
		if !ok {
			return
		}
		rest := bufio.NewReader(bytes.NewReader(b))
		r, err := http.ReadRequest(rest)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if r.Method != http.MethodGet || r.URL.Path != "/ws" || r.Host != values[headHost] || r.ContentLength != 0 ||
			len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1) || rest.Buffered() > 0 || !websocket.IsWebSocketUpgrade(r) {
			t.Errorf("%q is %+v with %d bytes behind it", b, r, rest.Buffered())
		}
		for i, name := range headNames {
			if i == headHost {
				continue
			}
			want := []string(nil)
			if values[i] != "" {
				want = []string{values[i]}
			}
			if diff := cmp.Diff(want, r.Header.Values(name)); diff != "" {
				t.Errorf("%q: %s: %s", b, name, diff)
			}
		}
	})
}

func TestPathsThatAreWrittenInOneWay(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/ws": true, "/": true, "/a/b-c_1": true, "/a b": false, "/a%20b": false, "/a?b": false, "ws": false, "/a.b": false, "/lp/ws": false,
	} {
		c := ServerConfig{Path: path, LongPoll: LongPollConfig{Path: "/lp"}}
		if c.plainPath() != want {
			t.Errorf("%q: %t", path, !want)
		}
	}
}
