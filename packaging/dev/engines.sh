#!/bin/sh
# Fetch the Docker engine of the next Debian and unpack it beside this machine's own; nothing is installed, and apt's own
# lists, caches and sources are not touched. Prints the directory; what is there already is not fetched again.
# usage: engines.sh [SUITE]     (from the top of the tree; Debian, with the keyring of its archive)
set -eu

suite=${1:-trixie}
cache=.cache/engines
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# Not runc: the next Debian's needs a newer libc, and starts itself again by its own path, so that no other loader can be
# put before it. The engine takes this machine's.
packages="docker.io docker-cli containerd"
export LC_ALL=C.UTF-8

say() { printf 'engines: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ -f pyproject.toml ] || die "must be run from the top of the source tree; use make engines"
if [ -e "$cache/$suite/complete" ]; then
  readlink -f "$cache/$suite"
  exit 0
fi
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || die "needs apt-get and dpkg-deb: this is not Debian"
[ -r "$keyring" ] || die "$keyring is missing: apt-get install debian-archive-keyring"

# This machine's own mirror: where its apt takes its own release from.
. /etc/os-release
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
  sed -n "s/ ${VERSION_CODENAME:-none}\$//p" | head -n 1)
[ -n "$mirror" ] || die "apt has no source for ${VERSION_CODENAME:-this release}: no mirror to ask for $suite"

mkdir -p "$cache"
cache=$(readlink -f "$cache")
work=$(mktemp -d "$cache/.fetching-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/etc/preferences.d" "$work/etc/trusted.gpg.d" "$work/debs" "$work/tree"
: >"$work/state/status"
printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" >"$work/etc/sources.list"

own_apt() {
  program=$1
  shift
  "$program" -q -o "Dir::State=$work/state" -o "Dir::State::status=$work/state/status" -o "Dir::Cache=$work/cache" \
    -o "Dir::Etc=$work/etc" -o "Dir::Etc::sourceparts=/dev/null" -o "Acquire::Languages=none" -o "APT::Sandbox::User=root" \
    -o "Acquire::Retries=3" "$@"
}

say "fetching $packages of Debian $suite from $mirror"
own_apt apt-get update >"$work/log" 2>&1 || { cat "$work/log" >&2; die "cannot read $suite from $mirror (see above)"; }
# apt-get update warns and exits 0 when a source cannot be had.
version=$(own_apt apt-cache policy docker.io | sed -n 's/^ *Candidate: //p')
[ -n "$version" ] && [ "$version" != "(none)" ] || { cat "$work/log" >&2; die "$mirror has no docker.io for $suite (see above)"; }
# shellcheck disable=SC2086 # a list of words
(cd "$work/debs" && own_apt apt-get download $packages) >"$work/log" 2>&1 || {
  cat "$work/log" >&2
  die "cannot download $packages of $suite from $mirror (see above)"
}
for package in "$work"/debs/*.deb; do dpkg-deb -x "$package" "$work/tree"; done
: >"$work/tree/complete"

# Kept by version: a newer one is fetched after `make clean`, and an older one is not changed under a running test.
place=$cache/$suite-$version
[ -e "$place" ] || mv "$work/tree" "$place"
ln -sfn "${place##*/}" "$cache/$suite"
"$place/usr/sbin/dockerd" --version >/dev/null || { rm -f "$cache/$suite"; die "$place/usr/sbin/dockerd does not run here"; }
say "docker $version is in $place"
readlink -f "$cache/$suite"
