package avrhil

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// programs are what a board is made of.
type programs struct {
	harness   []byte // a program for this machine
	node      []byte // firmware that speaks lines, as Intel HEX
	announced []byte // firmware that says what it is
	missing   string // the Debian package without which there is neither
}

// built builds them, once per test binary.
var built = sync.OnceValues(build)

// need returns the programs. Where a package is missing the test is skipped, or
// fails if peers are required.
func need(t testing.TB) *programs {
	t.Helper()
	p, err := built()
	if err != nil {
		t.Fatal(err)
	}
	needPackage(t, p.missing)
	return p
}

// needPackage skips the test if a Debian package is missing, or fails it if peers
// are required.
func needPackage(t testing.TB, missing string) {
	t.Helper()
	if missing == "" {
		return
	}
	text := "package missing: " + missing
	if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
		t.Fatal(text)
	}
	t.Skip(text)
}

func build() (*programs, error) {
	if name := missing(); name != "" {
		return &programs{missing: name}, nil
	}
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "avrhil")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	harness := filepath.Join(dir, "avrhil")
	for _, c := range [][]string{
		{"make", "-s", "-C", filepath.Join(root, "firmware", "nodes"), "uno", "B=" + dir},
		{"gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", harness,
			filepath.Join(root, "internal", "avrhil", "csrc", "avrhil.c"), "-lsimavr"},
	} {
		if out, err := run(c...); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", strings.Join(c, " "), err, out)
		}
	}
	p := &programs{}
	if p.harness, err = os.ReadFile(harness); err != nil {
		return nil, err
	}
	if p.node, err = os.ReadFile(filepath.Join(dir, "node.hex")); err != nil {
		return nil, err
	}
	p.announced, err = os.ReadFile(filepath.Join(dir, "announced.hex"))
	return p, err
}

// tool is a program and the Debian package that it is in.
type tool struct{ program, name string }

var unoTools = []tool{{"gcc", "gcc"}, {"make", "make"}, {"avr-gcc", "gcc-avr"}, {"avr-objcopy", "binutils-avr"}}

// missingTool returns the first Debian package whose program is not there, or "".
func missingTool(tools []tool) string {
	for _, c := range tools {
		if _, err := exec.LookPath(c.program); err != nil {
			return c.name
		}
	}
	return ""
}

// missing returns the first Debian package that an Uno takes and that is not there,
// or "".
func missing() string {
	if name := missingTool(unoTools); name != "" {
		return name
	}
	for _, c := range []struct{ compiler, header, name string }{
		{"gcc", "stdio.h", "libc6-dev"},
		{"gcc", "simavr/sim_avr.h", "libsimavr-dev"},
		{"avr-gcc", "avr/io.h", "avr-libc"},
	} {
		if _, err := run(c.compiler, "-E", "-include", c.header, "-x", "c", os.DevNull); err != nil {
			return c.name
		}
	}
	return ""
}

// run runs a tool and returns what it prints, without letting the environment of
// `make test` reach another make. None takes longer than Patience.
func run(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.WaitDelay = time.Second // for what the tool has started
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); name != "MAKEFLAGS" && name != "MFLAGS" && name != "MAKELEVEL" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd.CombinedOutput()
}

// moduleRoot returns the folder of go.mod. Tests run in the folder of their package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		up := filepath.Dir(dir)
		switch {
		case err == nil:
			return dir, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		case up == dir:
			return "", errors.New("go.mod is in no folder above this one")
		}
		dir = up
	}
}
