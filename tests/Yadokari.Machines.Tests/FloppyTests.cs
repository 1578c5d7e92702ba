using System.Text;
using Yadokari.Core;
using Yadokari.Core.Engines;
using Yadokari.Devices.Serial;

namespace Yadokari.Machines.Tests;

/// <summary>A floppy on the board: what the guest is told of it, that it is reached, and which images are refused.</summary>
public sealed class FloppyTests : IDisposable
{
    private const uint Buffer = 0x5_0000;

    private readonly string _folder = Directory.CreateTempSubdirectory("yadokari-floppy-").FullName;
    private readonly string _kernel;
    private readonly string _image;

    public FloppyTests()
    {
        _kernel = Path.Combine(_folder, "kernel");
        _image = Path.Combine(_folder, "floppy");
        byte[] elf = SyntheticKernel.Elf(SyntheticKernel.Preferred, null, (0x1000, SyntheticKernel.Preferred, [0xF4], 1));
        File.WriteAllBytes(_kernel, SyntheticKernel.BzImage(Lz4Writer.Pack(elf), elf.Length));
        File.WriteAllBytes(_image, SyntheticKernel.Pattern(1440 << 10, 5));
    }

    private PcConfig Config => new() { Memory = 32 << 20, Kernel = _kernel, Console = new Nobody(), Clock = new ManualClock() };

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(160, 0x10)]
    [InlineData(720, 0x30)]
    [InlineData(1200, 0x20)]
    [InlineData(1440, 0x40)]
    [InlineData(2880, 0x50)]
    public void The_clocks_memory_tells_of_the_drive(int kibibytes, byte expected)
    {
        File.WriteAllBytes(_image, new byte[kibibytes << 10]);
        Run(Config with { Devices = [new FloppySpec(_image)] }, vcpu =>
        {
            Assert.Equal((expected, (byte)3, (byte)0x90), (Cmos(vcpu, 0x10), Cmos(vcpu, 0x14), Ask(vcpu)));
            return VmExit.Shutdown;
        });
    }

    [Fact]
    public void Without_a_floppy_there_is_no_controller()
    {
        Run(Config, vcpu =>
        {
            Assert.Equal((0, 2, 0xFF), (Cmos(vcpu, 0x10), Cmos(vcpu, 0x14), vcpu.In(PcLayout.Floppy + 4)));
            Assert.DoesNotContain("FDC0", Tables(vcpu), StringComparison.Ordinal);
            return VmExit.Shutdown;
        });
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Sectors_are_read_and_written_where_the_image_may_be(bool snapshot)
    {
        byte[] before = File.ReadAllBytes(_image);
        Run(Config with { Devices = [new FloppySpec(_image, Snapshot: snapshot)] }, vcpu =>
        {
            Assert.Contains("FDC0", Tables(vcpu), StringComparison.Ordinal);
            Start(vcpu);
            Transfer(vcpu, toMemory: true);
            Assert.Equal(before[1024..1536], vcpu.Memory.Bytes(Buffer, 512));
            vcpu.Memory.Write(Buffer, "written"u8);
            Transfer(vcpu, toMemory: false);
            vcpu.Memory.Write(Buffer, new byte[512]);
            Transfer(vcpu, toMemory: true);
            Assert.Equal("written"u8, vcpu.Memory.Bytes(Buffer, 7));
            return VmExit.Shutdown;
        });
        Assert.Equal(!snapshot, File.ReadAllBytes(_image).AsSpan(1024).StartsWith("written"u8));
    }

    [Fact]
    public void A_reset_of_the_machine_resets_the_controller()
    {
        int boots = 0;
        Run(Config with { Devices = [new FloppySpec(_image)] }, vcpu =>
        {
            Assert.Equal(0, vcpu.In(PcLayout.Floppy + 4));
            if (++boots == 2)
            {
                return VmExit.Shutdown;
            }

            Start(vcpu);
            vcpu.Out(PcLayout.ResetControl, 6);
            return vcpu.Spin();
        });
        Assert.Equal(2, boots);
    }

    [Theory]
    [InlineData(0, "is empty")]
    [InlineData(1000, "1000 bytes")]
    [InlineData((2880 << 10) + 512, "2880 KiB at most")]
    public void An_image_that_is_no_floppys_is_refused(int length, string expected)
    {
        File.WriteAllBytes(_image, new byte[length]);
        Assert.Contains(expected, Refuse(new FloppySpec(_image)), StringComparison.Ordinal);
        File.Delete(_image); // And is not kept open.
        Assert.Contains("does not exist", Refuse(new FloppySpec(_image)), StringComparison.Ordinal);
    }

    [Fact]
    public void An_image_that_another_machine_may_write_is_refused()
    {
        using var pc = new Machine(Config with { Devices = [new FloppySpec(_image)] }, new FakeEngine(_ => VmExit.Shutdown));
        Assert.Contains(_image, Refuse(new FloppySpec(_image)), StringComparison.Ordinal);
    }

    private string Refuse(FloppySpec floppy) =>
        Assert.ThrowsAny<UserErrorException>(() => new Machine(Config with { Devices = [floppy] }, new FakeEngine(_ => VmExit.Shutdown))).Message;

    private static void Run(PcConfig config, Func<FakeVcpu, VmExit> guest)
    {
        using var pc = new Machine(config, new FakeEngine(guest));
        Assert.Equal(EndReason.TripleFault, pc.Run().Reason);
    }

    private static byte Cmos(FakeVcpu vcpu, byte index)
    {
        vcpu.Out(PcLayout.Cmos, index);
        return vcpu.In(PcLayout.Cmos + 1);
    }

    private static string Tables(FakeVcpu vcpu) => Encoding.Latin1.GetString(vcpu.Memory.Bytes(PcLayout.AcpiTables, 0x1_0000));

    // Which version it is.
    private static byte Ask(FakeVcpu vcpu)
    {
        Start(vcpu);
        Send(vcpu, 0x10);
        return vcpu.In(PcLayout.Floppy + 5);
    }

    // Lets the controller go, at the rate of high density, with DMA.
    private static void Start(FakeVcpu vcpu)
    {
        vcpu.Out(PcLayout.Floppy + 2, 0x1C);
        vcpu.Out(PcLayout.FloppyInput, 0);
        Send(vcpu, 0x03);
        Send(vcpu, 0xAF);
        Send(vcpu, 0x02);
    }

    // The third sector.
    private static void Transfer(FakeVcpu vcpu, bool toMemory)
    {
        foreach ((int port, int value) in (ReadOnlySpan<(int, int)>)[
            (0x0A, 6), (0x0C, 0), (0x04, 0), (0x04, 0), (0x05, 0xFF), (0x05, 1), (0x0B, toMemory ? 0x46 : 0x4A), (0x81, 5), (0x0A, 2)])
        {
            vcpu.Out((ushort)port, (byte)value);
        }

        foreach (byte value in (byte[])[(byte)(toMemory ? 0x46 : 0x45), 0, 0, 0, 3, 2, 18, 0x1B, 0xFF])
        {
            Send(vcpu, value);
        }

        Assert.True(SpinWait.SpinUntil(() => (vcpu.In(PcLayout.Floppy + 4) & 0xC0) == 0xC0, TimeSpan.FromSeconds(60)));
        Assert.Equal(0, vcpu.In(PcLayout.Floppy + 5));
        for (int i = 1; i < 7; i++)
        {
            vcpu.In(PcLayout.Floppy + 5);
        }
    }

    private static void Send(FakeVcpu vcpu, byte value) => vcpu.Out(PcLayout.Floppy + 5, value);

    private sealed class Nobody : IConsole
    {
        public void Write(ReadOnlySpan<byte> bytes)
        {
        }
    }
}
