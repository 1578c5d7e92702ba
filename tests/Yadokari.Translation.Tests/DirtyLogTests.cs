using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Translation.Direct;
using Yadokari.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>The dirty log: every way by which a page of RAM is written.</summary>
public sealed class DirtyLogTests : IDisposable
{
    private const ulong First = 0x1_0000;
    private const ulong Second = 0x2_0000;
    private const ulong Data = 0x10_0000;
    private const byte Port = 0x80;

    // Root, directory pointers, directory and table, whose accessed bits are clear at first.
    private static readonly ulong[] s_tables = [0x1000, 0x2000, 0x3000, 0x4000];

    private readonly FlatPair _pair;
    private Action? _onPort;

    public DirtyLogTests() => _pair = new FlatPair(new WildHost(1) { PortWritten = _ => _onPort?.Invoke() });

    /// <inheritdoc/>
    public void Dispose() => _pair.Dispose();

    [Fact]
    public void A_log_that_is_off_has_nothing_to_give()
    {
        IDirtyLog log = _pair.Vm.DirtyLog;
        Assert.Equal(8, log.BitmapWords);
        Assert.Throws<InvalidOperationException>(() => log.Collect(new ulong[8]));
        log.Start();
        Assert.Throws<ArgumentException>(() => log.Collect(new ulong[7]));
        Run(0, First, a => a.mov(__byte_ptr[Data], al));
        log.Stop();
        Assert.Throws<InvalidOperationException>(() => log.Collect(new ulong[8]));
        log.Start();
        Assert.Equal(0, log.Collect(new ulong[8]));
    }

    [Fact]
    public void Pages_that_a_vcpu_writes_are_noted_each_time_and_those_that_it_reads_are_not()
    {
        void Touch(Assembler a)
        {
            a.mov(eax, __dword_ptr[Data]);
            a.mov(__dword_ptr[Data + 0x1000], eax);
            a.add(__dword_ptr[Data + 0x2FFE], 1); // Across two pages.
            a.mov(rdi, Data + 0x5000);
            a.mov(ecx, 0x1001);
            a.rep.stosb();
        }

        ulong[] written = [Data + 0x1000, Data + 0x2000, Data + 0x3000, Data + 0x5000, Data + 0x6000];
        Run(0, First, Touch); // The TLB may write these pages when the log starts, and their dirty bits are set.
        var mirror = new Mirror(_pair.Memory, _pair.Vm.DirtyLog);
        for (int i = 0; i < 3; i++)
        {
            Resume(0, First);
            Assert.Equal(written, mirror.Update());
        }

        Assert.Empty(mirror.Update());
        mirror.Check();
    }

    [Fact]
    public void Tables_whose_accessed_and_dirty_bits_a_page_walk_sets_are_noted()
    {
        Thread thread = _pair.Prepare(0, First, a => a.mov(eax, __dword_ptr[Data]));
        var mirror = new Mirror(_pair.Memory, _pair.Vm.DirtyLog);
        Go(thread);
        Assert.Equal(s_tables, mirror.Update());

        thread = _pair.Prepare(0, First, a => a.mov(__dword_ptr[Data], eax));
        mirror.Update();
        Go(thread);
        Assert.Equal([0x4000, Data], mirror.Update());
        mirror.Check();
    }

    [Fact]
    public void What_the_monitor_writes_is_noted()
    {
        var mirror = new Mirror(_pair.Memory, _pair.Vm.DirtyLog);
        GuestMemory memory = _pair.Memory;
        memory.Write(Data + 0xFFF, [1, 2]);
        Assert.True(memory.TrySlice(Data + 0x3000, 8, out Span<byte> bytes));
        bytes.Fill(3);
        memory.Written(Data + 0x3000, 8);
        Assert.True(memory.CompareExchangeUInt64(Data + 0x5000, 0, 1));
        Assert.False(memory.CompareExchangeUInt64(Data + 0x6000, 1, 2));
        Assert.True(memory.CompareExchangeUInt32(Data + 0x7000, 0, 1));
        Assert.Equal([Data, Data + 0x1000, Data + 0x3000, Data + 0x5000, Data + 0x7000], mirror.Update());
        Assert.True(memory.TryDiscard(Data, 0x2000));
        Assert.Equal([Data, Data + 0x1000], mirror.Update());
        mirror.Check();
    }

    [Fact]
    public void What_devices_write_is_noted()
    {
        var dma = new Dma(_pair.Memory, _pair.Vm.MemoryWritten);
        var mirror = new Mirror(_pair.Memory, _pair.Vm.DirtyLog);
        Assert.True(dma.TryWrite(Data, [1]));

        // As a queue does whose bytes the host's kernel writes.
        Assert.True(dma.TryLocate(Data + 0x2000, 0x2000, out HostBuffer buffer));
        buffer.Bytes.Fill(7);
        dma.Written(Data + 0x2000, 0x2000);
        dma.Discard(Data + 0x8000, 0x1000);
        Assert.Equal([Data, Data + 0x2000, Data + 0x3000, Data + 0x8000], mirror.Update());
        mirror.Check();
    }

    // As the clock in guest memory does when the guest says where it is to be.
    [Fact]
    public void What_is_written_within_a_call_of_a_vcpus_host_is_noted()
    {
        _onPort = () =>
        {
            Assert.True(_pair.Memory.TrySlice(Data + 0xFFE, 4, out Span<byte> bytes));
            bytes.Fill(9);
            _pair.Vcpus[0].MemoryWritten(Data + 0xFFE, 4);
        };
        Run(0, First, a => a.@out(Port, al));
        var mirror = new Mirror(_pair.Memory, _pair.Vm.DirtyLog);
        Resume(0, First);
        Assert.Equal([Data, Data + 0x1000], mirror.Update());
    }

    [Fact]
    public void What_a_debugger_writes_and_code_that_a_guest_writes_are_noted()
    {
        Run(0, First, a => a.mov(__byte_ptr[First + 0x80], 0xF4));
        var mirror = new Mirror(_pair.Memory, _pair.Vm.DirtyLog);
        Resume(0, First);
        Assert.Equal([First], mirror.Update());
        Assert.True(_pair.Vcpus[0].WriteLinear(Data, [1]));
        Assert.Equal([Data], mirror.Update());
    }

    // Both write all over the same pages, one with whole instructions across page ends, while a device writes too.
    [Fact]
    public void A_copy_follows_two_vcpus_and_a_device_that_write_all_the_time()
    {
        void Scatter(Assembler a, uint seed, bool locked)
        {
            Label top = a.CreateLabel();
            a.mov(ecx, locked ? 60_000 : 1_500_000);
            a.mov(eax, seed);
            a.mov(rbx, Data);
            a.Label(ref top);
            a.imul(eax, eax, 1103515245);
            a.add(eax, 12345);
            a.mov(edx, eax);
            a.shr(edx, 13);
            if (locked)
            {
                a.@lock.add(__dword_ptr[rbx + rdx], eax);
            }
            else
            {
                a.mov(__dword_ptr[rbx + rdx], eax);
            }

            a.dec(ecx);
            a.jne(top);
        }

        Thread first = _pair.Prepare(0, First, a => Scatter(a, 1, locked: false));
        Thread second = _pair.Prepare(1, Second, a => Scatter(a, 2, locked: true));
        var dma = new Dma(_pair.Memory, _pair.Vm.MemoryWritten);
        var device = new Thread(() =>
        {
            var random = new Random(1);
            while (first.IsAlive || second.IsAlive)
            {
                dma.TryWrite(Data + (ulong)random.Next(0x7_FFF8), BitConverter.GetBytes(random.NextInt64()));
                Thread.Yield();
            }
        });
        var mirror = new Mirror(_pair.Memory, _pair.Vm.DirtyLog);
        first.Start();
        second.Start();
        device.Start();
        mirror.Follow(first, second, device);
        _pair.Check();
        Assert.True(mirror.Copied >= 128, $"{mirror.Copied} pages"); // All that are written, once at least: how often it was collected meanwhile is the host's affair.
    }

    [Theory]
    [InlineData(DirectMode.Always)]
    [InlineData(DirectMode.Off)]
    public void A_copy_follows_a_program_that_runs_directly(DirectMode mode) => OwnThread.Run(() =>
    {
        Support support = TranslationEngine.ProbeDirect();
        Assert.SkipUnless(mode == DirectMode.Off || support.Available, support.Reason);
        using var machine = new DirectMachine(mode);
        machine.Assemble(a =>
        {
            Label top = a.CreateLabel();
            a.mov(ecx, 20_000_000);
            a.mov(rbx, DirectMachine.Data);
            a.mov(rdx, __qword_ptr[rbx + 0x1000]);
            a.Label(ref top);
            a.mov(eax, ecx);
            a.and(eax, 0x2FF8);
            a.mov(__qword_ptr[rbx + rax], rcx);
            a.dec(ecx);
            a.jne(top);
            a.syscall();
        });
        Assert.Equal(-1, machine.Run());
        long entries = machine.Entries;
        var mirror = new Mirror(machine.Memory, machine.Vm.DirtyLog);
        bool done = false;
        var collector = new Thread(() =>
        {
            while (!Volatile.Read(ref done))
            {
                mirror.Update();
                Thread.Sleep(1); // For so long the others write.
            }
        });
        collector.Start();
        Assert.Equal(-1, machine.Run());
        Volatile.Write(ref done, true);
        collector.Join();
        mirror.Update();
        mirror.Check();
        Assert.Equal(mode == DirectMode.Always, machine.Entries > entries);

        // Of the four pages that it may write it writes two and reads one.
        Assert.Equal(-1, machine.Run());
        List<ulong> pages = mirror.Update();
        Assert.Equal([DirectMachine.DataGpa, DirectMachine.DataGpa + 0x2000], pages.Where(p => p >= DirectMachine.DataGpa));
    });

    private void Run(int number, ulong start, Action<Assembler> program) => Go(_pair.Prepare(number, start, program));

    // Runs what was prepared once more. Only the registers are loaded anew: its translations go, so that it walks the tables again.
    private void Resume(int number, ulong start) => Go(new Thread(() =>
    {
        X86State state = FlatPair.StateAt(_pair.Vcpus[number], start);
        _pair.Vcpus[number].Load(state);
        Assert.Equal(VmExit.HaltedWithInterruptsDisabled, _pair.Vcpus[number].Run());
    }));

    private void Go(Thread thread)
    {
        thread.Start();
        thread.Join();
        _pair.Check();
    }
}
