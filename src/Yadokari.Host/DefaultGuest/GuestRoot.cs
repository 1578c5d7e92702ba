using System.Security.Cryptography;
using System.Text;
using Yadokari.Core.Files;

namespace Yadokari.Host.DefaultGuest;

/// <summary>The content of the default guest's initial RAM disk: busybox, device nodes, and the init script.</summary>
internal static class GuestRoot
{
    /// <summary>The kernel's modules for disks and network cards, each after those that it depends on.</summary>
    internal static readonly string[] Drivers =
    [
        "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "failover", "net_failover", "virtio_net",
    ];

    /// <summary>Modules that init loads on demand: for a virtio console, shared folders, vsock and the balloon.</summary>
    internal static readonly string[] MoreDrivers = ["virtio_console", "fuse", "virtiofs", "vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport", "virtio_balloon"];

    /// <summary>
    /// PID 1. It never exits, and starts the script that keeps a shell on the console. busybox's poweroff, halt and reboot send PID 1 the signals
    /// USR2, USR1 and TERM; there are no services to stop, so it unmounts the disks and acts.
    /// </summary>
    /// <remarks>
    /// A shell runs traps while it waits for a background job, not for a foreground job. But background jobs ignore SIGINT, and so do their
    /// children (POSIX.1-2017, Shell Command Language, 2.11); start-stop-daemon starts a process that does not.
    /// </remarks>
    internal const string Init =
        """
        #!/bin/sh
        export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root SHELL=/bin/sh TERM="${TERM:-linux}"
        /bin/busybox --install -s
        mount -t proc -o nosuid,nodev,noexec proc /proc
        mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
        mount -t devtmpfs -o nosuid devtmpfs /dev
        mkdir -p /dev/pts /dev/shm
        mount -t devpts -o nosuid,noexec,gid=5,mode=620 devpts /dev/pts
        mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
        mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /tmp
        ln -s /proc/self/fd /dev/fd
        hostname yadokari
        ip link set lo up 2>/dev/null
        if grep -q -E '0x10(4[123]|53|5a)' /sys/bus/pci/devices/*/device 2>/dev/null; then
            while read driver; do
                [ -e /lib/modules/$driver.ko ] && insmod /lib/modules/$driver.ko
            done </lib/modules/order
        fi
        if grep -q 0x1043 /sys/bus/pci/devices/*/device 2>/dev/null; then
            # The console may be one that only now is there.
            [ -e /lib/modules/virtio_console.ko ] && insmod /lib/modules/virtio_console.ko
            exec </dev/console >/dev/console 2>&1
        fi
        if [ -e /sys/class/net/eth0 ]; then
            ip link set eth0 up
            udhcpc -b -q -i eth0 -s /etc/udhcpc >/dev/null 2>&1 &
        fi
        sockets=
        grep -q 0x1053 /sys/bus/pci/devices/*/device 2>/dev/null && sockets=1
        for driver in ${SHARES:+fuse virtiofs} ${sockets:+vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport}; do
            [ -e /lib/modules/$driver.ko ] && insmod /lib/modules/$driver.ko
        done
        IFS=:
        for share in $SHARES; do
            options=rw
            case "$share" in *,ro) options=ro ;; esac
            mkdir -p "${share%,ro}" && mount -t virtiofs -o $options "${share%,ro}" "${share%,ro}"
        done
        unset IFS SHARES
        if [ -n "$LINES" ] && [ -n "$COLUMNS" ]; then
            stty -F /dev/ttyS0 rows "$LINES" cols "$COLUMNS" 2>/dev/null
        fi
        unset LINES COLUMNS
        trap 'umount -a -r 2>/dev/null; poweroff -f' USR1 USR2
        trap 'umount -a -r 2>/dev/null; reboot -f' TERM
        echo
        echo "This is Linux $(uname -r) in a virtual machine of Yadokari's."
        echo "Leave with 'poweroff', or with Ctrl-A x from outside."
        echo
        start-stop-daemon -S -b -x /etc/console
        [ -e /lib/modules/virtio_balloon.ko ] && insmod /lib/modules/virtio_balloon.ko
        while :; do
            sleep 3600 &
            wait $!
        done

        """;

    /// <summary>Keeps a shell on the console: a session leader whose controlling terminal is the console. Starts a new shell when one exits.</summary>
    private const string ConsoleShell =
        """
        #!/bin/sh
        while cd /root; do
            setsid cttyhack sh -l || sleep 1
        done

        """;

    /// <summary>Configures the network interface: busybox's udhcpc calls it with the event and the lease.</summary>
    private const string Udhcpc =
        """
        #!/bin/sh
        [ "$1" = bound ] || [ "$1" = renew ] || exit 0
        ip address replace "$ip/${mask:-24}" dev "$interface"
        [ -z "$router" ] || ip route replace default via "${router%% *}" dev "$interface"
        : >/etc/resolv.conf
        for server in $dns; do
            echo "nameserver $server" >>/etc/resolv.conf
        done

        """;

    private const string Profile =
        """
        PS1='\w # '
        alias ll='ls -l'

        """;

    /// <summary>A hash of the scripts here: tells apart guests of different versions.</summary>
    public static string Fingerprint => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\0', Init, ConsoleShell, Udhcpc, Profile))))[..12];

    /// <summary>Writes the archive.</summary>
    /// <param name="output">Receives the archive; not owned.</param>
    /// <param name="busybox">A static busybox for x86-64.</param>
    /// <param name="drivers">Module files of <see cref="Drivers"/> and <see cref="MoreDrivers"/>, as in their packages.</param>
    public static void Write(Stream output, ReadOnlySpan<byte> busybox, IEnumerable<string> drivers)
    {
        const uint Executable = 0x1ED; // 0755
        const uint Readable = 0x1A4; // 0644
        var archive = new CpioWriter(output);
        foreach (string folder in (ReadOnlySpan<string>)
            ["bin", "dev", "etc", "lib", "lib/modules", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/sbin", "var"])
        {
            archive.AddDirectory(folder);
        }

        // The kernel opens it as init's standard input and output before init mounts /dev.
        archive.AddCharacterDevice("dev/console", 0x180, 5, 1);
        archive.AddCharacterDevice("dev/null", 0x1B6, 1, 3);
        archive.AddCharacterDevice("dev/ttyS0", 0x180, 4, 64);

        archive.AddFile("bin/busybox", Executable, busybox);
        archive.AddSymbolicLink("bin/sh", "busybox");
        KernelModule.AddTo(archive, drivers);
        archive.AddFile("lib/modules/order", Readable, Encoding.UTF8.GetBytes(string.Join('\n', Drivers) + "\n"));
        archive.AddFile("init", Executable, Encoding.UTF8.GetBytes(Init));
        archive.AddFile("etc/console", Executable, Encoding.UTF8.GetBytes(ConsoleShell));
        archive.AddFile("etc/udhcpc", Executable, Encoding.UTF8.GetBytes(Udhcpc));
        archive.AddFile("etc/profile", Readable, Encoding.UTF8.GetBytes(Profile));
        archive.AddFile("etc/passwd", Readable, "root:x:0:0:root:/root:/bin/sh\n"u8);
        archive.AddFile("etc/group", Readable, "root:x:0:\ntty:x:5:\n"u8);
        archive.Finish();
    }
}
