package modbus

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/serialport"
	"gantry/internal/config"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// unit is a simulated slave. Its registers are 1000 + address until written.
type unit struct {
	mu     sync.Mutex // guards the rest
	regs   map[uint16]uint16
	coils  map[uint16]bool
	last   uint16                    // highest address that exists; 0 = all do
	delay  time.Duration             // before each answer
	dead   bool                      // never answers
	mute   map[byte]bool             // functions that are not answered at all
	refuse map[byte]uint8            // functions refused, with the exception's code
	twist  func(frame []byte) []byte // what goes out in place of the next answers
	asked  [][]byte                  // PDUs, in order
	before chan struct{}             // closed when the answer before is out; nil for none
}

func newUnit() *unit { return &unit{regs: map[uint16]uint16{}, coils: map[uint16]bool{}} }

// change alters the unit under its lock.
func (u *unit) change(f func(u *unit)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f(u)
}

func (u *unit) requests() [][]byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([][]byte(nil), u.asked...)
}

func (u *unit) register(a uint16) uint16 {
	if v, ok := u.regs[a]; ok {
		return v
	}
	return 1000 + a
}

// answer returns the response PDU, nil for none.
func (u *unit) answer(pdu []byte) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked = append(u.asked, append([]byte(nil), pdu...))
	if u.dead || u.mute[pdu[0]] {
		return nil
	}
	if code := u.refuse[pdu[0]]; code != 0 {
		return []byte{pdu[0] | exceptionFlag, code}
	}
	if pdu[0] == fcDiagnostics {
		return pdu
	}
	if pdu[0] == fcEncapsulated {
		return []byte{pdu[0] | exceptionFlag, illegalFunction}
	}
	if code := checkRequest(pdu); code != 0 {
		return []byte{pdu[0] | exceptionFlag, code}
	}
	u16 := func(i int) uint16 { return uint16(pdu[i])<<8 | uint16(pdu[i+1]) }
	at := u16(1)
	n := uint16(1)
	switch pdu[0] {
	case fcReadCoils, fcReadDiscretes, fcReadHolding, fcReadInput, fcWriteCoils, fcWriteRegisters:
		n = u16(3)
	}
	if u.last != 0 && int(at)+int(n)-1 > int(u.last) {
		return []byte{pdu[0] | exceptionFlag, illegalDataAddress}
	}
	switch pdu[0] {
	case fcReadCoils, fcReadDiscretes:
		out := append([]byte{pdu[0], byte((n + 7) / 8)}, make([]byte, (n+7)/8)...)
		for i := range n {
			if u.coils[at+i] {
				out[2+i/8] |= 1 << (i % 8)
			}
		}
		return out
	case fcReadHolding, fcReadInput:
		out := []byte{pdu[0], byte(2 * n)}
		for i := range n {
			v := u.register(at + i)
			out = append(out, byte(v>>8), byte(v))
		}
		return out
	case fcWriteCoil:
		u.coils[at] = pdu[3] == 0xFF
	case fcWriteCoils:
		for i := range n {
			u.coils[at+i] = pdu[6+i/8]>>(i%8)&1 != 0
		}
	case fcWriteRegister:
		u.regs[at] = u16(3)
	case fcWriteRegisters:
		for i := range n {
			u.regs[at+i] = u16(6 + 2*int(i))
		}
	case fcReadWriteRegisters:
		for i := range u16(7) {
			u.regs[u16(5)+i] = u16(10 + 2*int(i))
		}
		out := []byte{pdu[0], byte(2 * u16(3))}
		for i := range u16(3) {
			v := u.register(at + i)
			out = append(out, byte(v>>8), byte(v))
		}
		return out
	case fcMaskRegister:
		u.regs[at] = u.register(at)&u16(3) | u16(5)&^u16(3)
	}
	return pdu[:echoed(pdu[0])]
}

// wire is a serial line with units at its far end. With a baud rate, bytes take
// their time in both directions.
type wire struct {
	path  string
	baud  int
	echo  bool
	units map[byte]*unit
	far   *os.File
	send  func(frame []byte)
	done  sync.WaitGroup
	stop  chan struct{} // closed at the end
}

func newWire(t testing.TB, baud int, units map[byte]*unit) *wire {
	t.Helper()
	far, near, err := drivertest.OpenWire()
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{path: filepath.Join(t.TempDir(), "port"), baud: baud, units: units, far: far, stop: make(chan struct{})}
	if err := os.Symlink(near.Name(), w.path); err != nil {
		t.Fatal(err)
	}
	w.send = func(frame []byte) { _, _ = far.Write(frame) }
	w.done.Go(w.listen)
	t.Cleanup(func() {
		close(w.stop)
		far.Close()
		near.Close()
		w.done.Wait()
	})
	return w
}

func (w *wire) takes(n int) time.Duration {
	if w.baud == 0 {
		return 0
	}
	return charTime(n, w.baud)
}

// listen hears requests, which the master sends whole, and lets units answer.
func (w *wire) listen() {
	var buf [1024]byte
	n := 0
	for {
		m, err := w.far.Read(buf[n:])
		if err != nil {
			return
		}
		n += m
		if w.echo {
			_, _ = w.far.Write(buf[n-m : n])
		}
		frame := requestIn(buf[:n])
		if frame == nil {
			if n > 512 {
				n = 0
			}
			continue
		}
		request := append([]byte(nil), frame...)
		n = 0
		w.rest(w.takes(len(request)))
		w.serve(request)
	}
}

// requestIn returns the intact frame at the start of b.
func requestIn(b []byte) []byte {
	for n := 4; n <= len(b); n++ {
		if intact(b[:n]) && (checkRequest(b[1:n-2]) == 0 || b[1] == fcDiagnostics) {
			return b[:n]
		}
	}
	return nil
}

func (w *wire) serve(frame []byte) {
	if frame[0] == broadcast {
		for _, u := range w.units {
			u.answer(frame[1 : len(frame)-2])
		}
		return
	}
	u := w.units[frame[0]]
	if u == nil {
		return
	}
	pdu := u.answer(frame[1 : len(frame)-2])
	if pdu == nil {
		return
	}
	var delay time.Duration
	var twist func([]byte) []byte
	var before chan struct{}
	after := make(chan struct{})
	u.change(func(u *unit) { delay, twist, before, u.before = u.delay, u.twist, u.before, after })
	out := appendRTU(nil, frame[0], pdu)
	if twist != nil {
		out = twist(out)
	}
	// A slow unit is slow by itself, and answers in order: the line carries others'
	// frames meanwhile.
	w.done.Go(func() {
		defer close(after)
		if before != nil {
			<-before
		}
		w.rest(delay + w.takes(len(out)))
		w.send(out)
	})
}

func (w *wire) rest(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.stop:
	}
}

func (w *wire) config(unit uint8, points map[string]PointConfig) Config {
	return Config{UnitID: &unit, Port: serialport.Config{Path: w.path}, Line: serialport.LineConfig{Baud: 115200}, Points: points,
		AnswerTimeout: drivers.Duration(drivertest.Patience)}
}

// behindTCP puts a serial server before the wire, which passes bytes on to one
// client at a time.
func (w *wire) behindTCP(t testing.TB, unit uint8, points map[string]PointConfig) Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			port, err := os.OpenFile(w.path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
			if err != nil {
				t.Error(err)
				client.Close()
				return
			}
			var back sync.WaitGroup
			back.Go(func() { _, _ = io.Copy(client, port) })
			_, _ = io.Copy(port, client)
			port.Close()
			back.Wait()
			client.Close()
		}
	})
	t.Cleanup(func() { l.Close(); done.Wait() })
	return Config{UnitID: &unit, TCP: TCPConfig{Address: l.Addr().String(), Framing: "rtu"}, Points: points,
		AnswerTimeout: drivers.Duration(drivertest.Patience)}
}

func ptr[T any](v T) *T { return &v }

// regs returns points r<address> of u16 in the holding registers.
func regs(addresses ...uint16) map[string]PointConfig {
	points := map[string]PointConfig{}
	for _, a := range addresses {
		points[fmt.Sprintf("r%d", a)] = PointConfig{Address: ptr(a), Write: "single"}
	}
	return points
}

// newDriver returns a driver on buses, a new set if nil.
func newDriver(t testing.TB, cfg Config, buses *Buses) *Driver {
	t.Helper()
	if buses == nil {
		buses = NewBuses()
	}
	d, err := New(cfg, drivers.Env{Device: "dev"}, buses, config.Decode)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// start runs a driver and returns both once it is up.
func start(t testing.TB, cfg Config, buses *Buses) (*Driver, *drivertest.Link) {
	t.Helper()
	d := newDriver(t, cfg, buses)
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	return d, link
}
