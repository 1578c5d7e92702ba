using System.Text;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Files;
using Yadokari.Core.Memory;
using Yadokari.X86.State;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>The inputs of a boot protocol beside the kernel.</summary>
public sealed record BootParameters
{
    /// <summary>The kernel command line.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>The initial RAM disk, or null.</summary>
    public Initrd? Initrd { get; init; }

    /// <summary>Modules for a Multiboot kernel, in this order.</summary>
    public IReadOnlyList<BootModule> Modules { get; init; } = [];

    /// <summary>Address of the ACPI root pointer; 0 without tables.</summary>
    public ulong Rsdp { get; init; }

    /// <summary>Whether there is a VGA text screen.</summary>
    public bool Screen { get; init; }

    /// <summary>
    /// Whether the monitor unpacks a bzImage in a known compression format and enters the unpacked kernel; false leaves that to the guest.
    /// </summary>
    public bool Unpack { get; init; } = true;
}

/// <summary>A file handed to a Multiboot kernel.</summary>
/// <param name="File">The file.</param>
/// <param name="CommandLine">Its command line: by convention its name, then arguments.</param>
public sealed record BootModule(Initrd File, string CommandLine);

/// <summary>How a kernel was started, for <c>--stats</c>.</summary>
/// <param name="Protocol">"linux64", "linux64 direct", "linux32", "linux16", "pvh", "multiboot", "multiboot2" or "firmware".</param>
/// <param name="Compression">The compression format that the monitor unpacked, or null.</param>
/// <param name="Unpacking">Time spent on unpacking.</param>
public sealed record BootReport(string Protocol, string? Compression, TimeSpan Unpacking);

/// <summary>Loads a kernel into guest memory, by the boot protocol for its format.</summary>
public static class BootLoader
{
    /// <summary>Loads a kernel with its initrd, command line and memory map, and sets the boot processor's registers.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="memory">The guest's RAM: zero, or with content from before a reset.</param>
    /// <param name="parameters">Command line, initrd and modules.</param>
    /// <param name="state">The boot processor's state after reset; registers that matter are set to the kernel's entry.</param>
    /// <exception cref="UserErrorException">Something does not fit, or the kernel is damaged.</exception>
    public static BootReport Load(KernelImage kernel, GuestMemory memory, BootParameters parameters, X86State state)
    {
        CheckModules(kernel, parameters);
        return kernel.Format switch
        {
            KernelFormat.ElfPvh => PvhBoot.Load(kernel, memory, parameters, state),
            KernelFormat.Multiboot => MultibootBoot.Load(kernel, memory, parameters, state),
            _ => LinuxBoot.Load(kernel, memory, parameters, state),
        };
    }

    /// <summary>Throws if there are modules for a kernel that is not Multiboot.</summary>
    internal static void CheckModules(KernelImage kernel, BootParameters parameters)
    {
        if (parameters.Modules.Count > 0 && kernel.Format != KernelFormat.Multiboot)
        {
            throw new ConfigurationException("/modules", $"The kernel '{kernel.Name}' is not a Multiboot kernel and takes no modules", $"leave {{/modules}} out, or give one that is");
        }
    }

    /// <summary>Writes the command line to its place in guest memory.</summary>
    /// <param name="memory">The guest's RAM.</param>
    /// <param name="text">The command line.</param>
    /// <param name="max">The longest one the kernel takes, without the terminating zero.</param>
    internal static void WriteCommandLine(GuestMemory memory, string text, uint max)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        uint limit = Math.Min(max, (uint)PcLayout.CommandLineSize - 1);
        if (bytes.Length > limit)
        {
            throw new ConfigurationException("/append", $"The kernel command line is {bytes.Length} bytes long; this kernel takes {limit} at most", $"shorten {{/append}}");
        }

        memory.Write(PcLayout.CommandLine, bytes);
        memory.Write(PcLayout.CommandLine + (ulong)bytes.Length, [0]);
    }

    /// <summary>Copies an ELF kernel's segments to their physical addresses.</summary>
    internal static void LoadSegments(KernelImage kernel, GuestMemory memory)
    {
        foreach (ElfSegment segment in kernel.Elf!.Segments)
        {
            CheckRoom(kernel, memory, segment.Physical, segment.PhysicalEnd);
            memory.Write(segment.Physical, kernel.File.AsSpan((int)segment.Offset, (int)segment.FileSize));
            Clear(memory, segment.Physical + segment.FileSize, segment.PhysicalEnd);
        }
    }

    /// <summary>Throws if a kernel's range is not RAM.</summary>
    internal static void CheckRoom(KernelImage kernel, GuestMemory memory, ulong start, ulong end)
    {
        if (memory.HostAddress(start, end - start) == 0)
        {
            throw new ConfigurationException(
                "/memory", $"The kernel '{kernel.Name}' needs memory up to {Mebibytes(end)} MiB, but the machine has {memory.Size >> 20} MiB", $"raise {{/memory}}");
        }
    }

    /// <summary>Copies the initrd to the highest address that the kernel allows, away from the kernel.</summary>
    /// <returns>Its address and length; zeros without an initrd.</returns>
    internal static (ulong Gpa, ulong Length) PlaceInitrd(GuestMemory memory, Initrd? initrd, ulong kernelEnd, ulong max, bool above4G)
    {
        (ulong gpa, ulong length) = FindPlace(memory, initrd, kernelEnd, max, above4G);
        initrd?.CopyTo(memory, gpa);
        return (gpa, length);
    }

    /// <summary>The address and length for <see cref="PlaceInitrd"/>.</summary>
    internal static (ulong Gpa, ulong Length) FindPlace(GuestMemory memory, Initrd? initrd, ulong kernelEnd, ulong max, bool above4G)
    {
        if (initrd is null)
        {
            return (0, 0);
        }

        ulong room = 0;
        ReadOnlySpan<MemoryRegion> regions = memory.Regions;
        for (int i = 0; i < regions.Length; i++)
        {
            bool low = regions[i].Gpa < PcLayout.HighRam;
            if (!low && !above4G)
            {
                break;
            }

            ulong start = Math.Max(regions[i].Gpa, (kernelEnd + 0xFFF) & ~0xFFFUL);
            ulong end = low && max < regions[i].End ? max + 1 : regions[i].End;
            ulong size = start < end ? end - start : 0;
            room = Math.Max(room, size);
            if (initrd.Length <= size)
            {
                ulong gpa = (end - initrd.Length) & ~0xFFFUL;
                if (gpa >= start)
                {
                    return (gpa, initrd.Length);
                }
            }
        }

        throw new ConfigurationException(
            "/memory", $"The initrd '{initrd.Name}' of {Mebibytes(initrd.Length)} MiB does not fit: a machine with {memory.Size >> 20} MiB of memory has {room >> 20} MiB left for it beside the kernel", $"raise {{/memory}}");
    }

    /// <summary>Sets RAM to zero.</summary>
    internal static void Clear(GuestMemory memory, ulong start, ulong end)
    {
        while (start < end)
        {
            int piece = (int)Math.Min(end - start, 1UL << 30);
            if (memory.TrySlice(start, piece, out Span<byte> bytes))
            {
                bytes.Clear();
                memory.Written(start, (ulong)piece);
            }

            start += (ulong)piece;
        }
    }

    private static ulong Mebibytes(ulong bytes) => (bytes + ((1UL << 20) - 1)) >> 20;
}
