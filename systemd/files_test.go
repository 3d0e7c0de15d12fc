package systemd_test

import (
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// TestUnitIsSandboxed holds the unit to its budget: an exposure of at most 1.5.
func TestUnitIsSandboxed(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("package missing: systemd")
	}
	// The command's exit code tells of a threshold only; the text has the score.
	out, err := exec.CommandContext(t.Context(), tool, "security", "--offline=yes", "--no-pager", "gantry.service").CombinedOutput()
	m := regexp.MustCompile(`exposure level for gantry.service: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Skipf("systemd-analyze cannot judge unit files here: %v", err)
	}
	score, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	if score > 1.5 {
		t.Errorf("exposure %v, at most 1.5 allowed\n%s", score, out)
	}
}
