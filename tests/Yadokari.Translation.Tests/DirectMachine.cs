using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.Translation.Direct;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

/// <summary>
/// A guest of one user program, run directly whenever that can be. Each exception, interrupt and system call ends at a HLT in ring 0. Use
/// it on one thread.
/// </summary>
internal sealed class DirectMachine : IX86VcpuHost, IDisposable
{
    /// <summary>Where the program's code lies: two pages.</summary>
    public const ulong Code = 0x5555_5555_4000;

    /// <summary>Where its data lies: four pages.</summary>
    public const ulong Data = 0x7FFF_F7C0_0000;

    /// <summary>Guest physical address of the code.</summary>
    public const ulong CodeGpa = 0x10_0000;

    /// <summary>Guest physical address of the data; eight pages are there to choose from.</summary>
    public const ulong DataGpa = 0x11_0000;

    /// <summary>The vector of interrupts.</summary>
    public const int Tick = 64;

    private const ulong System = 0xFFFF_8000_0000_0000;
    private const ulong Tables = 0x1000;
    private const ulong Roots = 0x20_0000;
    private const ulong Gdt = 0x8_0000;
    private const ulong Idt = 0x8_1000;
    private const ulong Tss = 0x8_2000;
    private const ulong Handlers = 0x8_4000;
    private const ulong StackTop = System + 0x9_1000;
    private const ulong SyscallHandler = System + 0x8_6000;
    private readonly GuestMemory _memory = GuestRam.Create([(0, 4 << 20)]);
    private readonly IVm _vm;
    private ulong _next = Tables + 0x1000;
    private volatile bool _interrupt;

    /// <param name="mode">When it runs directly.</param>
    /// <param name="cpuidFaulting">Whether CPUID may stop the program where the host can make it.</param>
    public DirectMachine(DirectMode mode = DirectMode.Always, bool cpuidFaulting = true)
    {
        _vm = new TranslationEngine { CodeCacheBytes = 1 << 20, Direct = mode, UsesCpuidFaulting = cpuidFaulting }.Create(_memory);
        Cpu = (Vcpu)_vm.CreateVcpu(0, this);
        Map(System, 0x83, large: true);
        for (ulong i = 0; i < 2; i++)
        {
            Map(Code + (i << 12), (CodeGpa + (i << 12)) | 5);
        }

        for (ulong i = 0; i < 4; i++)
        {
            Map(Data + (i << 12), (DataGpa + (i << 12)) | 7);
        }

        this[Gdt + 0x10] = 0x00AF_9B00_0000_FFFF;
        this[Gdt + 0x18] = 0x00CF_9300_0000_FFFF;
        this[Gdt + 0x28] = 0x00CF_F300_0000_FFFF;
        this[Gdt + 0x30] = 0x00AF_FB00_0000_FFFF;
        ulong tss = System + Tss;
        this[Gdt + 0x40] = 0x0000_8B00_0000_0067 | ((tss & 0xFF_FFFF) << 16) | ((tss >> 24 & 0xFF) << 56);
        this[Gdt + 0x48] = tss >> 32;
        _memory.Write(Tss + 4, BitConverter.GetBytes(StackTop));
        for (ulong vector = 0; vector < 256; vector++)
        {
            ulong handler = System + Handlers + (vector * 16);
            this[Idt + (vector * 16)] = (handler & 0xFFFF) | (0x10 << 16) | (0xEEul << 40) | ((handler >> 16 & 0xFFFF) << 48);
            this[Idt + (vector * 16) + 8] = handler >> 32;
            _memory.Write(Handlers + (vector * 16), [0xF4]);
        }

        _memory.Write(SyscallHandler - System, [0xF4]);
        var state = new X86State();
        Cpu.Save(state);
        state.Cr0 = 0x8005_0033;
        state.Cr3 = Tables;
        state.Cr4 = 0x5_06A0;
        state.Efer = 0xD01;
        state.Xcr0 = HostXsave.Mask;
        state.Gdtr = new TableState(System + Gdt, 0x4F);
        state.Idtr = new TableState(System + Idt, 0xFFF);
        state.Tr = new SegmentState(0x40, System + Tss, 0x67, 0x8B);
        state.Msrs[X86.Msrs.MsrIndex.Star] = 0x0023_0010_0000_0000;
        state.Msrs[X86.Msrs.MsrIndex.Lstar] = SyscallHandler;
        state.Msrs[X86.Msrs.MsrIndex.Sfmask] = 0x200;
        foreach (int i in (ReadOnlySpan<int>)[0, 3, 4, 5])
        {
            state.Segments[i] = default;
        }

        Cpu.Load(state);
    }

    public Vcpu Cpu { get; }

    public IVm Vm => _vm;

    public GuestMemory Memory => _memory;

    /// <summary>Times that user code was entered directly.</summary>
    public long Entries => Cpu.Direct?.Entries ?? 0;

    /// <summary>Guest physical memory.</summary>
    public ulong this[ulong gpa]
    {
        get => _memory.TryReadUInt64(gpa, out ulong value) ? value : throw new ArgumentOutOfRangeException(nameof(gpa));
        set => _memory.Write(gpa, BitConverter.GetBytes(value));
    }

    /// <summary>Writes a program at the start of the code.</summary>
    public void Assemble(Action<Assembler> program) => Assemble(0, program);

    /// <summary>Writes a program at an offset in the code.</summary>
    public void Assemble(ulong offset, Action<Assembler> program)
    {
        var assembler = new Assembler(64);
        program(assembler);
        using var bytes = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(bytes), Code + offset);
        Write(bytes.ToArray(), offset);
    }

    /// <summary>Writes bytes of a program, as a debugger does.</summary>
    public void Write(byte[] code, ulong offset = 0) => Assert.True(((IX86Vcpu)Cpu).WriteLinear(Code + offset, code));

    /// <summary>Runs the program at an offset in the code until it ends in ring 0. Returns the vector, or -1 for SYSCALL.</summary>
    public int Run(ulong offset = 0) => Ended(RunToExit(offset));

    /// <summary>
    /// As <see cref="Run"/>, with an interrupt at each millisecond, after which the program goes on: those are what tells the engine how it
    /// gets on.
    /// </summary>
    public int RunThroughTicks()
    {
        using var timer = new Timer(_ => Interrupt(), null, 1, 1);
        int vector = Run();
        while (vector == Tick)
        {
            (ulong rip, ulong flags, ulong rsp) = (Frame(4), Frame(2), Frame(1));
            Enter();
            (Cpu.Rip, Cpu.Rflags, Cpu.Rsp) = (rip, flags, rsp);
            Cpu.Activity = ActivityState.Active;
            vector = Ended(Cpu.Run());
        }

        return vector;
    }

    /// <summary>Runs the program at an offset in the code until the vCPU comes back.</summary>
    public VmExit RunToExit(ulong offset = 0)
    {
        Enter();
        Cpu.Rip = Code + offset;
        Cpu.Rflags = 0x202;
        Cpu.Activity = ActivityState.Active;
        return Cpu.Run();
    }

    /// <summary>Runs the program as another one, which has page tables of its own with the same pages. Returns as <see cref="Run"/>.</summary>
    /// <param name="number">Which, from 0 to 511.</param>
    public int RunAs(int number)
    {
        Assert.True(_memory.TrySlice(Tables, 4096, out Span<byte> tables));
        _memory.Write(RootOf(number), tables);
        var state = new X86State();
        Cpu.Save(state);
        state.Cr3 = RootOf(number);
        Cpu.Load(state);
        return Run();
    }

    /// <summary>Where the page tables of another program begin.</summary>
    public static ulong RootOf(int number) => Roots + ((ulong)number << 12);

    private int Ended(VmExit exit)
    {
        Assert.True(exit is VmExit.Halted or VmExit.HaltedWithInterruptsDisabled);
        return Cpu.Rip == SyscallHandler + 1 ? -1 : (int)((Cpu.Rip - (System + Handlers) - 1) / 16);
    }

    private void Enter()
    {
        Cpu.SetSegment(1, new SegmentState(0x33, 0, uint.MaxValue, 0xA0FB));
        Cpu.SetSegment(2, new SegmentState(0x2B, 0, uint.MaxValue, 0xC0F3));
        Cpu.Cpl = 3;
        Cpu.ModeChanged();
    }

    /// <summary>A quadword of the frame that the last exception pushed, from the top: SS, RSP, RFLAGS, CS, RIP, error code.</summary>
    public ulong Frame(int index) => this[StackTop - System - 8 - ((ulong)index * 8)];

    /// <summary>The page-table entry of a page.</summary>
    public ref ulong Entry(ulong linear)
    {
        ulong table = Tables;
        foreach (int shift in (ReadOnlySpan<int>)[39, 30, 21])
        {
            table = this[table + ((linear >> shift & 511) * 8)] & 0x000F_FFFF_FFFF_F000;
        }

        Assert.True(_memory.TrySlice(table + ((linear >> 12 & 511) * 8), 8, out Span<byte> bytes));
        return ref global::System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ulong>(bytes)[0];
    }

    /// <summary>Shows the program all memory in one large page that it may read and execute.</summary>
    public void ShowWhole(ulong linear) => Map(linear, 0x85, large: true);

    /// <summary>Asks for an interrupt of vector <see cref="Tick"/>, as a device would from a thread of its own.</summary>
    public void Interrupt()
    {
        _interrupt = true;
        Cpu.Notify();
    }

    public void Dispose()
    {
        _vm.Dispose();
        _memory.Dispose();
    }

    bool IVcpuHost.HasInterrupt(int vcpu) => _interrupt;

    int IX86VcpuHost.AcknowledgeInterrupt(int vcpu)
    {
        _interrupt = false;
        return Tick;
    }

    void IVcpuHost.MmioRead(int vcpu, ulong gpa, Span<byte> data) => data.Fill(0xFF);

    void IVcpuHost.MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data)
    {
    }

    void IX86VcpuHost.PioRead(int vcpu, ushort port, Span<byte> data) => data.Fill(0xFF);

    void IX86VcpuHost.PioWrite(int vcpu, ushort port, ReadOnlySpan<byte> data)
    {
    }

    bool IX86VcpuHost.ReadMsr(int vcpu, uint index, out ulong value)
    {
        value = 0;
        return false;
    }

    bool IX86VcpuHost.WriteMsr(int vcpu, uint index, ulong value) => false;

    void IX86VcpuHost.TscChanged(int vcpu)
    {
    }

    byte IX86VcpuHost.ReadTaskPriority(int vcpu) => 0;

    void IX86VcpuHost.WriteTaskPriority(int vcpu, byte value)
    {
    }

    bool IX86VcpuHost.Hypercall(int vcpu, ulong number, ReadOnlySpan<ulong> arguments, out ulong result)
    {
        result = 0;
        return false;
    }

    private void Map(ulong linear, ulong entry, bool large = false)
    {
        ulong table = Tables;
        foreach (int shift in large ? (ReadOnlySpan<int>)[39, 30] : [39, 30, 21])
        {
            ulong at = table + ((linear >> shift & 511) * 8);
            if (this[at] == 0)
            {
                this[at] = _next | 7;
                _next += 0x1000;
            }

            table = this[at] & 0x000F_FFFF_FFFF_F000;
        }

        this[table + ((linear >> (large ? 21 : 12) & 511) * 8)] = entry;
    }
}
