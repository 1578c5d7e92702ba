using System.Text;
using Yadokari.Core.Files;
using Yadokari.Host.DefaultGuest;

namespace Yadokari.Host.Recipes;

/// <summary>
/// The content of the initial RAM disk of the machine that installs a system: busybox, drivers, and a script that runs dpkg. Packages are
/// configured inside a guest, so installing needs no root or user namespaces on the host, and files have their correct owners.
/// </summary>
internal static class InstallerRoot
{
    /// <summary>The prefix of the script's own lines on the console.</summary>
    public const string Mark = "yadokari: ";

    /// <summary>The line that reports success.</summary>
    public const string Done = Mark + "done";

    /// <summary>The kernel's modules that the script loads unless they are built in, each after those that it depends on.</summary>
    public static readonly string[] Drivers = [.. GuestRoot.Drivers, "crc16", "crc32c_generic", "mbcache", "jbd2", "ext4"];

    /// <summary>The drivers that the installer can't work without.</summary>
    public static readonly string[] NeededDrivers = ["virtio_pci", "virtio_blk", "ext4"];

    /// <summary>
    /// PID 1. The first disk is an empty file system; the second is an archive of the essential packages' files, with all packages below
    /// <c>debs</c>. dpkg reports its progress by <c>--status-fd</c> (dpkg(1)).
    /// </summary>
    public const string Init =
        """
        #!/bin/sh
        /bin/busybox mkdir -p /sbin /usr/bin /usr/sbin
        /bin/busybox --install -s
        export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
        mount -t proc proc /proc
        mount -t sysfs sysfs /sys
        mount -t devtmpfs dev /dev
        say() { echo "yadokari: $*"; }
        fail() {
            say "failed: $*"
            tail -n 20 /log
            sync
            poweroff -f
            sleep 1000
        }
        step() {
            chroot /mnt /usr/bin/dpkg --force-unsafe-io --force-depends --force-confold --status-fd 3 "$@" </dev/null 3>&1 >/log 2>&1 || fail "dpkg $1"
        }
        : >/log
        for driver in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk crc16 crc32c_generic mbcache jbd2 ext4; do
            [ -e /lib/modules/$driver.ko ] || continue
            insmod /lib/modules/$driver.ko 2>/log || fail "the kernel does not take its module $driver: $(tail -n 1 /log)"
        done
        [ -b /dev/vda ] || fail "the kernel does not find its disk"
        mount -t ext4 -o noatime /dev/vda /mnt 2>/log || fail "the file system can't be mounted: $(tail -n 1 /log)"
        say extracting
        tar x -f /dev/vdb -C /mnt 2>/log || fail "the base system can't be extracted: $(tail -n 1 /log)"
        mkdir -p /mnt/proc /mnt/sys /mnt/dev /mnt/run /mnt/tmp
        mount -t proc proc /mnt/proc
        mount --bind /sys /mnt/sys
        mount --bind /dev /mnt/dev
        mkdir -p /dev/pts
        mount -t devpts devpts /dev/pts
        mount -t tmpfs run /mnt/run

        # Nothing that is installed starts here.
        printf '#!/bin/sh\nexit 101\n' >/mnt/usr/sbin/policy-rc.d
        chmod 755 /mnt/usr/sbin/policy-rc.d
        say base
        step --install $(cat /mnt/debs/base)
        say unpacking
        step --unpack $(cat /mnt/debs/rest)
        say configuring
        step --configure -a
        chroot /mnt /usr/bin/dpkg --audit >/log 2>&1 || fail "dpkg --audit"
        [ -s /log ] && fail "dpkg --audit"
        say finishing

        # Debian leaves it off. For a configuration that cloud-init writes during the boot, netplan starts it before its version 1.2, but not since.
        chroot /mnt /usr/bin/systemctl enable systemd-networkd.service >/log 2>&1 || fail "systemd-networkd can't be enabled: $(tail -n 1 /log)"

        # What each machine has for itself.
        rm -rf /mnt/usr/sbin/policy-rc.d /mnt/debs /mnt/etc/hostname /mnt/etc/ssh/ssh_host_* /mnt/var/lib/dbus/machine-id /mnt/var/log/*.log /mnt/var/log/apt
        : >/mnt/etc/machine-id
        echo 'LANG=C.UTF-8' >/mnt/etc/default/locale
        ln -sf ../run/systemd/resolve/stub-resolv.conf /mnt/etc/resolv.conf
        fstrim /mnt 2>/log
        umount /mnt/run /mnt/dev/pts /mnt/dev /mnt/sys /mnt/proc 2>/log
        umount /mnt 2>/log || fail "the file system can't be unmounted: $(tail -n 1 /log)"
        say done
        poweroff -f

        """;

    /// <summary>Writes the archive.</summary>
    /// <param name="output">Receives the archive; not owned.</param>
    /// <param name="busybox">A static busybox for x86-64.</param>
    /// <param name="drivers">Module files of <see cref="Drivers"/>, as in their packages.</param>
    public static void Write(Stream output, ReadOnlySpan<byte> busybox, IEnumerable<string> drivers)
    {
        const uint Executable = 0x1ED; // 0755
        var archive = new CpioWriter(output);
        foreach (string folder in (ReadOnlySpan<string>)["bin", "dev", "lib", "lib/modules", "mnt", "proc", "sys", "usr"])
        {
            archive.AddDirectory(folder);
        }

        archive.AddCharacterDevice("dev/console", 0x180, 5, 1);
        archive.AddFile("bin/busybox", Executable, busybox);
        archive.AddSymbolicLink("bin/sh", "busybox");
        KernelModule.AddTo(archive, drivers);
        archive.AddFile("init", Executable, Encoding.UTF8.GetBytes(Init));
        archive.Finish();
    }
}
