package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"gantry/wamp/wamptest"
)

// upgraded opens a WebSocket without joining.
func (s *siege) upgraded() *raider {
	s.t.Helper()
	return s.upgradedTo("wamp.2.json")
}

func (s *siege) upgradedTo(protocol string) (r *raider) {
	s.t.Helper()
	s.again(func() error {
		r = s.greeted(string(wamptest.Upgrade("/ws", protocol)))
		r.web = true
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = r.r.ReadString('\n'); err != nil {
				return err
			}
		}
		return nil
	})
	return r
}

// webHeader begins a text frame of n bytes, masked with zeros.
func webHeader(n uint64) string {
	switch { // the shortest form is the only one
	case n < 126:
		return string([]byte{0x81, 0x80 | byte(n), 0, 0, 0, 0})
	case n < 1<<16:
		return string([]byte{0x81, 0xfe, byte(n >> 8), byte(n), 0, 0, 0, 0})
	}
	return string([]byte{0x81, 0xff, byte(n >> 56), byte(n >> 48), byte(n >> 40), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0, 0, 0, 0})
}

// webFrame is a whole frame, masked with zeros.
func webFrame(text bool, payload string) string {
	head := []byte(webHeader(uint64(len(payload))))
	if !text {
		head[0] = 0x82
	}
	return string(head) + payload
}

// webJoined joins over a WebSocket.
func (s *siege) webJoined() (r *raider) {
	s.t.Helper()
	s.again(func() error {
		r = s.upgraded()
		_, _ = io.WriteString(r, webHeader(uint64(len(raidHello)))+raidHello)
		var h [4]byte
		if _, err := io.ReadFull(r.r, h[:]); err != nil || h[0] != 0x81 || h[1] != 126 {
			return fmt.Errorf("no WELCOME: % x, %v", h, err)
		}
		_, err := io.CopyN(io.Discard, r.r, int64(h[2])<<8|int64(h[3]))
		return err
	})
	return r
}

// lengthBombs announces messages that never come, of every size.
func lengthBombs(s *siege) {
	for _, c := range []struct {
		name   string
		open   func() *raider
		header string
	}{
		{"rawsocket before login", s.raid, "\x00\xff\xff\xff"},
		{"rawsocket before login, 2^24", s.raid, "\x08\x00\x00\x00"},
		{"rawsocket before login, ping", s.raid, "\x01\x7f\xff\xff"},
		{"rawsocket after login", s.infiltrate, "\x00\xff\xff\xff"},
		{"rawsocket after login, reserved bits", s.infiltrate, "\xf0\x00\x00\x00"},
		{"websocket before login", s.upgraded, webHeader(1 << 40)},
		{"websocket before login, 2^63", s.upgraded, webHeader(1 << 63)},
		{"websocket before login, 2^64-1", s.upgraded, webHeader(1<<64 - 1)},
		{"websocket after login", s.webJoined, webHeader(1 << 30)},
	} {
		for range scale(20) {
			r := c.open()
			_, _ = io.WriteString(r, c.header)
			hungUp(s.t, r.Conn)
		}
	}
}

// hostileBatches sends frames that promise several messages: lengths that are not
// there, messages of nothing, as many as fit, and requests whose answers nobody reads.
func hostileBatches(s *siege) {
	binary := func(messages ...string) string { return string(frames(messages...)) }
	for _, c := range []struct {
		name, protocol, payload string
	}{
		{"none", "json", ""},
		{"no end", "json", raidHello},
		{"empty ones", "json", strings.Repeat("\x1e", 16_000)},
		{"tiny ones", "json", strings.Repeat("0\x1e", 8_000)},
		{"both separators", "json", strings.Repeat(raidHello+"\x18\x1e", 100)},
		{"many HELLOs", "json", strings.Repeat(raidHello+"\x1e", 100)},
		{"all one separator but the last", "json", raidHello + "\x18" + raidHello + "\x1e"},
		{"lengths of 2^32-1", "cbor", strings.Repeat("\xff", 16_000)},
		{"lengths of 0", "msgpack", strings.Repeat("\x00", 16_000)},
		{"a length cut off", "cbor", binary("\x80") + "\x00\x00"},
		{"tiny ones", "msgpack", strings.Repeat("\x00\x00\x00\x01\xc0", 3_000)},
		{"longer than the frame", "cbor", "\x00\x00\x40\x00\x80"},
	} {
		for range scale(20) {
			r := s.upgradedTo("wamp.2." + c.protocol + ".batched")
			_, _ = io.WriteString(r, webFrame(c.protocol == "json", c.payload))
			hungUp(s.t, r.Conn)
		}
	}
	ask := `[34,1,99]` + "\x1e" // answered by an ERROR ten times as long
	for range scale(4) {        // each is given time to hear why it is ended
		r := s.upgradedTo("wamp.2.json.batched")
		_ = r.SetWriteDeadline(time.Now().Add(siegeWait()))
		_, _ = io.WriteString(r, webFrame(true, raidHello+"\x1e"))
		for range 8 {
			if _, err := io.WriteString(r, webFrame(true, strings.Repeat(ask, 100_000))); err != nil {
				break
			}
		}
	}
	s.garrison.rounds(s.t, 20)
}

// endlessMessages sends all but the last byte of messages as large as they may be.
func endlessMessages(s *siege) {
	large := strings.Repeat(" ", 1<<20-1)
	for _, open := range []func() *raider{s.raid, s.upgraded, s.infiltrate, s.webJoined} {
		for range scale(100) {
			r := open()
			// How much of it is taken is up to the program.
			_ = r.SetWriteDeadline(time.Now().Add(siegeWait()))
			if r.web {
				_, _ = io.WriteString(r, webHeader(1<<20)+large)
			} else {
				_, _ = io.WriteString(r, "\x00\x10\x00\x00"+large)
			}
		}
	}
	s.garrison.rounds(s.t, 20)
}

// nesting sends what is deep or has many elements.
func nesting(s *siege) {
	bombs := []string{
		strings.Repeat("[", 1<<19),
		strings.Repeat(`{"a":`, 1<<17),
		`[16,1,{},"a.b",[` + strings.Repeat("[", 1<<18) + strings.Repeat("]", 1<<18) + `]]`,
		`[16,1,{},"a.b",[` + strings.Repeat("0,", 1<<19-50) + `0]]`,
		`[16,1,{},"a.b",[],{` + strings.Repeat(`"":0,`, 1<<17) + `"":0}]`,
		`[16,1,{` + manyKeys(1<<16) + `},"a.b"]`,
		`[` + strings.Repeat("0,", 1<<18) + `0]`,
		`[16,1` + strings.Repeat("0", 1<<19) + `,{},"a.b"]`,
		`[16,1,{"eligible":[` + strings.Repeat("1,", 1<<17) + `1]},"a.b"]`,
	}
	for _, open := range []func() *raider{s.raid, s.infiltrate} {
		for _, bomb := range bombs {
			for range scale(5) {
				r := open()
				r.send(bomb)
				_ = r.Conn.(*net.TCPConn).CloseWrite()
				hungUp(s.t, r.Conn)
			}
		}
	}
	for _, head := range []string{"\x7f\xf2\x00\x00", "\x7f\xf3\x00\x00"} {
		for _, bomb := range []string{
			strings.Repeat("\x91", 1<<19), strings.Repeat("\x81", 1<<19), strings.Repeat("\x9f", 1<<19),
			"\xdd\x7f\xff\xff\xff", "\xdf\x7f\xff\xff\xff", "\xdb\xff\xff\xff\xff", "\xc6\xff\xff\xff\xff", // MsgPack
			"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", "\xbb\xff\xff\xff\xff\xff\xff\xff\xff", "\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", // CBOR
			strings.Repeat("\xc1", 1<<19), strings.Repeat("\x5f", 1<<19),
		} {
			c := s.knock(s.host)
			_, _ = io.WriteString(c, head+string(frames(bomb)))
			hungUp(s.t, c)
		}
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"k%d":0,`, i)
	}
	return b.String() + `"z":0`
}

// slowloris begins everything that can be begun and goes on one byte at a time, or
// not at all. None of it may stay.
func slowloris(s *siege) {
	upgrade := string(wamptest.Upgrade("/ws", "wamp.2.json"))
	begun := []string{
		"", "\x7f", "\x7f\xf1", "\x7f\xf1\x00\x00", "\x7f\xf1\x00\x00\x00\x00\x00", "\x7f\xf1\x00\x00\x00\x00\x00\x40[1,",
		"G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", upgrade[:len(upgrade)-2],
		upgrade, upgrade + "\x81", upgrade + "\x81\xc0\x00\x00\x00\x00[1,",
	}
	var all []net.Conn
	for range scale(40) {
		for _, text := range begun {
			c := s.knock(s.host)
			_, _ = io.WriteString(c, text)
			all = append(all, c)
		}
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < 2*time.Second; <-tick.C {
		for i, c := range all {
			if i%len(begun) == 8 { // a header that goes on
				_, _ = io.WriteString(c, "x")
			}
		}
	}
	for _, c := range all {
		hungUp(s.t, c)
	}
}

// refusedHalfOpen counts connections that have made room for others before their login.
const refusedHalfOpen = `gantry_transport_refused_total{reason="half_open"}`

// halfOpen opens connections in each state before the login and leaves them so.
func halfOpen(s *siege) {
	upgrade := string(wamptest.Upgrade("/ws", "wamp.2.json"))
	stages := []string{"", "\x7f\xf1\x00\x00", upgrade, "GET / HTTP/1.1\r\nHost: x\r\n", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"}
	n := scale(5000)
	s.crowd(n, s.host, refusedHalfOpen, func(i int) string { return stages[i%len(stages)] })
	s.garrison.rounds(s.t, 20)
	s.t.Logf("%d connections", n)
}

// churn joins and drops the connection, with and without a word.
func churn(s *siege) {
	for i := range scale(2000) {
		r := s.infiltrate()
		r.send(`[32,1,{},"siege.churn"]`, `[64,2,{},"siege.churn.`+fmt.Sprint(i)+`"]`)
		if i%2 == 0 {
			r.reset()
		}
		_ = r.Close()
	}
}

// farewells says goodbye too early, too often, and in the midst of things.
func farewells(s *siege) {
	for range scale(300) {
		for _, words := range [][]string{
			{`[6,{},"wamp.close.normal"]`},
			{`[3,{},"wamp.error.canceled"]`},
			{raidHello, `[6,{},"wamp.close.normal"]`, `[6,{},"wamp.close.normal"]`, `[3,{},"a.b"]`},
			{raidHello, `[3,{},"a.b"]`, `[3,{},"a.b"]`},
			{raidHello, raidHello},
			{raidHello, `[48,1,{},"fort.echo",[]]`, `[6,{},"wamp.close.normal"]`},
			{raidHello, `[36,1,2,{}]`},
		} {
			r := s.raid()
			r.send(words...)
			r.ended()
			_ = r.Close()
		}
	}
}
