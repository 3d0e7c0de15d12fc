// Package outq is the bounded queue of bytes in front of a network connection:
// any goroutine puts finished frames into it without ever waiting for the
// network, and all that has gathered leaves in one system call.
//
// A goroutine writes only while there is something to write, so an idle
// connection costs no stack and no buffer.
package outq

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"gantry/wamp"
)

// Config bounds a Queue. All fields are required.
type Config struct {
	// Limit is the number of bytes that may wait. A single frame larger than that
	// is taken when the queue is empty.
	Limit int
	// WriteTimeout is how long the other side may refuse to take anything before
	// the connection is given up.
	WriteTimeout time.Duration
	// Linger bounds the flush when the queue is closed.
	Linger time.Duration
}

const (
	// Reserve is added to Limit for the last messages of a connection, so that a
	// full queue can still say why it ends.
	reserve = 4 << 10
	// byReference is the size from which a shared frame is queued without copying.
	byReference = 4 << 10
	// pooledMax is the largest buffer that goes back to the pool.
	pooledMax = 64 << 10
)

var pool = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// Queue is one connection's output. It is safe for concurrent use.
type Queue struct {
	conn net.Conn
	cfg  Config
	wg   sync.WaitGroup // the writer, while there is one

	mu      sync.Mutex
	full    [][]byte // complete segments in front of tail
	tail    *[]byte  // open segment from the pool; nil while nothing waits
	owned   []*[]byte
	size    int // bytes waiting, those being written included
	writing bool
	closed  bool
	err     error
	free    chan struct{} // closed when there is room again; nil while nobody waits
}

// New returns a queue that writes to conn. It does not close conn, except when a
// write fails or is overdue.
func New(conn net.Conn, cfg Config) *Queue { return &Queue{conn: conn, cfg: cfg} }

// Append lets build append one frame to the queue's buffer. When build fails, or
// the frame does not fit, nothing is queued and the error returned
// (wamp.ErrQueueFull, wamp.ErrClosed). last marks the final messages of a
// connection, which may use the reserve.
func (q *Queue) Append(last bool, build func(dst []byte) ([]byte, error)) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.usable(last); err != nil {
		return err
	}
	if q.tail == nil {
		q.tail = pool.Get().(*[]byte)
	}
	before := len(*q.tail)
	b, err := build(*q.tail)
	if err == nil {
		err = q.fits(len(b)-before, last)
	}
	if err != nil {
		// The buffer may have grown; the frame in it is cut off again.
		if cap(b) > cap(*q.tail) {
			b = *q.tail
		}
		*q.tail = b[:before:cap(b)]
		q.recycleTail()
		return err
	}
	*q.tail = b
	q.size += len(b) - before
	q.start()
	return nil
}

// AppendFrame queues a finished frame. It must not change until it is written;
// large ones are not copied.
func (q *Queue) AppendFrame(frame []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	err := q.usable(false)
	if err == nil {
		err = q.fits(len(frame), false)
	}
	if err != nil {
		return err
	}
	if len(frame) < byReference {
		if q.tail == nil {
			q.tail = pool.Get().(*[]byte)
		}
		*q.tail = append(*q.tail, frame...)
	} else {
		q.closeTail()
		q.full = append(q.full, frame)
	}
	q.size += len(frame)
	q.start()
	return nil
}

func (q *Queue) usable(last bool) error {
	switch {
	case q.closed:
		return wamp.ErrClosed
	case q.err != nil:
		return wamp.ErrClosed
	case q.size >= q.limit(last):
		return wamp.ErrQueueFull
	}
	return nil
}

func (q *Queue) limit(last bool) int {
	if last {
		return q.cfg.Limit + reserve
	}
	return q.cfg.Limit
}

func (q *Queue) fits(n int, last bool) error {
	if q.size > 0 && q.size+n > q.limit(last) {
		return wamp.ErrQueueFull
	}
	return nil
}

// closeTail turns the open segment into a complete one.
func (q *Queue) closeTail() {
	if q.tail == nil || len(*q.tail) == 0 {
		return
	}
	q.full = append(q.full, *q.tail)
	q.owned = append(q.owned, q.tail)
	q.tail = nil
}

func (q *Queue) recycleTail() {
	if len(*q.tail) == 0 {
		recycle(q.tail)
		q.tail = nil
	}
}

func recycle(b *[]byte) {
	if cap(*b) <= pooledMax {
		*b = (*b)[:0]
		pool.Put(b)
	}
}

func (q *Queue) start() {
	if !q.writing {
		q.writing = true
		q.wg.Go(q.write)
	}
}

// write empties the queue, one system call for all that waits, and ends.
func (q *Queue) write() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.err == nil && (q.tail != nil || len(q.full) > 0) {
		q.closeTail()
		segments, owned := q.full, q.owned
		q.full, q.owned = nil, nil
		n := 0
		for _, s := range segments {
			n += len(s)
		}
		q.mu.Unlock()
		err := q.flush(segments)
		for _, b := range owned {
			recycle(b)
		}
		q.mu.Lock()
		q.size -= n
		if err != nil {
			q.err = err
			_ = q.conn.Close() // frees the reader, which reports the loss
		}
		if q.free != nil && (q.err != nil || q.size < q.cfg.Limit) {
			close(q.free)
			q.free = nil
		}
	}
	q.writing = false
}

// flush writes all segments. A deadline that passes while the other side still
// takes something is prolonged.
func (q *Queue) flush(segments net.Buffers) error {
	for {
		if err := q.conn.SetWriteDeadline(time.Now().Add(q.cfg.WriteTimeout)); err != nil {
			return err
		}
		var n int64
		var err error
		if len(segments) == 1 {
			var written int
			written, err = q.conn.Write(segments[0])
			n, segments[0] = int64(written), segments[0][written:]
		} else {
			n, err = segments.WriteTo(q.conn)
		}
		if err == nil {
			return nil
		}
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// Room returns nil if a frame would be taken or the queue is closed, otherwise a
// channel that is closed when that may have changed.
func (q *Queue) Room() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.err != nil || q.size < q.cfg.Limit {
		return nil
	}
	if q.free == nil {
		q.free = make(chan struct{})
	}
	return q.free
}

// Close takes nothing more, waits until what is queued is written, for Linger at
// most, and returns. It does not close the connection.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	if q.free != nil {
		close(q.free)
		q.free = nil
	}
	q.mu.Unlock()
	overdue := time.AfterFunc(q.cfg.Linger, func() { _ = q.conn.Close() })
	q.wg.Wait()
	overdue.Stop()
}
