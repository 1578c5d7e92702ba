using Yadokari.Core.Memory;
using Yadokari.Core.State;

namespace Yadokari.Core.Engines;

/// <summary>Whether an engine can run on this host and, if not, the one sentence that says why.</summary>
public readonly record struct Support(bool Available, string Reason)
{
    /// <summary>The engine can run here.</summary>
    public static Support Yes { get; } = new(true, "");

    /// <summary>The engine can't run here.</summary>
    public static Support No(string reason) => new(false, reason);
}

/// <summary>A way of running guest code: translation, KVM.</summary>
public interface IEngine
{
    /// <summary>What <c>--engine</c> calls it.</summary>
    string Name { get; }

    /// <summary>Looks whether this host can run it. Cheap, no side effects.</summary>
    Support Probe();

    /// <summary>Makes a virtual machine of so many vCPUs over the given memory. The memory stays the caller's.</summary>
    IEngineVm CreateVm(GuestMemory memory, IVcpuHost host, int vcpus = 1);
}

/// <summary>One virtual machine under an engine. Made and disposed by the machine; vCPUs are disposed with it.</summary>
public interface IEngineVm : IDisposable
{
    /// <summary>Makes a vCPU in the state after reset.</summary>
    IVcpu CreateVcpu(int id);

    /// <summary>The frequency of the guest's time-stamp counters, or 0 where the engine can't tell: no TSC deadline works then.</summary>
    ulong TscHz => 0;

    /// <summary>
    /// A device wrote guest RAM: whatever the engine derived from the old bytes is gone when this returns. May wait for vCPUs to leave guest
    /// code: called on a thread that is none of theirs, with no lock held that a vCPU's access to a device may wait for.
    /// </summary>
    void Written(ulong gpa, ulong length)
    {
    }

    /// <summary>
    /// The machine resets: registers that <see cref="IVcpu.Load"/> leaves as they are go back to their values after power-on, and all
    /// time-stamp counters count from 0, alike (Intel SDM volume 3, table 10-1). Called with no vCPU in <see cref="IVcpu.Run"/>.
    /// </summary>
    void Reset()
    {
    }

    /// <summary>
    /// The host slept: time-stamp counters that did not count on meanwhile are put right, and <see cref="IVcpuHost.TscChanged"/> is called
    /// for them. Any thread, with no lock held.
    /// </summary>
    void HostResumed()
    {
    }

    /// <summary>Counters worth showing, in the order to show them.</summary>
    IReadOnlyList<(string Group, string Name, double Value, string Unit)> Statistics { get; }
}

/// <summary>Why <see cref="IVcpu.Run"/> came back.</summary>
public enum VmExit
{
    /// <summary><see cref="IVcpu.Kick"/> was called, or the host asked for a stop.</summary>
    Kicked,

    /// <summary>The guest executed HLT: wait until <see cref="IVcpuHost.HasInterrupt"/>, then run again.</summary>
    Halted,

    /// <summary>The guest executed HLT with interrupts disabled: nothing but an NMI, INIT or a reset ends that.</summary>
    HaltedForGood,

    /// <summary>Triple fault: the processor shut down.</summary>
    Shutdown,

    /// <summary>A debugger's breakpoint or single step: RIP is at the next instruction to run.</summary>
    Debug,

    /// <summary>An exception while <see cref="IVcpu.CatchExceptions"/> is set: <see cref="IVcpu.Caught"/> says which.</summary>
    Exception,
}

/// <summary>An exception or software interrupt that did not reach the guest.</summary>
/// <param name="Vector">0 to 255.</param>
/// <param name="ErrorCode">What it would have pushed, or null.</param>
/// <param name="Software">INT n, INT3 or INTO: RIP is after the instruction. Else it is at the one that faulted (or, of a trap, after it).</param>
public readonly record struct CaughtException(int Vector, uint? ErrorCode, bool Software);

/// <summary>
/// A virtual processor. <see cref="Run"/>, <see cref="Save"/> and <see cref="Load"/> are for one thread at a time; Kick for any. Once it is disposed
/// of, what is for any thread does nothing, and the rest throws <see cref="ObjectDisposedException"/>.
/// </summary>
public interface IVcpu : IDisposable
{
    /// <summary>Its number, from 0; also its APIC ID.</summary>
    int Id { get; }

    /// <summary>Runs guest code on the calling thread until something needs the machine.</summary>
    VmExit Run();

    /// <summary>Makes <see cref="Run"/> return soon with <see cref="VmExit.Kicked"/>, also when called just before it. Any thread.</summary>
    void Kick();

    /// <summary>Makes the engine look at <see cref="IVcpuHost.HasInterrupt"/> soon, without leaving <see cref="Run"/>. Any thread.</summary>
    void Notify();

    /// <summary>Has the guest take a non-maskable interrupt as soon as it may (Intel SDM volume 3, 6.7). Any thread.</summary>
    void RaiseNmi()
    {
    }

    /// <summary>Whether an NMI waits that the guest may take. Any thread.</summary>
    bool HasNmi => false;

    /// <summary>
    /// Opens or closes address line 20: while it is closed, bit 20 of every physical address is 0. It is open after reset. Any thread; takes hold
    /// before the next instruction of the vCPU whose instruction asked for it, and soon on others.
    /// </summary>
    void SetA20(bool open)
    {
    }

    /// <summary>The guest's time-stamp counter as RDTSC gives it now. Any thread.</summary>
    ulong ReadTsc() => 0;

    /// <summary>RAM was written inside a call of <see cref="IVcpuHost"/> on this vCPU's thread: as <see cref="IEngineVm.Written"/>.</summary>
    void Written(ulong gpa, int length)
    {
    }

    /// <summary>Copies the architectural state out.</summary>
    void Save(X86State state);

    /// <summary>Replaces the architectural state.</summary>
    void Load(X86State state);

    /// <summary>Reads guest memory at a linear address through the guest's page tables, as a debugger does. False if not mapped.</summary>
    bool ReadLinear(ulong address, Span<byte> data);

    /// <summary>Writes guest memory at a linear address through the guest's page tables, ignoring write protection. False if not mapped.</summary>
    bool WriteLinear(ulong address, ReadOnlySpan<byte> data);

    /// <summary>Linear addresses at which <see cref="Run"/> returns <see cref="VmExit.Debug"/> before the instruction executes.</summary>
    void SetBreakpoints(IReadOnlyCollection<ulong> addresses);

    /// <summary>While set, <see cref="Run"/> returns <see cref="VmExit.Debug"/> after each instruction.</summary>
    bool SingleStep { get; set; }

    /// <summary>
    /// While set, exceptions and software interrupts end <see cref="Run"/> with <see cref="VmExit.Exception"/> instead of going through the
    /// guest's IDT. Engines that can't leave it false.
    /// </summary>
    bool CatchExceptions
    {
        get => false;
        set
        {
        }
    }

    /// <summary>The last exception that was caught.</summary>
    CaughtException Caught => default;
}

/// <summary>
/// What an engine asks of the machine while a guest runs. Called synchronously on the vCPU's thread from deep inside an engine:
/// implementations must not throw and must not wait for the same vCPU.
/// </summary>
public interface IVcpuHost
{
    /// <summary>A read that is not RAM. Unclaimed addresses give all ones.</summary>
    void MmioRead(int vcpu, ulong gpa, Span<byte> data);

    /// <summary>A write that is not RAM. Unclaimed addresses swallow it.</summary>
    void MmioWrite(int vcpu, ulong gpa, ReadOnlySpan<byte> data);

    /// <summary>IN, of 1, 2 or 4 bytes.</summary>
    void PioRead(int vcpu, ushort port, Span<byte> data);

    /// <summary>OUT, of 1, 2 or 4 bytes.</summary>
    void PioWrite(int vcpu, ushort port, ReadOnlySpan<byte> data);

    /// <summary>RDMSR of a register that belongs to the machine (the local APIC's); false makes the guest take #GP.</summary>
    bool ReadMsr(int vcpu, uint index, out ulong value);

    /// <summary>WRMSR of a register that belongs to the machine; false makes the guest take #GP.</summary>
    bool WriteMsr(int vcpu, uint index, ulong value);

    /// <summary>
    /// A vCPU's time-stamp counter has jumped, as <see cref="IVcpu.ReadTsc"/> shows. On the vCPU's thread where the guest wrote it, on
    /// another where <see cref="IEngineVm.HostResumed"/> was called.
    /// </summary>
    void TscChanged(int vcpu)
    {
    }

    /// <summary>CR8: the task priority, 0 to 15.</summary>
    byte ReadTaskPriority(int vcpu);

    /// <summary>CR8: the task priority, 0 to 15.</summary>
    void WriteTaskPriority(int vcpu, byte value);

    /// <summary>Whether an interrupt is ready to be taken by this vCPU as far as the interrupt controllers are concerned (IF is the engine's).</summary>
    bool HasInterrupt(int vcpu);

    /// <summary>Takes the interrupt of the highest priority, as INTA does. Returns its vector, or -1 if it went away.</summary>
    int AcknowledgeInterrupt(int vcpu);

    /// <summary>VMCALL or VMMCALL. False makes the guest take #UD.</summary>
    bool Hypercall(int vcpu, ulong number, ReadOnlySpan<ulong> arguments, out ulong result);
}
