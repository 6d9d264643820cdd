package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// A report collects everything for the tables and the JSON file.
type report struct {
	Machine  []string  `json:"machine"`
	Results  []result  `json:"results"`
	Verdicts []verdict `json:"targets"`
}

// A verdict is a target and how it came out.
type verdict struct {
	Case    string  `json:"case"`
	Target  string  `json:"target"`
	Reached float64 `json:"reached"` // a factor of the peer's figure, or in the metric's unit
	OK      bool    `json:"ok"`
}

// describe notes the machine and the versions.
func (r *report) describe(b *bench) {
	host, _ := os.Hostname()
	r.Machine = append(r.Machine,
		fmt.Sprintf("%s, %s/%s, %d processors, host %s", time.Now().UTC().Format(time.RFC3339), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), host),
		fmt.Sprintf("rounds %d, window %v", b.options.rounds, b.options.window))
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Machine = append(r.Machine, "load average at the start "+strings.TrimSpace(string(load)))
	}
	for _, v := range [][]string{{entrepot, "version"}, {nginx, "-v"}, {"registry", "--version"}, {"crane", "version"}} {
		if path := b.bin[v[0]]; path != "" {
			out, _ := exec.Command(path, v[1]).CombinedOutput() // wrong flags are harmless
			r.Machine = append(r.Machine, v[0]+": "+firstLine(string(out)))
		}
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func (r *report) printHead(w io.Writer) {
	fmt.Fprintf(w, "# Entrepot beside its peers\n\n")
	for _, line := range r.Machine {
		fmt.Fprintf(w, "* %s\n", line)
	}
	fmt.Fprintln(w)
}

// printCase prints the table of one case: median (min-max).
func (r *report) printCase(w io.Writer, c testCase, res result) {
	fmt.Fprintf(w, "## %s\n\n%s\n\n| server |", c.name, c.what)
	for _, m := range c.metrics {
		fmt.Fprintf(w, " %s |", m.head)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---|", len(c.metrics)))
	for _, s := range c.servers {
		if len(res.Samples[s]) == 0 {
			continue
		}
		fmt.Fprintf(w, "| %s |", s)
		for _, m := range c.metrics {
			fmt.Fprintf(w, " %s |", res.cell(s, m))
		}
		fmt.Fprintln(w)
	}
	for _, s := range res.skipped {
		fmt.Fprintf(w, "| %s | NOT MEASURED: a program is missing |\n", s)
	}
	fmt.Fprintln(w)
}

// cell is one field of a table.
func (r result) cell(server string, m metric) string {
	v, ok := r.value(server, m)
	if !ok {
		return "–"
	}
	text := fmt.Sprintf(m.format, v)
	if vs := r.values(server, m.key); len(vs) > 1 && !m.worst {
		text += fmt.Sprintf(" ("+m.format+"–"+m.format+")", vs[0], vs[len(vs)-1])
	}
	return text
}

// judge compares Entrepot's figures with the targets. A target whose peer was
// not measured is left out.
func (r *report) judge(cases []testCase) {
	for i, c := range cases {
		for _, t := range c.targets {
			m := c.metric(t.key)
			got, ok := r.Results[i].value(entrepot, m)
			if !ok {
				continue
			}
			text := m.head
			if t.peer != "" {
				peers := r.find(t.in, r.Results[i])
				base, ok := peers.value(t.peer, m)
				if !ok {
					continue
				}
				got /= base
				text += " ÷ " + t.peer
				if t.in != "" {
					text += " in " + t.in
				}
			}
			sign, good := "≤", got <= t.bound
			if t.atLeast {
				sign, good = "≥", got >= t.bound
			}
			r.Verdicts = append(r.Verdicts, verdict{c.name, fmt.Sprintf("%s %s %g", text, sign, t.bound), got, good})
		}
	}
}

// find returns the result of the named case, own where name is "".
func (r *report) find(name string, own result) result {
	if name == "" {
		return own
	}
	for _, other := range r.Results {
		if other.Case == name {
			return other
		}
	}
	return result{}
}

func (c testCase) metric(key string) metric {
	for _, m := range c.metrics {
		if m.key == key {
			return m
		}
	}
	panic("no metric " + key)
}

func (r *report) printTargets(w io.Writer) {
	fmt.Fprintf(w, "## Targets\n\n| case | target | reached | |\n|---|---|---|---|\n")
	for _, v := range r.Verdicts {
		mark := "ok"
		if !v.OK {
			mark = "**missed**"
		}
		fmt.Fprintf(w, "| %s | %s | %.3g | %s |\n", v.Case, v.Target, v.Reached, mark)
	}
	fmt.Fprintln(w)
}

func (r *report) writeJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
