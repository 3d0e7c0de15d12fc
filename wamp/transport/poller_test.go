package transport_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

// poller is the client's side of long-poll, request by request.
type poller struct {
	t   testing.TB
	web *http.Client
	url string // of the session, of the transport before open
}

func newPoller(t testing.TB, s *server) *poller {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, s.network, s.addr)
	}
	web := &http.Transport{DialContext: dial}
	t.Cleanup(web.CloseIdleConnections)
	return &poller{t: t, web: &http.Client{Transport: web, Timeout: wamptest.Deadline}, url: "http://" + s.host() + "/lp"}
}

// host is the address for a Host header.
func (s *server) host() string {
	if s.network == "unix" {
		return "localhost"
	}
	return s.addr
}

// do makes a request and returns the answer with its body read. A request that
// fails has status 0.
func (p *poller) do(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, []byte) {
	req, err := http.NewRequestWithContext(ctx, method, p.url+"/"+path, body)
	if err != nil {
		p.t.Error(err)
		return &http.Response{}, nil
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if h := header.Get("Host"); h != "" {
		req.Host = h
	}
	resp, err := p.web.Do(req)
	if err != nil {
		return &http.Response{Status: err.Error()}, nil
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return &http.Response{Status: err.Error()}, nil
	}
	return resp, b
}

// post makes one request and returns status and body.
func (p *poller) post(path string, body []byte) (int, []byte) {
	resp, b := p.do(context.Background(), http.MethodPost, path, nil, bytes.NewReader(body))
	return resp.StatusCode, b
}

// open opens a session with one protocol.
func (p *poller) open(protocol string) *poller {
	p.t.Helper()
	status, b := p.post("open", []byte(`{"protocols": ["`+protocol+`"]}`))
	var answer struct{ Protocol, Transport string }
	if err := json.Unmarshal(b, &answer); status != 200 || err != nil || answer.Protocol != protocol || len(answer.Transport) < 22 {
		p.t.Fatalf("open was answered by %d, %s", status, b)
	}
	q := *p
	q.url += "/" + answer.Transport
	return &q
}

// send sends a body and wants it taken.
func (p *poller) send(body []byte) {
	p.t.Helper()
	if status, b := p.post("send", body); status != http.StatusNoContent || len(b) > 0 {
		p.t.Fatalf("send was answered by %d, %s", status, b)
	}
}

// receive makes receive requests until one brings something.
func (p *poller) receive() []byte {
	p.t.Helper()
	for {
		status, b := p.post("receive", nil)
		switch {
		case status == http.StatusOK && len(b) > 0:
			return b
		case status != http.StatusNoContent:
			p.t.Fatalf("receive was answered by %d, %s", status, b)
		}
	}
}

// pollServer serves with hasty options and, unless they are set, those of lp.
func pollServer(t testing.TB, cfg transport.ServerConfig, accept func(context.Context, wamp.Peer)) *server {
	if cfg.Linger == 0 {
		cfg.Linger = hasty.Linger
	}
	return serve(t, "tcp", cfg, accept)
}

// protocols are the subprotocols of every format, plain and batched.
func protocols() map[string]wamp.Format {
	all := map[string]wamp.Format{}
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		all[transport.Subprotocol(f)], all[transport.BatchedSubprotocol(f)] = f, f
	}
	return all
}

// asSent is a message as the body of a request in a protocol.
func asSent(protocol string, f wamp.Format, m []byte) []byte {
	if strings.HasSuffix(protocol, ".batched") {
		return record(f, m, transport.SeparatorRS)
	}
	return m
}
