using System.Diagnostics;
using Yadokari.Core.Memory;

namespace Yadokari.Translation.Memory;

/// <summary>
/// Keeps what each vCPU of a machine derives from guest memory true to it: the code that it translated, and the TLB entries by which it
/// writes without asking. Each vCPU has a code cache of its own, and only its own thread changes that; so what others are to change is asked
/// of them. Devices that write guest memory ask too.
/// <para>
/// Two rules make it hold. Who translates a page says so before reading its bytes, and waits until nobody can write them unseen. Who writes
/// a page with code first writes, then has whoever translated these bytes drop what came of them, and waits for that: a later write, by which
/// another processor learns of the new code, comes after (SDM 3A 8.1.3 asks for less).
/// </para>
/// </summary>
internal sealed class Coherence
{
    private struct Page
    {
        /// <summary>vCPUs that hold code of the page, a bit each.</summary>
        public uint Code;

        /// <summary>vCPUs that may write it without asking.</summary>
        public uint Writers;
    }

    // A vCPU answers within microseconds; one that the host does not run is waited for without a processor's time.
    internal const int SpinsBeforeSleep = 1_000;

    private readonly Vcpu?[] _vcpus;
    private readonly Page[] _pages;
    private readonly object _exclusive = new(); // Outermost of the engine: whoever holds it makes all others wait.

    public Coherence(GuestMemory memory, int vcpus)
    {
        _vcpus = new Vcpu?[vcpus];
        _pages = new Page[(memory.End + 4095) >> 12];
    }

    /// <summary>Times that a vCPU inside guest code was asked, and waited for.</summary>
    public long Requests;

    /// <summary>Sections in which one vCPU had stopped the world.</summary>
    public long WorldStops;

    public void Join(Vcpu vcpu) => _vcpus[vcpu.Id] = vcpu;

    /// <summary>Whether any vCPU has code in a page.</summary>
    public bool IsCode(ulong gpa) => Volatile.Read(ref _pages[gpa >> 12].Code) != 0;

    /// <summary>Whether a vCPU may enter a page as one that it writes without asking: false if it holds code.</summary>
    public bool MayWrite(Vcpu vcpu, ulong gpa)
    {
        ref Page page = ref _pages[gpa >> 12];
        uint bit = 1u << vcpu.Id;
        if ((Volatile.Read(ref page.Writers) & bit) == 0)
        {
            Interlocked.Or(ref page.Writers, bit);
        }

        // Who makes it code sets that before looking at the writers: one of the two sees the other.
        return Volatile.Read(ref page.Code) == 0;
    }

    /// <summary>A vCPU is about to read a page's bytes as code: afterwards nobody writes them without asking.</summary>
    public void BecomesCode(Vcpu vcpu, ulong gpa)
    {
        ref Page page = ref _pages[gpa >> 12];
        Interlocked.Or(ref page.Code, 1u << vcpu.Id);
        foreach (Vcpu other in Others(vcpu, Volatile.Read(ref page.Writers)))
        {
            Ask(vcpu, other, new Request(RequestKind.StopWriting, gpa, 0));
        }
    }

    /// <summary>A vCPU holds no code of a page any more.</summary>
    public void IsNoCode(Vcpu vcpu, ulong gpa) => Interlocked.And(ref _pages[gpa >> 12].Code, ~(1u << vcpu.Id));

    /// <summary>A vCPU does not write a page without asking any more.</summary>
    public void StoppedWriting(Vcpu vcpu, ulong gpa) => Interlocked.And(ref _pages[gpa >> 12].Writers, ~(1u << vcpu.Id));

    /// <summary>A vCPU wrote bytes of a page that holds code: no other keeps what it made of the old ones.</summary>
    public void Written(Vcpu vcpu, ulong gpa, int length)
    {
        Interlocked.MemoryBarrier();
        foreach (Vcpu other in Others(vcpu, Volatile.Read(ref _pages[gpa >> 12].Code)))
        {
            if (other.DependsOn(gpa, length))
            {
                Ask(vcpu, other, new Request(RequestKind.DropCode, gpa, length));
            }
        }
    }

    /// <summary>
    /// Parks all other vCPUs outside guest code until the section that is returned is disposed of. Not to be nested. On a vCPU's own thread,
    /// outside guest code.
    /// </summary>
    public Section StopTheWorld(Vcpu vcpu)
    {
        while (!Monitor.TryEnter(_exclusive))
        {
            // Whoever has it waits for this one.
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

        // Said before the others are asked: one that is outside now and comes inside afterwards sees it.
        Volatile.Write(ref _stoppedBy, vcpu);
        foreach (Vcpu other in Others(vcpu, uint.MaxValue))
        {
            _othersParked |= Ask(vcpu, other, new Request(RequestKind.Park, 0, 0));
        }

        return new Section(this);
    }

    // A program that has one section after another must not keep the other vCPUs from running: they get as much time as a section took them.
    private void EndSection()
    {
        long now = Stopwatch.GetTimestamp();
        _notBefore = _othersParked ? now + Math.Min(now - _began, Stopwatch.Frequency / 100) : 0;
        Volatile.Write(ref _stoppedBy, null);
        Monitor.Exit(_exclusive);
    }

    /// <summary>Whether a vCPU has to park because another one has stopped the world. On its own thread.</summary>
    public bool IsStoppedByAnother(Vcpu vcpu) => Volatile.Read(ref _stoppedBy) is { } stoppedBy && stoppedBy != vcpu;

    private Vcpu? _stoppedBy;

    // Guarded by the section's lock: when it began, whether others are parked until its end, and when the next may begin.
    private long _began;
    private bool _othersParked;
    private long _notBefore;

    /// <summary>A section in which one vCPU has stopped the world: its disposal lets the others run again.</summary>
    public readonly ref struct Section(Coherence? coherence)
    {
        public void Dispose() => coherence?.EndSection();
    }

    /// <summary>
    /// A device wrote RAM: no vCPU keeps what it made of the old bytes. Waits for vCPUs: on a thread that is none of theirs, with no lock held
    /// that one may wait for.
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
                    Ask(null, vcpu, new Request(RequestKind.DropCode, gpa, piece));
                }
            }

            gpa += (ulong)piece;
            length -= (ulong)piece;
        }
    }

    /// <summary>
    /// No vCPU writes any page without asking once this returns. Waits for vCPUs, as <see cref="Written(ulong, ulong)"/> does.
    /// </summary>
    public void StopWriting()
    {
        foreach (Vcpu vcpu in new VcpusOf(_vcpus, uint.MaxValue))
        {
            Ask(null, vcpu, new Request(RequestKind.StopAllWriting, 0, 0));
        }
    }

    private VcpusOf Others(Vcpu vcpu, uint mask) => new(_vcpus, mask & ~(1u << vcpu.Id));

    // By a vCPU, or by a device. Whether there was anything to wait for.
    private bool Ask(Vcpu? vcpu, Vcpu other, in Request request)
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

    // The vCPUs of a mask, without an allocation.
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
