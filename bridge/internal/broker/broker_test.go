package broker_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"gantry/bridge/internal/broker"
	"gantry/bridge/internal/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"tcp://host": "", "mqtts://host:1": "", "wss://host/mqtt": "", "unix:///run/x": "",
		"": "missing", "http://host": "no address", "tcp://u@host": "user name", "tcp://host/path": "path", "unix://x": "absolute", "mqtt://": "host",
	} {
		var got []string
		broker.CheckURL(address, false, func(ok bool, _, text, _ string) {
			if !ok {
				got = append(got, text)
			}
		})
		if text := strings.Join(got, "; "); want == "" && text != "" || !strings.Contains(text, want) {
			t.Errorf("%q: %q", address, text)
		}
	}
}

// TestGuardLetsNothingElseThrough sends what no broker may send.
func TestGuardLetsNothingElseThrough(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		in   []byte
		want string
	}{
		"a ping's answer":    {[]byte{0xd0, 0}, ""},
		"a ping":             {[]byte{0xc0, 0}, "not for a broker"},
		"too large":          {[]byte{0x30, 0xff, 0xff, 0x03}, ""},
		"what look refuses":  {[]byte{0x90, 3, 0, 1, 0}, "refused"},
		"half a packet":      {[]byte{0x20, 2, 0}, "closed"},
		"no length":          {[]byte{0x30, 0xff, 0xff, 0xff, 0xff}, ""},
		"a long ping answer": {[]byte{0xd0, 1, 0}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := net.Pipe()
			ctx, end := context.WithCancelCause(t.Context())
			g := broker.NewGuard(ours, 1024, func(f packet.Frame) error {
				if f.Name() == "SUBACK" {
					return refused
				}
				return nil
			}, end)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = theirs.Write(c.in)
				_ = theirs.Close()
			}()
			n, err := g.Read(make([]byte, 64))
			good := name == "a ping's answer"
			if good && (n != 2 || err != nil) || !good && (err == nil || context.Cause(ctx) == nil) {
				t.Errorf("%d %v, ended by %v", n, err, context.Cause(ctx))
			}
			if err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			_ = g.Close()
			<-done
		})
	}
}
