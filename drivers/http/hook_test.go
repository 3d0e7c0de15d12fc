package http_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	nethttp "net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"

	"github.com/google/go-cmp/cmp"
)

const secret = "correct horse"

// port is the gateway's port.
type port struct{ *drivertest.Port }

func newPort(t testing.TB) port { return port{drivertest.NewPort(t)} }

// post posts and returns the status and the answer.
func (p port) post(t testing.TB, method, target, body string, header map[string]string) (int, string) {
	t.Helper()
	req, err := nethttp.NewRequestWithContext(t.Context(), method, p.URL+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range header {
		req.Header.Set(name, v)
	}
	resp, err := p.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(b))
}

// secretFile keeps the secret and returns the reference to it.
func secretFile(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + file
}

// hooked runs a device that posts. SECRET in its text stands for the secret.
func hooked(t *testing.T, p port, text string, env drivers.Env) *drivertest.Link {
	t.Helper()
	env.Device, env.Mount = "dev", p.Mount
	link := drivertest.Start(t, newDriver(t, strings.ReplaceAll(text, "SECRET", secretFile(t)), "", env))
	p.Wait(t)
	return link
}

var bearer = map[string]string{"Authorization": "Bearer " + secret}

const hookText = `
[hook]
secret = "SECRET"
parse = { json = true }
[point.t]
from = "env.t"
[point.door]
from = "door"
type = "bool"
`

// postAgain has a device post the bodies in turn, on and on until the test ends. The
// channel that it returns is closed when each has been taken or refused.
func (p port) postAgain(t testing.TB, bodies ...string) (round <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var posts sync.WaitGroup
	all := make(chan struct{})
	posts.Go(func() {
		i := 0
		for tick := time.NewTicker(2 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			req, _ := nethttp.NewRequestWithContext(ctx, "POST", p.URL+"/hook/dev", strings.NewReader(bodies[i%len(bodies)]))
			req.Header.Set("Authorization", "Bearer "+secret)
			resp, err := p.Client().Do(req)
			if err != nil {
				continue
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == nethttp.StatusNotFound {
				continue // nobody is there yet
			}
			if i++; i == len(bodies) {
				close(all)
			}
		}
	})
	t.Cleanup(func() { cancel(); posts.Wait() })
	return all
}

// hookDriver returns a driver whose device posts often.
func hookDriver(t testing.TB, p port) drivers.Driver {
	t.Helper()
	text := strings.ReplaceAll(hookText, "[hook]", "[hook]\nrate = 1000")
	return newDriver(t, strings.ReplaceAll(text, "SECRET", secretFile(t)), "", drivers.Env{Device: "dev", Mount: p.Mount})
}

func TestConformanceOfHooks(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		p := newPort(t)
		p.postAgain(t, `{"env":{"t":1}}`)
		return hookDriver(t, p)
	})
}

// What can be read as JSON brings the device up, whatever is in it.
func TestGarbageOfHooksIsNoValue(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	round := p.postAgain(t, `{"other":1}`, `21.5`, `{"env":{"t":21.5}`, "\xff\xfe", `{"env":{"t":"warm"},"door":2}`, `{"env":[21.5]}`, `{"env":{"t":null}}`, ``)
	drivertest.GarbageIsNoValue(t, hookDriver(t, p), func() { <-round })
}

func TestPostsBecomeReadings(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	link := hooked(t, p, hookText, drivers.Env{})
	if link.Ups() != 0 {
		t.Error("it is up before it has posted")
	}
	for _, tt := range []struct {
		body   string
		status int
		say    string
	}{
		{`{"env":{"t":21.5},"door":true}`, 200, "ok"},
		{`{"env":{"t":"warm"},"door":0}`, 422, "t: not_a_number"},
		{`{"env":{"t":null}}`, 422, "t: null"},
		{`{"other":1}`, 422, "no_field"},
		{`{`, 400, "not_json"},
		{``, 400, "not_json"},
		{strings.Repeat("[", 100) + strings.Repeat("]", 100), 400, "too_deep"},
		{`{"x":"` + strings.Repeat("x", 70000) + `"}`, 413, "more than 65536 bytes"},
	} {
		status, say := p.post(t, "POST", "/hook/dev", tt.body, bearer)
		if status != tt.status || say != tt.say {
			t.Errorf("%.40s: %d %q", tt.body, status, say)
		}
	}
	var got []any
	for _, r := range link.Readings() {
		got = append(got, r.Point, r.Value, r.Why)
	}
	want := []any{"door", true, "", "t", 21.5, "", "door", false, "", "t", nil, "not_a_number", "t", nil, "null"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(link.AllGarbage()); link.Ups() != 1 || n != 4 {
		t.Errorf("up %d times, %d pieces of garbage", link.Ups(), n)
	}
}

func TestOnlyTheDeviceGetsIn(t *testing.T) {
	t.Parallel()
	sign := func(body, key string, encode func([]byte) string) string {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(body))
		return encode(mac.Sum(nil))
	}
	const body = `{"env":{"t":1}}`
	signed := strings.Replace(hookText, "[point.t]", "[hook.signature]\nheader = \"X-Hub-Signature-256\"\nprefix = \"sha256=\"\n[point.t]", 1)
	inBase64 := strings.Replace(hookText, "[point.t]", "[hook.signature]\nheader = \"X-Sig\"\nencoding = \"base64\"\n[point.t]", 1)
	for _, tt := range []struct {
		name, text, method, target string
		header                     map[string]string
		want                       int
	}{
		{"nothing", hookText, "POST", "", nil, 401},
		{"the secret", hookText, "POST", "", bearer, 200},
		{"by PUT", hookText, "PUT", "", bearer, 200},
		{"by GET", hookText, "GET", "", bearer, 405},
		{"another secret", hookText, "POST", "", map[string]string{"Authorization": "Bearer correct hors"}, 401},
		{"another scheme", hookText, "POST", "", map[string]string{"Authorization": "Basic " + secret}, 401},
		{"in the address", hookText, "POST", "?token=correct+horse", nil, 401},
		{"in the address that may have it", strings.Replace(hookText, "[hook]", "[hook]\nquery = \"token\"", 1), "POST", "?token=correct+horse", nil, 200},
		{"wrong in the address", strings.Replace(hookText, "[hook]", "[hook]\nquery = \"token\"", 1), "POST", "?token=", nil, 401},
		{"a header", strings.Replace(hookText, "[hook]", "[hook]\nheader = \"X-Token\"", 1), "POST", "", map[string]string{"X-Token": secret}, 200},
		{"another header", strings.Replace(hookText, "[hook]", "[hook]\nheader = \"X-Token\"", 1), "POST", "", bearer, 401},
		{"signed", signed, "POST", "", map[string]string{"X-Hub-Signature-256": "sha256=" + sign(body, secret, hex.EncodeToString)}, 200},
		{"signed in base64", inBase64, "POST", "", map[string]string{"X-Sig": sign(body, secret, base64.StdEncoding.EncodeToString)}, 200},
		{"signed by another", signed, "POST", "", map[string]string{"X-Hub-Signature-256": "sha256=" + sign(body, "correct hors", hex.EncodeToString)}, 401},
		{"another body signed", signed, "POST", "", map[string]string{"X-Hub-Signature-256": "sha256=" + sign(body+" ", secret, hex.EncodeToString)}, 401},
		{"without the prefix", signed, "POST", "", map[string]string{"X-Hub-Signature-256": sign(body, secret, hex.EncodeToString)}, 401},
		{"half a signature", signed, "POST", "", map[string]string{"X-Hub-Signature-256": "sha256=" + sign(body, secret, hex.EncodeToString)[:32]}, 401},
		{"the secret where it is not asked for", signed, "POST", "", bearer, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPort(t)
			link := hooked(t, p, tt.text, drivers.Env{})
			status, say := p.post(t, tt.method, "/hook/dev"+tt.target, body, tt.header)
			if status != tt.want || (len(link.Readings()) == 1) != (status == 200) {
				t.Errorf("%d %s, readings %v", status, say, link.Readings())
			}
		})
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	link := hooked(t, p, "[hook]\nsecret = \"SECRET\"\nquery = \"key\"\nform = true\n[point.t]\nfrom = \"temp\"\n[point.s]\nfrom = \"s\"\ntype = \"text\"\n", drivers.Env{})
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	const key = "?key=correct%20horse"
	for _, tt := range []struct {
		method, target, body string
		want                 int
	}{
		{"GET", "/hook/dev" + key + "&temp=1.5", "", 200}, // as an Ecowitt or Shelly does
		{"POST", "/hook/dev" + key, "temp=2.5&s=a+b", 200},
		{"POST", "/hook/dev" + key, "temp=%zz", 400},
		{"POST", "/hook/dev" + key, "x=1", 422},
	} {
		if status, say := p.post(t, tt.method, tt.target, tt.body, form); status != tt.want {
			t.Errorf("%s %s: %d %s", tt.target, tt.body, status, say)
		}
	}
	var got []any
	for _, r := range link.Readings() {
		got = append(got, r.Value)
	}
	if diff := cmp.Diff([]any{1.5, "a b", 2.5}, got); diff != "" {
		t.Error(diff)
	}
}

func TestPostsAreBounded(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	var mu sync.Mutex
	now := time.Unix(1_764_000_000, 0)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	var log bytes.Buffer
	_ = hooked(t, p, strings.Replace(hookText, "[hook]", "[hook]\nrate = 2", 1), drivers.Env{Now: clock, Log: slog.New(slog.NewTextHandler(&log, nil))})
	post := func(header map[string]string) int {
		status, _ := p.post(t, "POST", "/hook/dev", `{"door":1}`, header)
		return status
	}
	for range 10 { // strangers use nothing up
		if status := post(nil); status != 401 {
			t.Errorf("%d", status)
		}
	}
	var got []int
	for range 5 {
		got = append(got, post(bearer))
	}
	mu.Lock()
	now = now.Add(500 * time.Millisecond)
	mu.Unlock()
	got = append(got, post(bearer), post(bearer))
	if diff := cmp.Diff([]int{200, 200, 200, 200, 429, 200, 429}, got); diff != "" {
		t.Error(diff)
	}
	if s := log.String(); strings.Count(s, "hook refused") != 1 || strings.Contains(s, "horse") {
		t.Errorf("%s", s)
	}
}

func TestHookNeedsAPortAndASecret(t *testing.T) {
	t.Parallel()
	text := strings.ReplaceAll(hookText, "SECRET", secretFile(t))
	if err := newDriver(t, text, "", drivers.Env{}).Run(t.Context(), &drivertest.Link{}); err == nil || !strings.Contains(err.Error(), "port") {
		t.Errorf("%v", err)
	}
	file := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPort(t)
	d := newDriver(t, strings.ReplaceAll(hookText, "SECRET", "file:"+file), "", drivers.Env{Device: "dev", Mount: p.Mount})
	if err := d.Run(t.Context(), &drivertest.Link{}); err == nil || !strings.Contains(err.Error(), "8 and more") {
		t.Errorf("an empty secret: %v", err)
	}
}

// A device that is polled, and posts as well.
func TestPolledAndPosting(t *testing.T) {
	t.Parallel()
	p, dev := newPort(t), newPlug(t)
	text := strings.Replace(plugText, "from = \"meters.0.power\"", "request = \"status\"\nfrom = \"meters.0.power\"", 1)
	text = strings.Replace(text, "from = \"on\"", "request = \"status\"\nfrom = \"on\"", 1)
	d := newDriver(t, strings.ReplaceAll(text+"[hook]\nsecret = \"SECRET\"\nparse = { json = true }\n[point.button]\nrequest = \"hook\"\nfrom = \"button\"\n", "SECRET", secretFile(t)),
		dev.URL, drivers.Env{Device: "dev", Mount: p.Mount})
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	if status, say := p.post(t, "POST", "/hook/dev", `{"button":3}`, bearer); status != 200 {
		t.Errorf("%d %s", status, say)
	}
	if r := link.WaitReading(t, "button", 0, nil); r.Value != 3.0 {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff([]any{21.5, ""}, read(t, d, "power", "button")); diff != "" {
		t.Error(diff)
	}
	if _, err := d.(drivers.Reader).Read(t.Context(), []string{"button"}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}
