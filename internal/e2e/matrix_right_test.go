package e2e

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"golang.org/x/crypto/bcrypt"
)

// rightRows are about what a repository may give of what is here for another.
var rightRows = []row{
	{"L25 blob of a private repository through a public one", foreignBlob},
}

const servicePassword = "hunter2"

// serviceKeys are an upstream's keys that make us log in there as "u".
func serviceKeys(t *testing.T) string {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(servicePassword), 0o600); err != nil {
		t.Fatal(err)
	}
	return "auth = \"service\"\nusername = \"u\"\npassword_file = " + strconv.Quote(secret)
}

// foreignBlob: that the bytes are here says nothing about who may read them, and
// nobody can tell from the answer that they are.
func foreignBlob(t *testing.T) {
	s := newStack(t, serviceKeys(t), "")
	s.up.SetAuth(regtest.Auth{Scheme: "Bearer", Username: "u", Password: servicePassword})
	s.up.AddImage("team/public", ubuntu, "24.04")
	d, b := s.addBlob(t, "team/private", 1, blobSize)
	through := func(repo string, d oci.Digest) answer {
		return s.ask(t, "GET", "team/"+repo+"/blobs/"+string(d)+"?ns=docker.io")
	}
	through("private", d).is(t, b)
	eventually(t, "the blob is stored", func() bool { return through("private", d).Header.Get("X-Cache") == "HIT" })
	s.up.Idle()
	s.up.ResetLog()
	absent := oci.FromBytes([]byte("nobody has this"), "")
	here, nowhere := through("public", d), through("public", absent)
	here.status(t, http.StatusNotFound, oci.CodeBlobUnknown)
	nowhere.status(t, http.StatusNotFound, oci.CodeBlobUnknown)
	if !bytes.Equal(bytes.ReplaceAll(here.body, []byte(d), []byte(absent)), nowhere.body) {
		t.Errorf("what is here is told apart from what is not:\n%s\n%s", here.body, nowhere.body)
	}
	if n := s.up.BlobBytes(d); n > 1000 { // its error documents
		t.Errorf("the upstream sent %d bytes of a blob that is here", n)
	}
	s.up.ResetLog()
	s.up.AddBlob("team/public", regtest.Random(1, blobSize)) // now it may
	eventually(t, "the answer is not believed for ever", func() bool { return through("public", d).StatusCode == http.StatusOK })
	if n := s.up.BlobBytes(d); n > 1 { // one proves the right
		t.Errorf("the upstream sent %d bytes of a blob that is here", n)
	}
}

// refusedAccount: whoever has an account with us is told that access is denied;
// logging in once more would not help him, so it is no 401.
func refusedAccount(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("p"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	accounts := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(accounts, []byte("me:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStack(t, "", "[auth]\nanonymous = \"pull\"\nhtpasswd = "+strconv.Quote(accounts))
	s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	s.up.On(regtest.Match{Kind: regtest.Manifest}, regtest.Fault{Status: http.StatusUnauthorized,
		Header: http.Header{"Www-Authenticate": {`Bearer realm="` + s.up.TokenURL() + `"`}}})
	login := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("me:p"))
	s.ask(t, "GET", ubuntuTag, login).status(t, http.StatusForbidden, oci.CodeDenied)
	s.ask(t, "GET", ubuntuTag).status(t, http.StatusNotFound, oci.CodeNameUnknown)
}
