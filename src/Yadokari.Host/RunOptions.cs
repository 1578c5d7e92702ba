using Microsoft.Extensions.Logging;
using Yadokari.Boards.Specs;
using Yadokari.Core.Configuration;

namespace Yadokari.Host;

/// <summary>The options of <c>yado run</c>: a machine's specification, and how to run it.</summary>
public sealed record RunOptions : MachineSpec
{
    private const string Virtio = "virtio";

    private const ulong LeastOfCpu = 2UL << 20;

    /// <summary>Creates default options.</summary>
    public RunOptions()
    {
    }

    /// <summary>Creates default options for a machine.</summary>
    public RunOptions(MachineSpec spec)
        : base(spec)
    {
    }

    /// <summary><c>stdio</c>, <c>vga</c>, <c>none</c>, or a file.</summary>
    public string Console => HasVirtioConsole ? "stdio" : ConsoleTo;

    /// <summary>Whether the guest's console is a virtio console rather than the serial port.</summary>
    public bool HasVirtioConsole => ConsoleTo == Virtio;

    /// <summary>Whether the machine has a screen and a keyboard rather than a serial console.</summary>
    public bool HasScreen => ConsoleTo == "vga";

    /// <summary>Whether to print the counters of engine and devices at the end.</summary>
    public bool Stats { get; init; }

    /// <summary>The file that receives a trace of blocks and exceptions; null for none.</summary>
    public string? Trace { get; init; }

    /// <summary>The TCP port on which to wait for gdb; null for none.</summary>
    public int? GdbPort { get; init; }

    /// <summary>The lowest level that is logged, on standard error.</summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Warning;

    /// <summary>Whether log entries, and the reason why the machine ended, are written as JSON, an object a line.</summary>
    public bool LogJson { get; init; }

    /// <summary>Whether the default guest's kernel and initial RAM disk boot.</summary>
    public bool IsDefaultGuest => Kernel is null && Initrd is null;

    /// <summary>Checks that the machine has enough memory for a guest to boot.</summary>
    /// <param name="least">Bytes that the guest needs, without those that it needs for each processor.</param>
    /// <param name="guest">The guest's name in messages.</param>
    /// <exception cref="ConfigurationException">The memory is too small: the guest's kernel would panic.</exception>
    public void CheckMemoryFor(string guest, ulong least)
    {
        least += (ulong)Cpus * LeastOfCpu;
        if (Memory < least)
        {
            string processors = Cpus == 1 ? "one processor" : $"{Cpus} processors";
            throw new ConfigurationException("/memory", $"{{/memory}} {ByteSize.Show(Memory)} is too little for {guest} on {processors}", $"give {ByteSize.Show(least)} or more");
        }
    }
}
