package modbus

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/internal/mosquitto"
)

// proxied runs a driver of unit 1 with a proxy and returns the proxy's address.
func proxied(t *testing.T, w *wire, p ProxyConfig) string {
	t.Helper()
	p.Listen = mosquitto.FreeAddr(t)
	cfg := w.config(1, regs(0))
	cfg.AnswerTimeout = drivers.Duration(time.Second)
	cfg.Proxy = &p
	start(t, cfg, nil)
	dialable(t, p.Listen)
	return p.Listen
}

func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(drivertest.Patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// call sends one request and returns the response PDU, nil if the connection ends.
func call(t *testing.T, conn net.Conn, unit byte, pdu []byte) []byte {
	t.Helper()
	if _, err := conn.Write(appendMBAP(nil, 0xABCD, unit, pdu)); err != nil {
		return nil
	}
	var head [mbapBytes]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil
	}
	resp := make([]byte, int(head[5])-1)
	if _, err := io.ReadFull(conn, resp); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(head[:4], []byte{0xAB, 0xCD, 0, 0}) || head[6] != unit {
		t.Errorf("head % x", head)
	}
	return resp
}

func TestProxyAnswersItself(t *testing.T) {
	t.Parallel()
	silent := newUnit()
	w := newWire(t, 0, map[byte]*unit{1: newUnit(), 2: silent})
	addr := proxied(t, w, ProxyConfig{ReadOnly: true})
	conn := connect(t, addr)
	silent.change(func(u *unit) { u.dead = true })
	for _, tt := range []struct {
		name string
		unit byte
		pdu  []byte
		want []byte
	}{
		{"a read", 1, readPDU(holding, 3, 1), []byte{3, 2, 0x03, 0xEB}},
		{"a write", 1, writeRegisterPDU(3, 1), []byte{0x86, illegalFunction}},
		{"a mask", 1, maskPDU(3, 1, 1), []byte{0x96, illegalFunction}},
		{"a function nobody knows", 1, []byte{0x64, 1}, []byte{0xE4, illegalFunction}},
		{"too many registers", 1, readPDU(holding, 0, 126), []byte{0x83, illegalDataValue}},
		{"all units", 0, readPDU(holding, 0, 1), []byte{0x83, gatewayNoPath}},
		{"a unit that cannot be", 255, readPDU(holding, 0, 1), []byte{0x83, gatewayNoPath}},
		{"a silent unit", 2, readPDU(holding, 0, 1), []byte{0x83, gatewayNoResponse}},
		{"a read again", 1, readPDU(inputs, 3, 1), []byte{4, 2, 0x03, 0xEB}},
	} {
		if got := call(t, conn, tt.unit, tt.pdu); !bytes.Equal(got, tt.want) {
			t.Errorf("%s: % x, want % x", tt.name, got, tt.want)
		}
	}
	for _, bad := range [][]byte{{0, 1, 0, 9, 0, 6, 1, 3, 0, 0, 0, 1}, {0, 1, 0, 0, 0, 0, 1, 3}, {0, 1, 0, 0, 1, 0, 1, 3}} {
		conn := connect(t, addr)
		if _, err := conn.Write(bad); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("% x is answered", bad)
		}
	}
}

func TestProxyBoundsItsConnections(t *testing.T) {
	t.Parallel()
	w := newWire(t, 0, map[byte]*unit{1: newUnit()})
	addr := proxied(t, w, ProxyConfig{MaxConnections: 2})
	var room []net.Conn
	for range 2 {
		// One that just looked whether somebody listens may still have a place.
		for late := time.Now().Add(drivertest.Patience); ; {
			conn := connect(t, addr)
			if call(t, conn, 1, readPDU(holding, 0, 1)) != nil {
				room = append(room, conn)
				break
			}
			if time.Now().After(late) {
				t.Fatal("no room at all")
			}
		}
	}
	if got := call(t, connect(t, addr), 1, readPDU(holding, 0, 1)); got != nil {
		t.Errorf("a third connection is answered: % x", got)
	}
	room[0].Close()
	for late := time.Now().Add(drivertest.Patience); call(t, connect(t, addr), 1, readPDU(holding, 0, 1)) == nil; {
		if time.Now().After(late) {
			t.Fatal("a place that was left stays taken")
		}
	}
}

func TestTheProxyIsForThisMachineUnlessSaid(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{":1502": "127.0.0.1:1502", "0.0.0.0:1502": "0.0.0.0:1502", "[::1]:1502": "[::1]:1502"} {
		if p, err := (&ProxyConfig{Listen: listen}).plan(); err != nil || p.listen != want {
			t.Errorf("%s: %+v %v", listen, p, err)
		}
	}
}
