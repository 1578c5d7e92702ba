using System.Diagnostics;
using Yadokari.Core.Memory;

namespace Yadokari.Translation.Memory;

/// <summary>
/// Keeps the translated code and the write TLB entries of all vCPUs of a machine coherent with guest memory. Each vCPU has a code cache and a
/// TLB that only its own thread changes; other threads post a <see cref="Request"/> to that thread and wait for it. Devices that write guest
/// memory post requests too.
/// <para>
/// Coherence rests on two rules. A vCPU that translates a page announces that before it reads the bytes, and waits until no TLB has a write
/// entry for the page. A vCPU or device that writes a page with code writes first, then requests that each vCPU with code of these bytes drop
/// it, and waits for that. So the old code is dropped before a later write can tell another processor of the new code (SDM 3A 8.1.3 requires
/// less).
/// </para>
/// </summary>
internal sealed class Coherence
{
    private struct Page
    {
        /// <summary>vCPUs that hold code of the page, one bit each.</summary>
        public uint Code;

        /// <summary>vCPUs that may have a write TLB entry for the page, one bit each.</summary>
        public uint Writers;
    }

    // A running vCPU serves a request within microseconds; for one that the host has descheduled, the waiting thread sleeps.
    internal const int SpinsBeforeSleep = 1_000;

    private readonly Vcpu?[] _vcpus;
    private readonly Page[] _pages;
    private readonly object _exclusive = new(); // The engine's outermost lock: its holder waits for all other vCPUs.

    public Coherence(GuestMemory memory, int vcpus)
    {
        _vcpus = new Vcpu?[vcpus];
        _pages = new Page[(memory.End + 4095) >> 12];
    }

    /// <summary>Requests that were posted to a vCPU inside guest code and waited for.</summary>
    public long Requests;

    /// <summary>Count of <see cref="StopTheWorld"/> sections.</summary>
    public long WorldStops;

    /// <summary>Adds a vCPU. Called once for each vCPU, before it runs.</summary>
    public void Join(Vcpu vcpu) => _vcpus[vcpu.Id] = vcpu;

    /// <summary>Whether any vCPU has code in a page.</summary>
    public bool IsCode(ulong gpa) => Volatile.Read(ref _pages[gpa >> 12].Code) != 0;

    /// <summary>
    /// Registers a vCPU as a writer of a page and returns whether it may fill a write TLB entry: false if the page holds code. On the vCPU's
    /// thread.
    /// </summary>
    public bool MayWrite(Vcpu vcpu, ulong gpa)
    {
        ref Page page = ref _pages[gpa >> 12];
        uint bit = 1u << vcpu.Id;
        if ((Volatile.Read(ref page.Writers) & bit) == 0)
        {
            Interlocked.Or(ref page.Writers, bit);
        }

        // BecomesCode sets Code before it reads Writers: one of the two vCPUs sees the other's bit.
        return Volatile.Read(ref page.Code) == 0;
    }

    /// <summary>
    /// Registers a page as code of a vCPU, before that reads its bytes. No other vCPU has a write TLB entry for it once this returns. On the
    /// vCPU's thread.
    /// </summary>
    public void BecomesCode(Vcpu vcpu, ulong gpa)
    {
        ref Page page = ref _pages[gpa >> 12];
        Interlocked.Or(ref page.Code, 1u << vcpu.Id);
        foreach (Vcpu other in Others(vcpu, Volatile.Read(ref page.Writers)))
        {
            Send(vcpu, other, new Request(RequestKind.StopWriting, gpa, 0));
        }
    }

    /// <summary>Unregisters a page as code of a vCPU. On its thread.</summary>
    public void IsNoCode(Vcpu vcpu, ulong gpa) => Interlocked.And(ref _pages[gpa >> 12].Code, ~(1u << vcpu.Id));

    /// <summary>Unregisters a vCPU as a writer of a page, after it dropped its write TLB entries. On its thread.</summary>
    public void StoppedWriting(Vcpu vcpu, ulong gpa) => Interlocked.And(ref _pages[gpa >> 12].Writers, ~(1u << vcpu.Id));

    /// <summary>
    /// Called after a vCPU wrote bytes of a page that holds code: no other vCPU has code of the old bytes once this returns. On the vCPU's thread.
    /// </summary>
    public void Written(Vcpu vcpu, ulong gpa, int length)
    {
        Interlocked.MemoryBarrier();
        foreach (Vcpu other in Others(vcpu, Volatile.Read(ref _pages[gpa >> 12].Code)))
        {
            if (other.DependsOn(gpa, length))
            {
                Send(vcpu, other, new Request(RequestKind.DropCode, gpa, length));
            }
        }
    }

    /// <summary>
    /// Parks all other vCPUs outside guest code until the returned section is disposed. Must not be nested. On a vCPU's own thread, outside guest
    /// code.
    /// </summary>
    public Section StopTheWorld(Vcpu vcpu)
    {
        while (!Monitor.TryEnter(_exclusive))
        {
            // The lock's holder waits until this vCPU parks.
            vcpu.ParkWhileStopped();
            Thread.Yield();
        }

        while (Stopwatch.GetTimestamp() < _notBefore)
        {
            vcpu.ParkWhileStopped();
            Thread.Yield();
        }

        Interlocked.Increment(ref WorldStops);
        _began = Stopwatch.GetTimestamp();
        _othersParked = false;

        // Set before the requests are posted: a vCPU that is outside guest code now sees it when it enters.
        Volatile.Write(ref _stoppedBy, vcpu);
        foreach (Vcpu other in Others(vcpu, uint.MaxValue))
        {
            _othersParked |= Send(vcpu, other, new Request(RequestKind.Park, 0, 0));
        }

        return new Section(this);
    }

    // A program that stops the world again and again must not starve the other vCPUs: after a section they run for as long as it took, up to 10 ms.
    private void EndSection()
    {
        long now = Stopwatch.GetTimestamp();
        _notBefore = _othersParked ? now + Math.Min(now - _began, Stopwatch.Frequency / 100) : 0;
        Volatile.Write(ref _stoppedBy, null);
        Monitor.Exit(_exclusive);
    }

    /// <summary>Whether a vCPU must park because another one has stopped the world. On its own thread.</summary>
    public bool IsStoppedByAnother(Vcpu vcpu) => Volatile.Read(ref _stoppedBy) is { } stoppedBy && stoppedBy != vcpu;

    private Vcpu? _stoppedBy;

    // Guarded by _exclusive: when the section began, whether vCPUs parked for it, and the earliest time at which the next may begin.
    private long _began;
    private bool _othersParked;
    private long _notBefore;

    /// <summary>A section in which one vCPU has stopped the world. Disposing it lets the others run again.</summary>
    public readonly ref struct Section(Coherence? coherence)
    {
        public void Dispose() => coherence?.EndSection();
    }

    /// <summary>
    /// Called after a device wrote RAM: no vCPU has code of the old bytes once this returns. Waits for vCPUs: must not be called on a vCPU's
    /// thread, nor with a lock held that a vCPU may wait for.
    /// </summary>
    public void Written(ulong gpa, ulong length)
    {
        Interlocked.MemoryBarrier();
        while (length > 0)
        {
            int piece = (int)Math.Min(length, 4096 - (gpa & 4095));
            uint code = Volatile.Read(ref _pages[gpa >> 12].Code);
            foreach (Vcpu vcpu in new VcpusOf(_vcpus, code))
            {
                if (vcpu.DependsOn(gpa, piece))
                {
                    Send(null, vcpu, new Request(RequestKind.DropCode, gpa, piece));
                }
            }

            gpa += (ulong)piece;
            length -= (ulong)piece;
        }
    }

    /// <summary>
    /// No vCPU has a write TLB entry once this returns. Waits for vCPUs, as <see cref="Written(ulong, ulong)"/> does.
    /// </summary>
    public void StopWriting()
    {
        foreach (Vcpu vcpu in new VcpusOf(_vcpus, uint.MaxValue))
        {
            Send(null, vcpu, new Request(RequestKind.StopAllWriting, 0, 0));
        }
    }

    private VcpusOf Others(Vcpu vcpu, uint mask) => new(_vcpus, mask & ~(1u << vcpu.Id));

    // Posts a request and waits until it is completed. The caller is a vCPU, or null for a device. Returns whether it had to wait.
    private bool Send(Vcpu? vcpu, Vcpu other, in Request request)
    {
        long number = other.Requests.Post(request);
        if (number == 0)
        {
            return false;
        }

        other.Notify();
        Interlocked.Increment(ref Requests);
        SpinWait wait = default;
        while (!other.Requests.IsCompleted(number))
        {
            vcpu?.ParkWhileStopped();
            wait.SpinOnce(SpinsBeforeSleep);
        }

        return true;
    }

    // Enumerates the vCPUs of a mask without an allocation.
    private ref struct VcpusOf(Vcpu?[] vcpus, uint mask)
    {
        private uint _mask = mask;

        public Vcpu Current { get; private set; } = null!;

        public readonly VcpusOf GetEnumerator() => this;

        public bool MoveNext()
        {
            while (_mask != 0)
            {
                int id = System.Numerics.BitOperations.TrailingZeroCount(_mask);
                _mask &= _mask - 1;
                if (id < vcpus.Length && vcpus[id] is { } vcpu)
                {
                    Current = vcpu;
                    return true;
                }
            }

            return false;
        }
    }
}
