#!/bin/sh
# Build the virtual machine that the system tests boot: a kernel, a small initramfs, a root file system. Nothing is mounted,
# no loop device is used. Prints the directory; one made from the same files is not made again.
# usage: guest.sh     (from the top of the tree, as root on Debian 12; what it needs: bootstrap.sh system)
set -eu

source=tests/system/image
cache=.cache/guest
suite=bookworm
# Cold: 30 s for the packages, 10 s for the rest, and what the mirror takes. The machine may have others to serve.
limit_s=900
# Modules of the guest, with what they need; a kernel that has one built in, or not at all, is fine.
modules="virtio_pci virtio_blk virtio_net virtio_console vmw_pvscsi sd_mod sg vsock vmw_vsock_virtio_transport
  xfs overlay loop fuse bridge br_netfilter veth xt_conntrack xt_MASQUERADE xt_addrtype iptable_nat iptable_filter nft_compat
  nf_tables nft_chain_nat xt_nat xt_tcpudp xt_mark xt_comment ipt_REJECT dm_mod dm_flakey dm_delay
  crc32c_generic crc32c_intel nfnetlink"
# Those of the initramfs: what is needed to see the root file system.
early="virtio_pci virtio_blk virtio_console vmw_pvscsi sd_mod overlay"
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

say() { printf 'guest: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ -f pyproject.toml ] || die "must be run from the top of the source tree; use make guest"
for program in mmdebstrap cpio depmod busybox lz4 mke2fs dpkg-deb; do
  command -v "$program" >/dev/null || die "$program is missing: packaging/dev/bootstrap.sh system installs it"
done

mkdir -p "$cache"
cache=$(readlink -f "$cache")
source=$(readlink -f "$source")
# One build at a time; a second one then finds the first one's.
exec 9>"$cache/lock"
flock -w "$limit_s" 9 || die "another build has not ended within $limit_s s"
packages=$(sed 's/#.*//' "$source/packages" | xargs | tr ' ' ',')
key() { sha256sum | cut -c1-16; }
made=$cache/$(cat packaging/dev/guest.sh "$source"/* | key)
if [ -e "$made/complete" ]; then
  printf '%s\n' "$made"
  exit 0
fi

work=$(mktemp -d "$cache/.making-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# What cannot be had from the mirror is a failure with the program's own words.
logged() {
  "$@" >"$work/log" 2>&1 9>&- || { tail -n 20 "$work/log" >&2; die "failed: $* (see above)"; }
}

kernel_package() {
  apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}

kernel=$(cat "$cache/kernel" 2>/dev/null || true)
if [ ! -e "$cache/kernel-$kernel/complete" ]; then
  kernel=$(kernel_package)
  [ -n "$kernel" ] || { logged apt-get update -qq; kernel=$(kernel_package); }
  [ -n "$kernel" ] || die "apt knows no linux-image-cloud-amd64"
  say "fetching $kernel"
  mkdir -p "$work/kernel/deb"
  fetch() { (cd "$work/kernel/deb" && apt-get download -q -o APT::Sandbox::User=root "$kernel"); }
  # Lists that are old name a package that the mirror has no more.
  fetch >"$work/log" 2>&1 || { logged apt-get update -qq; kernel=$(kernel_package); logged fetch; }
  dpkg-deb -x "$work"/kernel/deb/*.deb "$work/kernel"
  rm -r "$work/kernel/deb"
  depmod -b "$work/kernel" "${kernel#linux-image-}"
  # The kernel itself: a boot without the decompressor takes 1.5 s less where all is emulated.
  python3 "$source/kernel.py" "$work"/kernel/boot/vmlinuz-* "$work/kernel/vmlinux" || die "no kernel in $kernel's file"
  : >"$work/kernel/complete"
  rm -rf "$cache/kernel-$kernel"
  mv "$work/kernel" "$cache/kernel-$kernel"
  printf '%s\n' "$kernel" >"$cache/kernel"
fi
tree=$cache/kernel-$kernel
version=${kernel#linux-image-}

base=$cache/base-$(printf '%s %s' "$suite" "$packages" | key).tar
if [ ! -e "$base" ]; then
  say "fetching Debian's packages: $(printf %s "$packages" | tr ',' ' ')"
  logged mmdebstrap --variant=minbase "--include=$packages" --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$work/base.tar"
  rm -f "$cache"/base-*.tar
  mv "$work/base.tar" "$base"
fi

say "making the guest's file systems"
needed() {
  for module in "$@"; do
    modprobe -d "$tree" -S "$version" --show-depends "$module" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' || true
  done | awk '!seen[$0]++'
}
root=$work/root
mkdir "$root" "$work/new"
tar -xf "$base" -C "$root"
# Programs of the engine that nothing here starts.
for program in ctr dnet ovrouter containerd-shim containerd-shim-runc-v1 containerd-stress; do rm -f "$root/usr/bin/$program"; done
# shellcheck disable=SC2086 # lists of words
needed $modules | while read -r file; do
  install -D -m 644 "$file" "$root${file#"$tree"}"
done
for list in order builtin builtin.modinfo; do cp "$tree/lib/modules/$version/modules.$list" "$root/lib/modules/$version/"; done
depmod -b "$root" "$version"
install -D -m 755 "$source/init.sh" "$root/bench/init"
install -D -m 644 "$source/exec_port.py" "$root/bench/exec_port.py"
install -D -m 755 "$(command -v busybox)" "$root/bench/busybox"
[ ! -e "$source/prepare.sh" ] || sh "$source/prepare.sh" "$root" || die "prepare.sh failed"
mkdir -p "$root/vmdkvol"
# The guest's Python compiles nothing at each boot: the root file system is thrown away with the guest.
python3 -m compileall -q -s "$root" "$root/usr/lib/python3.11" >/dev/null 2>&1 || true

early_root=$work/early
mkdir -p "$early_root/bin" "$early_root/dev" "$early_root/proc" "$early_root/sys" "$early_root/root" "$early_root/m"
cp "$(command -v busybox)" "$early_root/bin/busybox"
ln -s busybox "$early_root/bin/sh"
# shellcheck disable=SC2086
needed $early | while read -r file; do
  cp "$file" "$early_root/m/"
  printf '%s\n' "${file##*/}"
done >"$early_root/m/order"
install -m 755 "$source/initramfs.sh" "$early_root/init"
(cd "$early_root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/new/initrd.gz"

truncate -s 3G "$work/new/root.ext4"
# Without a journal: after a guest is killed its root is thrown away.
logged mke2fs -q -t ext4 -O '^has_journal,^metadata_csum' -E lazy_itable_init=1 -d "$root" "$work/new/root.ext4"
cp "$tree/vmlinux" "$work/new/vmlinux"
: >"$work/new/complete"
# Of an older tree.
for old in "$cache"/[0-9a-f]*; do
  [ ! -e "$old/complete" ] || [ -z "$(find "$old/complete" -mmin +60)" ] || rm -rf "$old"
done
mv "$work/new" "$made"
printf '%s\n' "$made"
