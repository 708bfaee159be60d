#!/bin/sh
# Process 1 of the guest: file systems, udev (not with "noudev"), then the tests' way in (exec_port.py).
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# As systemd does: what is mounted here reaches the containers' namespaces.
mount --make-rshared /
ip link set lo up
hostname "$(sed -n 's/.*benchname=\([^ ]*\).*/\1/p' /proc/cmdline)"
modprobe -a virtio_net vmw_vsock_virtio_transport
# The tests' computer is 10.0.2.2 there (QEMU's user network).
if [ -e /sys/class/net/eth0 ]; then
  ip addr add 10.0.2.15/24 dev eth0
  ip link set eth0 up
  ip route add default via 10.0.2.2
fi
case " $(cat /proc/cmdline) " in
*" noudev "*) ;;
*)
  /lib/systemd/systemd-udevd --daemon --children-max=4
  # Of block devices alone: all of them take up to 2.5 s.
  udevadm trigger --subsystem-match=block --action=add
  udevadm settle -t 30
  ;;
esac
(
  while :; do
    python3 -S /bench/exec_port.py
    sleep 1
  done
) &
# Process 1 takes in what lost its parent.
while :; do
  wait
  sleep 1
done
