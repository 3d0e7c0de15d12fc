package exec_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	driver "gantry/drivers/exec"
	"gantry/internal/config"
	"gantry/internal/launch"

	"go.uber.org/goleak"
)

// TestMain is also the program that the tests run: EXEC_TEST says what it does.
func TestMain(m *testing.M) {
	launch.Main(os.Args)
	switch os.Getenv("EXEC_TEST") {
	case "":
		goleak.VerifyTestMain(m)
	case "child":
		playChild()
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println(`{"up":true}`)
		time.Sleep(time.Hour)
	case "endless":
		for {
			fmt.Print(strings.Repeat("x", 1000))
		}
	case "hang":
		// One that is killed with it, and holds its output.
		c := exec.Command("sleep", "3600")
		c.Stdout = os.Stdout
		if err := c.Start(); err != nil {
			panic(err)
		}
		if name := os.Getenv("PID_FILE"); name != "" {
			_ = os.WriteFile(name, fmt.Appendf(nil, "%d %d", os.Getpid(), c.Process.Pid), 0o600)
		}
		_ = c.Wait()
	case "environment":
		dir, _ := os.Getwd()
		b, _ := json.Marshal(map[string]any{"n": len(os.Environ()), "token": os.Getenv("TOKEN"), "dir": filepath.Base(dir), "args": os.Args[1:]})
		fmt.Println(string(b))
	}
}

// playChild is a thermostat with a mind of its own.
func playChild() {
	fmt.Println(`{"point":"t","value":21.5,"ts":1764000000000000}`)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var q struct {
			ID     int
			Write  string
			Value  any
			Do     string
			Args   map[string]any
			Cancel int
		}
		if json.Unmarshal(in.Bytes(), &q) != nil {
			os.Exit(3)
		}
		switch {
		case q.Cancel != 0:
			fmt.Fprintf(os.Stderr, "cancelled %d\n", q.Cancel)
			fmt.Printf("{\"id\":%d,\"result\":0}\n", q.Cancel) // too late
		case q.Write != "" && q.Value == 13.0:
			fmt.Printf("{\"id\":%d,\"error\":\"refused\",\"text\":\"unlucky\"}\n", q.ID)
		case q.Write != "":
			fmt.Printf("{\"id\":%d,\"result\":%v}\n", q.ID, q.Value)
		case q.Do == "count":
			for i := range 3 {
				fmt.Printf("{\"id\":%d,\"progress\":%d}\n", q.ID, i)
			}
			fmt.Printf("{\"id\":%d,\"result\":{\"n\":3}}\n", q.ID)
		case q.Do == "say":
			fmt.Println(q.Args["line"])
			fmt.Printf("{\"id\":%d,\"result\":true}\n", q.ID)
		case q.Do == "die":
			os.Exit(7)
		}
	}
}

// parse reads a device's own keys; SELF stands for the tests' program.
func parse(t testing.TB, text string) driver.Config {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var cfg driver.Config
	if err := config.Decode("test.toml", []byte(strings.ReplaceAll(text, "SELF", self)), &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func newDriver(t testing.TB, text string, env drivers.Env) drivers.Driver {
	t.Helper()
	d, err := driver.New(parse(t, text), env)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// start runs a driver and returns both once it is up.
func start(t testing.TB, text string) (drivers.Driver, *drivertest.Link) {
	t.Helper()
	d := newDriver(t, text, drivers.Env{Dir: t.TempDir()})
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	return d, link
}
