package chromium_test

import (
	"bytes"
	"image/png"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"gantry/internal/chromium"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPage(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<title>hello</title><button onclick="this.textContent = 'done'">do</button>`))
	}))
	defer srv.Close()
	p := chromium.Open(t, srv.URL)
	p.Until(`document.title === "hello"`)
	if got := p.Eval(`fetch("/").then((response) => response.status)`); got != 200.0 {
		t.Errorf("a promise: %v", got)
	}
	p.Eval(`document.querySelector("button").click()`)
	p.Until(`document.querySelector("button").textContent === "done"`)
	if _, err := png.Decode(bytes.NewReader(p.Screenshot())); err != nil {
		t.Error(err)
	}
}
