using System.Text;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Core.Memory;
using Yadokari.X86.State;

namespace Yadokari.Machines.Tests;

public sealed class PvhBootTests
{
    [Fact]
    public void A_kernel_with_the_note_is_entered_in_protected_mode_with_its_start_info()
    {
        byte[] code = SyntheticKernel.Pattern(5000, 3);
        byte[] elf = SyntheticKernel.Elf(SyntheticKernel.Preferred, 0x100_0123, (0x1000, SyntheticKernel.Preferred, code, 6000));
        using GuestMemory memory = TestMemory.OfMiB(64);
        using var initrd = new Initrd("i", SyntheticKernel.Pattern(4097, 11));
        var state = new X86State { Efer = 0x500, Cr4 = 0x20, Cr3 = 0x1000 };

        KernelImage kernel = KernelImage.Parse("k", elf);
        BootReport report = BootLoader.Load(kernel, memory, new BootParameters { CommandLine = "a b", Initrd = initrd, Rsdp = 0xE_0000 }, state);

        Assert.Equal(KernelFormat.ElfPvh, kernel.Format);
        Assert.Equal("pvh", report.Protocol);
        Assert.Equal(0x100_0123UL, state.Rip);
        Assert.Equal(1UL, state.Cr0 & 0x8000_0001); // Protected, not paged.
        Assert.Equal(0UL, state.Cr4 | state.Efer | state.Cr3);
        Assert.All([0, 1, 2, 3], i => Assert.Equal((0UL, uint.MaxValue), (state.Segments[i].Base, state.Segments[i].Limit)));
        Assert.Equal(0x4000, state.Segments[1].Attributes & 0x6000); // D set, L clear.
        Assert.Equal(code, memory.Bytes(SyntheticKernel.Preferred, code.Length));

        ulong info = state.Gpr[3];
        Assert.Equal(0x336E_C578u, memory.U32(info));
        Assert.Equal(1u, memory.U32(info + 4));
        Assert.Equal(1u, memory.U32(info + 12));
        ulong module = memory.U64(info + 16);
        Assert.Equal(4097UL, memory.U64(module + 8));
        Assert.Equal(SyntheticKernel.Pattern(4097, 11), memory.Bytes(memory.U64(module), 4097));
        Assert.Equal("a b\0", Encoding.ASCII.GetString(memory.Bytes(memory.U64(info + 24), 4)));
        Assert.Equal(0xE_0000UL, memory.U64(info + 32));
        ulong map = memory.U64(info + 40);
        Assert.Equal(3u, memory.U32(info + 48));
        Assert.Equal((64UL << 20) - 0x10_0000, memory.U64(map + 48 + 8));
    }

    [Fact]
    public void Without_an_initrd_there_are_no_modules()
    {
        byte[] elf = SyntheticKernel.Elf(SyntheticKernel.Preferred, 0x100_0000, (0x1000, SyntheticKernel.Preferred, [0x90], 1));
        using GuestMemory memory = TestMemory.OfMiB(64);
        BootLoader.Load(KernelImage.Parse("k", elf), memory, new BootParameters(), new X86State());
        Assert.Equal(0u, memory.U32(PcLayout.PvhStartInfo + 12));
        Assert.Equal(0UL, memory.U64(PcLayout.PvhStartInfo + 16));
    }
}
