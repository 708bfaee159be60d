#!/bin/sh
# Of the initramfs: load the drivers, wait for the root file system, go there.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/m/$module"; done </m/order
i=0
while [ ! -b /dev/vda ] && [ "$i" -lt 500 ]; do
  sleep 0.02
  i=$((i + 1))
done
mount -t ext4 -o rw,noatime /dev/vda /root || {
  echo "NOROOT"
  cat /proc/partitions
  poweroff -f
}
mount --move /dev /root/dev
umount /proc
umount /sys
exec switch_root /root /bench/init
