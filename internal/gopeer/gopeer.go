// Package gopeer builds Go programs that tests talk to. Each lies in a module of its own,
// so that the libraries it stands for are no dependencies of the product.
package gopeer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Build builds the program in dir for this machine and returns its path; the file is
// removed with the test. The error tells that its modules cannot be had; a program that
// does not build fails the test.
func Build(t testing.TB, dir string) (program string, err error) {
	t.Helper()
	program = filepath.Join(t.TempDir(), filepath.Base(dir))
	for _, args := range [][]string{{"mod", "download"}, {"build", "-o", program, "."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		// For this machine, whatever the test was built for.
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=", "GOFLAGS=-mod=readonly", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		switch {
		case err == nil:
		case args[0] == "mod":
			return "", fmt.Errorf("go mod download: %w", err)
		default:
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}
	return program, nil
}
