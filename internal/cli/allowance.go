package cli

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A budget is how many requests an upstream has to leave us for everything to
// go on as usual: a number, or a part of what it grants in all.
type budget struct {
	requests int64
	percent  float64 // 0 to 100; where it is not 0, requests is
}

// defaultBudget is a tenth (spec/reliability.md, 1).
var defaultBudget = budget{percent: 10}

// parseBudget reads "10%", or a number of requests.
func parseBudget(s string) (budget, error) {
	if number, ok := strings.CutSuffix(s, "%"); ok {
		p, err := strconv.ParseFloat(number, 64)
		if err != nil || !(p >= 0 && p <= 100) {
			return budget{}, errors.New("a percentage is between 0% and 100%")
		}
		return budget{percent: p}, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return budget{}, errors.New(strconv.Quote(s) + " is no number of requests")
	}
	return budget{requests: int64(n)}, nil
}

// over reports whether so many of so many are less than the budget.
func (b budget) over(left, most int64) bool {
	if b.percent > 0 {
		return float64(left)*100 < float64(most)*b.percent
	}
	return left < b.requests
}

// An allowance remembers how many requests upstreams say that they leave us,
// for what can wait. It is safe for concurrent use.
type allowance struct {
	now    func() time.Time
	budget func(upstream string) budget

	mu sync.Mutex                    // guards m
	m  map[string]map[string]allowed // :: upstream → account → what it said last
}

// allowed is what an upstream said about an account's requests.
type allowed struct {
	left, most int64
	at         time.Time
}

const (
	// maxAllowances bounds what is remembered, of upstreams and of each one's
	// accounts: hosts below a wildcard, and logins, are named by clients.
	maxAllowances = 256
	// allowanceFor is how long an answer counts. Docker Hub's window is six
	// hours, but it slides.
	allowanceFor = 15 * time.Minute
)

func newAllowance(now func() time.Time, of func(upstream string) budget) *allowance {
	return &allowance{now: now, budget: of, m: map[string]map[string]allowed{}}
}

// budgets returns the budget of each upstream.
func budgets(ups []upstream) func(name string) budget {
	fixed := map[string]budget{}
	var wildcards []upstream
	for _, u := range ups {
		fixed[u.name] = u.budget
		if isWildcard(u.name) {
			wildcards = append(wildcards, u)
		}
	}
	return func(name string) budget {
		if b, ok := fixed[name]; ok {
			return b
		}
		u, _ := wildcardOf(wildcards, name)
		return u.budget
	}
}

// note learns how many requests an account has left, of how many; -1 where that
// was not said, which then is the most that was ever left. It returns how many
// all accounts of the upstream have left.
func (a *allowance) note(upstream, account string, left, most int64) (inAll int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.m[upstream]
	if known == nil {
		if len(a.m) >= maxAllowances {
			clear(a.m)
		}
		known = map[string]allowed{}
		a.m[upstream] = known
	}
	if len(known) >= maxAllowances {
		clear(known)
	}
	if most < 0 {
		most = known[account].most
	}
	known[account] = allowed{left, max(left, most), a.now()}
	for _, x := range known {
		if a.now().Sub(x.at) < allowanceFor {
			inAll += x.left
		}
	}
	return inAll
}

// scarce reports whether every account that has lately been told of its
// requests has fewer left than the budget wants.
func (a *allowance) scarce(upstream string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, told := a.budget(upstream), false
	for _, x := range a.m[upstream] {
		if a.now().Sub(x.at) >= allowanceFor {
			continue
		}
		if !b.over(x.left, x.most) {
			return false
		}
		told = true
	}
	return told
}
