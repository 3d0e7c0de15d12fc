package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// The exit codes of every command.
const (
	exitOK          = 0
	exitFailed      = 1   // the request was refused or failed; the configuration is wrong
	exitUsage       = 2   // the command line is wrong
	exitNoRouter    = 3   // no connection to the router
	exitInterrupted = 130 // ended by Ctrl-C before it was done
)

const exitCodesHelp = `
Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no connection to the
router, 130 interrupted.`

// app is the command line with what it needs from its surroundings.
type app struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	terminal bool // out is a terminal
	dial     dialer
}

func newApp(in io.Reader, out, err io.Writer, getenv func(string) string) *app {
	a := &app{in: in, out: out, err: err, getenv: getenv, dial: dialRouter}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		a.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return a
}

// usageError is a mistake on the command line.
type usageError struct{ error }

// connectError is a failure to reach or join the router.
type connectError struct{ error }

func (e usageError) Unwrap() error   { return e.error }
func (e connectError) Unwrap() error { return e.error }

// errSilent ends a command with exitFailed that has said all there is to say.
var errSilent = errors.New("failed")

// negative matches arguments that begin like a flag but are JSON numbers.
var negative = regexp.MustCompile(`^-(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// main runs one command and returns the exit code.
func (a *app) main(ctx context.Context, args []string) int {
	started := false
	root := a.rootCommand(&started)
	for i, arg := range args {
		if negative.MatchString(arg) {
			args[i] = " " + arg // no flag any more, and to JSON the same number
		}
	}
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var usage usageError
	var connect connectError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errSilent):
		return exitFailed
	case !started || errors.As(err, &usage):
		fmt.Fprintf(a.err, "gantry: %v\nUsage: %s\nTry: %s --help\n", err, cmd.UseLine(), cmd.CommandPath())
		return exitUsage
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(a.err, "gantry: interrupted")
		return exitInterrupted
	}
	a.printError(err)
	if errors.As(err, &connect) {
		return exitNoRouter
	}
	return exitFailed
}

func (a *app) rootCommand(started *bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "gantry",
		Short: "IoT edge gateway: WAMP router, device drivers and MQTT bridge in one program",
		Long: `Gantry connects devices to applications: sensor readings become WAMP events,
actuator commands become WAMP procedures, MQTT clients take part as they are, and
what an uplink cannot take yet waits in a store on disk.

gantry run starts a gateway. The other commands talk to a running one.
` + exitCodesHelp,
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRun:  func(*cobra.Command, []string) { *started = true },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.AddCommand(
		a.runCommand(), a.checkCommand(), a.policyCommand(),
		a.callCommand(), a.publishCommand(), a.subscribeCommand(), a.devicesCommand(), a.laterCommand(), a.jobsCommand(), a.fleetCommand(), a.fileCommand(),
		a.modbusCommand(), a.mqttCommand(), a.forwardCommand(), a.userCommand(), a.storeCommand(), a.historyCommand(), a.supportCommand(), a.testeeCommand(), a.versionCommand(),
	)
	return root
}

// printError tells a person what went wrong: the URI, the text, and below them
// the details that came with it.
func (a *app) printError(err error) {
	fmt.Fprintf(a.err, "gantry: %s\n", clean(err.Error()))
	var refused *wamp.Error
	if !errors.As(err, &refused) {
		return
	}
	args, kwargs, err := serialize.Values(refused.Payload)
	if err != nil {
		return
	}
	if len(args) > 0 && args[0] == refused.Text {
		args = args[1:]
	}
	for _, v := range args {
		fmt.Fprintf(a.err, "  %s\n", text(v))
	}
	for _, k := range sorted(kwargs) {
		fmt.Fprintf(a.err, "  %s: %s\n", clean(k), text(kwargs[k]))
	}
}

// jsonError writes the error of a request as the one object that a program
// reads, when err came from the router; it always returns err.
func (a *app) jsonError(err error) error {
	var refused *wamp.Error
	if errors.As(err, &refused) {
		o := payloadObject(refused.Payload)
		o["error"] = refused.URI
		if werr := a.writeJSON(o); werr != nil {
			return werr
		}
	}
	return err
}

// writeJSON writes v as one line. Binary values take WAMP's form in JSON.
func (a *app) writeJSON(v any) error {
	b, err := jsonOf(v)
	if err != nil {
		return err
	}
	_, err = a.out.Write(append(b, '\n'))
	return err
}

// jsonOf returns v as compact JSON.
func jsonOf(v any) ([]byte, error) {
	b, err := serialize.AppendValue(nil, wamp.JSON, v)
	if err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return b, nil
}

// text shows a value to a person: a text as it is, everything else as JSON.
func text(v any) string {
	if s, ok := v.(string); ok {
		return clean(s)
	}
	b, err := jsonOf(v)
	if err != nil {
		return clean(fmt.Sprint(v))
	}
	return clean(string(b))
}

// clean makes a text from outside safe to print: control characters, which could
// drive the terminal, become escapes.
func clean(s string) string {
	if strings.IndexFunc(s, isControl) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if isControl(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isControl covers C0, DEL, C1 and the marks that reorder text.
func isControl(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
