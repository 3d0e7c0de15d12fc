package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// How many power cuts there are, and how many readings are on disk before each.
const (
	powerCuts  = 5
	beforeACut = 2000
)

// powerCuts cuts the power under load, again and again, and compares what the gateway
// then has with what it had said to be on disk.
func (r *run) powerCuts(ctx context.Context) {
	const where = "GANTRY_GUEST_POWER=/var/lib/gantry-power"
	var onDisk []string
	for n := 1; n <= powerCuts; n++ {
		if !r.table.step("power", fmt.Sprintf("cut %d under load, and boot", n), func() (string, error) {
			least, err := r.load(ctx, fmt.Sprintf("mkdir -p /var/lib/gantry-power && cd /tmp && %s GANTRY_GUEST_EPOCH=%d /share/gateway.test -test.run TestPowerLoad", where, n))
			r.m.cut()
			if err != nil {
				return "", err
			}
			onDisk = append(onDisk, strconv.Itoa(least))
			return fmt.Sprintf("%d readings on disk", least), r.m.boot(ctx)
		}) {
			return
		}
	}
	r.table.step("power", "nothing lost that was on disk, nothing twice", func() (string, error) {
		out, err := r.m.output(ctx, fmt.Sprintf("cd /tmp && %s GANTRY_GUEST_ON_DISK=%s /share/gateway.test -test.v -test.run TestPowerLoss", where, strings.Join(onDisk, ",")))
		if err != nil {
			return "", err
		}
		_, note, _ := strings.Cut(out, "acknowledged ")
		note, _, _ = strings.Cut(note, ", compared")
		return note, nil
	})
}

// load runs the command, which loads a gateway, until enough is on disk, and returns
// how much it last said to be.
func (r *run) load(ctx context.Context, command string) (onDisk int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := r.m.command(ctx, command)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	var said strings.Builder
	for lines := bufio.NewScanner(out); onDisk < beforeACut && lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if n, ok := strings.CutPrefix(lines.Text(), "on disk "); ok {
			if onDisk, err = strconv.Atoi(n); err != nil {
				return 0, err
			}
		}
	}
	// Cut while it goes on: the connection is left to die with the machine.
	go cmd.Wait()
	if onDisk < beforeACut {
		return 0, fmt.Errorf("no load: %s", said.String())
	}
	return onDisk, nil
}
