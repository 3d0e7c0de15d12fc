// Package chromium opens web pages in a real browser, for tests.
package chromium

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Patience is how long a page may take for what a test waits for.
const Patience = 30 * time.Second

// Page is a page in a headless Chromium of its own. One goroutine uses it.
type Page struct {
	t       testing.TB
	in      *os.File      // commands, of the Chrome DevTools Protocol
	out     *bufio.Reader // answers and events; each ends in a zero byte
	last    int           // ID of the last command
	session string        // of the page
	kill    func()
	said    []string // what the page has logged
}

// Open starts the browser with a page, and ends it with the test. The test is
// skipped where the Debian package chromium is missing, or fails where peers are
// required.
func Open(t testing.TB, url string) *Page {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
			t.Fatal("package missing: chromium")
		}
		t.Skip("package missing: chromium")
	}
	p := &Page{t: t}
	p.start(program)
	var target struct {
		TargetID string `json:"targetId"`
	}
	p.do("Target.createTarget", dict{"url": "about:blank"}, &target)
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	p.do("Target.attachToTarget", dict{"targetId": target.TargetID, "flatten": true}, &attached)
	p.session = attached.SessionID
	p.do("Runtime.enable", dict{}, nil)
	p.do("Page.navigate", dict{"url": url}, nil)
	return p
}

type dict = map[string]any

// start starts the browser with two pipes, its descriptors 3 and 4.
func (p *Page) start(program string) {
	t := p.t
	t.Helper()
	theirIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program,
		"--headless", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(),
		"--no-sandbox", // root has none to go into, and the pages are our own
		"--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-quic",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has many processes
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err = cmd.Start()
	_, _ = theirIn.Close(), theirOut.Close()
	if err != nil {
		t.Fatal(err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	p.kill = func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	t.Cleanup(func() {
		p.kill()
		_ = cmd.Wait() // killed
		_, _ = in.Close(), out.Close()
		if t.Failed() {
			t.Logf("the page logged %q, the browser said:\n%s", p.said, stderr.String())
		}
	})
}

// message is a command's answer, or an event.
type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// do carries a command out and decodes its result, unless that is nil.
func (p *Page) do(method string, params dict, result any) {
	p.t.Helper()
	late := time.AfterFunc(2*Patience, p.kill) // ends the pipe
	defer late.Stop()
	p.last++
	command := dict{"id": p.last, "method": method, "params": params}
	if p.session != "" {
		command["sessionId"] = p.session
	}
	b, err := json.Marshal(command)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(b, 0)); err != nil {
		p.t.Fatalf("%s: %v", method, err)
	}
	for {
		b, err := p.out.ReadBytes(0)
		if err != nil {
			p.t.Fatalf("%s: the browser has ended: %v", method, err)
		}
		var m message
		if err := json.Unmarshal(b[:len(b)-1], &m); err != nil {
			p.t.Fatalf("%s: %v", method, err)
		}
		switch {
		case m.Method == "Runtime.exceptionThrown" || m.Method == "Runtime.consoleAPICalled":
			p.said = append(p.said, string(m.Params))
		case m.ID != p.last:
		case m.Error != nil:
			p.t.Fatalf("%s: %s", method, m.Error.Message)
		default:
			if result != nil {
				if err := json.Unmarshal(m.Result, result); err != nil {
					p.t.Fatalf("%s: %v", method, err)
				}
			}
			return
		}
	}
}

// Eval returns the value of a JavaScript expression in the page, which may be a
// promise. An exception fails the test.
func (p *Page) Eval(expression string) any {
	p.t.Helper()
	var answer struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
		ExceptionDetails json.RawMessage `json:"exceptionDetails"`
	}
	p.do("Runtime.evaluate", dict{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &answer)
	if answer.ExceptionDetails != nil {
		p.t.Fatalf("%s: %s", expression, answer.ExceptionDetails)
	}
	return answer.Result.Value
}

// Until returns as soon as an expression holds in the page; the test fails when that
// takes longer than Patience. What the expression throws, it does not hold.
func (p *Page) Until(expression string) {
	p.t.Helper()
	held := p.Eval(fmt.Sprintf(`new Promise((done) => {
		const end = Date.now() + %d;
		const look = () => {
			let held = false;
			try { held = Boolean(%s); } catch {}
			if (held || Date.now() > end) done(held);
			else setTimeout(look, 20);
		};
		look();
	})`, Patience.Milliseconds(), expression))
	if held != true {
		p.t.Fatalf("not within %s: %s", Patience, expression)
	}
}

// Screenshot returns what the page looks like, as a PNG.
func (p *Page) Screenshot() []byte {
	p.t.Helper()
	var shot struct {
		Data string `json:"data"`
	}
	p.do("Page.captureScreenshot", dict{}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		p.t.Fatal(err)
	}
	return png
}
