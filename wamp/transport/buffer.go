package transport

import "sync"

// Sizes of pooled buffers.
const (
	// smallBuffer begins a queue: most of what waits is one message of a few
	// hundred bytes.
	smallBuffer = 2 << 10
	// largeBuffer continues a queue and is what one read may bring.
	largeBuffer = 16 << 10
)

// buffer is pooled memory. It is handed around by pointer so that pools do not
// allocate.
type buffer struct{ b []byte }

// The free lists of the two sizes. They are shared by all connections, since
// what matters is that idle ones hold nothing.
var (
	smallBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, smallBuffer)} }}
	largeBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, largeBuffer)} }}
)

// getBuffer returns an empty buffer with room for n bytes or more.
func getBuffer(n int) *buffer {
	switch {
	case n <= smallBuffer:
		return smallBuffers.Get().(*buffer)
	case n <= largeBuffer:
		return largeBuffers.Get().(*buffer)
	}
	return &buffer{make([]byte, 0, n)}
}

// release gives b back. Buffers that have grown out of their size are left to
// the garbage collector.
func (b *buffer) release() {
	switch cap(b.b) {
	case smallBuffer:
		b.b = b.b[:0]
		smallBuffers.Put(b)
	case largeBuffer:
		b.b = b.b[:0]
		largeBuffers.Put(b)
	}
}
