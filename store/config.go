package store

import (
	"slices"
	"strconv"
	"time"
)

// Policy says what happens when an outbox is at its bound.
type Policy uint8

// The policies.
const (
	// DropOldest unlinks the oldest segment; the reader sees the gap.
	DropOldest Policy = iota
	// RejectNew refuses new records with ErrFull.
	RejectNew
)

// OutboxConfig bounds an outbox and sets its pace. Zero fields take the default.
type OutboxConfig struct {
	// MaxBytes bounds the files of the outbox on disk. Default 256 MiB, at least 1 MiB.
	MaxBytes int64
	// SegmentBytes is the size at which a file is rolled over. Default 16 MiB or
	// a quarter of MaxBytes, whichever is less; at most half of MaxBytes.
	SegmentBytes int64
	// MaxAge drops files whose newest record is older, by a clock that can be
	// trusted; until there is one, no file is. What an earlier process wrote under a
	// clock that was not set counts as written when the store was opened. 0 keeps them.
	MaxAge time.Duration
	// OnFull says what happens at MaxBytes.
	OnFull Policy
	// Linger is how long an urgent record waits for company before the commit.
	// Default 5 ms.
	Linger time.Duration
	// SampleInterval, SampleRecords and SampleBytes say when sampled records are
	// committed that have not been acknowledged: when the oldest has waited that
	// long or that much has come together. Default 1 s, 256, 64 KiB.
	SampleInterval time.Duration
	SampleRecords  int
	SampleBytes    int64
	// WearSaver trades the loss at a power cut for the life of the disk: the
	// defaults of the three above are 5 s, 1024 and 256 KiB.
	WearSaver bool
	// MaxPending bounds the bytes of records in memory that are not committed;
	// appends wait at the bound. Default 4 MiB, at least MaxRecord.
	MaxPending int64
	// MaxRecord is the largest record in bytes. Default 2 MiB, at most 8 MiB.
	MaxRecord int
	// Readers are the names of those who read the outbox beside the one that has no
	// name, each with a cursor of its own: up to 16, of the form of outboxes' names. They
	// may be others at each Open: one that is new begins with the oldest record that
	// waits for any of those before, and one that is gone holds nothing any more.
	Readers []string
	// Over is an outbox of less weight, nil for none: when the disk is full its oldest
	// files go before those of this one, where its own policy allows that.
	Over *Outbox
}

const (
	minOutbox    = 1 << 20
	minSegment   = 128 << 10
	maxSegment   = 256 << 20 // bbolt maps whole files; 32-bit machines have little room
	maxRecord    = 8 << 20
	maxReaders   = 16
	cursorPeriod = time.Second
	retryPeriod  = 250 * time.Millisecond

	// lingerRecords and lingerBytes end the linger of urgent records early.
	lingerRecords = 1000
	lingerBytes   = 256 << 10
	// maxTx bounds the records of one commit.
	maxTx = 1 << 20
	// keepTail bounds the committed records that stay in memory for the reader.
	keepTail = 256 << 10
	// slack is what a commit may add beyond its records: partly filled pages.
	slack = 64 << 10
)

func (c OutboxConfig) withDefaults() OutboxConfig {
	set := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	set(&c.MaxBytes, 256<<20)
	set(&c.SegmentBytes, min(16<<20, c.MaxBytes/4))
	set((*int64)(&c.Linger), int64(5*time.Millisecond))
	interval, records, bytes := time.Second, 256, int64(64<<10)
	if c.WearSaver {
		interval, records, bytes = 5*time.Second, 1024, 256<<10
	}
	set((*int64)(&c.SampleInterval), int64(interval))
	set(&c.SampleBytes, bytes)
	set(&c.MaxPending, 4<<20)
	if c.SampleRecords == 0 {
		c.SampleRecords = records
	}
	if c.MaxRecord == 0 {
		c.MaxRecord = int(min(2<<20, c.MaxBytes/4, c.MaxPending))
	}
	return c
}

// Validate checks the values. The error is a *ConfigError.
func (c OutboxConfig) Validate() error {
	d := c.withDefaults()
	for _, r := range []struct {
		key           string
		v, low, high  int64
		unitAndBounds string
	}{
		{"max_bytes", d.MaxBytes, minOutbox, 1 << 40, "1 MiB to 1 TiB"},
		{"segment_bytes", d.SegmentBytes, minSegment, min(maxSegment, d.MaxBytes/2), "128 KiB to 256 MiB, at most half of max_bytes"},
		{"max_age", int64(d.MaxAge), 0, 1 << 62, "0 or a positive duration"},
		{"on_full", int64(d.OnFull), 0, int64(RejectNew), "drop-oldest or reject-new"},
		{"linger", int64(d.Linger), 0, int64(time.Second), "at most 1s"},
		{"sample_interval", int64(d.SampleInterval), int64(time.Millisecond), int64(time.Hour), "1ms to 1h"},
		{"sample_records", int64(d.SampleRecords), 1, chunkMaxCount, "1 to 65536"},
		{"sample_bytes", d.SampleBytes, 1, maxRecord, "1 byte to 8 MiB"},
		{"max_record", int64(d.MaxRecord), 1, min(maxRecord, d.MaxBytes/4), "1 byte to 8 MiB, at most a quarter of max_bytes"},
		{"max_pending", d.MaxPending, int64(d.MaxRecord), 1 << 30, "max_record to 1 GiB"},
	} {
		if r.v < r.low || r.v > r.high {
			return &ConfigError{r.key, strconv.FormatInt(r.v, 10) + " is out of range", r.unitAndBounds}
		}
	}
	if len(d.Readers) > maxReaders {
		return &ConfigError{"readers", strconv.Itoa(len(d.Readers)) + " are too many", strconv.Itoa(maxReaders) + " at most"}
	}
	for i, name := range d.Readers {
		if validName(name) != nil || slices.Contains(d.Readers[:i], name) {
			return &ConfigError{"readers", strconv.Quote(name) + " is no name, or there twice", "1 to 64 of a-z 0-9 _ -, each once"}
		}
	}
	return nil
}
