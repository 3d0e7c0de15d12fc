package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gantry/internal/avrhil"
	"gantry/internal/chromium"
	"gantry/wamp/interop"
)

func TestMain(m *testing.M) { interop.Main(m) }

// TestPage has the board's firmware on a simulated chip, the program gantry with the
// configuration as it is shipped, and the page in a real browser.
func TestPage(t *testing.T) {
	if testing.Short() {
		t.Skip("a board and a browser take their time")
	}
	t.Parallel()
	board := avrhil.Start(t, avrhil.Options{})
	pages := httptest.NewServer(handler())
	defer pages.Close()
	var config strings.Builder
	for _, file := range []string{"gantry.toml", filepath.Join("devices.d", "arduino.toml")} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		config.Write(text)
	}
	g := interop.StartGateway(t, strings.NewReplacer(
		"/dev/serial/by-id/usb-Arduino_Uno-if00", board.Path(),
		`settle = "2s"`, `settle = "0s"`, // this board has no boot loader
		"http://127.0.0.1:8081", pages.URL,
	).Replace(config.String()))
	p := chromium.Open(t, pages.URL+"/?router="+url.QueryEscape(g.URL(interop.Link{Scheme: "ws"})))

	shows := func(celsius float64) {
		t.Helper()
		p.Until(fmt.Sprintf(`Math.abs(document.getElementById("value").textContent - %v) <= %v`, celsius, avrhil.Tolerance))
	}
	p.Until(`document.getElementById("state").textContent === "online"`)
	shows(avrhil.Room)
	p.Eval(`(() => { const i = document.getElementById("interval"); i.value = 50; i.onchange(); })()`)
	board.SetCelsius(30)
	shows(30)
	// The chart has a line: pixels in its colour, at the left and at the right.
	p.Until(`(() => {
		const canvas = document.getElementById("chart");
		const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
		const columns = [];
		for (let i = 0; i < data.length; i += 4) if (data[i] < 0x50 && data[i + 2] > 0xb0 && data[i + 3] > 0xb0) columns.push((i / 4) % width);
		return Math.min(...columns) < 20 && Math.max(...columns) > width - 20;
	})()`)

	for _, on := range []bool{true, false} {
		p.Until(fmt.Sprintf(`!document.getElementById("led").disabled && document.getElementById("led").checked === %v`, !on))
		p.Eval(`document.getElementById("led").click()`)
		board.WaitLED(on)
	}
	if file := os.Getenv("GANTRY_SCREENSHOT"); file != "" {
		if err := os.WriteFile(file, p.Screenshot(), 0o600); err != nil {
			t.Error(err)
		}
	}
	if text := p.Eval(`document.getElementById("error").textContent`); text != "" {
		t.Errorf("the page complains: %v", text)
	}
	board.SetCelsius(-100)
	p.Until(`document.getElementById("value").textContent === "-"`)
	board.Unplug()
	p.Until(`document.getElementById("state").textContent === "offline"`)
}

func TestServe(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := serve(ctx, "127.0.0.1:0"); err != nil {
		t.Errorf("behind the end of its context: %v", err)
	}
	if err := serve(t.Context(), "127.0.0.1"); err == nil {
		t.Error("an address without a port is taken")
	}
}
