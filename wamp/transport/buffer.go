package transport

import (
	"math/bits"
	"sync"
)

// Sizes of pooled buffers.
const (
	// smallBuffer begins a queue: most of what waits is one message of a few
	// hundred bytes.
	smallBuffer = 1 << smallBits
	smallBits   = 11
	// largeBuffer continues a queue and is what one read may bring.
	largeBuffer = 16 << 10
	// hugeBuffer is the largest that is pooled: a message of 1 MiB in its frame.
	hugeBuffer = 2 << 20
)

// buffer is pooled memory. It is handed around by pointer so that pools do not
// allocate.
type buffer struct{ b []byte }

// buffers are the free lists, for each power of two from smallBuffer to
// hugeBuffer. They are shared by all connections, since what matters is that idle
// ones hold nothing.
var buffers [22 - smallBits]sync.Pool

// getBuffer returns an empty buffer with room for n bytes or more.
func getBuffer(n int) *buffer {
	if n > hugeBuffer {
		return &buffer{make([]byte, 0, n)}
	}
	size := bits.Len(uint(max(n, smallBuffer) - 1))
	if b, ok := buffers[size-smallBits].Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, 0, 1<<size)}
}

// release gives b back. Buffers that have grown out of their size are left to
// the garbage collector.
func (b *buffer) release() {
	size := cap(b.b)
	if size < smallBuffer || size > hugeBuffer || size&(size-1) != 0 {
		return
	}
	b.b = b.b[:0]
	buffers[bits.Len(uint(size))-1-smallBits].Put(b)
}
