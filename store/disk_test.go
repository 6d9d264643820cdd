package store_test

import (
	"testing"

	"github.com/entrepot/entrepot/store"
	"github.com/entrepot/entrepot/store/storetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDisk(t *testing.T) {
	storetest.TestBucket(t, func(t *testing.T) store.Bucket { return store.NewDisk(t.TempDir()) })
}
