#!/bin/sh
# Build the vSphere simulator of the tests under .cache, from tests/vsphere/simulator and Debian's govmomi library; nothing
# is fetched. Prints the program's path; one of the same source and compiler is not built again.
# usage: simulator.sh     (from the top of the tree)
set -eu

source=tests/vsphere/simulator
library=/usr/share/gocode/src/github.com/vmware/govmomi
cache=.cache/simulator
# A cold build takes 45 s of a processor; the machine may have others to serve.
limit_s=900
export LC_ALL=C.UTF-8

say() { printf 'simulator: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ -f pyproject.toml ] || die "must be run from the top of the source tree; use make simulator"
command -v go >/dev/null || die "there is no Go compiler: apt-get install golang-go, or make bootstrap"
[ -d "$library" ] || die "$library is missing: apt-get install golang-github-vmware-govmomi-dev, or make bootstrap"

mkdir -p "$cache"
cache=$(readlink -f "$cache")
# One build at a time; a second one then finds the first one's.
exec 9>"$cache/lock"
flock -w "$limit_s" 9 || die "another build has not ended within $limit_s s"
made=$cache/$( (go version; cat "$source"/*.go) | sha256sum | cut -c1-16)/simulator
if [ ! -x "$made" ]; then
  say "building it (a minute at the first time)"
  mkdir -p "${made%/*}"
  (cd "$source" && GO111MODULE=off GOFLAGS='' GOPATH=/usr/share/gocode GOCACHE="$cache/go" CGO_ENABLED=0 \
    timeout "$limit_s" go build -trimpath -ldflags='-s -w' -o "$made.new" .) >"$cache/log" 2>&1 || {
    tail -n 20 "$cache/log" >&2
    die "go build failed (see above)"
  }
  mv "$made.new" "$made"
fi
printf '%s\n' "$made"
