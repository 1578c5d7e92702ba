using System.Buffers.Binary;
using System.Numerics;
using Yadokari.Core.Devices;
using Yadokari.Core.Memory;
using Yadokari.Core.Time;

namespace Yadokari.Devices.Timers;

/// <summary>
/// The clock that KVM gives its guests (Linux, Documentation/virt/kvm/x86/msr.rst): a vCPU names a place in memory, and reads there what its
/// time-stamp counter was at some time of the machine's clock, and how fast it counts. A guest needs no calibration by it, and hears when it
/// did not run for a while. The counters of a machine's vCPUs are taken to run alike.
/// </summary>
/// <param name="dma">Guest memory, for changes that come from outside.</param>
/// <param name="clock">The machine's clock.</param>
/// <param name="readTsc">The guest's time-stamp counter now.</param>
/// <param name="tscHz">How often it counts in a second.</param>
/// <param name="vcpus">How many vCPUs.</param>
public sealed class PvClock(Dma dma, IClock clock, Func<ulong> readTsc, ulong tscHz, int vcpus) : IPassiveDevice
{
    /// <summary>The register that takes where to write what the wall clock was when the machine's began.</summary>
    public const uint WallClockMsr = 0x4B564D00;

    /// <summary>The register that takes where a vCPU has its clock; bit 0 turns it on.</summary>
    public const uint SystemTimeMsr = 0x4B564D01;

    private const int TimeSize = 32;
    private const int WallSize = 12;
    private const byte CountersRunAlike = 1;
    private const byte Stopped = 2;

    private readonly Lock _lock = new(); // Innermost: guards what follows, and the bytes in guest memory.
    private readonly ulong[] _places = new ulong[vcpus];
    private ulong _wallPlace;
    private uint _version;
    private ulong _tsc; // At this count the machine's clock was at that time.
    private long _time;
    private bool _hasRead;

    /// <summary>Reads a register. A vCPU's thread.</summary>
    public ulong ReadMsr(int vcpu, uint index)
    {
        lock (_lock)
        {
            return index == WallClockMsr ? _wallPlace : _places[vcpu];
        }
    }

    /// <summary>Writes a register. A vCPU's thread.</summary>
    /// <param name="vcpu">Whose.</param>
    /// <param name="index">Which.</param>
    /// <param name="value">What.</param>
    /// <param name="written">Told of memory that changed, if any did: the guest finds it as soon as the instruction is done.</param>
    public void WriteMsr(int vcpu, uint index, ulong value, Action<ulong, ulong> written)
    {
        (ulong gpa, int size) = index == WallClockMsr ? (value, WallSize) : (value & ~1ul, TimeSize);
        bool done;
        lock (_lock)
        {
            if (index == WallClockMsr)
            {
                _wallPlace = value;
                done = WriteWall(gpa);
            }
            else
            {
                _places[vcpu] = value;
                done = (value & 1) != 0 && WriteTime(gpa, 0);
            }
        }

        if (done)
        {
            written(gpa, (ulong)size);
        }
    }

    /// <summary>The host slept, and the machine's clock has moved on: so does the guest's. A thread that is no vCPU's.</summary>
    public void Resume()
    {
        Span<ulong> changed = stackalloc ulong[vcpus];
        int count = 0;
        lock (_lock)
        {
            _hasRead = false;
            foreach (ulong place in _places)
            {
                if ((place & 1) != 0 && WriteTime(place & ~1ul, Stopped))
                {
                    changed[count++] = place & ~1ul;
                }
            }
        }

        // Without the lock: this may wait for a vCPU that waits for it.
        foreach (ulong gpa in changed[..count])
        {
            dma.Written(gpa, TimeSize);
        }
    }

    /// <inheritdoc/>
    public string Name => "pv-clock";

    /// <summary>No vCPU has a clock any more, and their counters may begin anew.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _hasRead = false;
            Array.Clear(_places);
            _wallPlace = 0;
        }
    }

    // struct pvclock_wall_clock: version, seconds, nanoseconds. The version is odd while the rest is not to be read.
    private bool WriteWall(ulong gpa)
    {
        if (!dma.TrySlice(gpa, WallSize, out Span<byte> bytes))
        {
            return false;
        }

        long nanoseconds = ((clock.UtcNow - DateTime.UnixEpoch).Ticks * 100) - clock.Now;
        _version |= 1;
        Version(bytes, _version);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[4..], (uint)(nanoseconds / 1_000_000_000));
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[8..], (uint)(nanoseconds % 1_000_000_000));
        Version(bytes, ++_version);
        return true;
    }

    // struct pvclock_vcpu_time_info: version, a gap, counter, nanoseconds, multiplier and shift, flags.
    private bool WriteTime(ulong gpa, byte flags)
    {
        if (!dma.TrySlice(gpa, TimeSize, out Span<byte> bytes))
        {
            return false;
        }

        if (!_hasRead)
        {
            (_hasRead, _tsc, _time) = (true, readTsc(), clock.Now);
        }

        (uint multiplier, sbyte shift) = Scale(tscHz);
        _version |= 1;
        Version(bytes, _version);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[4..], 0);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], _tsc);
        BinaryPrimitives.WriteInt64LittleEndian(bytes[16..], _time);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[24..], multiplier);
        bytes[28] = (byte)shift;
        bytes[29] = (byte)(CountersRunAlike | flags);
        bytes[30..].Clear();
        Version(bytes, ++_version);
        return true;
    }

    private static void Version(Span<byte> bytes, uint version)
    {
        Interlocked.MemoryBarrier();
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, version);
        Interlocked.MemoryBarrier();
    }

    /// <summary>Nanoseconds of a count are (count shifted left by the shift, which may be below 0) times the multiplier, over 2 to the 32nd.</summary>
    public static (uint Multiplier, sbyte Shift) Scale(ulong hz)
    {
        // The largest multiplier is the most exact one: one second's count, shifted, must be more than a second's nanoseconds.
        const ulong second = 1_000_000_000;
        int shift = BitOperations.Log2(second) - BitOperations.Log2(hz);
        while (Shifted(hz, shift) <= second)
        {
            shift++;
        }

        UInt128 count = shift < 0 ? hz : (UInt128)hz << shift;
        UInt128 scaled = ((UInt128)second << 32) << (shift < 0 ? -shift : 0);
        return ((uint)(scaled / count), (sbyte)shift);

        static ulong Shifted(ulong count, int by) => by < 0 ? count >> -by : count << by;
    }
}
