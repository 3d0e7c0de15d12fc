package store

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
)

// A chunk is the unit of writing: some records with consecutive sequence numbers
// behind a header that makes it readable and checkable by itself.
//
//	0  "GCK1"          format
//	4  codec           0 stored, 1 deflate
//	5  clock quality   0 not said, 1 the clock was set, 2 it was not
//	6  0 0
//	8  epoch           uint64
//	16 first           uint64, sequence number of the first record
//	24 acked           uint64, the cursor when the chunk was written
//	32 clock           int64, microseconds UTC, only for people and for ageing
//	40 count           uint32
//	44 raw             uint32, bytes of the records before deflate
//	48 stored          uint32, bytes that follow the header
//	52 CRC32C          uint32, over bytes 0..51 and what follows the header
//	56 records         each: length as uvarint, bytes
//
// Numbers are little-endian.
const (
	chunkMagic    = "GCK1"
	chunkHeader   = 56
	chunkMaxRaw   = 16 << 20 // what a reader takes
	chunkMaxCount = 1 << 16
	chunkTarget   = 256 << 10 // what a writer puts into one chunk, unless one record is larger
	codecStored   = 0
	codecDeflate  = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunk is a decoded chunk. The records alias one buffer of their own.
type chunk struct {
	epoch, first, acked uint64
	clock               int64
	quality             byte
	records             [][]byte
}

func (c *chunk) last() uint64 { return c.first + uint64(len(c.records)) - 1 }

// chunkHead is what the header of a chunk says.
type chunkHead struct {
	codec, quality      byte
	epoch, first, acked uint64
	clock               int64
	count, raw, stored  uint32
}

func (h *chunkHead) last() uint64 { return h.first + uint64(h.count) - 1 }

// deflater compresses chunks, one at a time, since a compressor takes over half
// a megabyte.
type deflater struct {
	level int // of compress/flate; 0 is flate.BestSpeed
	mu    sync.Mutex
	w     *flate.Writer
	out   bytes.Buffer
}

// deflate returns src compressed in a new slice, nil when that does not save a
// tenth.
func (d *deflater) deflate(src []byte) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out.Reset()
	if d.w == nil {
		level := d.level
		if level == 0 {
			level = flate.BestSpeed
		}
		// The level is valid, the only error there is.
		d.w, _ = flate.NewWriter(&d.out, level)
	} else {
		d.w.Reset(&d.out)
	}
	// A bytes.Buffer takes everything.
	_, _ = d.w.Write(src)
	_ = d.w.Close()
	if d.out.Len() > len(src)-len(src)/10 {
		return nil
	}
	return bytes.Clone(d.out.Bytes())
}

// encodeChunk returns the chunk in a new slice.
func encodeChunk(d *deflater, c *chunk) []byte {
	size := 0
	for _, r := range c.records {
		size += len(r) + binary.MaxVarintLen32
	}
	out := make([]byte, chunkHeader, chunkHeader+size)
	for _, r := range c.records {
		out = binary.AppendUvarint(out, uint64(len(r)))
		out = append(out, r...)
	}
	raw := len(out) - chunkHeader
	codec := byte(codecStored)
	if z := d.deflate(out[chunkHeader:]); z != nil {
		codec = codecDeflate
		out = append(out[:chunkHeader], z...)
	}
	copy(out, chunkMagic)
	out[4], out[5] = codec, c.quality
	le := binary.LittleEndian
	le.PutUint64(out[8:], c.epoch)
	le.PutUint64(out[16:], c.first)
	le.PutUint64(out[24:], c.acked)
	le.PutUint64(out[32:], uint64(c.clock))
	le.PutUint32(out[40:], uint32(len(c.records)))
	le.PutUint32(out[44:], uint32(raw))
	le.PutUint32(out[48:], uint32(len(out)-chunkHeader))
	le.PutUint32(out[52:], chunkSum(out))
	return out
}

func chunkSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:52], castagnoli), castagnoli, b[chunkHeader:])
}

// parseChunkHead reads the header at the start of b and verifies that the whole
// chunk is there and undamaged. It returns the chunk's length in bytes.
func parseChunkHead(b []byte) (h chunkHead, size int, err error) {
	if len(b) < chunkHeader || string(b[:4]) != chunkMagic {
		return h, 0, damaged("not a chunk")
	}
	le := binary.LittleEndian
	h = chunkHead{
		codec: b[4], quality: b[5], epoch: le.Uint64(b[8:]), first: le.Uint64(b[16:]), acked: le.Uint64(b[24:]),
		clock: int64(le.Uint64(b[32:])), count: le.Uint32(b[40:]), raw: le.Uint32(b[44:]), stored: le.Uint32(b[48:]),
	}
	switch {
	case uint64(h.stored) > uint64(len(b)-chunkHeader):
		return h, 0, damaged("chunk %d is cut short", h.first)
	case h.raw > chunkMaxRaw || h.count == 0 || h.count > chunkMaxCount || h.count > h.raw,
		h.codec > codecDeflate, h.codec == codecStored && h.raw != h.stored,
		h.first == 0 || h.first+uint64(h.count) < h.first:
		return h, 0, damaged("chunk %d has an impossible header", h.first)
	}
	size = chunkHeader + int(h.stored)
	if chunkSum(b[:size]) != le.Uint32(b[52:]) {
		return h, 0, damaged("chunk %d: checksum", h.first)
	}
	return h, size, nil
}

// decodeChunk returns the chunk at the start of b; it keeps nothing of b.
func decodeChunk(b []byte) (*chunk, error) {
	h, size, err := parseChunkHead(b)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, h.raw)
	body := b[chunkHeader:size]
	if h.codec == codecStored {
		copy(raw, body)
	} else if _, err := io.ReadFull(flate.NewReader(bytes.NewReader(body)), raw); err != nil {
		return nil, damaged("chunk %d: %v", h.first, err)
	}
	c := &chunk{epoch: h.epoch, first: h.first, acked: h.acked, clock: h.clock, quality: h.quality, records: make([][]byte, 0, h.count)}
	for range h.count {
		n, w := binary.Uvarint(raw)
		if w <= 0 || n > uint64(len(raw)-w) {
			return nil, damaged("chunk %d: records", h.first)
		}
		end := w + int(n)
		c.records = append(c.records, raw[w:end:end])
		raw = raw[end:]
	}
	if len(raw) != 0 {
		return nil, damaged("chunk %d: %d bytes too many", h.first, len(raw))
	}
	return c, nil
}

// findChunks returns the undamaged chunks that lie anywhere in b, the content of
// a file that cannot be walked any more, ordered by sequence number and without
// overlap.
func findChunks(b []byte) []foundChunk {
	var found []foundChunk
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte(chunkMagic))
		if i < 0 {
			return orderChunks(found)
		}
		at += i
		h, size, err := parseChunkHead(b[at:])
		if err != nil {
			at += len(chunkMagic)
			continue
		}
		found = append(found, foundChunk{chunkHead: h, bytes: b[at : at+size]})
		at += size
	}
}

type foundChunk struct {
	chunkHead
	bytes   []byte
	cursors []byte // packCursors; nil for none
}

// String names the range of sequence numbers.
func (f foundChunk) String() string { return fmt.Sprintf("%d..%d", f.first, f.last()) }

func orderChunks(found []foundChunk) []foundChunk {
	slices.SortFunc(found, func(a, b foundChunk) int {
		// The longer of two that begin alike comes first: the shorter is left from
		// a commit that failed and was repeated.
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(b.count, a.count))
	})
	var last uint64
	return slices.DeleteFunc(found, func(f foundChunk) bool {
		if f.first <= last {
			return true
		}
		last = f.last()
		return false
	})
}
