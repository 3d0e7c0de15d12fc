package modbus

import (
	"io"
	"log"
	"sync"
	"testing"
	"time"

	"gantry/internal/mosquitto"

	oracle "github.com/simonvetter/modbus"
)

// server is a Modbus TCP server by somebody else's library.
type server struct {
	addr string

	mu    sync.Mutex // guards the rest
	regs  [65536]uint16
	coils [65536]bool
	reads int
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{addr: mosquitto.FreeAddr(t)}
	for i := range s.regs {
		s.regs[i] = uint16(1000 + i)
	}
	srv, err := oracle.NewServer(&oracle.ServerConfiguration{URL: "tcp://" + s.addr, Timeout: time.Minute, MaxClients: 20,
		Logger: log.New(io.Discard, "", 0)}, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *server) config(points map[string]PointConfig) Config {
	return Config{TCP: TCPConfig{Address: s.addr}, Points: points}
}

func (s *server) HandleCoils(r *oracle.CoilsRequest) ([]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.IsWrite {
		copy(s.coils[r.Addr:], r.Args)
	}
	return append([]bool(nil), s.coils[r.Addr:int(r.Addr)+int(r.Quantity)]...), nil
}

func (s *server) HandleDiscreteInputs(r *oracle.DiscreteInputsRequest) ([]bool, error) {
	return make([]bool, r.Quantity), nil
}

func (s *server) HandleHoldingRegisters(r *oracle.HoldingRegistersRequest) ([]uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if int(r.Addr)+int(r.Quantity) > 60000 {
		return nil, oracle.ErrIllegalDataAddress
	}
	if r.IsWrite {
		copy(s.regs[r.Addr:], r.Args)
	}
	return append([]uint16(nil), s.regs[r.Addr:int(r.Addr)+int(r.Quantity)]...), nil
}

func (s *server) HandleInputRegisters(r *oracle.InputRegistersRequest) ([]uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]uint16(nil), s.regs[r.Addr:int(r.Addr)+int(r.Quantity)]...), nil
}
