
namespace Yadokari.Tests;

/// <summary>Flat code in every mode, through what a .NET developer sees of it.</summary>
public sealed class FlatMachineTests
{
    private const ulong Code = 0x8000;
    private const ulong Data = 0xA000;

    private static FlatMachine Machine(FlatMode mode, bool user, string code, MemoryRights data = MemoryRights.Read | MemoryRights.Write)
    {
        var machine = new FlatMachine(mode, new FlatOptions { User = user });
        machine.Map(Code, 4096, mode == FlatMode.Real16 ? MemoryRights.All : MemoryRights.Execute);
        machine.Map(Data, 4096, mode == FlatMode.Real16 ? MemoryRights.All : data);
        machine.Write(Code, Convert.FromHexString(code));
        machine.Registers.Rip = Code;
        machine.Registers.Rsp = Data + 0x800;
        return machine;
    }

    public static TheoryData<FlatMode, bool> Modes => new(
        from mode in Enum.GetValues<FlatMode>() from user in new[] { false, true } where mode != FlatMode.Real16 || !user select (mode, user));

    [Theory]
    [MemberData(nameof(Modes))]
    public void Code_runs_to_its_end(FlatMode mode, bool user)
    {
        // push 5; pop ax; add al,2; out 10h,al or, at level 3, where that is #GP, INT3.
        using FlatMachine machine = Machine(mode, user, "6A05" + "58" + "0402" + (user ? "CC" : "E610"));
        FlatStop stop = machine.Run();
        Assert.Equal(7u, (byte)machine.Registers.Rax);
        Assert.Equal(Data + 0x800, machine.Registers.Rsp);
        Assert.Equal(Code + (user ? 6u : 7u), machine.Registers.Rip);
        if (user)
        {
            Assert.Equal((FlatStopReason.Exception, 3, true), (stop.Reason, stop.Vector, stop.Software));
        }
        else
        {
            Assert.Equal(FlatStopReason.PortWrite, stop.Reason);
            Assert.Equal([new PortWrite(0x10, 7, 1)], stop.Writes);
        }
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void Hlt_ends_the_kernel_and_faults_the_user(FlatMode mode, bool user)
    {
        using FlatMachine machine = Machine(mode, user, "F4");
        FlatStop stop = machine.Run();
        Assert.Equal(user ? FlatStopReason.Exception : FlatStopReason.Halt, stop.Reason);
        Assert.Equal(user ? (13, 0u) : (-1, null), (stop.Vector, stop.ErrorCode));
        Assert.Equal(Code + (user ? 0u : 1u), machine.Registers.Rip);
    }

    [Theory]
    [InlineData(FlatMode.Protected32)]
    [InlineData(FlatMode.Compatibility32)]
    [InlineData(FlatMode.Long64)]
    public void Rights_are_kept(FlatMode mode)
    {
        // mov [edi],eax with DI at data that can be read only; the flags stay exact though CMP overwrites them.
        using FlatMachine machine = Machine(mode, user: true, "890739C0", MemoryRights.Read);
        machine.Registers.Rdi = Data + 8;
        machine.Registers.Rflags = 0x8D7;
        FlatStop stop = machine.Run();
        Assert.Equal((FlatStopReason.Exception, 14, 7u, Data + 8, false), (stop.Reason, stop.Vector, stop.ErrorCode, stop.Address, stop.Software));
        Assert.Equal(0x8D7u, machine.Registers.Rflags & 0x8D5 | 2);
        Assert.Equal(Code, machine.Registers.Rip);

        // Executing data; then with the right to.
        machine.Registers.Rip = Data;
        stop = machine.Run();
        Assert.Equal((14, 0x15u, Data), (stop.Vector, stop.ErrorCode, stop.Address));
        machine.Map(Data, 4096, MemoryRights.All);
        machine.Write(Data, [0xCC]);
        Assert.Equal(3, machine.Run().Vector);
    }

    [Fact]
    public void Real_mode_has_its_segments()
    {
        // mov ax,[1234h] and HLT at 1000:0010; then a word at FFFF.
        using var machine = new FlatMachine(FlatMode.Real16);
        machine.Write(0x10010, [0xA1, 0x34, 0x12, 0xF4]);
        machine.Write(0x21234, [0x78, 0x56]);
        machine.Registers.Segments[1] = machine.Registers.Segments[1] with { Selector = 0x1000 };
        machine.Registers.Segments[3] = machine.Registers.Segments[3] with { Selector = 0x2000 };
        machine.Registers.Rip = 0x10;
        Assert.Equal(FlatStopReason.Halt, machine.Run().Reason);
        Assert.Equal(0x5678u, machine.Registers.Rax);
        machine.Write(0x10010, [0xA1, 0xFF, 0xFF]);
        machine.Registers.Rip = 0x10;
        Assert.Equal(13, machine.Run().Vector);
    }

    [Fact]
    public void A_budget_is_counted_to_the_instruction()
    {
        // inc rax; jmp back.
        using FlatMachine machine = Machine(FlatMode.Long64, user: true, "48FFC0EBFB");
        Assert.Equal(FlatStopReason.Budget, machine.Run(budget: 7).Reason);
        Assert.Equal((4u, Code + 3), (machine.Registers.Rax, machine.Registers.Rip));
        Assert.Equal(FlatStopReason.Budget, machine.Run(budget: 1).Reason);
        Assert.Equal((4u, Code), (machine.Registers.Rax, machine.Registers.Rip));
        Assert.Equal(FlatStopReason.Budget, machine.Run(budget: 0).Reason);
        Assert.Equal(4u, machine.Registers.Rax);
    }

    [Fact]
    public void An_endless_loop_can_be_cancelled()
    {
        using FlatMachine machine = Machine(FlatMode.Long64, user: true, "EBFE");
        using var source = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        Assert.Equal(FlatStopReason.Cancelled, machine.Run(cancellation: source.Token).Reason);
        Assert.Equal(Code, machine.Registers.Rip);
        machine.Write(Code, [0xCC]);
        Assert.Equal(3, machine.Run(cancellation: TestContext.Current.CancellationToken).Vector);
    }

    [Fact]
    public void Vector_and_stack_registers_go_in_and_out()
    {
        // paddd xmm3,xmm15; fld1; vpaddb of the widest there is; INT3.
        string widest = VectorRegisters.Width == 64 ? "62F16D48FCE2" : VectorRegisters.Width == 32 ? "C5EDFCE2" : "660FFCE2";
        using FlatMachine machine = Machine(FlatMode.Long64, user: true, "66410FFEDF" + "D9E8" + widest + "CC");
        machine.Vectors.Write(3, BitConverter.GetBytes(5));
        machine.Vectors.Write(15, BitConverter.GetBytes(37));
        machine.Vectors.Write(2, [.. Enumerable.Range(0, VectorRegisters.Width).Select(i => (byte)i)]);
        Assert.Equal(3, machine.Run().Vector);
        byte[] low = new byte[4];
        machine.Vectors.Read(3, low);
        Assert.Equal(42, BitConverter.ToInt32(low));
        byte[] wide = new byte[VectorRegisters.Width];
        machine.Vectors.Read(4, wide);
        byte[] two = [.. Enumerable.Range(0, VectorRegisters.Width).Select(i => (byte)(VectorRegisters.Width == 16 ? i : 2 * i))];
        Assert.Equal(two, wide);
        Assert.Equal([0, 0, 0, 0, 0, 0, 0, 0x80, 0xFF, 0x3F], machine.Vectors.Stack(0).ToArray());
        Assert.Equal((0x80, 7), (machine.Vectors.Tags, machine.Vectors.StatusWord >> 11 & 7));
    }

    [Fact]
    public void Ports_can_be_answered_for()
    {
        // in al,20h; out 21h,al; HLT.
        using FlatMachine machine = Machine(FlatMode.Protected32, user: false, "E420E621F4");
        var seen = new List<PortWrite>();
        machine.PortRead = (port, size) => (uint)(port + size);
        machine.PortWritten = seen.Add;
        Assert.Equal(FlatStopReason.Halt, machine.Run().Reason);
        Assert.Equal([new PortWrite(0x21, 0x21, 1)], seen);
    }

    [Fact]
    public void Code_that_takes_its_own_exceptions_shuts_down_where_it_cannot()
    {
        using var machine = new FlatMachine(FlatMode.Long64, new FlatOptions { CatchExceptions = false });
        machine.Map(Code, 4096);
        machine.Write(Code, [0x0F, 0x0B]);
        machine.Registers.Rip = Code;
        Assert.Equal(FlatStopReason.Shutdown, machine.Run().Reason);
    }

    [Fact]
    public void Bad_input_is_named()
    {
        using var machine = new FlatMachine(FlatMode.Long64);
        Assert.Contains("1001", Assert.Throws<ArgumentException>(() => machine.Map(0x1001, 4096)).Message);
        Assert.Contains("canonical", Assert.Throws<ArgumentException>(() => machine.Map(0x0000_8000_0000_0000, 4096)).Message);
        Assert.Contains("FFFFFFFFFFFFE", Assert.Throws<ArgumentException>(() => machine.Map(0xFFFF_FFFF_FFFF_F000, 4096)).Message);
        Assert.Contains("mapped", Assert.Throws<ArgumentException>(() => machine.Write(0x1000, [1])).Message);
        Assert.Contains("mapped", Assert.Throws<ArgumentException>(() => machine.Read(0x1000, 1)).Message);
        Assert.Throws<ArgumentException>(() => new FlatMachine(FlatMode.Real16, new FlatOptions { User = true }));
        Assert.Throws<ArgumentException>(() => new FlatMachine(FlatMode.Long64, new FlatOptions { Memory = 1 }));
        using var small = new FlatMachine(FlatMode.Long64, new FlatOptions { Memory = 4 << 20 });
        Assert.Contains("Memory", Assert.Throws<InvalidOperationException>(() => small.Map(0, 8 << 20)).Message);
    }

    [Fact]
    public void No_two_machines_share_anything()
    {
        using FlatMachine one = Machine(FlatMode.Long64, user: true, "48FFC0CC");
        using FlatMachine other = Machine(FlatMode.Long64, user: true, "48FFC8CC");
        one.Run();
        other.Run();
        Assert.Equal((1ul, ulong.MaxValue), (one.Registers.Rax, other.Registers.Rax));
    }

    [Fact]
    public void Members_throw_once_it_is_disposed_of()
    {
        FlatMachine machine = Machine(FlatMode.Long64, user: true, "48FFC0CC");
        machine.Dispose();
        machine.Dispose();
        Assert.Throws<ObjectDisposedException>(() => machine.Run());
        Assert.Throws<ObjectDisposedException>(() => machine.Map(0x10_0000, 4096));
        Assert.Throws<ObjectDisposedException>(() => machine.Read(Code, 1));
        Assert.Throws<ObjectDisposedException>(() => machine.Write(Code, [1]));
        var real = new FlatMachine(FlatMode.Real16);
        real.Dispose();
        Assert.Throws<ObjectDisposedException>(() => real.Map(0, 4096));
    }

    [Fact]
    public void What_a_machine_calls_can_not_call_it()
    {
        using FlatMachine machine = Machine(FlatMode.Long64, user: false, "E621F4"); // out 21h,al; hlt
        Exception? caught = null;
        machine.PortWritten = _ => caught = Record.Exception(() => machine.Read(Code, 1));
        machine.Run();
        Assert.IsType<InvalidOperationException>(caught);
    }
}
