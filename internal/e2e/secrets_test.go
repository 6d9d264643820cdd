package e2e

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// TestNoSecretIsTold pulls with an account, through a CDN and through failures,
// with everything logged that can be: neither the password, nor the upstream's
// token, nor a signed URL, nor what clients log in with is in the log, the
// metrics, the page, an answer or the store (CVE-2025-48374).
func TestNoSecretIsTold(t *testing.T) {
	const password, login = "c4n4ry-upstream", "Basic YzRuNHJ5OmNsaWVudA==" // c4n4ry:client
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStack(t, "", "")
	s.stop(t)
	s.cfg.upstreams[0].more = "auth = \"service\"\nusername = \"u\"\npassword_file = " + strconv.Quote(file)
	s.cfg.debug = true
	s.restart(t)
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	s.up.SetAuth(regtest.Auth{Scheme: "Bearer", Username: "u", Password: password})
	s.up.SetCDN(regtest.CDN{On: true})

	var answers strings.Builder
	ask := func(path string) int {
		a, err := tryGet(t, http.MethodGet, s.url+"/v2/"+path, "Authorization: "+login)
		if err != nil {
			return 0
		}
		a.Header.Write(&answers)
		answers.Write(a.body)
		return a.StatusCode
	}
	if ask(ubuntuTag) != http.StatusOK || ask(blobPath(im.Layers[0].Digest)) != http.StatusOK {
		t.Fatal("the account does not work")
	}
	for i, f := range []regtest.Fault{regtest.Status(500), regtest.Status(403), regtest.HTML(), regtest.HangUp(), {Redirect: "http://169.254.169.254/?X-Signature=1"}} {
		d, _ := s.addBlob(t, "library/ubuntu", uint64(100+i), 1000)
		for _, kind := range []regtest.Kind{regtest.Blob, regtest.CDNBlob, regtest.Token, regtest.Manifest} {
			s.up.RevokeTokens()
			rule := s.up.On(regtest.Match{Kind: kind}, f)
			ask(blobPath(d))
			ask("library/ubuntu/manifests/" + string(kind) + strconv.Itoa(i) + "?ns=docker.io")
			rule.Remove()
		}
	}

	texts := map[string]string{"answers": answers.String()}
	for _, path := range []string{"/metrics", "/"} {
		texts[path] = string(get(t, http.MethodGet, s.admin+path).body)
	}
	s.stop(t)
	texts["the log"] = s.log.String()
	if !strings.Contains(texts["the log"], "level=DEBUG") {
		t.Error("the log has not all that it could have")
	}
	err := filepath.WalkDir(s.store, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			raw, err := os.ReadFile(path)
			texts[path] = path + string(raw)
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range texts {
		for _, secret := range []string{password, "token-1", "X-Signature", login, strings.TrimPrefix(login, "Basic "), "c4n4ry"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s has %q", what, secret)
			}
		}
	}
}
