package i2c

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/checksum"
)

// sht3x is a Sensirion SHT30, SHT31 or SHT35: single shots of high repeatability,
// without clock stretching. Source: data sheet SHT3x-DIS, sections 4.3, 4.12 and 4.13.
type sht3x struct{}

func (sht3x) points() []drivers.Point { return climate() }

// climate are the points of a hygrometer.
func climate() []drivers.Point {
	return []drivers.Point{{ID: "temperature", Unit: "Cel"}, {ID: "humidity", Unit: "%", Description: "relative"}}
}

func (sht3x) start(ctx context.Context, w wire) error {
	// The status has a checksum, which other chips at these addresses have not.
	_, err := command(ctx, w, []byte{0xf3, 0x2d}, time.Millisecond, 1)
	return err
}

func (sht3x) read(ctx context.Context, w wire, _ []string) ([]drivers.Reading, error) {
	words, err := command(ctx, w, []byte{0x24, 0x00}, 16*time.Millisecond, 2)
	if err != nil {
		return nil, err
	}
	return []drivers.Reading{good("temperature", celsius(words[0])), good("humidity", 100*float64(words[1])/65535)}, nil
}

// sht4x is a Sensirion SHT40, SHT41 or SHT45, with high precision. Source: data sheet
// SHT4x, sections 4.5 and 4.6.
type sht4x struct{}

func (sht4x) points() []drivers.Point { return climate() }

func (sht4x) start(ctx context.Context, w wire) error {
	_, err := command(ctx, w, []byte{0x89}, time.Millisecond, 2) // serial number
	return err
}

func (sht4x) read(ctx context.Context, w wire, _ []string) ([]drivers.Reading, error) {
	words, err := command(ctx, w, []byte{0xfd}, 10*time.Millisecond, 2)
	if err != nil {
		return nil, err
	}
	// The formula goes beyond what there is, section 4.6.
	humidity := min(max(-6+125*float64(words[1])/65535, 0), 100)
	return []drivers.Reading{good("temperature", celsius(words[0])), good("humidity", humidity)}, nil
}

// scd4x is a Sensirion SCD40 or SCD41, which measures every 5 s. Source: data sheet
// SCD4x, commands start_periodic_measurement, read_measurement, get_data_ready_status.
type scd4x struct{}

func (scd4x) points() []drivers.Point {
	return append([]drivers.Point{{ID: "co2", Unit: "[ppm]"}}, climate()...)
}

func (scd4x) start(ctx context.Context, w wire) error {
	// It refuses all else while it measures, as it may from the run before.
	if err := w.write(ctx, 0x3f, 0x86); err != nil {
		return err
	}
	if err := pause(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	if _, err := command(ctx, w, []byte{0x36, 0x82}, time.Millisecond, 3); err != nil { // serial number
		return err
	}
	return w.write(ctx, 0x21, 0xb1)
}

func (c scd4x) read(ctx context.Context, w wire, _ []string) ([]drivers.Reading, error) {
	ready, err := command(ctx, w, []byte{0xe4, 0xb8}, time.Millisecond, 1)
	if err != nil {
		return nil, err
	}
	if ready[0]&0x07ff == 0 {
		return []drivers.Reading{badReading("co2", whyNotReady), badReading("temperature", whyNotReady), badReading("humidity", whyNotReady)}, nil
	}
	words, err := command(ctx, w, []byte{0xec, 0x05}, time.Millisecond, 3)
	if err != nil {
		return nil, err
	}
	return []drivers.Reading{good("co2", float64(words[0])), good("temperature", celsius(words[1])), good("humidity", 100*float64(words[2])/65535)}, nil
}

// celsius is the same formula in all of them.
func celsius(word uint16) float64 { return -45 + 175*float64(word)/65535 }

// command sends a command, waits, and returns the n words that answer it.
func command(ctx context.Context, w wire, cmd []byte, wait time.Duration, n int) ([]uint16, error) {
	if err := w.write(ctx, cmd...); err != nil {
		return nil, err
	}
	if err := pause(ctx, wait); err != nil {
		return nil, err
	}
	b := make([]byte, 3*n)
	if err := w.transfer(ctx, nil, b); err != nil {
		return nil, err
	}
	return parseWords(b)
}

// parseWords takes words of two bytes, high one first, each with its checksum.
func parseWords(b []byte) ([]uint16, error) {
	words := make([]uint16, 0, len(b)/3)
	for ; len(b) >= 3; b = b[3:] {
		if crc := sensirionCRC(b[:2]); crc != b[2] {
			return nil, fmt.Errorf("%w: % x", errChecksum, b[:3])
		}
		words = append(words, binary.BigEndian.Uint16(b))
	}
	return words, nil
}

// sensirionCRC is the checksum of all Sensirion chips: x^8+x^5+x^4+1 from 0xff.
func sensirionCRC(b []byte) byte { return byte(sensirion.Sum(b)) }

var sensirion, _ = checksum.Named("crc8_sensirion")
