#!/usr/bin/env bash
# Installs what the tests use: clients from the distribution, where this is
# Debian or a child of it and we are root, and from the Go module proxy into
# .cache/bin. What cannot be had is said and left out; the tests that need it
# are then skipped by name.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "testdeps: $*" >&2; }

# command=package
system=(skopeo=skopeo podman=podman ctr=containerd runc=runc nginx=nginx-light wrk=wrk ip=iproute2 dpkg-deb=dpkg zstd=zstd)
missing=()
for entry in "${system[@]}"; do
  if ! command -v "${entry%%=*}" >/dev/null; then
    missing+=("${entry#*=}")
  fi
done
if ((${#missing[@]} > 0)); then
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || say "apt-get update does not work"
    # One by one: a package that one release lacks must not cost the others.
    for package in "${missing[@]}"; do
      apt-get install -y -qq --no-install-recommends "$package" >/dev/null || say "cannot install $package"
    done
  else
    say "not installed, and not root on a system with apt: ${missing[*]}"
  fi
fi

mkdir -p .cache/bin
install_go() { # command, package@version
  local stamp=".cache/bin/.$1-${2##*@}"
  if [[ -x .cache/bin/$1 && -e $stamp ]]; then
    return
  fi
  say "building $2"
  if GOBIN="$PWD/.cache/bin" GOFLAGS= go install "$2"; then
    touch "$stamp"
  else
    say "cannot build $2"
  fi
}
install_go crane github.com/google/go-containerregistry/cmd/crane@v0.22.1
install_go registry github.com/distribution/distribution/v3/cmd/registry@v3.1.2
