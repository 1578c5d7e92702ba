using System.Diagnostics;

namespace Yadokari.Guests.Tests;

/// <summary>Linux with its root in memory works on disks behind virtio; the host's <c>e2fsck</c> looks at what is left.</summary>
public sealed class DiskTests
{
    [Theory]
    [InlineData(1, "", "")]
    [InlineData(4, "", "")]
    [InlineData(1, ",packed", "")]
    [InlineData(4, ",packed", "")]
    [InlineData(1, "", "pci=nomsi")]
    [InlineData(1, "", "pci=nomsi noapic")]
    public void Linux_works_on_a_file_system(int cpus, string settings, string words)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var initrd = Guest.Had(Guest.Images.DiskInitrd);
        var kernel = Guest.Had(() => Guest.Images.Kernel(KernelFlavour.Cloud));
        var folder = Directory.CreateTempSubdirectory("yadokari-disk-").FullName;
        try
        {
            var (disk, given) = (Path.Combine(folder, "disk"), Path.Combine(folder, "tree", "given"));
            Directory.CreateDirectory(Path.GetDirectoryName(given)!);
            File.WriteAllBytes(given, [.. "GIVE"u8, .. Enumerable.Range(0, 1 << 20).Select(static i => (byte)(i * 7))]);
            File.WriteAllBytes(Path.Combine(folder, "second"), File.ReadAllBytes(given)[..(1 << 20)]);
            Assert.Equal(0, Host("mke2fs", "-q", "-t", "ext4", "-d", Path.GetDirectoryName(given)!, disk, "96M"));
            using var vm = Guest.Start(
                "--kernel", kernel, "--initrd", initrd, "--append", "console=ttyS0 quiet panic=-1 " + words, "--memory", "256M", "--cpus", $"{cpus}",
                "--disk", disk + settings, "--disk", Path.Combine(folder, "second") + ",ro" + settings);
            vm.Console.WaitFor("# ");
            vm.Console.Send("sh /disk/disk.sh");
            vm.Console.WaitFor("disk: done");
            vm.Console.Send("poweroff -f");
            Assert.Equal(0, vm.Console.WaitForEnd());
            var lines = vm.Console.Text.Split('\n');
            Assert.Equal((words.Contains("nomsi", StringComparison.Ordinal) ? "disk: no messages\n" : "") + "disk: done", string.Join('\n', lines.Where(static line => line.StartsWith("disk: ", StringComparison.Ordinal))));
            Assert.Contains($"queues {cpus}", lines);
            Assert.Equal(0, Host("e2fsck", "-f", "-n", disk));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Theory]
    [InlineData("64K", "")]
    [InlineData("4K", ",packed")]
    [InlineData("64K", ",snapshot")]
    public void Linux_works_on_a_qcow2_overlay(string clusterSize, string settings)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var initrd = Guest.Had(Guest.Images.DiskInitrd);
        var kernel = Guest.Had(() => Guest.Images.Kernel(KernelFlavour.Cloud));
        var folder = Directory.CreateTempSubdirectory("yadokari-disk-").FullName;
        try
        {
            var (disk, given) = (Path.Combine(folder, "disk"), Path.Combine(folder, "tree", "given"));
            var overlay = Path.Combine(folder, "overlay.qcow2");
            Directory.CreateDirectory(Path.GetDirectoryName(given)!);
            File.WriteAllBytes(given, [.. "GIVE"u8, .. Enumerable.Range(0, 1 << 20).Select(static i => (byte)(i * 7))]);
            File.WriteAllBytes(Path.Combine(folder, "second"), File.ReadAllBytes(given)[..(1 << 20)]);
            Assert.Equal(0, Host("mke2fs", "-q", "-t", "ext4", "-d", Path.GetDirectoryName(given)!, disk, "96M"));
            Assert.Equal(0, Host("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=" + clusterSize, "-b", "disk", "-F", "raw", overlay));
            var (base0, overlay0) = (File.ReadAllBytes(disk), File.ReadAllBytes(overlay));
            using var vm = Guest.Start(
                "--kernel", kernel, "--initrd", initrd, "--append", "console=ttyS0 quiet panic=-1", "--memory", "256M", "--cpus", "2",
                "--disk", overlay + settings, "--disk", Path.Combine(folder, "second") + ",ro");
            vm.Console.WaitFor("# ");
            vm.Console.Send("sh /disk/disk.sh");
            vm.Console.WaitFor("disk: done");
            vm.Console.Send("poweroff -f");
            Assert.Equal(0, vm.Console.WaitForEnd());
            Assert.Equal(base0, File.ReadAllBytes(disk));
            Assert.Equal(settings.Contains("snapshot", StringComparison.Ordinal), overlay0.AsSpan().SequenceEqual(File.ReadAllBytes(overlay)));
            Assert.Equal(0, Host("qemu-img", "check", "-q", overlay));
            Assert.Equal(0, Host("qemu-img", "convert", "-O", "raw", overlay, disk + ".after"));
            Assert.Equal(0, Host("e2fsck", "-f", "-n", disk + ".after"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void A_disk_that_another_machine_writes_is_refused()
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var image = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(image, new byte[1 << 20]);
            using var first = Guest.Start("--disk", image, "--memory", "128M");
            first.Console.WaitFor("# ");
            using var second = Guest.Start("--disk", image, "--memory", "128M");
            Assert.Equal(2, second.Console.WaitForEnd());
            using var reader = Guest.Start("--disk", image + ",ro", "--memory", "128M");
            Assert.Equal(2, reader.Console.WaitForEnd());
            first.Console.Send("poweroff");
            Assert.Equal(0, first.Console.WaitForEnd());
        }
        finally
        {
            File.Delete(image);
        }
    }

    [Theory]
    [InlineData("", false)]
    [InlineData(",packed", false)]
    [InlineData(",format=qcow2", true)]
    public void What_the_guest_was_told_is_on_the_disk_when_the_monitor_is_killed(string settings, bool qcow2)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        const int Sector = 512;
        var initrd = Guest.Had(Guest.Images.DiskInitrd);
        var kernel = Guest.Had(() => Guest.Images.Kernel(KernelFlavour.Cloud));
        var image = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(image, new byte[4 << 20]);
            if (qcow2)
                Assert.Equal(0, Host("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=1k", image, "4M"));
            for (var round = 1; round <= 3; round++)
            {
                string text;
                using (var vm = Guest.Start(
                    "--kernel", kernel, "--initrd", initrd, "--append", "console=ttyS0 quiet panic=-1", "--memory", "256M", "--disk", image + settings))
                {
                    vm.Console.WaitFor("# ");
                    vm.Console.Send("for m in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do insmod /disk/$m.ko; done");
                    vm.Console.Send(
                        $"n=0; while :; do n=$((n + 1)); printf '%-511d\\n' $((n * {round})) | dd of=/dev/vda bs={Sector} seek=$n conv=notrunc,fsync 2>/dev/null && echo safe_$n; done");
                    vm.Console.WaitFor($"safe_{20 * round}\r");
                    text = vm.Console.Text;
                }

                var last = text.Split('\n').Where(static line => line.StartsWith("safe_", StringComparison.Ordinal)).Select(static line => int.Parse(line[5..])).Max();
                Assert.True(last >= 20 * round);
                if (qcow2)
                {
                    Assert.Contains(Host("qemu-img", "check", "-q", "-f", "qcow2", image), (int[])[0, 3]); // Nothing is lost but room.
                    Assert.Equal(0, Host("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, image + ".raw"));
                }

                var bytes = File.ReadAllBytes(qcow2 ? image + ".raw" : image);
                for (var n = 1; n <= last; n++)
                    Assert.Equal($"{n * round}", System.Text.Encoding.ASCII.GetString(bytes, n * Sector, Sector).Trim());
            }
        }
        finally
        {
            File.Delete(image);
            File.Delete(image + ".raw");
        }
    }

    private static int Host(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(Guest.HostProgram(program), arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        process.OutputDataReceived += static (_, _) => { };
        process.BeginOutputReadLine();
        process.StandardError.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode;
    }
}
