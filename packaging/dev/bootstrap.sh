#!/bin/sh
# Install what `make demo`, `make test`, `make bench` need and this machine lacks; says what it does, or nothing when all is there.
# usage: bootstrap.sh demo|test|bench|system     (from the top of the tree, as root on Debian 12)
set -eu

purpose=${1:-test}
venv=.venv
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
# A user's login shell need not have the administrator's directories.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

say() { printf 'bootstrap: %s\n' "$*"; }
die() { printf 'bootstrap: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "must be root: it makes loop devices, mounts and namespaces; run it with sudo"
[ -f pyproject.toml ] || die "must be run from the top of the source tree; use make"

# command:package. What is there already, from whatever source, is left alone.
wanted="dockerd:docker.io docker:docker.io containerd:containerd runc:runc
  mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs busybox:busybox-static unshare:util-linux losetup:mount nsenter:util-linux
  iptables:iptables python3:python3 openssl:openssl"
[ "$purpose" = demo ] || wanted="$wanted curl:curl qemu-img:qemu-utils strace:strace git:git systemd-analyze:systemd go:golang-go promtool:prometheus chromium:chromium zsh:zsh fish:fish"
[ "$purpose" != bench ] || wanted="$wanted fio:fio"
# The virtual machines of `make test-system` and of the bench, and what their image is made with.
[ "$purpose" != system ] && [ "$purpose" != bench ] || wanted="$wanted qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap cpio:cpio depmod:kmod lz4:lz4"
# Where the kernel enforces AppArmor the engine starts no container without its parser.
if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then
  wanted="$wanted apparmor_parser:apparmor"
fi

packages=
for pair in $wanted; do
  command -v "${pair%%:*}" >/dev/null || packages="$packages ${pair#*:}"
done
# Debian's plain busybox needs libraries that no container of ours has.
if command -v busybox >/dev/null && ldd "$(command -v busybox)" >/dev/null 2>&1; then packages="$packages busybox-static"; fi
# The tests' vSphere simulator: a library, which has no command.
if [ "$purpose" != demo ] && [ ! -d /usr/share/gocode/src/github.com/vmware/govmomi ]; then
  packages="$packages golang-github-vmware-govmomi-dev"
fi
python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"

# apt starts the services of what it installs; the demo and the tests use engines of their own (exit 101 = "do not").
policy=/usr/sbin/policy-rc.d
install_packages() {
  command -v apt-get >/dev/null || die "missing:$packages; this is not Debian, install them by hand"
  say "installing Debian packages:$packages (no service is started)"
  ours=
  if [ ! -e "$policy" ]; then
    ours=1
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
  fi
  # shellcheck disable=SC2086 # a list of words
  apt-get install -y -qq --no-install-recommends $packages >"$log" 2>&1 || {
    apt-get update -qq >"$log" 2>&1 || { tail -20 "$log" >&2; die "apt-get update failed"; }
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $packages >"$log" 2>&1 || {
      tail -20 "$log" >&2
      die "apt-get install failed:$packages"
    }
  }
  [ -z "$ours" ] || rm -f "$policy"
}

log=$(mktemp)
if [ -n "$packages" ]; then install_packages; fi
rm -f "$log"

# The stamp holds what the environment was made from; `test` includes what `demo` needs.
from=$(cat pyproject.toml | sha256sum | cut -c1-64)-$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')-$(pwd | sha256sum | cut -c1-16)
extras='service,test'
[ "$purpose" != demo ] || extras=service
stamp=$venv/.made-from
case $(cat "$stamp" 2>/dev/null || true) in
  "$from service,test" | "$from $extras") exit 0 ;;
esac
say "installing Python packages into $venv: vmdkvol[$extras]"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
printf '%s %s\n' "$from" "$extras" >"$stamp.new"
mv "$stamp.new" "$stamp"
