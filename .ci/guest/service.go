package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// serviceTime bounds a step of the service.
const serviceTime = 3 * time.Minute

// gatewayConfig has a device on each bus of the guest.
var gatewayConfig = map[string]string{
	"/etc/gantry/devices.d/well.toml": `[device.well]
driver = "gpio"
chip = "pinctrl-fake"
every = "1s"
point.pump = { number = 0, kind = "output" }
`,
	"/etc/gantry/devices.d/climate.toml": `[device.climate]
driver = "i2c"
chip = "sht3x"
path = "/dev/i2c-hilbus"
every = "1s"
`,
	"/etc/gantry/devices.d/heating.toml": `[device.heating]
driver = "onewire"
every = "2s"
`,
	"/etc/gantry/devices.d/scale.toml": `[device.scale]
driver = "line"
port = { usb = "0403:6001", serial = "HIL0" }
parse = { regex = '^(?P<kg>[0-9.]+)kg' }
point.weight = { from = "kg", unit = "kg" }
`,
}

// service installs the Debian package and looks at it as a service.
func (r *run) service(ctx context.Context) {
	step := func(name string, f func(context.Context) (string, error)) bool {
		return r.table.step("service", name, func() (string, error) {
			ctx, cancel := context.WithTimeout(ctx, serviceTime)
			defer cancel()
			return f(ctx)
		})
	}
	if !step("the package installs and its unit is up", func(ctx context.Context) (string, error) {
		_, err := r.m.output(ctx, "dpkg -i /share/gantry.deb && systemctl is-active gantry.service")
		return "", err
	}) {
		return
	}
	step("systemd-analyze security", r.exposure)
	step("a device on each bus from inside the sandbox", r.sandboxedDevices)
	step("accepted devices can be written, nothing else of the configuration", func(ctx context.Context) (string, error) {
		_, err := r.m.output(ctx, `in="nsenter -t $(systemctl show -P MainPID gantry.service) -m -- setpriv --reuid gantry --regid gantry --clear-groups"
$in touch /etc/gantry/devices.d/.new-test && $in rm /etc/gantry/devices.d/.new-test && ! $in touch /etc/gantry/test 2>/dev/null`)
		return "", err
	})
	step("hung, the watchdog restarts it", func(ctx context.Context) (string, error) {
		return "", r.waitFor(ctx, "kill -STOP $(systemctl show -P MainPID gantry.service)", func(ctx context.Context) error {
			_, err := r.m.output(ctx, "test $(systemctl show -P NRestarts gantry.service) -ge 1 && systemctl is-active gantry.service")
			return err
		})
	})
	step("up again after a power cut", func(ctx context.Context) (string, error) {
		r.m.cut()
		if err := r.m.boot(ctx); err != nil {
			return "", err
		}
		return "", r.waitFor(ctx, "true", func(ctx context.Context) error {
			_, err := r.m.output(ctx, "systemctl is-active gantry.service")
			return err
		})
	})
	step("the package is purged", func(ctx context.Context) (string, error) {
		_, err := r.m.output(ctx, "dpkg -P gantry && ! systemctl is-active gantry.service && ! test -e /usr/bin/gantry -o -e /etc/gantry/gantry.toml")
		return "", err
	})
}

// waitFor runs a command in the guest and asks until there is no error.
func (r *run) waitFor(ctx context.Context, command string, ok func(context.Context) error) error {
	if _, err := r.m.output(ctx, command); err != nil {
		return err
	}
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

// exposure holds the installed unit to its budget.
func (r *run) exposure(ctx context.Context) (string, error) {
	out, err := r.m.output(ctx, "systemd-analyze security --no-pager gantry.service")
	m := regexp.MustCompile(`exposure level for gantry.service: ([0-9.]+)`).FindStringSubmatch(out)
	if m == nil {
		return "", errors.Join(err, fmt.Errorf("no exposure in:\n%s", out))
	}
	if score, err := strconv.ParseFloat(m[1], 64); err != nil || score > 1.5 {
		return "", fmt.Errorf("exposure %s, at most 1.5 allowed\n%s", m[1], out)
	}
	return m[1], nil
}

// sandboxedDevices configures a device on each bus and waits until all are online.
func (r *run) sandboxedDevices(ctx context.Context) (string, error) {
	far, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.m.usb))
	if err != nil {
		return "", err
	}
	defer far.Close()
	go func() {
		// A scale. Its line ends with the connection.
		for {
			if _, err := io.WriteString(far, "12.34kg\n"); err != nil {
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
	}()
	go io.Copy(io.Discard, far)
	chip := `set -e
d=/sys/kernel/config/gpio-sim/well; mkdir -p $d/bank0
echo 4 >$d/bank0/num_lines; echo pinctrl-fake >$d/bank0/label; echo 1 >$d/live
ln -sf $(basename /sys/devices/platform/hilbus/i2c-*) /dev/i2c-hilbus
udevadm settle
ls -l /dev/gpiochip* /dev/i2c-* /dev/spidev* /dev/ttyUSB*`
	nodes, err := r.m.output(ctx, chip)
	if err != nil {
		return "", err
	}
	for _, want := range []string{` gpio .*/dev/gpiochip`, ` i2c .*/dev/i2c-`, ` spi .*/dev/spidev`, ` dialout .*/dev/ttyUSB`} {
		if !regexp.MustCompile(want).MatchString(nodes) {
			return "", fmt.Errorf("no node matches %q in:\n%s", want, nodes)
		}
	}
	for path, text := range gatewayConfig {
		if err := r.m.put(ctx, path, text); err != nil {
			return "", err
		}
	}
	var table string
	return "", r.waitFor(ctx, "gantry check --config /etc/gantry && systemctl restart gantry.service", func(ctx context.Context) error {
		var err error
		if table, err = r.m.output(ctx, "gantry devices"); err != nil {
			return err
		}
		if n := strings.Count(table, "online"); n < len(gatewayConfig) {
			return fmt.Errorf("%d of %d devices are online:\n%s", n, len(gatewayConfig), table)
		}
		return nil
	})
}
