package mqttd

import (
	"errors"

	"golang.org/x/sync/semaphore"
)

// memory bounds what all connections hold together, besides a share of each.
type memory struct {
	arriving *semaphore.Weighted // bytes of packets that are being received
	waiting  *semaphore.Weighted // bytes that wait to be sent
}

const (
	// share is what a connection may hold in either direction without asking.
	share = 16 << 10
	// bookStep is in what pieces memory is taken for what waits.
	bookStep = 16 << 10
)

// newMemory divides n bytes. The largest packet always fits.
func newMemory(n, largest int) *memory {
	return &memory{
		arriving: semaphore.NewWeighted(int64(max(n/2, largest))),
		waiting:  semaphore.NewWeighted(int64(n / 2)),
	}
}

var errMemory = errors.New("the large packets that arrive take all memory meant for them")

// claim takes the memory for a packet of n bytes that arrives. The connection of
// one that finds none ends: its client comes again.
func (c *conn) claim(n int) error {
	if n <= share {
		return nil
	}
	if !c.srv.memory.arriving.TryAcquire(int64(n)) {
		return errMemory
	}
	c.claimed = n
	return nil
}

// unclaim gives back the memory of a packet that has been handled.
func (c *conn) unclaim() {
	if c.claimed > 0 {
		c.srv.memory.arriving.Release(int64(c.claimed))
		c.claimed = 0
		c.body = nil
	}
}

// book takes the memory for n more bytes that wait to be sent.
func (s *session) book(n int) bool {
	over := s.queued() + s.waitSize + n - share
	if over <= s.booked {
		return true
	}
	need := (over - s.booked + bookStep - 1) / bookStep * bookStep
	if !s.memory.waiting.TryAcquire(int64(need)) {
		return false
	}
	s.booked += need
	return true
}

// unbook gives back what is not needed any more; all of it at the end.
func (s *session) unbook(end bool) {
	need := (max(s.queued()+s.waitSize-share, 0) + bookStep - 1) / bookStep * bookStep
	if end {
		need = 0
	}
	if need < s.booked {
		s.memory.waiting.Release(int64(s.booked - need))
		s.booked = need
	}
}
