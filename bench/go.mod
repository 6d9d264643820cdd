module github.com/entrepot/entrepot/bench

go 1.26.5

require (
	golang.org/x/sync v0.24.0
	golang.org/x/sys v0.49.0
)
