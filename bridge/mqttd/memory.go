package mqttd

import "errors"

const (
	// share is what a connection may hold in either direction without asking.
	share = 16 << 10
	// bookStep is in what pieces memory is taken for what waits.
	bookStep = 16 << 10
)

var errMemory = errors.New("the large packets that arrive take all memory meant for them")

// claim takes the memory for a packet of n bytes that arrives. The connection of
// one that finds none ends: its client comes again.
func (l *link) claim(n int) error {
	if n <= share {
		return nil
	}
	n = l.srv.memory.Arriving.Fit(n)
	if !l.srv.memory.Arriving.Try(n) {
		return errMemory
	}
	l.claimed = n
	return nil
}

// unclaim gives back the memory of a packet that has been handled.
func (l *link) unclaim() {
	if l.claimed > 0 {
		l.srv.memory.Arriving.Give(l.claimed)
		l.claimed = 0
		l.body = nil
	}
}

// book takes the memory for n more bytes that wait to be sent.
func (s *session) book(n int) bool {
	over := s.queued() + s.waitSize + n - share
	if over <= s.booked {
		return true
	}
	need := (over - s.booked + bookStep - 1) / bookStep * bookStep
	if !s.memory.Waiting.Try(need) {
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
		s.memory.Waiting.Give(s.booked - need)
		s.booked = need
	}
}
