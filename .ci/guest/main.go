// Command guest runs the tests that need a kernel's own interfaces in a Debian guest
// under QEMU, built by the script build: GPIO lines, buses, serial ports and their
// faults, then the Debian package as a service, and power cuts. It prints a table of
// what it ran and ends with 1 when anything failed or was skipped.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// limit bounds the whole run.
const limit = time.Hour

// run is a run in one guest.
type run struct {
	m     *machine
	share string // folder that the guest sees as /share
	table table
}

func main() {
	arch := flag.String("arch", "amd64", "architecture of the guest: amd64 or arm64")
	only := flag.String("only", "", "regular expression: the rooms to run (gpio, i2c, onewire, serialport, board, gateway, service, power); default: all")
	hold := flag.Bool("shell", false, "run nothing: boot, tell how to get a shell, and wait for ^C")
	flag.Parse()
	rooms, err := regexp.Compile(*only)
	if _, known := boards[*arch]; !known || err != nil || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, limit)
	err = all(ctx, *arch, rooms, *hold)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

// all builds what is needed, boots and runs every room that is wanted.
func all(ctx context.Context, arch string, rooms *regexp.Regexp, hold bool) (err error) {
	begun := time.Now()
	image, err := prepare(ctx, arch)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gantry-guest-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(dir)
		} else {
			fmt.Println("the guest's console and disk are in", dir)
		}
	}()
	r := &run{share: filepath.Join(dir, "share")}
	for _, s := range suites {
		if rooms.MatchString(s.name) {
			if err := s.build(ctx, arch, r.share); err != nil {
				return err
			}
		}
	}
	if rooms.MatchString("service") {
		if err := buildPackage(ctx, arch, r.share); err != nil {
			return err
		}
	}
	if r.m, err = newMachine(arch, image, dir, r.share); err != nil {
		return err
	}
	fmt.Printf("prepared in %.0f s; booting a guest, %s\n", time.Since(begun).Seconds(), arch)
	on := time.Now()
	if err := r.m.boot(ctx); err != nil {
		return err
	}
	defer func() { r.m.cut() }()
	r.table.add("boot", "to a shell", passed, time.Since(on))
	if hold {
		fmt.Printf("%s\n%s\n", r.environment(), strings.Join(r.m.command(ctx, "").Args, " "))
		<-ctx.Done()
		return nil
	}
	for _, s := range suites {
		if rooms.MatchString(s.name) {
			s.run(ctx, r)
		}
	}
	if rooms.MatchString("service") {
		r.service(ctx)
	}
	if rooms.MatchString("power") {
		r.powerCuts(ctx)
	}
	r.table.print(os.Stdout, arch, time.Since(begun))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return r.table.err()
}

// prepare installs what the guest takes, builds it unless it is there, and returns
// its folder, which is outside of the tree: it serves every clone of this user.
func prepare(ctx context.Context, arch string) (image string, err error) {
	packages := []string{"mmdebstrap", "arch-test", "qemu-utils", "kmod", "cpio", "e2fsprogs", "openssh-client", "linux-kbuild-6.1", "make", "xz-utils"}
	if arch == "arm64" {
		packages = append(packages, "qemu-system-arm", "qemu-user-static", "gcc-12-aarch64-linux-gnu", "gcc-aarch64-linux-gnu")
	} else {
		packages = append(packages, "qemu-system-x86", "seabios", "gcc-12")
	}
	if err := shell(ctx, nil, ".ci/packages", packages...); err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	image = filepath.Join(cache, "gantry-guest", arch)
	if err := shell(ctx, nil, ".ci/guest/build", arch, image); err != nil {
		return "", fmt.Errorf("build the guest: %w", err)
	}
	return image, nil
}

// shell runs a command of this machine, whose output is for the reader.
func shell(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// buildPackage makes the Debian package of an architecture.
func buildPackage(ctx context.Context, arch, share string) error {
	if err := shell(ctx, nil, ".ci/deb", arch); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join("dist", "gantry_*_"+arch+".deb"))
	if err != nil || len(found) == 0 {
		return errors.Join(err, errors.New("no package in dist/"))
	}
	// The newest: others are of earlier commits.
	newest, at := "", time.Time{}
	for _, f := range found {
		info, err := os.Stat(f)
		if err != nil {
			return err
		}
		if info.ModTime().After(at) {
			newest, at = f, info.ModTime()
		}
	}
	b, err := os.ReadFile(newest)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(share, "gantry.deb"), b, 0o644)
}
