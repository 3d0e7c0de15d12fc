package websocket_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp/websocket"
)

func TestRedialerNeverGivesUpAndTellsHowItGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		s := &websocket.Server{Handle: func(c *websocket.Conn, _ *http.Request) {
			_ = c.Write(websocket.Text, []byte("hello"))
			_, _, _ = c.Read()
		}, Connect: func(*websocket.Handshake) error {
			if n++; n <= 20 {
				return &websocket.Refusal{Status: http.StatusServiceUnavailable}
			}
			return nil
		}}
		p := piped(t, s)
		var phases []string
		var longest time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := &websocket.Redialer{Dialer: &websocket.Dialer{DialNet: p.dial}, URL: "ws://pipe", MinWait: time.Second, MaxWait: 30 * time.Second}
		r.State = func(st websocket.RedialState) {
			if st.Phase == websocket.Waiting {
				longest = max(longest, st.Wait)
				var he *websocket.HandshakeError
				if n <= 20 && !errors.As(st.Err, &he) {
					t.Errorf("waits for %v", st.Err)
				}
			}
			phases = append(phases, fmt.Sprintf("%v%d", st.Phase, st.Attempt))
		}
		rounds := 0
		err := r.Run(ctx, func(ctx context.Context, c *websocket.Conn) error {
			if _, b, err := c.Read(); err != nil || string(b) != "hello" {
				t.Errorf("%q, %v", b, err)
			}
			if rounds++; rounds == 2 {
				cancel()
			}
			return errors.New("go on")
		})
		if err != nil || rounds != 2 {
			t.Errorf("%d rounds, %v", rounds, err)
		}
		if longest < 5*time.Second || longest > 30*time.Second {
			t.Errorf("longest wait %v", longest)
		}
		want := "connecting20 connected0 waiting1 connecting1 connected0 stopped0"
		if got := strings.Join(phases, " "); !strings.HasPrefix(got, "connecting0 waiting1 connecting1 waiting2") || !strings.HasSuffix(got, want) {
			t.Error(got)
		}
	})
}

func TestRedialerStopsWhereGoingOnIsOfNoUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ue *websocket.URLError
		if err := (&websocket.Redialer{URL: "http://x"}).Run(t.Context(), nil); !errors.As(err, &ue) {
			t.Error(err)
		}
		p := newPipe()
		_ = p.Close()
		attempts := 0
		r := &websocket.Redialer{Dialer: &websocket.Dialer{DialNet: p.dial}, URL: "ws://pipe", MaxAttempts: 3}
		r.State = func(s websocket.RedialState) {
			if s.Phase == websocket.Connecting {
				attempts++
			}
		}
		if err := r.Run(t.Context(), nil); err == nil || attempts != 3 {
			t.Errorf("%d attempts, %v", attempts, err)
		}
		r.MaxAttempts = 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := r.Run(ctx, nil); err != nil || attempts < 700 {
			t.Errorf("%d attempts in an hour, %v", attempts, err)
		}
		s := piped(t, &websocket.Server{Handle: func(c *websocket.Conn, _ *http.Request) { _, _, _ = c.Read() }})
		r = &websocket.Redialer{Dialer: &websocket.Dialer{DialNet: s.dial}, URL: "ws://pipe"}
		if err := r.Run(t.Context(), func(context.Context, *websocket.Conn) error { return websocket.ErrStop }); err != nil {
			t.Error(err)
		}
	})
}
