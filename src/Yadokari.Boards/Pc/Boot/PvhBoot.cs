using System.Buffers.Binary;
using Yadokari.Core;
using Yadokari.Core.Memory;
using Yadokari.X86.State;

namespace Yadokari.Boards.Pc.Boot;

/// <summary>The PVH boot protocol (Xen, docs/misc/pvh.pandoc; xen/include/public/arch-x86/hvm/start_info.h).</summary>
public static class PvhBoot
{
    private const uint StartMagic = 0x336E_C578;
    private const int MemoryMapEntrySize = 24;

    /// <summary>Loads a kernel and sets the boot processor's registers.</summary>
    /// <exception cref="UserErrorException">Kernel, initrd or command line do not fit.</exception>
    public static BootReport Load(KernelImage kernel, GuestMemory memory, BootParameters parameters, X86State state)
    {
        BootLoader.LoadSegments(kernel, memory);
        BootLoader.WriteCommandLine(memory, parameters.CommandLine, uint.MaxValue);
        (ulong initrd, ulong initrdLength) = BootLoader.PlaceInitrd(memory, parameters.Initrd, kernel.Elf!.PhysicalEnd, uint.MaxValue, above4G: false);

        // struct hvm_modlist_entry
        Span<byte> module = stackalloc byte[32];
        module.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(module, initrd);
        BinaryPrimitives.WriteUInt64LittleEndian(module[8..], initrdLength);
        memory.Write(PcLayout.PvhModules, module);

        // struct hvm_memmap_table_entry
        IReadOnlyList<MemoryRange> map = MemoryMap.Of(memory);
        byte[] entries = new byte[map.Count * MemoryMapEntrySize];
        for (int i = 0; i < map.Count; i++)
        {
            Span<byte> entry = entries.AsSpan(i * MemoryMapEntrySize);
            BinaryPrimitives.WriteUInt64LittleEndian(entry, map[i].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], map[i].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[16..], (uint)map[i].Kind);
        }

        memory.Write(PcLayout.PvhMemoryMap, entries);

        // struct hvm_start_info, version 1
        Span<byte> start = stackalloc byte[56];
        start.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(start, StartMagic);
        BinaryPrimitives.WriteUInt32LittleEndian(start[4..], 1);
        BinaryPrimitives.WriteUInt32LittleEndian(start[12..], initrdLength == 0 ? 0u : 1u);
        BinaryPrimitives.WriteUInt64LittleEndian(start[16..], initrdLength == 0 ? 0 : PcLayout.PvhModules);
        BinaryPrimitives.WriteUInt64LittleEndian(start[24..], PcLayout.CommandLine);
        BinaryPrimitives.WriteUInt64LittleEndian(start[32..], parameters.Rsdp);
        BinaryPrimitives.WriteUInt64LittleEndian(start[40..], PcLayout.PvhMemoryMap);
        BinaryPrimitives.WriteUInt32LittleEndian(start[48..], (uint)map.Count);
        memory.Write(PcLayout.PvhStartInfo, start);

        EntryState.Protected(memory, state, (uint)kernel.Elf.PvhEntry!.Value);
        state.Gpr[3] = PcLayout.PvhStartInfo;
        return new BootReport("pvh", null, TimeSpan.Zero);
    }
}
