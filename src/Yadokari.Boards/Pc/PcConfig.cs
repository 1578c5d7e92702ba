using Yadokari.Boards.Pc.Boot;
using Yadokari.Boards.Specs;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Time;
using Yadokari.Devices.Serial;

namespace Yadokari.Boards.Pc;

/// <summary>What a PC is built of: what a user may say, and what the program that runs it adds.</summary>
public sealed record PcConfig : MachineSpec
{
    /// <summary>Begins with nothing said.</summary>
    public PcConfig()
    {
    }

    /// <summary>Begins with what a user said.</summary>
    public PcConfig(MachineSpec spec)
        : base(spec)
    {
    }

    /// <summary>The kernel command line.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>Whether <see cref="CommandLine"/> is a default meant for Linux, which a kernel of another kind is not given.</summary>
    public bool IsDefaultCommandLine { get; init; }

    /// <summary>
    /// Where the output of the consoles goes: byte by byte from the serial port, on a vCPU's thread, so it should buffer. Not owned.
    /// </summary>
    public required IConsole Console { get; init; }

    /// <summary>Whether there is a virtio console, which then has the input; else the serial port has.</summary>
    public bool VirtioConsole { get; init; }

    /// <summary>Whether there is a VGA text screen and a PS/2 keyboard.</summary>
    public bool Screen { get; init; }

    /// <summary>Clock source of all emulated timers. Not owned.</summary>
    public required IClock Clock { get; init; }

    /// <summary>Whether the monitor unpacks a bzImage where it can; false leaves that to the guest.</summary>
    public bool Unpack { get; init; } = true;

    /// <summary>Whether a reset that the guest asks for starts it again in place, unless its kernel panicked before; else it is the end of the run.</summary>
    public bool RestartOnReset { get; init; } = true;

    /// <summary>As <see cref="MachineSpec.Check"/>, of one that is about to be built.</summary>
    /// <exception cref="ConfigurationException">Something can't be.</exception>
    public void CheckToBuild()
    {
        if (Kernel is null && Firmware is null)
        {
            throw new ConfigurationException("", "A machine starts in a kernel or in firmware", "give {/kernel} or {/firmware}");
        }

        Check();
    }

    /// <summary>The path of the firmware that the machine starts in, or that a kernel needs; null for none.</summary>
    /// <exception cref="UserErrorException">The kernel needs one, and there is none.</exception>
    internal string? FirmwareFor(KernelImage? kernel) => Firmware is not null || kernel is not { NeedsBios: true }
        ? Firmware
        : FirmwareImage.FindInstalled() ?? throw new ConfigurationException(
            "/firmware", $"The kernel '{kernel.Name}' is one that a BIOS starts, and SeaBIOS is not installed", $"install it (Debian's package seabios), or give its bios.bin by {{/firmware}}");

    /// <summary>What a kernel is told.</summary>
    internal string CommandLineFor(KernelImage kernel) => IsDefaultCommandLine && !kernel.IsLinux ? "" : CommandLine;
}
