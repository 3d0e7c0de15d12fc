package store

import (
	"compress/flate"
	"context"
	"errors"
)

// errPack ends a pack that is not worth its while or not wanted any more.
var errPack = errors.New("not packed")

// packer packs segments that are written no more, one at a time, until ctx ends.
// It has a goroutine of its own since commits must not wait for it.
func (o *Outbox) packer(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case seg := <-o.toPack:
			seg.pack(func() bool { return ctx.Err() == nil }, o.name)
		}
	}
}

// pack rewrites a segment that is written no more so that its records lie in few
// large chunks: small commits take a page or two each, however little is in
// them, and deflate gains little from few records. The new file takes the old
// one's place at once; without one the old file stays as it is. It ends early
// when on says no.
func (s *segment) pack(on func() bool, outbox string) {
	var m merger
	bytes := s.bytes.Load()
	bad, err := s.chunks(func(c *chunk) error {
		if !on() || m.size > bytes/2 {
			return errPack
		}
		m.add(c)
		return nil
	})
	if bad != nil || err != nil {
		return
	}
	m.end()
	if m.size > bytes/2 || len(m.chunks) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return
	}
	s.close()
	if heir, err := bearSegment(s.disk, s.path, outbox, 0, m.chunks); err == nil {
		heir.seal()
		s.bytes.Store(heir.bytes.Load())
	}
}

// merger makes large chunks of small ones.
type merger struct {
	deflate deflater
	sum     chunk
	raw     int
	chunks  []foundChunk
	size    int64 // bytes of chunks
}

func (m *merger) add(c *chunk) {
	n := len(m.sum.records)
	if n > 0 && (c.epoch != m.sum.epoch || c.first != m.sum.last()+1 || n+len(c.records) > chunkMaxCount || m.raw >= 2*chunkTarget) {
		m.end()
	}
	if len(m.sum.records) == 0 {
		m.sum = chunk{epoch: c.epoch, first: c.first}
	}
	m.sum.clock, m.sum.quality = c.clock, c.quality // the newest counts for ageing
	m.sum.acked = max(m.sum.acked, c.acked)
	for _, r := range c.records {
		m.raw += len(r)
	}
	m.sum.records = append(m.sum.records, c.records...)
}

// end ends a chunk.
func (m *merger) end() {
	if len(m.sum.records) == 0 {
		return
	}
	m.deflate.level = flate.DefaultCompression
	b := encodeChunk(&m.deflate, &m.sum)
	m.chunks = append(m.chunks, foundChunk{chunkHead: chunkHead{first: m.sum.first, count: uint32(len(m.sum.records))}, bytes: b})
	m.size += int64(len(b))
	m.sum.records, m.raw = nil, 0
}
