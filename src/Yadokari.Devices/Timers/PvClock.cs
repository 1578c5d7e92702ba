using System.Buffers.Binary;
using System.Numerics;
using Yadokari.Core.Devices;
using Yadokari.Core.Memory;
using Yadokari.Core.Time;

namespace Yadokari.Devices.Timers;

/// <summary>
/// The paravirtual clock kvmclock (Linux, Documentation/virt/kvm/x86/msr.rst): a vCPU registers an address in memory, where it reads a pair of
/// TSC value and system time, and the TSC's frequency. The guest needs no calibration, and detects that the host was suspended. The vCPUs' TSCs
/// are assumed to be synchronised.
/// </summary>
/// <param name="dma">Guest memory, for updates on threads that are no vCPU's.</param>
/// <param name="clock">The machine's clock.</param>
/// <param name="readTsc">The guest's time-stamp counter now.</param>
/// <param name="tscHz">The frequency of the TSC in Hz.</param>
/// <param name="vcpus">Number of vCPUs.</param>
public sealed class PvClock(Dma dma, IClock clock, Func<ulong> readTsc, ulong tscHz, int vcpus) : IPassiveDevice
{
    /// <summary>MSR_KVM_WALL_CLOCK_NEW: the address to write the wall-clock time of the machine's start to.</summary>
    public const uint WallClockMsr = 0x4B564D00;

    /// <summary>MSR_KVM_SYSTEM_TIME_NEW: the address of a vCPU's clock structure; bit 0 enables it.</summary>
    public const uint SystemTimeMsr = 0x4B564D01;

    private const int TimeSize = 32;
    private const int WallSize = 12;
    private const byte CountersRunAlike = 1;
    private const byte Stopped = 2;

    private readonly Lock _lock = new(); // Innermost: guards everything below, and the structures in guest memory.
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
    /// <param name="vcpu">The vCPU's number.</param>
    /// <param name="index">The MSR.</param>
    /// <param name="value">The value written.</param>
    /// <param name="written">Called with the range of guest memory that was written, if any was: the guest reads it right after the instruction.</param>
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

    /// <summary>The host was suspended, and the machine's clock has advanced: updates the guest's clocks. A thread that is no vCPU's.</summary>
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

        // Without the lock: this may wait for a vCPU that waits for the lock.
        foreach (ulong gpa in changed[..count])
        {
            dma.Written(gpa, TimeSize);
        }
    }

    /// <inheritdoc/>
    public string Name => "pv-clock";

    /// <summary>Reset: disables the clocks of all vCPUs; TSCs may restart.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _hasRead = false;
            Array.Clear(_places);
            _wallPlace = 0;
        }
    }

    // struct pvclock_wall_clock: version, seconds, nanoseconds. The version is odd during an update.
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

    // struct pvclock_vcpu_time_info: version, padding, TSC timestamp, system time, multiplier, shift, flags.
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
