package store_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/store"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "entrepot-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(dir, store.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	// A download goes through a spool, and is visible once it is verified.
	content := "content of a layer"
	d := oci.FromBytes([]byte(content), "")
	spool, err := s.Cache().Spool(d, int64(len(content)))
	if err != nil {
		log.Fatal(err)
	}
	defer spool.Release()
	if _, err := io.Copy(spool, strings.NewReader(content)); err != nil {
		log.Fatal(err)
	}
	if err := spool.Commit(context.Background()); err != nil {
		log.Fatal(err)
	}

	f, size, err := s.Cache().Open(d)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	fmt.Println(size, string(got), err)
	// Output: 18 content of a layer <nil>
}
