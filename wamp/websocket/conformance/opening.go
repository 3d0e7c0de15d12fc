package conformance

import (
	"net/http"
	"strings"
)

func openingCases() []Case {
	return append(requestCases(), answerCases()...)
}

// requestCases are requests to a server.
func requestCases() []Case {
	var cases []Case
	add := func(name string, open func(p *peer)) {
		cases = append(cases, Case{Group: opening, Name: name, role: client, open: open})
	}
	for what, edit := range map[string][]string{
		"headers in any case":         {"Upgrade:", "Connection:", "uPGRADE: WebSocket", "cONNECTION: uPGRADE"},
		"Connection with other words": {"Connection: keep-alive, Upgrade"},
		"an unknown extension":        {"Sec-WebSocket-Extensions: x-nothing; a=1, x-other"},
		"extensions that are garbled": {"Sec-WebSocket-Extensions: ;;,,=;"},
		"a header that is unknown":    {"X-Nothing: at all", "Cookie: a=b"},
		"headers folded in spaces":    {"Sec-WebSocket-Version:   13  ", "Sec-WebSocket-Key:  " + nonce},
	} {
		add("a request is accepted, "+what, func(p *peer) {
			p.write(p.request(edit...))
			p.opened()
		})
	}
	add("a request octet by octet", func(p *peer) {
		for _, b := range p.request() {
			p.write([]byte{b})
		}
		p.opened()
	})
	add("subprotocols that the server does not speak", func(p *peer) {
		p.write(p.request("Sec-WebSocket-Protocol: nothing, else"))
		resp := p.answer()
		if got := resp.Header.Get("Sec-Websocket-Protocol"); got != "" || resp.StatusCode != 101 && resp.StatusCode/100 != 4 {
			p.Fatalf("answered by %s, subprotocol %q", resp.Status, got)
		}
	})
	for what, edit := range map[string][]string{
		"without Upgrade":           {"Upgrade:"},
		"with another Upgrade":      {"Upgrade: h2c"},
		"without Connection":        {"Connection:"},
		"with another Connection":   {"Connection: close"},
		"without a key":             {"Sec-WebSocket-Key:"},
		"with an empty key":         {"Sec-WebSocket-Key: "},
		"with a key that is short":  {"Sec-WebSocket-Key: c2hvcnQ="},
		"with a key not in base64":  {"Sec-WebSocket-Key: ~~~~~~~~~~~~~~~~~~~~~~=="},
		"with a key of 17 octets":   {"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="},
		"without a version":         {"Sec-WebSocket-Version:"},
		"without Host":              {"Host:"},
		"with Host twice":           {"Host:", "Host: a", "Host: b"},
		"with a header name broken": {"Bad Header: x"},
	} {
		add("a request "+what+" is refused", func(p *peer) {
			p.refuses(p.request(edit...), http.StatusBadRequest, http.StatusUpgradeRequired)
		})
	}
	for _, version := range []string{"0", "8", "14", "x"} {
		add("version "+version+" is refused and the right one told", func(p *peer) {
			resp := p.refuses(p.request("Sec-WebSocket-Version: "+version), http.StatusUpgradeRequired)
			if got := resp.Header.Get("Sec-Websocket-Version"); got != "13" {
				p.Fatalf("version in the answer is %q", got)
			}
		})
	}
	for what, line := range map[string]string{"method POST": "POST / HTTP/1.1", "method HEAD": "HEAD / HTTP/1.1", "HTTP/1.0": "GET / HTTP/1.0"} {
		add(what+" is refused", func(p *peer) {
			path, _, _ := strings.Cut(strings.TrimPrefix(string(p.request()), "GET "), " ")
			request := strings.Replace(string(p.request()), "GET "+path+" HTTP/1.1", strings.Replace(line, "/", path, 1), 1)
			p.refuses([]byte(request), http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusUpgradeRequired, http.StatusHTTPVersionNotSupported)
		})
	}
	return cases
}

// opened expects the handshake to be accepted and the connection to work.
func (p *peer) opened() {
	p.Helper()
	p.checkAccept(p.answer())
	p.fence()
	p.greet()
	p.done()
}

// answerCases are answers to a client.
func answerCases() []Case {
	var cases []Case
	add := func(name string, answer func(p *peer, key string) []byte, legal bool) {
		cases = append(cases, Case{Group: opening, Name: name, role: server, deflated: true, open: func(p *peer) {
			key, _ := p.asked()
			p.write(answer(p, key))
			if !legal {
				p.hangsUp()
				return
			}
			p.fence()
			p.done()
		}})
	}
	edit := func(lines ...string) func(p *peer, key string) []byte {
		return func(p *peer, key string) []byte { return p.accept(key, lines...) }
	}
	for what, lines := range map[string][]string{
		"headers in any case":         {"Upgrade:", "Connection:", "uPGRADE: WebSocket", "cONNECTION: uPGRADE"},
		"Connection with other words": {"Connection: keep-alive, Upgrade"},
		"a header that is unknown":    {"X-Nothing: at all", "Set-Cookie: a=b"},
	} {
		add("an answer is accepted, "+what, edit(lines...), true)
	}
	for what, lines := range map[string][]string{
		"without Upgrade":                        {"Upgrade:"},
		"with another Upgrade":                   {"Upgrade: h2c"},
		"without Connection":                     {"Connection:"},
		"with another Connection":                {"Connection: close"},
		"without the proof":                      {"Sec-WebSocket-Accept:"},
		"with the proof for another key":         {"Sec-WebSocket-Accept: " + acceptFor("AAAAAAAAAAAAAAAAAAAAAA==")},
		"with the key for a proof":               {"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAA=="},
		"with a subprotocol not asked for":       {"Sec-WebSocket-Protocol: nobody.asked"},
		"with an extension not asked for":        {"Sec-WebSocket-Extensions: x-nothing"},
		"with an extension beside compression":   {"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover, x-nothing"},
		"with compression twice":                 {"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover, permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
		"with an unknown parameter":              {"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; nothing=1"},
		"with a parameter twice":                 {"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; server_no_context_takeover; client_no_context_takeover"},
		"with a parameter that has a value":      {"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover=1; client_no_context_takeover"},
		"with a window that is too small":        {"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=7"},
		"with a window that is too large":        {"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=16"},
		"with a window without a value":          {"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits"},
		"with a client's window without a value": {"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits"},
	} {
		add("an answer "+what+" is refused", edit(lines...), false)
	}
	for _, status := range []string{"200 OK", "302 Found", "400 Bad Request", "401 Unauthorized", "500 Internal Server Error"} {
		add("status "+status+" is refused", func(p *peer, key string) []byte {
			answer := strings.Replace(string(p.accept(key, "Location: http://localhost/", "Content-Length: 0")), "101 Switching Protocols", status, 1)
			return []byte(answer)
		}, false)
	}
	for what, answer := range map[string]string{
		"not HTTP": "SSH-2.0-nothing\r\n\r\n", "cut short": "HTTP/1.1 101 Switching", "nothing": "", "HTTP/0.9": "hello",
	} {
		cases = append(cases, Case{Group: opening, Name: "an answer that is " + what + " is refused", role: server, open: func(p *peer) {
			p.asked()
			p.write([]byte(answer))
			if half, ok := p.conn.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
			p.hangsUp()
		}})
	}
	cases = append(cases, Case{Group: opening, Name: "an answer with frames behind it", role: server, open: func(p *peer) {
		key, _ := p.asked()
		p.write(append(p.accept(key), p.encode(append(p.parts(opText, []byte("early")), ping("early"))...)...))
		p.echoes(opText, []byte("early"))
		p.pong("early")
		p.done()
	}}, Case{Group: opening, Name: "an answer octet by octet", role: server, open: func(p *peer) {
		key, _ := p.asked()
		for _, b := range append(p.accept(key), p.encode(ping("early"))...) {
			p.write([]byte{b})
		}
		p.pong("early")
		p.done()
	}})
	return cases
}
