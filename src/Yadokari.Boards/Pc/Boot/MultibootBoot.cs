using System.Buffers.Binary;
using System.Text;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Memory;
using Yadokari.X86.State;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>
/// Boots a kernel as a Multiboot boot loader does: Multiboot Specification 0.6.96, sections 3.2 and 3.3, and Multiboot2 Specification 2.0,
/// sections 3.3 and 3.6. The initrd, if there is one, is the first module.
/// </summary>
public static class MultibootBoot
{
    private const string LoaderName = "Yadokari";
    private const uint Magic1 = 0x2BAD_B002;
    private const uint Magic2 = 0x36D7_6289;

    // Tags of the second version's boot information.
    private const int TagCommandLine = 1;
    private const int TagLoaderName = 2;
    private const int TagModule = 3;
    private const int TagMemory = 4;
    private const int TagMemoryMap = 6;
    private const int TagOldRsdp = 14;

    /// <summary>Whether the boot information of Multiboot2 contains a tag.</summary>
    internal static bool Provides(uint tag) => tag is TagCommandLine or TagLoaderName or TagModule or TagMemory or TagMemoryMap or TagOldRsdp;

    /// <summary>Loads a kernel with its modules and sets the boot processor's registers.</summary>
    /// <exception cref="UserErrorException">Kernel, modules or command lines do not fit, or the kernel is damaged.</exception>
    public static BootReport Load(KernelImage kernel, GuestMemory memory, BootParameters parameters, X86State state)
    {
        MultibootHeader header = kernel.Multiboot!;
        (uint entry, ulong end) = LoadKernel(kernel, header, memory);
        List<LoadedModule> modules = LoadModules(parameters, memory, ref end);

        string name = ModuleText.Quote(Path.GetFileName(kernel.Name));
        string commandLine = parameters.CommandLine.Length == 0 ? name : $"{name} {parameters.CommandLine}";
        byte[] information = header.Version == 1
            ? Information1(memory, commandLine, modules)
            : Information2(memory, commandLine, modules, parameters.Rsdp);
        if ((ulong)information.Length > PcLayout.MultibootInformationSize)
        {
            throw new ConfigurationException(
                "/append", $"The command lines of '{kernel.Name}' and its modules take {information.Length} bytes; {PcLayout.MultibootInformationSize} fit", $"shorten {{/append}} or {{/modules}}");
        }

        memory.Write(PcLayout.MultibootInformation, information);
        EntryState.Multiboot(memory, state, entry);
        state.Gpr[0] = header.Version == 1 ? Magic1 : Magic2;
        state.Gpr[3] = PcLayout.MultibootInformation;
        return new BootReport(header.Version == 1 ? "multiboot" : "multiboot2", null, TimeSpan.Zero);
    }

    private readonly record struct LoadedModule(uint Start, uint End, string CommandLine);

    private static (uint Entry, ulong End) LoadKernel(KernelImage kernel, MultibootHeader header, GuestMemory memory)
    {
        if (header.Addresses is not { } addresses)
        {
            BootLoader.LoadSegments(kernel, memory);
            return (header.Entry ?? (uint)kernel.Elf!.Entry, kernel.Elf!.PhysicalEnd);
        }

        // The offset of the header in the file and its address give the file offset of the load address.
        long from = header.Offset - ((long)addresses.Header - addresses.Load);
        long length = addresses.LoadEnd == 0 ? kernel.File.Length - from : (long)addresses.LoadEnd - addresses.Load;
        if (from < 0 || length < 0 || from + length > kernel.File.Length)
        {
            throw new UserErrorException($"The kernel '{kernel.Name}' is truncated, or its Multiboot header is inconsistent; copy or download it again.");
        }

        ulong end = addresses.Load + (ulong)length;
        ulong clearEnd = Math.Max(end, addresses.BssEnd);
        BootLoader.CheckRoom(kernel, memory, addresses.Load, clearEnd);
        memory.Write(addresses.Load, kernel.File.AsSpan((int)from, (int)length));
        BootLoader.Clear(memory, end, clearEnd);
        return (header.Entry ?? addresses.Load, clearEnd);
    }

    // Page-aligned after the kernel, but above 1 MiB even if the kernel is below.
    private static List<LoadedModule> LoadModules(BootParameters parameters, GuestMemory memory, ref ulong end)
    {
        end = Math.Max(end, PcLayout.ExtendedMemory);
        List<LoadedModule> loaded = [];
        IEnumerable<BootModule> modules = parameters.Initrd is { } initrd ? parameters.Modules.Prepend(new BootModule(initrd, ModuleText.Quote(Path.GetFileName(initrd.Name)))) : parameters.Modules;
        foreach (BootModule module in modules)
        {
            ulong start = (end + 0xFFF) & ~0xFFFUL;
            ulong room = MemoryMap.LowEnd(memory) > start ? MemoryMap.LowEnd(memory) - start : 0;
            if (module.File.Length > room)
            {
                throw new ConfigurationException(
                    "/memory", $"The module '{module.File.Name}' of {(module.File.Length + 0xFFFFF) >> 20} MiB does not fit: the machine has {room >> 20} MiB left for it after the kernel", $"raise {{/memory}}");
            }

            module.File.CopyTo(memory, start);
            end = start + module.File.Length;
            loaded.Add(new LoadedModule((uint)start, (uint)end, module.CommandLine));
        }

        return loaded;
    }

    // struct multiboot_info, then modules, memory map and texts.
    private static byte[] Information1(GuestMemory memory, string commandLine, List<LoadedModule> modules)
    {
        const uint flags = 0x1 | 0x4 | 0x8 | 0x40 | 0x200;
        const int size = 120;
        var writer = new Writer();
        writer.Zeros(size);
        writer.Set(0, flags);
        (uint lower, uint upper) = Kibibytes(memory);
        writer.Set(4, lower);
        writer.Set(8, upper);
        writer.Set(16, Address(writer.Text(commandLine)));
        writer.Set(64, Address(writer.Text(LoaderName)));
        writer.Set(20, (uint)modules.Count);
        int list = writer.Align(8);
        writer.Set(24, Address(list));
        writer.Zeros(16 * modules.Count);
        for (int i = 0; i < modules.Count; i++)
        {
            writer.Set(list + (i * 16), modules[i].Start);
            writer.Set(list + (i * 16) + 4, modules[i].End);
            writer.Set(list + (i * 16) + 8, Address(writer.Text(modules[i].CommandLine)));
        }

        int map = writer.Align(8);
        foreach (MemoryRange range in MemoryMap.Of(memory))
        {
            writer.Add(20);
            writer.Add(range.Start);
            writer.Add(range.Length);
            writer.Add((uint)range.Kind);
        }

        writer.Set(44, (uint)(writer.Length - map));
        writer.Set(48, Address(map));
        return writer.ToArray();
    }

    private static byte[] Information2(GuestMemory memory, string commandLine, List<LoadedModule> modules, ulong rsdp)
    {
        var writer = new Writer();
        writer.Zeros(8);
        Tag(TagCommandLine, () => writer.Text(commandLine));
        Tag(TagLoaderName, () => writer.Text(LoaderName));
        foreach (LoadedModule module in modules)
        {
            Tag(TagModule, () =>
            {
                writer.Add(module.Start);
                writer.Add(module.End);
                writer.Text(module.CommandLine);
            });
        }

        Tag(TagMemory, () =>
        {
            (uint lower, uint upper) = Kibibytes(memory);
            writer.Add(lower);
            writer.Add(upper);
        });
        Tag(TagMemoryMap, () =>
        {
            writer.Add(24);
            writer.Add(0);
            foreach (MemoryRange range in MemoryMap.Of(memory))
            {
                writer.Add(range.Start);
                writer.Add(range.Length);
                writer.Add((uint)range.Kind);
                writer.Add(0);
            }
        });
        if (rsdp != 0)
        {
            byte[] copy = new byte[20];
            memory.Read(rsdp, copy);
            Tag(TagOldRsdp, () => writer.Add(copy));
        }

        Tag(0, () => { });
        writer.Set(0, (uint)writer.Length);
        return writer.ToArray();

        void Tag(int type, Action body)
        {
            int start = writer.Align(8);
            writer.Add((uint)type);
            writer.Add(0);
            body();
            writer.Set(start + 4, (uint)(writer.Length - start));
        }
    }

    // Memory below 640 KiB, and from 1 MiB to the first hole.
    private static (uint Lower, uint Upper) Kibibytes(GuestMemory memory)
        => ((uint)(PcLayout.ConventionalEnd >> 10), (uint)((MemoryMap.LowEnd(memory) - PcLayout.ExtendedMemory) >> 10));

    private static uint Address(int offset) => (uint)PcLayout.MultibootInformation + (uint)offset;

    private sealed class Writer
    {
        private readonly List<byte> _bytes = [];

        public int Length => _bytes.Count;

        public void Zeros(int count) => _bytes.AddRange(new byte[count]);

        public int Align(int to)
        {
            Zeros(-_bytes.Count & (to - 1));
            return _bytes.Count;
        }

        public void Add(uint value) => Add(BitConverter.GetBytes(value));

        public void Add(ulong value) => Add(BitConverter.GetBytes(value));

        public void Add(byte[] bytes) => _bytes.AddRange(bytes);

        public int Text(string text)
        {
            int at = _bytes.Count;
            _bytes.AddRange(Encoding.UTF8.GetBytes(text));
            _bytes.Add(0);
            return at;
        }

        public void Set(int at, uint value)
        {
            Span<byte> word = stackalloc byte[4];
            BinaryPrimitives.WriteUInt32LittleEndian(word, value);
            for (int i = 0; i < 4; i++)
            {
                _bytes[at + i] = word[i];
            }
        }

        public byte[] ToArray() => [.. _bytes];
    }
}
