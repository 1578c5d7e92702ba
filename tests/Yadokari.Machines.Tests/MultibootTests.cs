using System.Buffers.Binary;
using System.Text;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Core;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.X86.State;

namespace Yadokari.Machines.Tests;

/// <summary>Multiboot kernels of both versions: what their headers may ask, and what they are given.</summary>
public sealed class MultibootTests : IDisposable
{
    private const uint Load = 0x20_0000;

    private readonly GuestMemory _memory = GuestRam.Create(PcLayout.RamRegions(16 << 20));
    private readonly X86State _state = new();

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    [Fact]
    public void The_first_version_loads_by_its_headers_addresses()
    {
        // The header stands 0x40 into the file, which goes to Load; 0x80 bytes of it are loaded, and as many cleared behind them.
        byte[] file = Kernel1(0x1_0003, 0x40, Load + 0x40, Load, Load + 0x80, Load + 0x100, Load + 0x10);
        file.AsSpan(0x60).Fill(0xA5);
        _memory.Write(Load + 0x80, [1, 2, 3]);

        BootReport report = Boot(file);

        Assert.Equal("multiboot", report.Protocol);
        Assert.Equal(0x2BADB002u, _state.Gpr[0]);
        Assert.Equal(Load + 0x10, _state.Rip);
        Assert.Equal(0x11u, _state.Cr0);
        Assert.Equal(0xA5, Byte(Load + 0x7F));
        Assert.Equal(0, Byte(Load + 0x80));
        Assert.Equal(0, Byte(Load + 0xFF));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Segments_have_the_selectors_that_kernels_take_over_into_their_own_table(int version)
    {
        Boot(version == 1 ? Kernel1(0x1_0003, 0, Load, Load, 0, 0, Load) : Kernel2(Addresses2(), Entry2()));

        Assert.Equal([0x10, 0x08, 0x10, 0x10, 0x10, 0x10], _state.Segments.Select(s => (int)s.Selector));
        Assert.Equal(0x00CF_9B00_0000_FFFFUL, _memory.U64(_state.Gdtr.Base + 0x08));
        Assert.Equal(0x00CF_9300_0000_FFFFUL, _memory.U64(_state.Gdtr.Base + 0x10));
    }

    [Fact]
    public void The_first_versions_information_names_memory_command_line_and_modules()
    {
        BootReport report = Boot(
            Kernel1(0x1_0003, 0, Load, Load, 0, 0, Load),
            new BootModule(new Initrd("one", [1, 2, 3, 4]), "one a=b"),
            new BootModule(new Initrd("two", [5]), "two"));

        ulong information = _state.Gpr[3];
        Assert.Equal("multiboot", report.Protocol);
        Assert.Equal(0x24Du, Word(information));
        Assert.Equal(PcLayout.ConventionalEnd >> 10, Word(information + 4));
        Assert.Equal(15u << 10, Word(information + 8));
        Assert.Equal("kernel console=ttyS0", Text(Word(information + 16)));
        Assert.Equal("Yadokari", Text(Word(information + 64)));
        Assert.Equal(2u, Word(information + 20));
        uint modules = Word(information + 24);
        Assert.Equal(0u, Word(modules) & 0xFFF);
        Assert.Equal(4u, Word(modules + 4) - Word(modules));
        Assert.Equal(0x04030201u, Word(Word(modules)));
        Assert.Equal("one a=b", Text(Word(modules + 8)));
        Assert.Equal(5, Byte(Word(modules + 16)));
        Assert.Equal("two", Text(Word(modules + 24)));

        // Memory map: entries of 20 bytes after their size, the last of them RAM to the end.
        uint length = Word(information + 44), map = Word(information + 48);
        Assert.Equal(72u, length);
        Assert.Equal((20u, 0x10_0000u, 15u << 20, 1u), (Word(map + 48), Word(map + 52), Word(map + 60), Word(map + 68)));
    }

    [Fact]
    public void The_second_versions_information_is_a_list_of_tags()
    {
        BootReport report = Boot(Kernel2(Addresses2(), Entry2()), new BootModule(new Initrd("one", [7]), "one x"));

        Assert.Equal("multiboot2", report.Protocol);
        Assert.Equal(0x36D76289u, _state.Gpr[0]);
        Assert.Equal(Load + 4, _state.Rip);
        var tags = new Dictionary<uint, ulong>();
        ulong information = _state.Gpr[3];
        ulong at = information + 8;
        while (Word(at) != 0)
        {
            tags[Word(at)] = at;
            at += (Word(at + 4) + 7) & ~7u;
        }

        Assert.Equal(Word(information), at + 8 - information);
        Assert.Equal("kernel console=ttyS0", Text(tags[1] + 8));
        Assert.Equal("Yadokari", Text(tags[2] + 8));
        Assert.Equal(7, Byte(Word(tags[3] + 8)));
        Assert.Equal("one x", Text(tags[3] + 16));
        Assert.Equal(15u << 10, Word(tags[4] + 12));
        Assert.Equal(24u, Word(tags[6] + 8));
    }

    [Fact]
    public void A_name_with_a_blank_is_told_from_what_follows_it()
    {
        var parameters = new BootParameters { CommandLine = "one two", Initrd = new Initrd("/an initrd", [1]), Modules = [new BootModule(new Initrd("m", [1]), "m")] };
        BootLoader.Load(KernelImage.Parse("/boot/mb kernel", Kernel1(0x1_0003, 0, Load, Load, 0, 0, Load)), _memory, parameters, _state);

        Assert.Equal("\"mb kernel\" one two", Text(Word(_state.Gpr[3] + 16)));
        Assert.Equal("\"an initrd\"", Text(Word(Word(_state.Gpr[3] + 24) + 8)));
    }

    [Theory]
    [InlineData("file", "file", "file")]
    [InlineData("/a/file one  two", "/a/file", "file one  two")]
    [InlineData("\"/a b/file\" one two", "/a b/file", "file one two")]
    [InlineData("\"/a/my file\"", "/a/my file", "\"my file\"")]
    [InlineData("\"/a/my file\" one", "/a/my file", "\"my file\" one")]
    [InlineData("\"a \\\"b\\\" \\\\c\" x", "a \"b\" \\c", "\"a \\\"b\\\" \\\\c\" x")]
    [InlineData("a'b c", "a'b", "a\\'b c")]
    public void A_modules_text_is_a_path_and_arguments(string text, string path, string commandLine)
    {
        var module = ModuleText.Parse(text);
        Assert.Equal((path, commandLine), (module.Path, module.CommandLine));
    }

    [Theory]
    [InlineData("")]
    [InlineData(" x")]
    [InlineData("\"\" x")]
    [InlineData("\"x")]
    [InlineData("\"x\\\"")]
    [InlineData("\"x\"y")]
    public void A_modules_text_that_names_no_file_is_refused(string text) => Assert.ThrowsAny<UserErrorException>(() => ModuleText.Parse(text));

    [Theory]
    [InlineData(0x1_0007, "a video mode")]
    [InlineData(0x1_0011, "feature 4")]
    public void What_the_first_version_asks_and_is_not_there_is_named(uint flags, string thing)
    {
        UserErrorException e = Assert.ThrowsAny<UserErrorException>(() => Boot(Kernel1(flags, 0, Load, Load, 0, 0, Load)));
        Assert.Contains(thing, e.Message);
    }

    [Fact]
    public void What_the_second_version_asks_and_is_not_there_is_named_unless_it_is_optional()
    {
        byte[] framebuffer = [5, 0, 0, 0, 20, 0, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0];
        UserErrorException e = Assert.ThrowsAny<UserErrorException>(() => Boot(Kernel2(framebuffer, Addresses2(), Entry2())));
        Assert.Contains("a framebuffer", e.Message);

        framebuffer[2] = 1;
        Assert.Equal("multiboot2", Boot(Kernel2(framebuffer, Addresses2(), Entry2())).Protocol);
    }

    [Fact]
    public void A_kernel_that_takes_no_modules_is_not_given_any()
    {
        var parameters = new BootParameters { Modules = [new BootModule(new Initrd("one", [1]), "one")] };
        KernelImage kernel = KernelImage.Parse("vmlinux", SyntheticKernel.Elf(0x100_0000, null, (0x1000, 0x100_0000, [0xF4], 16)));
        UserErrorException e = Assert.ThrowsAny<UserErrorException>(() => BootLoader.Load(kernel, _memory, parameters, _state));
        Assert.Contains("/modules", e.Message);
    }

    [Fact]
    public void A_module_that_does_not_fit_is_named()
    {
        UserErrorException e = Assert.ThrowsAny<UserErrorException>(
            () => Boot(Kernel1(0x1_0000, 0, Load, Load, 0, 0, Load), new BootModule(new Initrd("big", new byte[15 << 20]), "big")));
        Assert.Contains("'big'", e.Message);
    }

    private BootReport Boot(byte[] file, params BootModule[] modules)
    {
        var parameters = new BootParameters { CommandLine = "console=ttyS0", Modules = modules };
        return BootLoader.Load(KernelImage.Parse("/boot/kernel", file), _memory, parameters, _state);
    }

    internal static byte[] Kernel1(uint flags, int at, params ReadOnlySpan<uint> addresses)
    {
        byte[] file = new byte[0x200];
        Span<byte> header = file.AsSpan(at);
        BinaryPrimitives.WriteUInt32LittleEndian(header, 0x1BADB002);
        BinaryPrimitives.WriteUInt32LittleEndian(header[4..], flags);
        BinaryPrimitives.WriteUInt32LittleEndian(header[8..], unchecked(0u - 0x1BADB002 - flags));
        for (int i = 0; i < addresses.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(header[(12 + (i * 4))..], addresses[i]);
        }

        return file;
    }

    private static byte[] Addresses2() => Words(2, 24, Load, Load, 0, 0);

    private static byte[] Entry2() => Words(3, 12, Load + 4);

    private static byte[] Words(params ReadOnlySpan<uint> words)
    {
        byte[] bytes = new byte[words.Length * 4];
        for (int i = 0; i < words.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(i * 4), words[i]);
        }

        return bytes;
    }

    private static byte[] Kernel2(params ReadOnlySpan<byte[]> tags)
    {
        byte[] file = new byte[0x200];
        int length = 16;
        foreach (byte[] tag in tags)
        {
            tag.CopyTo(file, length);
            length += (tag.Length + 7) & ~7;
        }

        file[length + 4] = 8;
        length += 8;
        BinaryPrimitives.WriteUInt32LittleEndian(file, 0xE85250D6);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(8), length);
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(12), unchecked(0u - 0xE85250D6 - (uint)length));
        return file;
    }

    private uint Word(ulong gpa)
    {
        byte[] bytes = new byte[4];
        _memory.Read(gpa, bytes);
        return BitConverter.ToUInt32(bytes);
    }

    private byte Byte(ulong gpa) => (byte)Word(gpa);

    private string Text(ulong gpa)
    {
        byte[] bytes = new byte[64];
        _memory.Read(gpa, bytes);
        return Encoding.UTF8.GetString(bytes[..Array.IndexOf(bytes, (byte)0)]);
    }
}
