package modbus

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/serialport"
)

// tcpUnit is a Modbus TCP server that does as it is told.
type tcpUnit struct {
	addr   string
	unit   *unit
	conns  atomic.Int32 // made so far
	closed atomic.Int32 // of these, by the client
	// answer returns what is sent for a request, and after which time; nil: the
	// unit's answer at once.
	answer func(conn int32, transaction uint16, pdu []byte) (frame []byte, after time.Duration)

	ln   net.Listener
	done sync.WaitGroup
	mu   sync.Mutex // guards open
	open []net.Conn
}

func newTCPUnit(t *testing.T, addr string) *tcpUnit {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &tcpUnit{addr: ln.Addr().String(), unit: newUnit(), ln: ln}
	s.done.Go(s.accept)
	t.Cleanup(s.close)
	return s
}

func (s *tcpUnit) close() {
	s.ln.Close()
	s.mu.Lock()
	for _, c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}

func (s *tcpUnit) accept() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.open = append(s.open, conn)
		s.mu.Unlock()
		n := s.conns.Add(1)
		s.done.Go(func() { s.serve(n, conn) })
	}
}

func (s *tcpUnit) serve(n int32, conn net.Conn) {
	var buf []byte
	var in [512]byte
	for {
		m, err := conn.Read(in[:])
		if err != nil {
			s.closed.Add(1)
			return
		}
		buf = append(buf, in[:m]...)
		for {
			id, unit, pdu, used, ok := parseMBAP(buf)
			if !ok || used == 0 {
				break
			}
			frame, after := appendMBAP(nil, id, unit, s.unit.answer(pdu)), time.Duration(0)
			if s.answer != nil {
				frame, after = s.answer(n, id, append([]byte(nil), pdu...))
			}
			buf = buf[used:]
			if len(frame) > 0 {
				s.done.Go(func() { time.Sleep(after); _, _ = conn.Write(frame) })
			}
		}
	}
}

func (s *tcpUnit) config(timeout time.Duration) Config {
	return Config{TCP: TCPConfig{Address: s.addr}, Points: regs(0, 50), AnswerTimeout: drivers.Duration(timeout), Retries: ptr(uint8(0)), LostAfter: 200}
}

func TestDevicesShareOneConnection(t *testing.T) {
	t.Parallel()
	s := newTCPUnit(t, "127.0.0.1:0")
	buses := NewBuses()
	for i := range uint8(5) {
		cfg := s.config(drivertest.Patience)
		cfg.UnitID = ptr(i)
		d, _ := start(t, cfg, buses)
		values(t, d, "r0", "r50")
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestAnIdleConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	s := newTCPUnit(t, "127.0.0.1:0")
	cfg := s.config(drivertest.Patience)
	cfg.TCP.Idle = drivers.Duration(30 * time.Millisecond)
	d, _ := start(t, cfg, nil)
	values(t, d, "r0")
	for late := time.Now().Add(drivertest.Patience); s.closed.Load() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the connection stays open")
		}
	}
	values(t, d, "r0")
	if n := s.conns.Load(); n < 2 {
		t.Errorf("%d connections", n)
	}
}

func TestLateAnswersOverTCPAreDropped(t *testing.T) {
	t.Parallel()
	s := newTCPUnit(t, "127.0.0.1:0")
	var n atomic.Int32
	s.answer = func(_ int32, id uint16, pdu []byte) ([]byte, time.Duration) {
		var after time.Duration
		if n.Add(1)%3 == 0 {
			after = 1000 * time.Millisecond
		}
		return appendMBAP(nil, id, 1, s.unit.answer(pdu)), after
	}
	d, _ := start(t, s.config(500*time.Millisecond), nil)
	good := 0
	for i := range 30 {
		id, want := "r0", int64(1000)
		if i%2 == 1 {
			id, want = "r50", 1050
		}
		r, err := d.Read(within(t), []string{id})
		switch {
		case errors.Is(err, drivers.ErrTimeout):
		case err != nil:
			t.Fatal(err)
		case r[0].Value != want:
			t.Fatalf("%s reads %v", id, r[0].Value)
		default:
			good++
		}
	}
	if good < 10 {
		t.Errorf("only %d of 30 answered", good)
	}
}

func TestAServerThatForgotTheConnectionIsDialledAgain(t *testing.T) {
	t.Parallel()
	s := newTCPUnit(t, "127.0.0.1:0")
	var deafened atomic.Bool
	s.answer = func(conn int32, id uint16, pdu []byte) ([]byte, time.Duration) {
		if conn == 1 && deafened.Load() {
			return nil, 0
		}
		return appendMBAP(nil, id, 1, s.unit.answer(pdu)), 0
	}
	d, _ := start(t, s.config(2*time.Second), nil)
	deafened.Store(true)
	for range deaf {
		if _, err := d.Read(within(t), []string{"r0"}); !errors.Is(err, drivers.ErrTimeout) {
			t.Fatal(err)
		}
	}
	values(t, d, "r0")
	if n := s.conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestWhatIsNotModbusEndsTheConnection(t *testing.T) {
	t.Parallel()
	s := newTCPUnit(t, "127.0.0.1:0")
	var odd atomic.Bool
	s.answer = func(_ int32, id uint16, pdu []byte) ([]byte, time.Duration) {
		if odd.Load() {
			return []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), 0
		}
		return appendMBAP(nil, id, 1, s.unit.answer(pdu)), 0
	}
	d := newDriver(t, s.config(drivertest.Patience), nil)
	done := make(chan error, 1)
	link := &drivertest.Link{}
	go func() { done <- d.Run(t.Context(), link) }()
	link.WaitUp(t, 1)
	odd.Store(true)
	if _, err := d.Read(within(t), []string{"r0"}); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("read: %v", err)
	}
	if err := <-done; !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("Run: %v", err)
	}
	odd.Store(false)
	start(t, s.config(drivertest.Patience), nil)
}

func TestAPortThatIsUnpluggedLosesItsDevices(t *testing.T) {
	t.Parallel()
	w := newWire(t, 0, map[byte]*unit{1: newUnit(), 2: newUnit()})
	buses := NewBuses()
	link := &drivertest.Link{}
	a, b := newDriver(t, w.config(1, regs(0)), buses), newDriver(t, w.config(2, regs(0)), buses)
	done := make(chan error, 2)
	go func() { done <- a.Run(t.Context(), link) }()
	go func() { done <- b.Run(t.Context(), link) }()
	link.WaitUp(t, 2)
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	w.far.Close()
	for _, d := range []*Driver{a, b} {
		if _, err := d.Read(within(t), []string{"r0"}); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("read: %v", err)
		}
	}
	for range 2 {
		if err := <-done; !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("Run: %v", err)
		}
	}
	// Plugged in again, the same drivers go on.
	other := newWire(t, 0, map[byte]*unit{1: newUnit()})
	if err := os.Symlink(other.path, w.path); err != nil {
		t.Fatal(err)
	}
	again := drivertest.Start(t, a)
	again.WaitUp(t, 1)
	values(t, a, "r0")
}

// wedged is a port that has stopped taking bytes and is of no use any more.
type wedged struct{ virtual }

func (*wedged) Write(context.Context, []byte) error {
	return &serialport.Error{Op: "write", Port: "port", Kind: drivers.ErrTimeout, Err: errors.New("the port does not take the bytes")}
}

func TestAWedgedPortIsOpenedAnew(t *testing.T) {
	t.Parallel()
	buses := NewBuses()
	line := newVirtual(0, map[byte]*unit{1: newUnit()})
	defer line.done.Wait()
	defer close(line.stop)
	opened := 0
	buses.wire = func() stream {
		if opened++; opened == 1 {
			return &wedged{}
		}
		return line
	}
	w := wire{path: "/dev/ttyVIRTUAL"}
	d := newDriver(t, w.config(1, regs(0)), buses)
	if err := d.Run(t.Context(), &drivertest.Link{}); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("Run: %v", err)
	}
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	values(t, d, "r0")
}
