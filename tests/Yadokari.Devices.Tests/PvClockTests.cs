using System.Buffers.Binary;
using System.Numerics;
using Yadokari.Core.Memory;
using Yadokari.Devices.Timers;
using Yadokari.Linux;

namespace Yadokari.Devices.Tests;

/// <summary>The clock in guest memory, read as Linux's documentation of KVM's registers says.</summary>
public sealed class PvClockTests : IDisposable
{
    private const ulong Hz = 2_300_000_000;
    private const ulong Place = 0x1040;

    private readonly GuestMemory _memory = GuestRam.Create([(0, 1 << 20)]);
    private readonly ManualClock _clock = new();
    private readonly List<ulong> _written = [];
    private readonly PvClock _pv;
    private ulong _tsc = 77_000_000_000;

    public PvClockTests() => _pv = new PvClock(new Dma(_memory, (gpa, _) => _written.Add(gpa)), _clock, () => _tsc, Hz, 2);

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void A_guest_computes_the_time()
    {
        Advance(5_000_000_000);
        Turn(0, Place | 1);
        Assert.Equal((5_000_000_000, 1), Read(Place));
        Advance(3600_000_000_000);
        (long time, int flags) = Read(Place);
        Assert.InRange(time, 3605_000_000_000 - 1000, 3605_000_000_000);
        Assert.Equal(1, flags);

        // All vCPUs compute the same.
        Turn(1, 0x2000 | 1);
        Assert.Equal(Read(Place), Read(0x2000));
        Assert.Equal((Place | 1, 0x2001ul), (_pv.ReadMsr(0, PvClock.SystemTimeMsr), _pv.ReadMsr(1, PvClock.SystemTimeMsr)));
    }

    [Fact]
    public void After_the_hosts_sleep_the_time_has_gone_on_and_the_guest_knows_that_it_did_not_run()
    {
        Turn(0, Place | 1);
        Turn(1, 0x2001);
        Turn(1, 0x2000);
        _clock.AdvanceSeconds(100);
        _written.Clear();
        _pv.Resume();
        Assert.Equal([Place], _written); // The second vCPU had turned its clock off.
        Assert.Equal((100_000_000_000, 3), Read(Place));
        Advance(1_000_000_000);
        Assert.InRange(Read(Place).Time, 101_000_000_000 - 10, 101_000_000_000);
        _pv.Reset();
        _written.Clear();
        _pv.Resume();
        Assert.Empty(_written);
    }

    [Fact]
    public void Pages_that_it_writes_are_noted()
    {
        var bitmap = new ulong[_memory.DirtyPages.Words];
        _memory.DirtyPages.Start();
        var clock = new PvClock(new Dma(_memory, _memory.Written), _clock, () => _tsc, Hz, 1);
        clock.WriteMsr(0, PvClock.WallClockMsr, 0x3000, _memory.Written);
        Assert.Equal((1, 1ul << 3), (_memory.DirtyPages.Take(bitmap), bitmap[0]));
        clock.WriteMsr(0, PvClock.SystemTimeMsr, 0x4001, _memory.Written);
        Assert.Equal((1, 1ul << 4), (_memory.DirtyPages.Take(bitmap), bitmap[0]));
        clock.Resume();
        Assert.Equal((1, 1ul << 4), (_memory.DirtyPages.Take(bitmap), bitmap[0]));
    }

    [Fact]
    public void The_wall_clock_is_what_it_was_when_the_machines_began()
    {
        Advance(3_000_000_000);
        List<(ulong, ulong)> told = [];
        _pv.WriteMsr(0, PvClock.WallClockMsr, 0x3000, (gpa, length) => told.Add((gpa, length)));
        Assert.Equal([(0x3000ul, 12ul)], told);
        byte[] bytes = new byte[12];
        _memory.Read(0x3000, bytes);
        Assert.Equal(0u, BinaryPrimitives.ReadUInt32LittleEndian(bytes) & 1);
        Assert.Equal((uint)(_clock.Epoch - DateTime.UnixEpoch).TotalSeconds, BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(4)));
        Assert.Equal(0u, BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(8)));
    }

    [Theory]
    [InlineData(0xFFFF_FFFF_FFFF_FFE1)]
    [InlineData((1 << 20) - 4)]
    [InlineData(0x40_0000_0001)]
    public void A_place_that_is_no_memory_is_left_alone(ulong place)
    {
        _pv.WriteMsr(0, PvClock.SystemTimeMsr, place | 1, (_, _) => Assert.Fail("Nothing is written there."));
        _pv.WriteMsr(0, PvClock.WallClockMsr, place | 1, (_, _) => Assert.Fail("Nothing is written there."));
        _pv.Resume();
        Assert.Empty(_written);
    }

    [Fact]
    public void Scales_are_as_exact_as_they_can_be()
    {
        var random = new Random(1);
        for (int i = 0; i < 10_000; i++)
        {
            ulong hz = i switch
            {
                0 => 1_000_000_000,
                1 => 999_999_999,
                2 => 1_000_000_001,
                3 => 1,
                _ => (ulong)random.NextInt64(1, 1L << random.Next(10, 40)),
            };
            (uint multiplier, sbyte shift) = PvClock.Scale(hz);
            Assert.True(multiplier >= 1u << 31, $"{hz}: {multiplier:x} could be larger");
            BigInteger count = shift < 0 ? (new BigInteger(hz) * 1000) >> -shift : (new BigInteger(hz) * 1000) << shift;
            double seconds = (double)((count * multiplier) >> 32) / 1e9;
            Assert.True(shift < -1 && hz < 1000 || Math.Abs(seconds - 1000) < 1e-5, $"{hz}: {seconds} s for 1000");
        }
    }

    private void Advance(long nanoseconds)
    {
        _clock.Advance(nanoseconds);
        _tsc += (ulong)((UInt128)nanoseconds * Hz / 1_000_000_000);
    }

    private void Turn(int vcpu, ulong value)
    {
        bool told = false;
        _pv.WriteMsr(vcpu, PvClock.SystemTimeMsr, value, (gpa, length) => told = gpa == (value & ~1ul) && length == 32);
        Assert.Equal((value & 1) != 0, told);
    }

    private (long Time, int Flags) Read(ulong gpa)
    {
        byte[] bytes = new byte[32];
        _memory.Read(gpa, bytes);
        Assert.Equal(0u, BinaryPrimitives.ReadUInt32LittleEndian(bytes) & 1);
        ulong delta = _tsc - BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(8));
        sbyte shift = (sbyte)bytes[28];
        delta = shift < 0 ? delta >> -shift : delta << shift;
        ulong time = BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(16)) + (ulong)(((UInt128)delta * BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(24))) >> 32);
        return ((long)time, bytes[29]);
    }
}
