using Microsoft.Extensions.Logging;
using Yadokari.Boards.Specs;
using Yadokari.Core.Configuration;

namespace Yadokari.Host;

/// <summary>What <c>yado run</c> was asked for: a machine, and how to run it.</summary>
public sealed record RunOptions : MachineSpec
{
    private const string Virtio = "virtio";

    private const ulong LeastOfCpu = 2UL << 20;

    /// <summary>Begins with defaults.</summary>
    public RunOptions()
    {
    }

    /// <summary>Begins with a machine.</summary>
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

    /// <summary>Looks whether a guest can come up in the memory.</summary>
    /// <param name="least">Bytes that it takes without what it takes for each processor.</param>
    /// <param name="guest">What the guest is, for messages.</param>
    /// <exception cref="ConfigurationException">Its kernel would panic.</exception>
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
