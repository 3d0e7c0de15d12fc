package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"gantry/internal/config"
	"gantry/systemd"
)

// defaultState is where the service keeps its state.
const defaultState = "/var/lib/gantry"

func (a *app) runCommand() *cobra.Command {
	var path, state, listen, mqttListen, level string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the gateway",
		Long: `Runs the gateway until SIGTERM or Ctrl-C; then it stops within 5 seconds, with what
the outbox holds on disk. A second signal ends it at once.

` + configHelp + `
A mistake in a device's table stops that device only; any other keeps the gateway
from starting.

Once ready it prints three commands to try. Under systemd it reports readiness and
feeds the watchdog. The log goes to standard error.

Exit codes: 0 stopped as wished, 1 the configuration is wrong or something failed,
2 wrong usage.`,
		Example: `  gantry run --config /etc/gantry --state /var/lib/gantry
  gantry run --config examples/demo --state .tmp/demo-state --listen 127.0.0.1:0`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&path, "config", defaultConfig, "configuration directory or file")
	f.StringVar(&state, "state", defaultState, "directory for what survives a restart; made if missing")
	f.StringVar(&listen, "listen", "", "host:port for WAMP and HTTP, in place of listen.http; port 0 takes a free one")
	f.StringVar(&mqttListen, "mqtt-listen", "", `host:port for MQTT, in place of mqtt.listen; "off" = none`)
	f.StringVar(&level, "log-level", "", "debug, info, warn or error, in place of log.level")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, errs := config.Load(path, kinds())
		if cfg == nil {
			fmt.Fprintf(a.err, "%v\n", errs)
			return errSilent
		}
		if err := override(cmd, cfg, listen, mqttListen, level); err != nil {
			return err
		}
		tail := &logTail{}
		// What is below Info may hold payloads.
		log := slog.New(slog.NewMultiHandler(a.logger(cfg.Log.Level).Handler(), slog.NewTextHandler(tail, nil)))
		for _, e := range errs {
			log.Error("device does not run", "device", e.Device, "error", e)
		}
		notify, err := systemd.New(a.getenv)
		if err != nil {
			return err
		}
		g, err := NewGateway(Options{Config: cfg, State: state, Apart: trials.run(log), Notify: notify, Log: log, Tail: tail})
		if err != nil {
			return err
		}
		return a.runGateway(cmd.Context(), g)
	}
	return cmd
}

// runGateway runs g and prints the welcome when it is ready.
func (a *app) runGateway(ctx context.Context, g *Gateway) error {
	done := make(chan error, 1) // Run's only result
	go func() { done <- g.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-g.Ready():
	}
	if _, err := io.WriteString(a.out, welcome(g, os.Args[0], exec.LookPath)); err != nil {
		g.log.Debug("welcome not printed", "error", err)
	}
	return <-done
}

// override puts what the command line says in the place of what the files say.
func override(cmd *cobra.Command, cfg *config.Config, listen, mqttListen, level string) error {
	if cmd.Flags().Changed("listen") {
		if err := config.CheckListen(listen, cfg.Listen.Anonymous, len(cfg.Users)); err != nil {
			return usageError{fmt.Errorf("--listen: %s; allowed: %s", err.Text, err.Allowed)}
		}
		cfg.Listen.HTTP = listen
	}
	if cmd.Flags().Changed("mqtt-listen") {
		if mqttListen == "off" {
			mqttListen = ""
		}
		if err := config.CheckListen(mqttListen, cfg.Listen.Anonymous, config.NoLogin); err != nil {
			return usageError{fmt.Errorf("--mqtt-listen: %s; allowed: %s", err.Text, err.Allowed)}
		}
		cfg.MQTT.Listen = mqttListen
	}
	if level != "" {
		if err := cfg.Log.Level.UnmarshalText([]byte(level)); err != nil {
			return usageError{fmt.Errorf("--log-level takes debug, info, warn or error")}
		}
	}
	return nil
}

// logger writes lines for people to standard error; the journal stamps its lines
// itself.
func (a *app) logger(level config.Level) *slog.Logger {
	var l slog.Level
	// The configuration has checked the name.
	_ = l.UnmarshalText([]byte(level))
	o := &slog.HandlerOptions{Level: l}
	if f, ok := a.err.(*os.File); ok && systemd.InJournal(f, a.getenv("JOURNAL_STREAM")) {
		o.ReplaceAttr = func(groups []string, attr slog.Attr) slog.Attr {
			if attr.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return attr
		}
	}
	return slog.New(slog.NewTextHandler(a.err, o))
}

// welcome says where the gateway listens, and three commands to try.
func welcome(g *Gateway, program string, lookPath func(string) (string, error)) string {
	var b strings.Builder
	at := g.Addresses()
	fmt.Fprintf(&b, "\nGantry %s is ready: gateway %s, realm %s\n", version, g.cfg.Gateway.Name, g.cfg.Gateway.Realm)
	secure := g.cfg.Listen.TLS.Cert != ""
	flags := remoteWords(at, secure, g.cfg.Gateway.Realm)
	if at.HTTP != "" {
		ws, rs := schemes(secure)
		fmt.Fprintf(&b, "  WAMP   %s%s/ws   %s%s\n", ws, at.HTTP, rs, at.HTTP)
	}
	if at.Unix != "" {
		fmt.Fprintf(&b, "         rs+unix://%s\n", at.Unix)
	}
	if at.MQTT != "" {
		fmt.Fprintf(&b, "  MQTT   %s\n", at.MQTT)
	}
	if at.MQTTS != "" {
		fmt.Fprintf(&b, "  MQTTS  %s\n", at.MQTTS)
	}
	b.WriteString("\nTry in another terminal:\n")
	fmt.Fprintf(&b, "  %s subscribe%s --match prefix --retained gantry.%s.\n", program, flags, g.cfg.Gateway.Name)
	if call := sampleCall(g.cfg.Gateway.Name, g.devices); call != "" {
		fmt.Fprintf(&b, "  %s call%s %s\n", program, flags, call)
	}
	if at.MQTT != "" {
		topic, message := sampleMessage(g.cfg.MQTT.Map)
		host, port, err := net.SplitHostPort(at.MQTT)
		if _, lookErr := lookPath("mosquitto_pub"); lookErr == nil && err == nil {
			fmt.Fprintf(&b, "  mosquitto_pub -h %s -p %s -t %s -m %s\n", host, port, shellWord(topic), shellWord(message))
		} else {
			fmt.Fprintf(&b, "  %s mqtt publish --broker %s %s %s\n", program, at.MQTT, shellWord(topic), shellWord(message))
		}
	}
	b.WriteString("\n")
	return b.String()
}

// schemes returns how the URLs of the port of listen.http begin.
func schemes(secure bool) (ws, rs string) {
	if secure {
		return "wss://", "rss://"
	}
	return "ws://", "rs://"
}

// remoteWords returns the flags by which the other commands find this gateway;
// none where the defaults do. They do not pass through TLS where there is another
// way: a certificate is seldom for the address that the gateway listens on.
func remoteWords(at Addresses, secure bool, realm string) string {
	words := ""
	switch {
	case at.Unix != "" && (at.HTTP == "" || secure):
		words += " --url " + shellWord("rs+unix://"+at.Unix)
	case at.HTTP != defaultAddress || secure:
		ws, _ := schemes(secure)
		words += " --url " + ws + at.HTTP + "/ws"
	}
	if realm != defaultRealm {
		words += " --realm " + shellWord(realm)
	}
	return words
}
