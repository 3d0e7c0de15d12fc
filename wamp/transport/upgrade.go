package transport

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"strings"

	"gantry/wamp"
)

// Most WebSocket clients send their request in one piece, and plainly. Those are
// upgraded by the goroutine that has accepted them: going through the HTTP server
// costs more than all the rest of joining. Whatever is unusual or wrong with a
// request, the HTTP server gets it and decides: nothing is refused here.

// The headers of a WebSocket request that mean something here. All others are
// passed over, except those in unusual.
const (
	headHost = iota
	headConnection
	headUpgrade
	headKey
	headVersion
	headProtocol
	headExtensions
	headOrigin
	headCookie
	heads // how many there are
)

var headNames = [heads]string{
	"Host", "Connection", "Upgrade", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Protocol",
	"Sec-Websocket-Extensions", "Origin", "Cookie",
}

// unusual are headers that change what a request is or how it goes on.
var unusual = []string{"Content-Length", "Transfer-Encoding", "Expect", "Trailer", "Te", "Http2-Settings"}

// plainUpgrade reads the request in b, which is for path. ok is false unless it is a
// whole WebSocket request with nothing behind it, in the form that everybody uses,
// and none of its headers that mean something comes twice.
func plainUpgrade(b []byte, path string) (values [heads]string, ok bool) {
	head, found := bytes.CutSuffix(b, []byte("\r\n\r\n"))
	if !found {
		return values, false
	}
	rest := string(head)
	line, rest, _ := strings.Cut(rest, "\r\n")
	target, found := strings.CutPrefix(line, "GET ")
	if target, ok = strings.CutSuffix(target, " HTTP/1.1"); !found || !ok || target != path {
		return values, false
	}
	for more := rest != ""; more; {
		line, rest, more = strings.Cut(rest, "\r\n")
		name, value, colon := strings.Cut(line, ":")
		if !colon || !token(name) || !visible(value) {
			return values, false
		}
		for _, u := range unusual {
			if strings.EqualFold(u, name) {
				return values, false
			}
		}
		for i, known := range headNames {
			if len(name) != len(known) || !strings.EqualFold(name, known) {
				continue
			}
			if value = strings.Trim(value, " "); value == "" || values[i] != "" {
				return values, false
			}
			values[i] = value
			break
		}
	}
	key, err := base64.StdEncoding.DecodeString(values[headKey])
	ok = err == nil && len(key) == 16 && values[headVersion] == "13" && plainHost(values[headHost]) &&
		strings.EqualFold(values[headUpgrade], "websocket") && lists(values[headConnection], "upgrade")
	return values, ok
}

// token reports whether s may be the name of a header (RFC 9110, 5.6.2), of those
// characters that are in use.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}

// visible reports whether s has nothing but ASCII that can be seen, and spaces.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// plainHost reports whether s is a name or an address, perhaps with a port.
func plainHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-_.:[]", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// lists reports whether a list of tokens has one, in any case.
func lists(list, token string) bool {
	for t := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.Trim(t, " "), token) {
			return true
		}
	}
	return false
}

// plainPath reports whether a request for path is written just so, and is for
// WebSocket whatever else is served.
func (c *ServerConfig) plainPath() bool {
	for _, part := range strings.Split(c.Path, "/") {
		if part != "" && !token(part) {
			return false
		}
	}
	return strings.HasPrefix(c.Path, "/") && (c.LongPoll.Off || !strings.HasPrefix(c.Path, c.LongPoll.Path+"/"))
}

// upgrader stands in for the HTTP server: it is a request with its answer.
type upgrader struct {
	request http.Request
	values  [heads][1]string
	answer  http.Header
	brw     *bufio.ReadWriter // the library asks for one, and reads nothing from it
	conn    webConn
}

var _ http.ResponseWriter = (*upgrader)(nil)
var _ http.Hijacker = (*upgrader)(nil)

// answerSize is what an answer takes.
const answerSize = 512

func newUpgrader() *upgrader {
	return &upgrader{
		request: http.Request{Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}},
		answer:  http.Header{},
		brw:     bufio.NewReadWriter(bufio.NewReaderSize(nil, 16), bufio.NewWriterSize(nil, answerSize)),
	}
}

// fill makes the request.
func (u *upgrader) fill(conn net.Conn, values *[heads]string, visitor *visit) {
	u.request.Host = values[headHost]
	for i, name := range headNames {
		if i != headHost && values[i] != "" {
			u.values[i][0] = values[i]
			u.request.Header[name] = u.values[i][:]
		}
	}
	if tc, ok := conn.(*tls.Conn); ok {
		state := tc.ConnectionState()
		u.request.TLS = &state
	}
	u.conn = webConn{Conn: conn, visit: visitor}
}

// clear forgets the request.
func (u *upgrader) clear() {
	clear(u.request.Header)
	clear(u.answer)
	clear(u.values[:])
	u.request.Host, u.request.TLS = "", nil
	u.conn = webConn{}
	u.brw.Reader.Reset(nil)
	u.brw.Writer.Reset(nil)
}

// Header returns the headers of the answer.
func (u *upgrader) Header() http.Header { return u.answer }

// WriteHeader does nothing: whoever is refused is told so by the HTTP server.
func (u *upgrader) WriteHeader(int) {}

// Write does nothing, as WriteHeader.
func (u *upgrader) Write(b []byte) (int, error) { return len(b), nil }

// Hijack hands the connection over.
func (u *upgrader) Hijack() (net.Conn, *bufio.ReadWriter, error) { return &u.conn, u.brw, nil }

// upgradeAtOnce makes a session of a connection whose first bytes, which it then
// gives back, are a plain WebSocket request that nothing is wrong with. It reports
// whether it has dealt with the connection.
func (v *service) upgradeAtOnce(conn net.Conn, first *buffer, visitor *visit) bool {
	if !v.plainPath || v.ctx.Err() != nil {
		return false
	}
	values, ok := plainUpgrade(first.b, v.cfg.Path)
	if !ok || v.cfg.CheckHost != nil && !v.cfg.CheckHost(values[headHost]) {
		return false
	}
	growStack(0)
	u := v.upgraders.Get().(*upgrader)
	defer v.upgraders.Put(u)
	defer u.clear()
	u.fill(conn, &values, visitor)
	p, err := v.upgrade(u, &u.request)
	if err != nil && !u.conn.taken {
		return false
	}
	first.release()
	if err == nil && !v.enter(p) {
		_ = p.Close() // the client, which has its answer already, is told why
		err = wamp.ErrClosed
	}
	if err != nil {
		visitor.handshakeFailed(err)
		visitor.done()
		_ = conn.Close()
		return true
	}
	v.session(p, visitor)
	return true
}

// growStack makes room on the stack for what follows, in one step while there is
// little to be copied: this handshake and the login take 8 to 16 KiB.
//
//go:noinline
func growStack(i int) byte {
	var room [9 << 10]byte
	return room[i]
}

// upgrade answers a request, whose connection is taken over if all is well.
func (v *service) upgrade(w http.ResponseWriter, r *http.Request) (*wsPeer, error) {
	cookie := v.cfg.Cookie.recognize(w, r)
	ws, err := v.ws.Upgrade(w, r)
	if err != nil {
		return nil, err
	}
	f, k := v.cfg.parseSubprotocol(ws.Subprotocol(), v.cfg.Formats)
	p := newWSPeer(ws, ws.NetConn().(*wsConn), f, k, true)
	p.info.Cookie = cookie
	return p, nil
}

// take puts a link beneath the WebSocket in place of the HTTP server's connection.
func (v *service) take(conn net.Conn) net.Conn {
	from := conn.(*webConn)
	from.taken = true
	c := &wsConn{}
	c.init(from.Conn, &v.cfg.Options, v.turns)
	c.visit, c.memory, c.welcomed = from.visit, v.cfg.Memory, from.visit.settle
	return c
}
