package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gantry/wamp"
)

// powerDir is where both tests below keep the state of their gateways, on a disk that
// is there after a power cut.
func powerDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("GANTRY_GUEST_POWER")
	if dir == "" {
		t.Skip("needs a machine whose power can be cut: make guest")
	}
	return dir
}

// TestPowerLoad has a gateway under load and prints "on disk N" for how much of it is
// said to be on disk, until the power is cut.
func TestPowerLoad(t *testing.T) {
	dir := powerDir(t)
	field := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": fieldConfig(uplinkTo(filepath.Join(dir, "hq"), "confirmed"))}), filepath.Join(dir, "field"))
	s := field.join()
	before, err := queueStatus(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	epoch, err := strconv.Atoi(os.Getenv("GANTRY_GUEST_EPOCH"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		load(t.Context(), t, field.mqtt, epoch*1_000_000, 100_000, 0)
	}()
	base, last := number(t, before, "appended"), int64(0)
	for {
		now, err := queueStatus(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if n := safe(t, now) - base; n != last {
			last = n
			fmt.Println("on disk", n)
		}
		select {
		case <-done:
			t.Fatal("the power was not cut")
		default:
		}
	}
}

// TestPowerLoss compares what a gateway sends after the power cuts with what had been
// said to be on disk in each of its epochs.
func TestPowerLoss(t *testing.T) {
	dir := powerDir(t)
	var onDisk []int64
	for _, text := range strings.Split(os.Getenv("GANTRY_GUEST_ON_DISK"), ",") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		onDisk = append(onDisk, n)
	}
	hqState := filepath.Join(dir, "hq")
	hq := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": hqConfig}), hqState)
	arrived := keep(t, hq.join(), "gantry.field.", wamp.SubscribeOptions{})
	drain(t, startProgram(t, writeFiles(t, map[string]string{"gantry.toml": fieldConfig(uplinkTo(hqState, "confirmed"))}), filepath.Join(dir, "field")))
	checkArrivals(t, allAt(t, hq, arrived), nil, onDisk)
}
