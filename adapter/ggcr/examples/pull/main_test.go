package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/entrepot/entrepot/internal/regtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPull(t *testing.T) {
	down, mirror := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	down.Down()
	mirror.AddImage("hub/library/alpine", regtest.Image{Layers: []int64{10, 20}}, "3.20")
	getenv := func(key string) string {
		if key != "CNB_REGISTRY_MIRRORS" {
			return ""
		}
		return fmt.Sprintf("docker.io=%s;docker.io=%s/hub", down.URL(), mirror.URL())
	}
	var out bytes.Buffer
	if err := pull(t.Context(), getenv, &out, []string{"alpine:3.20"}); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("alpine:3.20 from %s/hub/library/alpine:3.20, 2 layers, 30 bytes\n", mirror.Host())
	if got := out.String(); !strings.HasPrefix(got, "not "+down.URL()) || !strings.HasSuffix(got, want) {
		t.Errorf("prints %q, want %q at its end", got, want)
	}
}
