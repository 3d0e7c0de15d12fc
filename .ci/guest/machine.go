package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// board is a machine of QEMU.
type board struct {
	qemu    []string
	console string
}

var boards = map[string]board{
	"amd64": {[]string{"qemu-system-x86_64", "-M", "q35", "-cpu", "max"}, "ttyS0"},
	"arm64": {[]string{"qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53"}, "ttyAMA0"},
}

// machine is a guest. Its disk keeps what is written between two boots.
type machine struct {
	arch      string
	image     string // folder that build has filled
	dir       string // its own files: disk, console, sockets
	share     string // folder that is /share in the guest
	ssh       int    // ports of this machine, by which the guest's shell,
	usb, uart int    // and the far ends of its USB adapter and of its UART are reached
	cmd       *exec.Cmd
	ended     chan struct{} // closed when QEMU has ended
}

// bootTime bounds a boot: half a minute on an idle machine.
const bootTime = 6 * time.Minute

// newMachine makes a disk for a machine that has never been booted.
func newMachine(arch, image, dir, share string) (*machine, error) {
	m := &machine{arch: arch, image: image, dir: dir, share: share}
	for _, port := range []*int{&m.ssh, &m.usb, &m.uart} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		*port = ln.Addr().(*net.TCPAddr).Port
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", filepath.Join(image, "disk.img"), filepath.Join(dir, "disk.qcow2")).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("make a disk: %w: %s", err, out)
	}
	return m, nil
}

// boot switches the machine on and returns when its shell answers.
func (m *machine) boot(ctx context.Context) error {
	b := boards[m.arch]
	socket := func(id string, port int) []string {
		return []string{"-chardev", fmt.Sprintf("socket,id=%s,host=127.0.0.1,port=%d,server=on,wait=off,nodelay=on", id, port)}
	}
	args := append(b.qemu, "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024", "-nodefaults", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(m.image, "vmlinuz"), "-initrd", filepath.Join(m.image, "initrd.img"),
		"-append", "console="+b.console+" quiet systemd.show_status=0",
		"-drive", "if=virtio,format=qcow2,cache=writeback,file="+filepath.Join(m.dir, "disk.qcow2"),
		"-netdev", fmt.Sprintf("user,id=n0,hostfwd=tcp:127.0.0.1:%d-:22", m.ssh), "-device", "virtio-net-pci,netdev=n0,romfile=",
		"-virtfs", "local,mount_tag=share,security_model=none,readonly=on,path="+m.share,
		"-chardev", "file,id=console,path="+filepath.Join(m.dir, "console"), "-serial", "chardev:console",
		"-device", "virtio-rng-pci")
	args = append(append(args, socket("uart", m.uart)...), "-device", "pci-serial,chardev=uart")
	// The adapter is plugged in while somebody is connected to its socket.
	args = append(append(args, socket("usb", m.usb)...), "-device", "qemu-xhci", "-device", "usb-serial,chardev=usb,serial=HIL0")
	m.cmd = exec.Command("nice", append([]string{"-n", "5"}, args...)...)
	log, err := os.Create(filepath.Join(m.dir, "qemu.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		return err
	}
	m.ended = make(chan struct{})
	go func() {
		defer close(m.ended)
		// How it ended is told by who waits for it.
		_ = m.cmd.Wait()
	}()
	late := time.Now().Add(bootTime)
	for {
		try, cancel := context.WithTimeout(ctx, 20*time.Second)
		_, err := m.output(try, "true")
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(late):
			return fmt.Errorf("no shell after %v; its console is in %s", bootTime, filepath.Join(m.dir, "console"))
		}
		select {
		case <-m.ended:
			said, _ := os.ReadFile(log.Name())
			return fmt.Errorf("QEMU has ended: %s", said)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// cut is a power cut.
func (m *machine) cut() {
	// nice has become QEMU; it may have ended by itself.
	_ = m.cmd.Process.Kill()
	<-m.ended
}

// command runs a shell command in the guest as root; the caller starts it.
func (m *machine) command(ctx context.Context, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ssh", "-q", "-i", filepath.Join(m.image, "id_ed25519"), "-p", strconv.Itoa(m.ssh),
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=30", "root@127.0.0.1", script)
	cmd.WaitDelay = time.Second
	return cmd
}

// output runs a shell command in the guest and returns what it says.
func (m *machine) output(ctx context.Context, script string) (string, error) {
	out, err := m.command(ctx, script).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w: %s", script, err, out)
	}
	return strings.TrimSpace(string(out)), err
}

// put writes a file of the guest.
func (m *machine) put(ctx context.Context, path, text string) error {
	cmd := m.command(ctx, fmt.Sprintf("mkdir -p %s && cat >%s", filepath.Dir(path), path))
	cmd.Stdin = io.NopCloser(strings.NewReader(text))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s: %w: %s", path, err, out)
	}
	return nil
}
