# Works on /dev/vda (ext4), and looks at /dev/vdb, which is read-only, and at the random numbers of the host. Says what went wrong, then "disk: done".
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk virtio-rng virtio_balloon; do
    insmod /disk/$module.ko || echo "disk: $module is not loaded"
done
mkdir /mnt
mount -t ext4 -o discard /dev/vda /mnt || echo "disk: not mounted"
before=$(md5sum < /mnt/given)
for n in 1 2 3 4; do
    (head -c $((n * 3000000)) /dev/urandom > /mnt/r$n; md5sum < /mnt/r$n > /tmp/r$n; sync) &
done
wait
for round in 1 2 3; do
    echo 3 > /proc/sys/vm/drop_caches
    for n in 1 2 3 4; do
        md5sum < /mnt/r$n | cmp -s - /tmp/r$n || echo "disk: r$n differs"
    done
done
# Programs that come from the disk and go on it again, over pages that held other programs.
for n in 1 2 3 4 5 6 7 8; do
    cp /bin/busybox /mnt/busybox$n
    sync
    echo 3 > /proc/sys/vm/drop_caches
    [ "$(/mnt/busybox$n echo $n)" = $n ] || echo "disk: program $n does not run"
done
[ "$before" = "$(md5sum < /mnt/given)" ] || echo "disk: what was there differs"
rm /mnt/r3 /mnt/busybox*
sync
umount /mnt
dd if=/dev/vda of=/dev/null bs=4k iflag=direct count=2000 2> /dev/null || echo "disk: not read"
dd if=/dev/zero of=/dev/vdb bs=4k count=1 2> /dev/null && echo "disk: the read-only one was written"
[ "$(cat /sys/block/vdb/ro)" = 1 ] || echo "disk: vdb is not read-only"
head -c 4 /dev/vdb | grep -q '^GIVE' || echo "disk: vdb is not what was given"
[ "$(head -c 64 /dev/hwrng | wc -c)" = 64 ] || echo "disk: no random numbers"
dmesg | grep -iE 'I/O error|EXT4-fs error|virtio.*(fail|error|not)|blk_update' | sed 's/^/disk: log: /'
cat /proc/interrupts | grep -q 'PCI-MSI.*virtio0-req.0' || echo "disk: no messages"
echo "queues $(ls /sys/block/vda/mq | wc -l)"
echo "disk: done"
