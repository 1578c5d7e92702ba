using System.Globalization;
using System.Text;
using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Core.Time;
using Yadokari.Devices.Serial;
using Yadokari.Devices.Virtio;
using Yadokari.Disks;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Networks;

namespace Yadokari.Boards.Pc;

/// <summary>What a disk is reached by.</summary>
public enum DiskBus
{
    /// <summary>virtio over PCI: fast, for systems that have the driver.</summary>
    Virtio,

    /// <summary>IDE: what every system that firmware starts knows; two at most.</summary>
    Ide,
}

/// <summary>A disk and the image that holds it.</summary>
/// <param name="Path">The file.</param>
/// <param name="ReadOnly">Not to be written.</param>
/// <param name="Bus">What it is reached by.</param>
/// <param name="Packed">Whether a virtio disk offers packed queues too.</param>
/// <param name="Format">The image's format; null to find it out by its name and its beginning.</param>
/// <param name="Snapshot">Whether the image is only read, and what the guest writes gone when the machine is.</param>
public sealed record DiskConfig(
    string Path, bool ReadOnly = false, DiskBus Bus = DiskBus.Virtio, bool Packed = false, DiskFormat? Format = null, bool Snapshot = false)
{
    /// <summary>The disk itself where it is open already and outlives the machine; null to open the image.</summary>
    public IDisk? Opened { get; init; }

    /// <summary>Opens the image. Who asked for it closes it.</summary>
    /// <exception cref="UserErrorException">It can't be used.</exception>
    public IDisk Open() => Open(DiskImage.Disk);

    /// <summary>The same as a floppy, whose image is raw whatever this says of its format.</summary>
    /// <exception cref="UserErrorException">It can't be used.</exception>
    public IDisk OpenFloppy() => (this with { Format = DiskFormat.Raw }).Open("floppy");

    private IDisk Open(string what) => Opened is { } open ? new NonOwningDisk(open)
        : Snapshot ? DiskImage.OpenSnapshot(Path, Format, what)
        : DiskImage.Open(Path, ReadOnly, Format, what: what);
}

/// <summary>A folder of the host's that the guest can mount, by virtio-fs.</summary>
/// <param name="Source">The folder.</param>
/// <param name="Tag">By which the guest mounts it; <c>--share</c> gives the place where it is to appear.</param>
/// <param name="ReadOnly">Not to be changed by the guest.</param>
public sealed record ShareConfig(string Source, string Tag, bool ReadOnly = false);

/// <summary>What a PC is built of, as far as a user may say.</summary>
public sealed record PcConfig
{
    /// <summary>Bytes of RAM, a multiple of a mebibyte.</summary>
    public required ulong Memory { get; init; }

    /// <summary>How many vCPUs, from 1 to <see cref="PcLayout.MaxCpus"/>.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>Path of the kernel: a bzImage, an uncompressed ELF file or a Multiboot kernel. Null for firmware alone.</summary>
    public string? Kernel { get; init; }

    /// <summary>
    /// Path of a firmware ROM, which the processor starts in; with a kernel, it starts that, a bzImage. Null for none, except that a kernel
    /// that needs a BIOS gets SeaBIOS where the host has it installed.
    /// </summary>
    public string? Firmware { get; init; }

    /// <summary>Disks: <see cref="PcLayout.MaxDisks"/> at most, two of them IDE, and these with firmware only.</summary>
    public IReadOnlyList<DiskConfig> Disks { get; init; } = [];

    /// <summary>Shared folders: <see cref="PcLayout.MaxShares"/> at most, each with a tag of its own.</summary>
    public IReadOnlyList<ShareConfig> Shares { get; init; } = [];

    /// <summary>What its network cards are plugged into: <see cref="PcLayout.MaxNetworks"/> at most, each with an address of its own.</summary>
    public IReadOnlyList<NetworkConfig> Networks { get; init; } = [];

    /// <summary>Ports by name, for programs of the guest's: <see cref="VirtioConsole.MostPorts"/> at most, each with a name of its own.</summary>
    public IReadOnlyList<PortConfig> Ports { get; init; } = [];

    /// <summary>Sockets between guest and host, or null for none.</summary>
    public VsockConfig? Vsock { get; init; }

    /// <summary>Path of a CD image, or null.</summary>
    public string? Cdrom { get; init; }

    /// <summary>A floppy, which firmware boots from first, or null: a raw image of up to 2880 KiB, whatever its bus and format say.</summary>
    public DiskConfig? Floppy { get; init; }

    /// <summary>Path of the initial RAM disk, or null.</summary>
    public string? Initrd { get; init; }

    /// <summary>Files for a Multiboot kernel: each a path and, after a blank, arguments (<see cref="ModuleText.Parse"/>).</summary>
    public IReadOnlyList<string> Modules { get; init; } = [];

    /// <summary>The kernel command line.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>Whether <see cref="CommandLine"/> is a default meant for Linux, which a kernel of another kind is not given.</summary>
    public bool IsDefaultCommandLine { get; init; }

    /// <summary>
    /// Where the output of the consoles goes: byte by byte from the serial port, on a vCPU's thread, so it should buffer. Stays the caller's.
    /// </summary>
    public required IConsole Console { get; init; }

    /// <summary>Whether there is a virtio console, which then has the input; else the serial port has.</summary>
    public bool VirtioConsole { get; init; }

    /// <summary>Whether there is a VGA text screen and a PS/2 keyboard.</summary>
    public bool Screen { get; init; }

    /// <summary>The time the devices live by. Stays the caller's.</summary>
    public required IClock Clock { get; init; }

    /// <summary>Whether the monitor unpacks a bzImage where it can; false leaves that to the guest.</summary>
    public bool Unpack { get; init; } = true;

    /// <summary>Whether a reset that the guest asks for starts it again in place; false makes it the end of the run.</summary>
    public bool RestartOnReset { get; init; } = true;

    /// <summary>The ports that test guests use.</summary>
    public DebugPorts DebugPorts { get; init; } = new();

    /// <summary>Looks at what does not depend on files.</summary>
    /// <exception cref="UserErrorException">A value is out of its range.</exception>
    public void Check()
    {
        if (Kernel is null && Firmware is null)
        {
            throw new UserErrorException("A machine starts in a kernel or in firmware: give --kernel or --firmware.");
        }

        if (Disks.Count > PcLayout.MaxDisks)
        {
            throw new UserErrorException($"{Disks.Count} disks are more than a machine has room for: give --disk {PcLayout.MaxDisks} times at most.");
        }

        int ide = Disks.Count(d => d.Bus == DiskBus.Ide);
        if (ide > 2)
        {
            throw new UserErrorException($"{ide} IDE disks are more than fit beside a CD-ROM drive: give --disk FILE,bus=ide twice at most, others without bus=ide.");
        }

        if (ide > 0 && Firmware is null)
        {
            throw new UserErrorException("IDE disks are for machines with firmware: leave bus=ide out, or give --firmware too.");
        }

        CheckShares();
        CheckNetworks();
        CheckPorts();
        if (Memory < PcLayout.MinMemory || Memory % (1 << 20) != 0)
        {
            throw new UserErrorException($"A memory of {Memory} bytes won't do: give --memory a whole number of mebibytes, {PcLayout.MinMemory >> 20}M or more.");
        }

        ulong host = (ulong)GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (Memory > host)
        {
            throw new UserErrorException($"A memory of {Memory >> 20} MiB is more than this host's {host >> 20} MiB: give --memory less.");
        }

        if (Cpus is < 1 or > PcLayout.MaxCpus)
        {
            throw new UserErrorException($"A machine of {Cpus} CPUs can't be built: give --cpus a number from 1 to {PcLayout.MaxCpus}.");
        }
    }

    /// <summary>The path of the firmware that the machine starts in, or that a kernel needs; null for none.</summary>
    /// <exception cref="UserErrorException">The kernel needs one, and there is none.</exception>
    internal string? FirmwareFor(KernelImage? kernel) => Firmware is not null || kernel is not { NeedsBios: true }
        ? Firmware
        : FirmwareImage.FindInstalled() ?? throw new UserErrorException(
            $"The kernel '{kernel.Name}' is one that a BIOS starts, and SeaBIOS is not installed: install it (Debian's package seabios), or give its bios.bin by --firmware.");

    /// <summary>What a kernel is told.</summary>
    internal string CommandLineFor(KernelImage kernel) => IsDefaultCommandLine && !kernel.IsLinux ? "" : CommandLine;

    private void CheckNetworks()
    {
        if (Networks.Count > PcLayout.MaxNetworks)
        {
            throw new UserErrorException($"{Networks.Count} network cards are more than a machine has room for: give --net {PcLayout.MaxNetworks} times at most.");
        }

        if (Networks.GroupBy(n => n.Mac).FirstOrDefault(g => g.Count() > 1) is { } same)
        {
            throw new UserErrorException($"Two network cards can't both have the address {string.Join(':', same.Key.GetAddressBytes().Select(b => b.ToString("x2", CultureInfo.InvariantCulture)))}: give each --net a mac of its own.");
        }
    }

    private void CheckPorts()
    {
        if (Ports.Count > Devices.Virtio.VirtioConsole.MostPorts)
        {
            throw new UserErrorException($"{Ports.Count} ports are more than a machine has room for: give --port {Devices.Virtio.VirtioConsole.MostPorts} times at most.");
        }

        foreach (string name in Ports.Select(p => p.Name))
        {
            if (name.Length == 0 || Encoding.UTF8.GetByteCount(name) > Devices.Virtio.VirtioConsole.LongestName)
            {
                throw new UserErrorException($"'{name}' can't be a port's name, for that has 1 to {Devices.Virtio.VirtioConsole.LongestName} bytes: give --port a shorter one.");
            }
        }

        if (Ports.GroupBy(p => p.Name).FirstOrDefault(g => g.Count() > 1) is { } twice)
        {
            throw new UserErrorException($"Two ports can't both be called '{twice.Key}': give each --port a name of its own.");
        }
    }

    private void CheckShares()
    {
        if (Shares.Count > PcLayout.MaxShares)
        {
            throw new UserErrorException($"{Shares.Count} shared folders are more than a machine has room for: give --share {PcLayout.MaxShares} times at most.");
        }

        for (int i = 0; i < Shares.Count; i++)
        {
            string tag = Shares[i].Tag;
            if (tag.Length == 0 || Encoding.UTF8.GetByteCount(tag) > VirtioFs.LongestTag)
            {
                throw new UserErrorException($"'{tag}' can't be where a shared folder appears, for that has 1 to {VirtioFs.LongestTag} bytes: give --share a shorter place.");
            }

            if (Shares.Take(i).Any(s => s.Tag == tag))
            {
                throw new UserErrorException($"Two shared folders can't both appear at '{tag}': give each --share a place of its own.");
            }
        }
    }
}
