using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.Translation.Emulation;
using Yadokari.X86;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

/// <summary>
/// A vCPU over 4 MiB of RAM for the emulator alone: single instructions, no translated code. GDT: 08 code64, 10 data, 18 code32, 20 data
/// of level 3, 28 code64 of level 3, 30 code32 of level 3, 38 TSS (two entries in long mode).
/// </summary>
internal sealed class EmulationMachine : IX86VcpuHost, IDisposable
{
    public const ulong Gdt = 0x1000;
    public const ulong Idt = 0x2000;
    public const ulong Tss = 0x4000;
    public const ulong PageTables = 0x10000;

    /// <summary>Data of tests: three pages, of which the last is mapped nowhere in long mode.</summary>
    public const ulong Data = 0x200000;

    /// <summary>The page that is not present in long mode.</summary>
    public const ulong Hole = Data + 0x2000;

    private readonly GuestMemory _memory = GuestRam.Create([(0, 4 << 20)]);
    private readonly IVm _vm;

    /// <param name="bits">Of the code: 16 (real mode), 32 or 64.</param>
    /// <param name="model">Its processor; null for the host's.</param>
    public EmulationMachine(int bits, CpuModel? model = null)
    {
        var engine = new TranslationEngine { CodeCacheBytes = 1 << 20 };
        _vm = engine.Create(new VmSpec(_memory, model ?? HostMachine.Model(engine), 1));
        Cpu = (Vcpu)_vm.CreateVcpu(0, this);
        Bits = bits;
        if (bits == 16)
        {
            for (int index = 0; index < 6; index++)
            {
                Cpu.SetSegment(index, new SegmentState(0, 0, 0xFFFF, (ushort)(index == 1 ? 0x9B : 0x93)));
            }

            Cpu.Segments.Idtr = new TableState(0, 0x3FF);
        }
        else
        {
            EnterProtected(bits == 64);
        }

        Cpu.Rsp = 0x8000;
        Cpu.Rip = 0x5000;
    }

    public Vcpu Cpu { get; }

    public IVm Vm => _vm;

    public int Bits { get; set; }

    public List<(ushort Port, ulong Value, int Bytes)> PortWrites { get; } = [];

    public ulong this[ulong address]
    {
        get
        {
            Assert.True(_memory.TrySlice(address, 8, out Span<byte> bytes));
            return BitConverter.ToUInt64(bytes);
        }

        set
        {
            Assert.True(_memory.TrySlice(address, 8, out Span<byte> bytes));
            BitConverter.TryWriteBytes(bytes, value);
        }
    }

    public Span<byte> Bytes(ulong address, int length)
    {
        Assert.True(_memory.TrySlice(address, length, out Span<byte> bytes));
        return bytes;
    }

    /// <summary>Executes one instruction. RIP moves on after <see cref="Vcpu.Outcome.Next"/>, and repeats after Again.</summary>
    public Vcpu.Outcome Run(params byte[] code)
    {
        Instruction instruction = Decoder.Create(Bits, code, Cpu.Rip).Decode();
        Assert.False(instruction.IsInvalid);
        Vcpu.Outcome outcome;
        do
        {
            outcome = Emulator.Execute(Cpu, instruction);
        }
        while (outcome == Vcpu.Outcome.Again);
        if (outcome == Vcpu.Outcome.Next)
        {
            Cpu.Rip += (ulong)instruction.Length;
        }

        return outcome;
    }

    /// <summary>Runs from RIP on, also after a HLT, as the engine does.</summary>
    public VmExit Go()
    {
        Cpu.Activity = ActivityState.Active;
        return Cpu.Run();
    }

    /// <summary>Executes one instruction that must raise an exception.</summary>
    public void Faults(Vector vector, uint errorCode, params byte[] code)
    {
        ulong rip = Cpu.Rip;
        Assert.Equal(Vcpu.Outcome.Fault, Run(code));
        Assert.Equal(((int)vector, errorCode), (Cpu.RaisedVector, Cpu.RaisedErrorCode));
        Assert.Equal(rip, Cpu.Rip);
        Cpu.ClearRaised();
    }

    /// <summary>Goes to level 3 as IRET or SYSRET would.</summary>
    public void ToUser(bool code64 = true)
    {
        Cpu.SetSegment(1, new SegmentState((ushort)(code64 ? 0x2B : 0x33), 0, uint.MaxValue, (ushort)(code64 ? 0xA0FB : 0xC0FB)));
        Cpu.SetSegment(2, new SegmentState(0x23, 0, uint.MaxValue, 0xC0F3));
        Cpu.Cpl = 3;
        Bits = code64 ? 64 : 32;
        Cpu.ModeChanged();
    }

    /// <summary>Goes to level 0 as an interrupt would.</summary>
    public void ToKernel()
    {
        Cpu.SetSegment(1, new SegmentState(8, 0, uint.MaxValue, 0xA09B));
        Cpu.SetSegment(2, new SegmentState(0x10, 0, uint.MaxValue, 0xC093));
        Cpu.Cpl = 0;
        Bits = 64;
        Cpu.ModeChanged();
    }

    /// <summary>A gate of the IDT: type 14 interrupt, 15 trap.</summary>
    public void SetGate(int vector, ulong offset, ushort selector = 8, int type = 14, int level = 0, int stack = 0)
    {
        ulong low = (offset & 0xFFFF) | ((ulong)selector << 16) | ((ulong)stack << 32) | ((ulong)(0x80 | (level << 5) | type) << 40)
            | ((offset & 0xFFFF0000) << 32);
        if (Cpu.LongMode)
        {
            this[Idt + ((ulong)vector * 16)] = low;
            this[Idt + ((ulong)vector * 16) + 8] = offset >> 32;
        }
        else
        {
            this[Idt + ((ulong)vector * 8)] = low;
        }
    }

    /// <summary>Puts code at RIP, a HLT for each of so many exceptions where it begins its handlers, and the stack at 900.</summary>
    public void Prepare(string code, ulong handlers, int count)
    {
        Convert.FromHexString(code).CopyTo(Bytes(Cpu.Rip, code.Length / 2));
        Bytes(handlers, count).Fill(0xF4);
        for (int i = 0; i < count; i++)
        {
            SetGate(i, handlers + (ulong)i, 0x18);
        }

        Cpu.Rsp = 0x900;
    }

    public void Dispose()
    {
        _vm.Dispose();
        _memory.Dispose();
    }

    public void MmioRead(int vcpu, ulong gpa, Span<byte> data) => data.Fill(0xFF);

    public void MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data)
    {
    }

    public void PioRead(int vcpu, ushort port, Span<byte> data) => data.Fill((byte)port);

    public void PioWrite(int vcpu, ushort port, ReadOnlySpan<byte> data)
    {
        ulong value = 0;
        for (int i = data.Length - 1; i >= 0; i--)
        {
            value = (value << 8) | data[i];
        }

        PortWrites.Add((port, value, data.Length));
        OnPortWrite?.Invoke(port);
    }

    public bool ReadMsr(int vcpu, uint index, out ulong value)
    {
        value = index;
        return true;
    }

    public bool WriteMsr(int vcpu, uint index, ulong value) => value == 0;

    /// <summary>How often the host was told that the time-stamp counter has jumped.</summary>
    public int TscChanges { get; private set; }

    public void TscChanged(int vcpu) => TscChanges++;

    public byte TaskPriority { get; set; }

    public byte ReadTaskPriority(int vcpu) => TaskPriority;

    public void WriteTaskPriority(int vcpu, byte value) => TaskPriority = value;

    /// <summary>Vectors that wait to be taken.</summary>
    public Queue<int> Waiting { get; } = new();

    /// <summary>Called by the guest's OUT.</summary>
    public Action<ushort>? OnPortWrite { get; set; }

    public bool HasInterrupt(int vcpu) => Waiting.Count != 0;

    public int AcknowledgeInterrupt(int vcpu) => Waiting.TryDequeue(out int vector) ? vector : -1;

    /// <summary>How often the emulator was asked for an instruction.</summary>
    public long Refused(string what) => (long)_vm.Statistics.Where(s => s.Group == "refused" && s.Name == what).Sum(s => s.Value);

    public long Emulated(string mnemonic) => (long)_vm.Statistics.Where(s => s.Group == "emulated" && s.Name == mnemonic).Sum(s => s.Value);

    public bool Hypercall(int vcpu, ulong number, ReadOnlySpan<ulong> arguments, out ulong result)
    {
        result = number + arguments[0];
        return number == 42;
    }

    private void EnterProtected(bool longMode)
    {
        ReadOnlySpan<ulong> table =
        [
            0,
            0x00AF9B000000FFFF,
            0x00CF93000000FFFF,
            0x00CF9B000000FFFF,
            0x00CFF3000000FFFF,
            0x00AFFB000000FFFF,
            0x00CFFB000000FFFF,
            0x00008B0040000067,
            0,
        ];
        for (int i = 0; i < table.Length; i++)
        {
            this[Gdt + ((ulong)i * 8)] = table[i];
        }

        Cpu.Segments.Gdtr = new TableState(Gdt, (ushort)((table.Length * 8) - 1));
        Cpu.Segments.Idtr = new TableState(Idt, (ushort)(longMode ? 0xFFF : 0x7FF));
        Cpu.Segments.Tr = new SegmentState(0x38, Tss, 0x67, 0x8B);
        Cpu.Segments.Ldtr = default;
        Cpu.Cr0 = 0x80010033;
        if (longMode)
        {
            // One page directory of 2 MiB pages for the first 2 MiB, a table for the second.
            this[PageTables] = (PageTables + 0x1000) | 7;
            this[PageTables + 0x1000] = (PageTables + 0x2000) | 7;
            this[PageTables + 0x2000] = 0x87;
            this[PageTables + 0x2008] = (PageTables + 0x3000) | 7;
            for (ulong page = 0; page < 512; page++)
            {
                this[PageTables + 0x3000 + (page * 8)] = page == 2 ? 0 : (Data + (page << 12)) | 7;
            }

            Cpu.Cr3 = PageTables;
            Cpu.Cr4 = 0x20;
            Cpu.Efer = 0xD01;
        }
        else
        {
            Cpu.Cr0 &= ~(1ul << 31);
        }

        // The stack of level 0.
        this[Tss + 4] = 0x7000;
        if (!longMode)
        {
            this[Tss + 8] = 0x10;
        }

        Cpu.SetSegment(1, new SegmentState((ushort)(longMode ? 8 : 0x18), 0, uint.MaxValue, (ushort)(longMode ? 0xA09B : 0xC09B)));
        foreach (int index in (ReadOnlySpan<int>)[0, 2, 3, 4, 5])
        {
            Cpu.SetSegment(index, new SegmentState(0x10, 0, uint.MaxValue, 0xC093));
        }

        Cpu.Mmu.FlushAll();
        Cpu.ModeChanged();
    }
}
