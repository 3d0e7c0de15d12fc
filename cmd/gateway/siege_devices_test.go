package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// siegeDevices are devices that come to the gateway, with the secret in a file.
func siegeDevices(file string) map[string]string {
	return map[string]string{
		"devices.d/door.toml": fmt.Sprintf(`[device.door]
driver = "http"
[device.door.hook]
secret = "file:%s"
signature = { header = "X-Signature" }
parse = { json = true }
[device.door.point.open]
from = "open"
type = "bool"
`, file),
		"devices.d/lamp.toml": fmt.Sprintf(`[device.lamp]
driver = "wsdev"
token = "file:%s"
parse = { json = true }
[device.lamp.point.level]
from = "level"
`, file),
	}
}

// strangers come to the paths of devices: with bodies that look signed and are never
// complete, with wrong signatures, and with wrong tokens.
func strangers(s *siege) {
	const head = "POST /hook/door HTTP/1.1\r\nHost: localhost\r\nX-Signature: 00\r\nContent-Length: %d\r\n\r\n"
	body := strings.Repeat("x", 65_000)
	const n = 600 // more than may be half open
	s.crowd(n, s.host, refusedHalfOpen, func(int) string { return fmt.Sprintf(head, 65_536) + body })
	s.garrison.rounds(s.t, 20)
	wrong := fmt.Sprintf(head, len(body)) + body
	dial := "GET /dev/lamp HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer correct hors\r\n\r\n"
	for range scale(300) {
		for _, text := range []string{wrong, dial} {
			r := s.knock(s.host)
			_, _ = io.WriteString(r, text)
			resp, err := http.ReadResponse(bufio.NewReader(r), nil)
			if err != nil {
				continue // it has made room for somebody else
			}
			if resp.StatusCode != http.StatusUnauthorized {
				s.t.Errorf("a stranger is answered %s", resp.Status)
			}
			_ = resp.Body.Close()
			_ = r.Close()
		}
	}
	s.t.Logf("%d bodies that never end", n)
}
