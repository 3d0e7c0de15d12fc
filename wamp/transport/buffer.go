package transport

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"gantry/wamp"
)

// Sizes of pooled buffers.
const (
	// tinyBuffer is the smallest, for frames that are kept one by one.
	tinyBuffer = 1 << tinyBits
	tinyBits   = 8
	// smallBuffer begins a queue: most of what waits is one message of a few
	// hundred bytes.
	smallBuffer = 2 << 10
	// largeBuffer continues a queue and is what one read may bring.
	largeBuffer = 16 << 10
	// hugeBuffer is the largest that is pooled: a message of 1 MiB in its frame.
	hugeBuffer = 2 << 20
)

// buffer is pooled memory. It is handed around by pointer so that pools do not
// allocate. Whoever has got it has a hold on it.
type buffer struct {
	b     []byte
	holds atomic.Int32 // besides the first
}

var _ wamp.Frame = (*buffer)(nil)

// buffers are the free lists, for each power of two from tinyBuffer to
// hugeBuffer. They are shared by all connections, since what matters is that idle
// ones hold nothing.
var buffers [22 - tinyBits]sync.Pool

// getBuffer returns an empty buffer with room for n bytes or more.
func getBuffer(n int) *buffer { return pooled(max(n, smallBuffer)) }

// newFrame returns a copy of b, a finished frame.
func newFrame(b []byte) *buffer {
	f := pooled(max(len(b), tinyBuffer))
	f.b = append(f.b, b...)
	return f
}

func pooled(n int) *buffer {
	if n > hugeBuffer {
		return &buffer{b: make([]byte, 0, n)}
	}
	size := bits.Len(uint(n - 1))
	if b, ok := buffers[size-tinyBits].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, 1<<size)}
}

// Bytes returns what is in b.
func (b *buffer) Bytes() []byte { return b.b }

// Hold has the memory stay until there has been one Release more.
func (b *buffer) Hold() { b.holds.Add(1) }

// Release ends a hold. See wamp.Frame.
func (b *buffer) Release() { b.release() }

// release ends a hold. The last one gives b back. Buffers that have grown out of
// their size are left to the garbage collector.
func (b *buffer) release() {
	if b.holds.Add(-1) >= 0 {
		return
	}
	b.holds.Store(0)
	size := cap(b.b)
	if size < tinyBuffer || size > hugeBuffer || size&(size-1) != 0 {
		return
	}
	b.b = b.b[:0]
	buffers[bits.Len(uint(size))-1-tinyBits].Put(b)
}
