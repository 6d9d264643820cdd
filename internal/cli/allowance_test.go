package cli

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
)

// Less than the budget is left: for a while what can wait does.
func TestAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of := map[string]budget{"docker.io": defaultBudget, "few.example": {requests: 20}, "none.example": {}}
		a := newAllowance(time.Now, func(name string) budget { return of[name] })
		for _, c := range []struct {
			upstream   string
			left, most int64
			want       bool
		}{
			{"docker.io", 100, -1, false}, {"docker.io", 11, -1, false}, {"docker.io", 10, -1, false}, {"docker.io", 9, -1, true},
			{"docker.io", 0, -1, true}, {"docker.io", 50, -1, false}, {"docker.io", 5, -1, true}, {"docker.io", 5, 20, false},
			{"few.example", 20, 5000, false}, {"few.example", 19, 5000, true}, {"none.example", 0, 100, false},
		} {
			if a.note(c.upstream, "", c.left, c.most); a.scarce(c.upstream) != c.want || a.scarce("quay.io") {
				t.Errorf("%s with %d of %d left: %v, want %v", c.upstream, c.left, c.most, !c.want, c.want)
			}
		}
		if !a.scarce("few.example") {
			t.Error("it is forgotten at once")
		}
		time.Sleep(allowanceFor)
		if a.scarce("few.example") {
			t.Error("what was said long ago still counts")
		}
	})
}

// Accounts that take turns are scarce together only; the gauge is their sum.
func TestAllowanceOfSeveralAccounts(t *testing.T) {
	a := newAllowance(time.Now, func(string) budget { return budget{requests: 10} })
	a.note("docker.io", "one", 3, 200)
	if !a.scarce("docker.io") {
		t.Error("3 requests left are not scarce")
	}
	if sum := a.note("docker.io", "two", 180, 200); sum != 183 || a.scarce("docker.io") {
		t.Errorf("%d left of both accounts, want 183, and not scarce", sum)
	}
	if sum := a.note("docker.io", "two", 9, 200); sum != 12 || !a.scarce("docker.io") {
		t.Errorf("%d left of both accounts, want 12, and scarce", sum)
	}
	for i := range 3 * maxAllowances {
		a.note(fmt.Sprint("host", i), "", 1, 1)
		a.note("docker.io", fmt.Sprint("user", i), 1, 1)
	}
	if len(a.m) > maxAllowances || len(a.m["docker.io"]) > maxAllowances {
		t.Errorf("%d upstreams and %d accounts are remembered", len(a.m), len(a.m["docker.io"]))
	}
}

func TestBudgets(t *testing.T) {
	of := budgets([]upstream{{name: "a.example", budget: budget{requests: 1}}, {name: "*.b.example", budget: budget{requests: 2}}})
	for name, want := range map[string]int64{"a.example": 1, "x.b.example": 2, "c.example": 0} {
		if got := of(name).requests; got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	for _, text := range []string{"", "-1", "x", "10 %", "101%", "NaN%", "1.5"} {
		if b, err := parseBudget(text); err == nil {
			t.Errorf("parseBudget(%q) = %+v, want an error", text, b)
		}
	}
}

// F5: an upstream says that it leaves us few requests. From then on a stored tag
// is answered as it is, the gauge tells, and what is not here is still fetched.
func TestServeSparesWhatIsLeft(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	reg.AddImage("library/alpine", regtest.Image{Layers: []int64{1000}}, "3.20", "3.21")
	leaves := func(n int) func() {
		return reg.On(regtest.Match{}, regtest.Fault{Header: http.Header{
			"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {fmt.Sprintf("%d;w=21600", n)},
		}}).Remove
	}
	r := start(t, fmt.Sprintf("[[upstream]]\nname = 'example.com'\nurl = %q\nallow_private = true\ntag_ttl = '0'\nsoft_budget = '20'\n", reg.URL()))
	tag := r.url + "/v2/example.com/library/alpine/manifests/3.20"
	for _, n := range []int{80, 20} {
		before := leaves(n)
		for range 2 {
			if code, h, body := r.get(tag); code != 200 || h.Get("X-Cache") == "STALE" {
				t.Fatalf("with %d requests left: %d, %s: %s", n, code, h.Get("X-Cache"), body)
			}
		}
		before()
	}
	leaves(19)
	if code, _, _ := r.get(tag); code != 200 { // it is told now
		t.Fatal(code)
	}
	code, h, _ := r.get(tag)
	if code != 200 || h.Get("X-Cache") != "STALE" || !strings.Contains(h.Get("Warning"), "upstream example.com leaves us few requests") {
		t.Errorf("got %d, %s, %q, want what is stored with a warning", code, h.Get("X-Cache"), h.Get("Warning"))
	}
	if code, h, _ := r.get(r.url + "/v2/example.com/library/alpine/manifests/3.21"); code != 200 || h.Get("X-Cache") == "STALE" {
		t.Errorf("what is not here: %d, %s", code, h.Get("X-Cache"))
	}
	r.counts(`entrepot_upstream_ratelimit_remaining{upstream="example.com"} 19`)
}
