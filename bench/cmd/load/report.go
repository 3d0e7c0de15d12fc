package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// reference is the router that the others are compared with.
const reference = "nexus"

// result is all rounds of one router in one scenario over one link.
type result struct {
	Scenario string     `json:"scenario"`
	Link     string     `json:"link"`
	Router   string     `json:"router"`
	Rounds   []*figures `json:"rounds"` // null where it failed
	Error    string     `json:"error,omitempty"`
}

// report gathers the results.
type report struct {
	Begun     time.Time `json:"begun"`
	CPUs      int       `json:"cpus"`
	Duration  string    `json:"duration"`
	Load      []string  `json:"load_average"` // before and after
	Results   []*result `json:"results"`
	scenarios []scenario
}

func newReport(o *options) *report {
	return &report{Begun: time.Now().UTC(), CPUs: runtime.NumCPU(), Duration: o.duration.String(), Load: []string{loadAverage()}, scenarios: o.scenarios}
}

func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(b) + " - - -")[:3], " ")
}

func (p *report) find(s, k, router string) *result {
	for _, r := range p.Results {
		if r.Scenario == s && r.Link == k && r.Router == router {
			return r
		}
	}
	return nil
}

func (p *report) add(_ int, s scenario, k *link, router string, f *figures, err error) {
	r := p.find(s.name, k.name, router)
	if r == nil {
		r = &result{Scenario: s.name, Link: k.name, Router: router}
		p.Results = append(p.Results, r)
	}
	if err != nil {
		r.Error = err.Error()
		f = nil
	}
	r.Rounds = append(r.Rounds, f)
}

// middle is the median over the rounds.
func (r *result) middle(of func(*figures) float64) float64 {
	var v []float64
	for _, f := range r.Rounds {
		if f != nil {
			v = append(v, of(f))
		}
	}
	return median(v)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// ratio is the median of the ratios to another router in the same round, "" if
// there is none.
func (r *result) ratio(to *result, of func(*figures) float64) string {
	if to == nil || to == r {
		return ""
	}
	var v []float64
	for i, f := range r.Rounds {
		if f != nil && i < len(to.Rounds) && to.Rounds[i] != nil && of(to.Rounds[i]) > 0 {
			v = append(v, of(f)/of(to.Rounds[i]))
		}
	}
	if len(v) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", median(v))
}

func cpuOf(f *figures) float64     { return f.CPU }
func rateOf(f *figures) float64    { return f.Rate }
func sessionOf(f *figures) float64 { return f.Session }

// write prints the table.
func (p *report) write(w io.Writer) {
	fmt.Fprintf(w, "%s, %d CPUs, %s for each measurement, load average %s\n",
		p.Begun.Format(time.DateTime), p.CPUs, p.Duration, strings.Join(p.Load, ", after "))
	fmt.Fprintf(w, "cpu: microseconds of the router for each message; /%s, /relay, /batch: ratio of cpu to theirs; rate/%s: ratio of messages a second;\n"+
		"load: microseconds of the load generator; p50, p99, p999: microseconds; medians over the rounds\n", reference, reference)
	for _, s := range p.scenarios {
		fmt.Fprintf(w, "\n%s: %s\n", s.name, s.what)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		idle := strings.HasPrefix(s.name, "idle")
		if idle {
			fmt.Fprintf(t, "link\trouter\tjoins/s\tcpu\t/%s\t/relay\trate/%s\tload\tRSS MiB\tKiB/session\t/%s\t\n", reference, reference, reference)
		} else {
			fmt.Fprintf(t, "link\trouter\tmsgs/s\tcpu\tsystem\t/%s\t/relay\t/batch\trate/%s\tload\tp50\tp99\tp999\tRSS MiB\tlost\t\n", reference, reference)
		}
		for _, r := range p.Results {
			switch {
			case r.Scenario != s.name:
			case !slices.ContainsFunc(r.Rounds, func(f *figures) bool { return f != nil }):
				fmt.Fprintf(t, "%s\t%s\tfailed\t\n", r.Link, r.Router)
			case idle:
				p.joins(t, r)
			default:
				p.messages(t, r)
			}
		}
		_ = t.Flush()
	}
	for _, r := range p.Results {
		if r.Error != "" {
			fmt.Fprintf(w, "\n%s, %s, %s: %s", r.Scenario, r.Link, r.Router, r.Error)
		}
	}
	fmt.Fprintln(w)
}

// messages prints the line of a result.
func (p *report) messages(w io.Writer, r *result) {
	to := func(name string) *result { return p.find(r.Scenario, r.Link, name) }
	var lost int64
	for _, f := range r.Rounds {
		if f != nil {
			lost += f.Lost
		}
	}
	fmt.Fprintf(w, "%s\t%s\t%.0f\t%.2f\t%.0f%%\t%s\t%s\t%s\t%s\t%.2f\t%.0f\t%.0f\t%.0f\t%.1f\t%d\t\n",
		r.Link, r.Router, r.middle(rateOf), r.middle(cpuOf), 100*r.middle(func(f *figures) float64 { return f.System }),
		r.ratio(to(reference), cpuOf), r.ratio(to("relay"), cpuOf), r.ratio(to("batch"), cpuOf), r.ratio(to(reference), rateOf),
		r.middle(func(f *figures) float64 { return f.Generator }),
		r.middle(func(f *figures) float64 { return f.P50 }), r.middle(func(f *figures) float64 { return f.P99 }),
		r.middle(func(f *figures) float64 { return f.P999 }), r.middle(func(f *figures) float64 { return f.RSS }), lost)
}

// joins prints the line of a result about idle sessions.
func (p *report) joins(w io.Writer, r *result) {
	to := func(name string) *result { return p.find(r.Scenario, r.Link, name) }
	fmt.Fprintf(w, "%s\t%s\t%.0f\t%.0f\t%s\t%s\t%s\t%.0f\t%.1f\t%.1f\t%s\t\n",
		r.Link, r.Router, r.middle(rateOf), r.middle(cpuOf),
		r.ratio(to(reference), cpuOf), r.ratio(to("relay"), cpuOf), r.ratio(to(reference), rateOf),
		r.middle(func(f *figures) float64 { return f.Generator }),
		r.middle(func(f *figures) float64 { return f.RSS }), r.middle(sessionOf), r.ratio(to(reference), sessionOf))
}

// summary prints the first router beside all others, a line for each scenario and
// link, as a table in Markdown.
func (p *report) summary(w io.Writer) {
	if len(p.Results) == 0 {
		return
	}
	first := p.Results[0].Router
	fmt.Fprintf(w, "| scenario | link | msgs/s | CPU us | /nexus | rate/nexus | /xconn-go | /relay | /batch | p50 us | p99 us | p999 us | RSS MiB | load us | lost |\n"+
		"|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range p.Results {
		if r.Router != first || r.Error != "" {
			continue
		}
		to := func(name string) *result { return p.find(r.Scenario, r.Link, name) }
		last, lost := 0.0, 0.0
		for _, f := range r.Rounds {
			lost += float64(f.Lost)
			last = f.Session
		}
		latency := func(of func(*figures) float64) string {
			if last > 0 {
				return ""
			}
			return fmt.Sprintf("%.0f", r.middle(of))
		}
		memory := fmt.Sprintf("%.1f", r.middle(func(f *figures) float64 { return f.RSS }))
		if last > 0 {
			memory = fmt.Sprintf("%.1f KiB each, %s of nexus", r.middle(sessionOf), r.ratio(to(reference), sessionOf))
		}
		fmt.Fprintf(w, "| %s | %s | %.0f | %.2f | %s | %s | %s | %s | %s | %s | %s | %s | %s | %.2f | %.0f |\n",
			r.Scenario, r.Link, r.middle(rateOf), r.middle(cpuOf), r.ratio(to(reference), cpuOf), r.ratio(to(reference), rateOf),
			r.ratio(to("xconn-go"), cpuOf), r.ratio(to("relay"), cpuOf), r.ratio(to("batch"), cpuOf),
			latency(func(f *figures) float64 { return f.P50 }), latency(func(f *figures) float64 { return f.P99 }),
			latency(func(f *figures) float64 { return f.P999 }), memory,
			r.middle(func(f *figures) float64 { return f.Generator }), lost)
	}
}

// show prints results that have been saved.
func show(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	p := &report{}
	if err := json.Unmarshal(b, p); err != nil {
		return err
	}
	for _, s := range scenarios {
		if slices.ContainsFunc(p.Results, func(r *result) bool { return r.Scenario == s.name }) {
			p.scenarios = append(p.scenarios, s)
		}
	}
	p.write(os.Stdout)
	fmt.Println()
	p.summary(os.Stdout)
	return nil
}

func (p *report) writeJSON(file string) error {
	b, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}
