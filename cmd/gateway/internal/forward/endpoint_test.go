package forward

import (
	"net"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"tcp:1", "tls:[::1]:1", "unix:x", "ws://8081/x", "wss://:1", "ws+unix:///x:/y", "serial:/dev/x,baud=9600,dtr=on", "serial:usb=0403:6001,serial=x", "stdio:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := parseEndpoint(s)
		if err != nil {
			return
		}
		if host, _, err := net.SplitHostPort(e.addr); (e.kind == "tcp" || e.kind == "tls") && (err != nil || host == "") {
			t.Errorf("%q listens everywhere: %q", s, e.addr)
		}
	})
}
