package conformance

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// guid is added to the key of a handshake (RFC 6455, 1.3).
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// nonce is the key of all raw clients, that of the specification's example.
const nonce = "dGhlIHNhbXBsZSBub25jZQ=="

func acceptFor(key string) string {
	sum := sha1.Sum([]byte(key + guid))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// request is a client's opening request. Lines of edit replace the header lines of
// the same name; those that end in a colon remove them.
func (e Endpoint) request(edit ...string) []byte {
	path := e.Path
	if path == "" {
		path = "/"
	}
	lines := []string{"Host: localhost", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + nonce}
	if e.Subprotocol != "" {
		lines = append(lines, "Sec-WebSocket-Protocol: "+e.Subprotocol)
	}
	return []byte("GET " + path + " HTTP/1.1\r\n" + strings.Join(edited(lines, edit), "\r\n") + "\r\n\r\n")
}

// edited replaces, removes and adds header lines.
func edited(lines, edit []string) []string {
	var kept []string
	for _, line := range lines {
		name, _, _ := strings.Cut(line, ":")
		keep := true
		for _, e := range edit {
			keep = keep && !strings.HasPrefix(e, name+":")
		}
		if keep {
			kept = append(kept, line)
		}
	}
	for _, e := range edit {
		if !strings.HasSuffix(e, ":") {
			kept = append(kept, e)
		}
	}
	return kept
}

// openClient does the handshake of a raw client. offers are those of compression;
// none means that none is offered.
func (p *peer) openClient(offers ...params) {
	p.Helper()
	var edit []string
	if len(offers) > 0 {
		texts := make([]string, len(offers))
		for i, o := range offers {
			texts[i] = o.String()
		}
		edit = []string{"Sec-WebSocket-Extensions: " + strings.Join(texts, ", ")}
	}
	p.write(p.request(edit...))
	resp := p.answer()
	p.checkAccept(resp)
	ext := resp.Header.Get("Sec-Websocket-Extensions")
	if ext == "" {
		return
	}
	agreed, err := parseParams(ext, false)
	if err != nil {
		p.Fatal(err)
	}
	for _, o := range offers {
		if agreed.answers(o) == "" {
			p.deflate = newDeflate(agreed, o, true)
			return
		}
	}
	p.Fatalf("answer %q fits none of the offers %v", ext, offers)
}

// answer reads the head of the answer to a handshake.
func (p *peer) answer() *http.Response {
	p.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(p.br, nil)
	if err != nil {
		p.Fatalf("answer to the handshake: %v", err)
	}
	return resp
}

// checkAccept fails unless resp accepts the handshake as RFC 6455, 4.2.2 says.
func (p *peer) checkAccept(resp *http.Response) {
	p.Helper()
	h := resp.Header
	switch {
	case resp.StatusCode != http.StatusSwitchingProtocols:
		p.Fatalf("handshake answered by %s", resp.Status)
	case !strings.EqualFold(h.Get("Upgrade"), "websocket"), !strings.EqualFold(h.Get("Connection"), "upgrade"):
		p.Fatalf("handshake answered with Upgrade %q, Connection %q", h.Get("Upgrade"), h.Get("Connection"))
	case h.Get("Sec-Websocket-Accept") != acceptFor(nonce):
		p.Fatalf("handshake accepted with %q, expected %q", h.Get("Sec-Websocket-Accept"), acceptFor(nonce))
	case h.Get("Sec-Websocket-Protocol") != p.Subprotocol:
		p.Fatalf("subprotocol %q, expected %q", h.Get("Sec-Websocket-Protocol"), p.Subprotocol)
	case len(h.Values("Sec-Websocket-Extensions")) > 1:
		p.Fatalf("several extension headers: %q", h.Values("Sec-Websocket-Extensions"))
	}
}

// asked reads a client's request and checks it as RFC 6455, 4.1 says. It returns
// the offers of compression.
func (p *peer) asked() (key string, offers []params) {
	p.Helper()
	if p.got != nil {
		return p.checkRequest(p.got)
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	r, err := http.ReadRequest(p.br)
	if err != nil {
		p.Fatalf("a client's request: %v", err)
	}
	return p.checkRequest(r)
}

func (p *peer) checkRequest(r *http.Request) (key string, offers []params) {
	p.Helper()
	key = r.Header.Get("Sec-Websocket-Key")
	raw, err := base64.StdEncoding.DecodeString(key)
	switch {
	case r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ProtoMinor < 1:
		p.Fatalf("request is %s %s", r.Method, r.Proto)
	case err != nil || len(raw) != 16:
		p.Fatalf("key is %q, expected 16 octets in base64", key)
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"), !strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade"):
		p.Fatalf("request with Upgrade %q, Connection %q", r.Header.Get("Upgrade"), r.Header.Get("Connection"))
	case r.Header.Get("Sec-Websocket-Version") != "13" || r.Host == "":
		p.Fatalf("request with version %q, host %q", r.Header.Get("Sec-Websocket-Version"), r.Host)
	}
	for _, line := range r.Header.Values("Sec-Websocket-Extensions") {
		for ext := range strings.SplitSeq(line, ",") {
			o, err := parseParams(ext, true)
			if err != nil {
				p.Fatal(err)
			}
			offers = append(offers, o)
		}
	}
	return key, offers
}

// accept is a server's answer that accepts a key. See request for edit.
func (e Endpoint) accept(key string, edit ...string) []byte {
	lines := []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: " + acceptFor(key)}
	if e.Subprotocol != "" {
		lines = append(lines, "Sec-WebSocket-Protocol: "+e.Subprotocol)
	}
	return []byte("HTTP/1.1 101 Switching Protocols\r\n" + strings.Join(edited(lines, edit), "\r\n") + "\r\n\r\n")
}

// hangsUp expects a client to end the connection without a frame, as it does when
// the handshake is refused.
func (p *peer) hangsUp() {
	p.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	if b, err := p.br.ReadByte(); err == nil {
		p.Fatalf("the client goes on with octet 0x%02x", b)
	}
}

// refuses expects a server to refuse a request with one of these states, and
// returns the answer.
func (p *peer) refuses(request []byte, states ...int) *http.Response {
	p.Helper()
	p.write(request)
	resp := p.answer()
	for _, s := range states {
		if resp.StatusCode == s {
			return resp
		}
	}
	p.Fatalf("request answered by %s, expected %s", resp.Status, fmt.Sprint(states))
	return nil
}
