// Package oracle holds Entrepot's readers of mirror rules against the code of
// the clients themselves. It has tests only, and is a module of its own, so
// that what they need is never near the program.
//
// A judge is one client's code, asked as the client asks it: which places does
// it try for an image, in which order? There are two questions:
//
//   - TestGolden: do the client, the fixtures of rules/conf and Entrepot agree?
//   - TestDifferential: do the client and Entrepot agree about configurations
//     that a seeded generator makes up?
//
// A difference is printed with the smallest configuration that shows it:
//
//	go test -C internal/oracle -run Differential/containerd -duration 10m -seed 7 ./...
package oracle
