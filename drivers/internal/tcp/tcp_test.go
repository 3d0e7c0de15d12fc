package tcp_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/drivers"
	"gantry/drivers/internal/tcp"
	"gantry/internal/mosquitto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddresses(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{"192.0.2.7:502": true, "[2001:db8::1]:502": true, "meter.lan:1": true, "192.0.2.7": false, ":502": false, "x:70000": false, "x:http": false, "": false} {
		if got := tcp.IsAddress(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestConnectionEnds(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := tcp.Dial(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	var b [8]byte
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if n, err := c.Read(ctx, b[:]); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silence: %d, %v", n, err)
	}
	if err := c.Write(t.Context(), []byte("hello")); err != nil {
		t.Error(err)
	}
	if n, err := far.Read(b[:]); string(b[:n]) != "hello" {
		t.Errorf("%q, %v", b[:n], err)
	}
	far.Close()
	if _, err := c.Read(t.Context(), b[:]); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := tcp.Dial(t.Context(), mosquitto.FreeAddr(t)); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("nobody listens: %v", err)
	}
}
