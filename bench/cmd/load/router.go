package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const realm = "bench"

// router is a program under test.
type router struct {
	name   string
	relay  bool
	pid    int
	ws, rs int // ports, of tunnels where it speaks TLS
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
}

// routerNames are the programs known, in the order in which they take turns.
var routerNames = []string{"gantry", "nexus", "xconn-go", "relay", "batch"}

// config lifts the limits of a gateway at home, which are lower than the loads.
const config = `schema = 1
[gateway]
realm = %q
[listen]
http = "127.0.0.1:%d"
unix = ""
%s
[limits]
connections = 20000
message_bytes = 4194304
table_bytes = 67108864
[mqtt]
listen = ""
[log]
level = "warn"
`

// start runs a router from the directory bin, with files in dir, in the variant that
// a link needs.
func start(ctx context.Context, name, variant, bin, dir string) (*router, error) {
	var ports [2]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
	}
	r := &router{name: name, ws: ports[0], rs: ports[1], exited: make(chan struct{})}
	ws, rs := fmt.Sprintf("-ws=127.0.0.1:%d", r.ws), fmt.Sprintf("-rs=127.0.0.1:%d", r.rs)
	program := filepath.Join(bin, name)
	var cert, key string
	if variant == "tls" {
		var err error
		if cert, key, err = certificate(dir); err != nil {
			return nil, err
		}
	}
	switch build, _, _ := strings.Cut(name, "@"); build {
	case "gantry": // gantry@old is another build, to be compared with
		r.rs = r.ws
		state, err := os.MkdirTemp(dir, "state")
		if err != nil {
			return nil, err
		}
		file := filepath.Join(state, "gantry.toml")
		if err := os.WriteFile(file, fmt.Appendf(nil, config, realm, r.ws, map[string]string{
			"tls": fmt.Sprintf("tls = { cert = %q, key = %q }", cert, key), "deflate": "deflate = true",
		}[variant]), 0o600); err != nil {
			return nil, err
		}
		r.cmd = exec.Command(program, "run", "--config", file, "--state", state)
	case "nexus":
		r.cmd = exec.Command(filepath.Join(bin, "nexusd"), ws, rs, "-realm="+realm, "-cert="+cert, "-key="+key, fmt.Sprintf("-deflate=%t", variant == "deflate"))
	case "xconn-go":
		r.cmd = exec.Command(filepath.Join(bin, "xconnd"), ws, rs, "-realm="+realm)
	case "relay", "batch":
		r.relay = true
		r.cmd = exec.Command(filepath.Join(bin, "relay"), ws, rs, fmt.Sprintf("-batch=%t", name == "batch"))
	default:
		return nil, fmt.Errorf("router %q is none of %s", name, strings.Join(routerNames, ", "))
	}
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	r.cmd.Stdout, r.cmd.Stderr = log, log
	// Interrupts are ours to pass on, and whatever happens to us no router stays.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	r.pid = r.cmd.Process.Pid
	go func() {
		_ = r.cmd.Wait()
		close(r.exited)
	}()
	for _, port := range []int{r.ws, r.rs} {
		if err := r.await(ctx, port); err != nil {
			r.stop()
			return nil, fmt.Errorf("start of %s: %w; it says: %s", name, err, lastLine(log.Name()))
		}
	}
	if variant == "tls" {
		if r.ws, err = tunnel(r.ws); err == nil {
			r.rs, err = tunnel(r.rs)
		}
	}
	return r, err
}

func lastLine(file string) string {
	b, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// await waits until the port answers.
func (r *router) await(ctx context.Context, port int) error {
	for end := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return c.Close()
		}
		select {
		case <-r.exited:
			return errors.New("it has ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// stop ends the program.
func (r *router) stop() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.exited:
	case <-time.After(5 * time.Second):
		_ = r.cmd.Process.Kill()
		<-r.exited
	}
}

func (r *router) port(k *link) int {
	if k.raw {
		return r.rs
	}
	return r.ws
}

// cpu returns the CPU time that the program has used, user and system: from the
// kernel's clock of the process, which counts nanoseconds where
// /proc/PID/stat counts ticks of 10 ms.
func (r *router) cpu() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(int32(^r.pid)<<3|2, &ts) == nil {
		return time.Duration(ts.Nano())
	}
	user, system := r.ticks()
	return time.Duration(user+system) * 10 * time.Millisecond
}

// ticks returns what /proc/PID/stat says.
func (r *router) ticks() (user, system int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.pid))
	if err != nil {
		return 0, 0
	}
	// The name of the program, in parentheses, may hold anything.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ = strconv.ParseInt(f[11], 10, 64)
	system, _ = strconv.ParseInt(f[12], 10, 64)
	return user, system
}

// rss returns the resident memory in bytes.
func (r *router) rss() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(b), "VmRSS:")
	n, _ := strconv.ParseInt(strings.Fields(after + " 0")[0], 10, 64)
	return n << 10
}

// ownCPU is the CPU time of this program.
func ownCPU() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}
