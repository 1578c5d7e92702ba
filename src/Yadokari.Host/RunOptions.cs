using Microsoft.Extensions.Logging;
using Yadokari.Boards.Pc;
using Yadokari.Machines;
using Yadokari.Networks;
using Yadokari.Translation.Direct;

namespace Yadokari.Host;

/// <summary>What <c>yado run</c> was asked for, checked as far as it can be without touching files.</summary>
public sealed record RunOptions
{
    /// <summary>A bzImage or an ELF kernel; null for the default guest's.</summary>
    public string? Kernel { get; init; }

    /// <summary>An initial RAM disk; null for none, or the default guest's where the kernel is the default too.</summary>
    public string? Initrd { get; init; }

    /// <summary>A firmware ROM; null to boot a kernel.</summary>
    public string? Firmware { get; init; }

    /// <summary>Hard disks.</summary>
    public IReadOnlyList<DiskConfig> Disks { get; init; } = [];

    /// <summary>Shared folders.</summary>
    public IReadOnlyList<ShareConfig> Shares { get; init; } = [];

    /// <summary>What the network cards are plugged into.</summary>
    public IReadOnlyList<NetworkConfig> Networks { get; init; } = [];

    /// <summary>Ports by name.</summary>
    public IReadOnlyList<PortConfig> Ports { get; init; } = [];

    /// <summary>Sockets between guest and host; null for none.</summary>
    public VsockConfig? Vsock { get; init; }

    /// <summary>A CD image; null for none.</summary>
    public string? Cdrom { get; init; }

    /// <summary>A floppy; null for none.</summary>
    public DiskConfig? Floppy { get; init; }

    /// <summary>Files for a Multiboot kernel: path, space, arguments.</summary>
    public IReadOnlyList<string> Modules { get; init; } = [];

    /// <summary>The kernel's command line; null for the default.</summary>
    public string? Append { get; init; }

    /// <summary>Bytes of guest memory, a multiple of a mebibyte.</summary>
    public required ulong Memory { get; init; }

    /// <summary>How many vCPUs.</summary>
    public required int Cpus { get; init; }

    /// <summary>The name of the engine.</summary>
    public required string Engine { get; init; }

    /// <summary>When user code runs on the processor itself.</summary>
    public DirectMode Direct { get; init; } = DirectMode.Auto;

    /// <summary><c>stdio</c>, <c>vga</c>, <c>none</c>, or a file.</summary>
    public required string Console { get; init; }

    /// <summary>Whether the guest's console is a virtio console rather than the serial port.</summary>
    public bool HasVirtioConsole { get; init; }

    /// <summary>Whether the machine has a screen and a keyboard rather than a serial console.</summary>
    public bool HasScreen => Console == "vga";

    /// <summary>The ports for test guests.</summary>
    public DebugPorts DebugPorts { get; init; } = new();

    /// <summary>Whether to print what the engine and the devices did.</summary>
    public bool Stats { get; init; }

    /// <summary>A file to trace blocks and exceptions to; null for none.</summary>
    public string? Trace { get; init; }

    /// <summary>The TCP port on which to wait for gdb; null for none.</summary>
    public int? GdbPort { get; init; }

    /// <summary>The least level that is logged, on standard error.</summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Warning;

    /// <summary>Whether what is logged, and why the machine ended, is JSON, an object a line.</summary>
    public bool LogJson { get; init; }

    /// <summary>Whether everything that boots is the default guest's.</summary>
    public bool IsDefaultGuest => Kernel is null && Initrd is null;
}
