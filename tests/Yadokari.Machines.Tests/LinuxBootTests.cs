using System.Text;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Core;
using Yadokari.Core.Memory;
using Yadokari.X86.State;

namespace Yadokari.Machines.Tests;

public sealed class LinuxBootTests
{
    private const ulong Entry = SyntheticKernel.Preferred + 0x40;

    [Theory]
    [InlineData("lz4")]
    [InlineData("gzip")]
    [InlineData("zstd")]
    [InlineData("bzip2")]
    [InlineData("lzma")]
    [InlineData("xz")]
    public void A_packed_kernel_is_unpacked_and_entered_directly(string format)
    {
        // Most kernels' first segment lies 2 MiB into the file, which then unpacks into place; the others test the moving.
        ulong first = format == "lz4" ? 0x20_0000UL : 0x1000;
        byte[] text = SyntheticKernel.Pattern(0x9_1234, 3);
        byte[] data = SyntheticKernel.Pattern(0x3_0001, 5);
        byte[] elf = SyntheticKernel.Elf(Entry, null,
            (first, SyntheticKernel.Preferred, text, (ulong)text.Length),
            (first + 0xA_0000, SyntheticKernel.Preferred + 0x10_1000, data, 0x4_0000));
        byte[] packed = Packers.Pack(format, elf);
        using GuestMemory memory = TestMemory.OfMiB(32);
        memory.Write(SyntheticKernel.Preferred + 0x13_8000, [1, 2, 3]);
        var state = new X86State();

        BootReport report = BootLoader.Load(KernelImage.Parse("k", SyntheticKernel.BzImage(packed, elf.Length)), memory, new BootParameters(), state);

        Assert.Equal("linux64 direct", report.Protocol);
        Assert.Equal(format, report.Compression);
        Assert.Equal(Entry, state.Rip);
        Assert.Equal(text, memory.Bytes(SyntheticKernel.Preferred, text.Length));
        Assert.Equal(data, memory.Bytes(SyntheticKernel.Preferred + 0x10_1000, data.Length));
        Assert.Equal(new byte[0x4_0000 - data.Length], memory.Bytes(SyntheticKernel.Preferred + 0x10_1000 + (ulong)data.Length, 0x4_0000 - data.Length));

        // The unpacked file leaves nothing outside its segments.
        Assert.Equal(new byte[0x1000], memory.Bytes(SyntheticKernel.Preferred - 0x20_0000, 0x1000));
    }

    [Fact]
    public void A_32_bit_kernel_is_entered_in_protected_mode_without_paging()
    {
        byte[] file = SyntheticKernel.BzImage(new byte[64], 64);
        file[0x236] = 0;
        using GuestMemory memory = TestMemory.OfMiB(32);
        var state = new X86State();

        BootReport report = BootLoader.Load(KernelImage.Parse("k", file), memory, new BootParameters { CommandLine = "quiet" }, state);

        Assert.Equal("linux32", report.Protocol);
        Assert.Equal((0x11ul, 0ul, SyntheticKernel.Preferred), (state.Cr0, state.Efer, state.Rip));
        Assert.Equal((0xC09B, 0xC093), (state.Segments[1].Attributes, state.Segments[3].Attributes));
        Assert.Equal(PcLayout.ZeroPage, state.Gpr[6]);
        Assert.Equal((0ul, 0ul, 0ul), (state.Gpr[3], state.Gpr[5], state.Gpr[7]));
        Assert.Equal(file[0x1F1..0x1FA], memory.Bytes(PcLayout.ZeroPage + 0x1F1, 9));
    }

    [Theory]
    [InlineData(0x0208, PcLayout.ExtendedMemory)]
    [InlineData(0x0209, PcLayout.ExtendedMemory)]
    [InlineData(0x020A, SyntheticKernel.Preferred)]
    [InlineData(0x020B, SyntheticKernel.Preferred)]
    public void A_kernel_of_an_old_protocol_is_entered_by_its_32_bit_entry(int version, ulong address)
    {
        byte[] elf = SyntheticKernel.Elf(Entry, null, (0x1000, SyntheticKernel.Preferred, SyntheticKernel.Pattern(5000, 3), 5000));
        byte[] file = SyntheticKernel.BzImage(Lz4Writer.Pack(elf), elf.Length);
        SyntheticKernel.Put16(file, 0x206, (ushort)version);
        using GuestMemory memory = TestMemory.OfMiB(32);
        var state = new X86State();

        BootReport report = BootLoader.Load(KernelImage.Parse("k", file), memory, new BootParameters { CommandLine = "quiet" }, state);

        Assert.Equal("linux32", report.Protocol);
        Assert.Equal((0x11ul, address), (state.Cr0, state.Rip));
        int start = (SyntheticKernel.SetupSectors + 1) * 512;
        Assert.Equal(file[start..], memory.Bytes(address, file.Length - start));
        Assert.Equal(31u << 10, memory.U32(PcLayout.ZeroPage + 0x1E0)); // alt_mem_k
    }

    [Fact]
    public void Segments_that_overlap_the_file_arrive_whole()
    {
        // The two segments lie in the file in each other's places.
        byte[] first = SyntheticKernel.Pattern(0x8_0000, 3);
        byte[] second = SyntheticKernel.Pattern(0x8_0000, 7);
        byte[] elf = SyntheticKernel.Elf(SyntheticKernel.Preferred, null,
            (0x28_0000, SyntheticKernel.Preferred, first, (ulong)first.Length),
            (0x20_0000, SyntheticKernel.Preferred + 0x8_0000, second, (ulong)second.Length));
        using GuestMemory memory = TestMemory.OfMiB(32);

        BootLoader.Load(KernelImage.Parse("k", SyntheticKernel.BzImage(Lz4Writer.Pack(elf), elf.Length)), memory, new BootParameters(), new X86State());

        Assert.Equal(first, memory.Bytes(SyntheticKernel.Preferred, first.Length));
        Assert.Equal(second, memory.Bytes(SyntheticKernel.Preferred + 0x8_0000, second.Length));
    }

    [Fact]
    public void A_payload_of_several_lz4_blocks_is_put_together()
    {
        byte[] text = SyntheticKernel.Pattern(17 << 20, 3);
        byte[] elf = SyntheticKernel.Elf(SyntheticKernel.Preferred, null, (0x20_0000, SyntheticKernel.Preferred, text, (ulong)text.Length));
        using GuestMemory memory = TestMemory.OfMiB(64);

        BootLoader.Load(KernelImage.Parse("k", SyntheticKernel.BzImage(Lz4Writer.Pack(elf), elf.Length)), memory, new BootParameters(), new X86State());

        Assert.True(text.AsSpan().SequenceEqual(memory.Bytes(SyntheticKernel.Preferred, text.Length)));
    }

    [Fact]
    public void A_kernel_of_an_unknown_format_unpacks_itself()
    {
        byte[] file = SyntheticKernel.BzImage(SyntheticKernel.Text("a payload of no known format"), 1000);
        using GuestMemory memory = TestMemory.OfMiB(32);
        var state = new X86State();

        BootReport report = BootLoader.Load(KernelImage.Parse("k", file), memory, new BootParameters(), state);

        Assert.Equal("linux64", report.Protocol);
        Assert.Equal(SyntheticKernel.Preferred + 0x200, state.Rip);
        int start = (SyntheticKernel.SetupSectors + 1) * 512;
        Assert.Equal(file[start..], memory.Bytes(SyntheticKernel.Preferred, file.Length - start));
    }

    [Fact]
    public void The_guest_unpacks_when_the_monitor_is_told_not_to()
    {
        using GuestMemory memory = TestMemory.OfMiB(32);
        BootReport report = BootLoader.Load(Small(), memory, new BootParameters { Unpack = false }, new X86State());
        Assert.Equal("linux64", report.Protocol);
    }

    [Fact]
    public void A_damaged_payload_is_refused()
    {
        byte[] elf = SyntheticKernel.Elf(SyntheticKernel.Preferred, null, (0x1000, SyntheticKernel.Preferred, SyntheticKernel.Pattern(5000, 3), 5000));
        byte[] packed = Lz4Writer.Pack(elf);
        packed[4]++;
        using GuestMemory memory = TestMemory.OfMiB(32);
        var e = Assert.ThrowsAny<UserErrorException>(
            () => BootLoader.Load(KernelImage.Parse("k", SyntheticKernel.BzImage(packed, elf.Length)), memory, new BootParameters(), new X86State()));
        Assert.Contains("damaged lz4", e.Message);
    }

    [Fact]
    public void The_zero_page_holds_the_setup_header_and_what_the_loader_adds()
    {
        using GuestMemory memory = TestMemory.OfMiB(32);
        using var initrd = new Initrd("i", SyntheticKernel.Pattern(10_000, 11));
        var state = new X86State();

        BootLoader.Load(Small(), memory, new BootParameters { CommandLine = "console=ttyS0 quiet", Initrd = initrd, Rsdp = 0xE_0000 }, state);

        Assert.Equal(PcLayout.ZeroPage, state.Gpr[6]);
        Assert.Equal(SetupHeader.Magic, memory.U32(PcLayout.ZeroPage + 0x202));
        Assert.Equal(0x020F, memory.U16(PcLayout.ZeroPage + 0x206));
        Assert.Equal(0xFF, memory.Bytes(PcLayout.ZeroPage + 0x210, 1)[0]);
        Assert.Equal(0xE_0000UL, memory.U64(PcLayout.ZeroPage + 0x70));
        Assert.Equal(0, memory.Bytes(PcLayout.ZeroPage + 0x1EF, 1)[0]); // The sentinel: the page was cleared.
        uint commandLine = memory.U32(PcLayout.ZeroPage + 0x228);
        Assert.Equal("console=ttyS0 quiet\0", Encoding.ASCII.GetString(memory.Bytes(commandLine, 20)));
        uint image = memory.U32(PcLayout.ZeroPage + 0x218);
        Assert.Equal(10_000u, memory.U32(PcLayout.ZeroPage + 0x21C));
        Assert.Equal(0u, image & 0xFFF);
        Assert.True(image + 10_000 <= 32 << 20);
        Assert.Equal(SyntheticKernel.Pattern(10_000, 11), memory.Bytes(image, 10_000));
    }

    [Theory]
    [InlineData(32)]
    [InlineData(3072)]
    [InlineData(4096)]
    public void The_memory_map_covers_all_ram_but_the_bios_area(ulong mebibytes)
    {
        using GuestMemory memory = TestMemory.OfMiB(mebibytes);
        BootLoader.Load(Small(), memory, new BootParameters(), new X86State());

        ulong usable = 0;
        int entries = memory.Bytes(PcLayout.ZeroPage + 0x1E8, 1)[0];
        for (int i = 0; i < entries; i++)
        {
            ulong entry = PcLayout.ZeroPage + 0x2D0 + ((ulong)i * 20);
            ulong start = memory.U64(entry);
            ulong length = memory.U64(entry + 8);
            if (memory.U32(entry + 16) == 1)
            {
                usable += length;
                Assert.NotEqual(0, memory.HostAddress(start, length));
                Assert.False(start < PcLayout.ExtendedMemory && start + length > PcLayout.AcpiTables);
            }
        }

        Assert.Equal((mebibytes << 20) - (PcLayout.ExtendedMemory - PcLayout.ConventionalEnd), usable);
    }

    [Fact]
    public void The_processor_is_in_long_mode_with_flat_segments_and_an_identity_map()
    {
        using GuestMemory memory = TestMemory.OfMiB(32);
        var state = new X86State();
        BootLoader.Load(Small(), memory, new BootParameters(), state);

        Assert.Equal(0x8000_0001UL, state.Cr0 & 0x8000_0001);
        Assert.Equal(0x20UL, state.Cr4);
        Assert.Equal(0x500UL, state.Efer);
        Assert.Equal(2UL, state.Rflags);
        Assert.Equal(0x10, state.Segments[1].Selector);
        Assert.Equal(0x2000, state.Segments[1].Attributes & 0x6000); // L set, D clear.
        Assert.All([0, 2, 3, 4, 5], i => Assert.Equal(0x18, state.Segments[i].Selector));
        Assert.Equal(0x00AF_9B00_0000_FFFFUL, memory.U64(state.Gdtr.Base + 0x10));
        Assert.Equal(0x00CF_9300_0000_FFFFUL, memory.U64(state.Gdtr.Base + 0x18));
        foreach (ulong address in (ulong[])[0, 0x100_0000, 0xFEE0_0123, 0xFFFF_FFFF])
        {
            Assert.Equal(address, Walk(memory, state.Cr3, address));
        }
    }

    [Fact]
    public void A_plain_elf_kernel_gets_a_setup_header_of_its_own()
    {
        byte[] code = SyntheticKernel.Pattern(5000, 3);
        byte[] elf = SyntheticKernel.Elf(SyntheticKernel.Preferred + 8, null, (0x1000, SyntheticKernel.Preferred, code, 9000));
        using GuestMemory memory = TestMemory.OfMiB(32);
        memory.Write(SyntheticKernel.Preferred + 8990, [7]);
        var state = new X86State();

        KernelImage kernel = KernelImage.Parse("k", elf);
        BootLoader.Load(kernel, memory, new BootParameters(), state);

        Assert.Equal(KernelFormat.Elf, kernel.Format);
        Assert.Equal(SyntheticKernel.Preferred + 8, state.Rip);
        Assert.Equal(SetupHeader.Magic, memory.U32(PcLayout.ZeroPage + 0x202));
        Assert.Equal(code, memory.Bytes(SyntheticKernel.Preferred, code.Length));
        Assert.Equal(0, memory.Bytes(SyntheticKernel.Preferred + 8990, 1)[0]);
    }

    [Fact]
    public void A_command_line_longer_than_the_kernel_takes_is_refused()
    {
        using GuestMemory memory = TestMemory.OfMiB(32);
        BootLoader.Load(Small(), memory, new BootParameters { CommandLine = new string('x', 2047) }, new X86State());
        var e = Assert.ThrowsAny<UserErrorException>(
            () => BootLoader.Load(Small(), memory, new BootParameters { CommandLine = new string('x', 2048) }, new X86State()));
        Assert.Contains("2048 bytes", e.Message);
        Assert.Contains("2047", e.Message);
    }

    [Fact]
    public void An_initrd_that_does_not_fit_is_refused()
    {
        using GuestMemory memory = TestMemory.OfMiB(32);
        using var initrd = new Initrd("big.img", new byte[16 << 20]);
        var e = Assert.ThrowsAny<UserErrorException>(() => BootLoader.Load(Small(), memory, new BootParameters { Initrd = initrd }, new X86State()));
        Assert.Contains("'big.img' of 16 MiB does not fit", e.Message);
        Assert.Contains("/memory", e.Message);
    }

    [Fact]
    public void A_kernel_that_does_not_fit_is_refused()
    {
        using GuestMemory memory = TestMemory.OfMiB(16);
        var e = Assert.ThrowsAny<UserErrorException>(() => BootLoader.Load(Small(), memory, new BootParameters(), new X86State()));
        Assert.Contains("needs memory up to 20 MiB", e.Message);
    }

    private static KernelImage Small()
    {
        byte[] elf = SyntheticKernel.Elf(Entry, null, (0x1000, SyntheticKernel.Preferred, SyntheticKernel.Pattern(5000, 3), 5000));
        return KernelImage.Parse("small", SyntheticKernel.BzImage(Lz4Writer.Pack(elf), elf.Length));
    }

    private static ulong Walk(GuestMemory memory, ulong cr3, ulong address)
    {
        ulong pdpt = memory.U64(cr3 + ((address >> 39) & 511) * 8);
        ulong directory = memory.U64((pdpt & ~0xFFFUL) + ((address >> 30) & 511) * 8);
        ulong entry = memory.U64((directory & ~0xFFFUL) + ((address >> 21) & 511) * 8);
        Assert.Equal(0x83UL, entry & 0x83);
        return (entry & ~0x1F_FFFFUL) | (address & 0x1F_FFFF);
    }
}
