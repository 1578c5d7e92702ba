using Iced.Intel;
using Yadokari.Translation.Memory;
using Yadokari.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Yadokari.Translation.Tests;

/// <summary>
/// Two vCPUs on threads of their own over one memory: atomic accesses, and code that one runs while the other writes it. In 64-bit code of
/// level 0, each from its own start until HLT.
/// </summary>
public sealed class SeveralVcpusTests : IDisposable
{
    private const ulong First = 0x1_0000;
    private const ulong Second = 0x2_0000;
    private const ulong Code = 0x3_0000;
    private const ulong Data = 0x10_0000;
    private const ulong Flag = Data + 0x100;
    private const ulong Acknowledged = Data + 0x200;
    private const ulong Wrong = Data + 0x300;

    private readonly FlatPair _pair = new(new WildHost(1));

    /// <inheritdoc/>
    public void Dispose() => _pair.Dispose();

    [Theory]
    [InlineData(Data, 100_000)]
    [InlineData(Data + 60, 20_000)]
    [InlineData(Data + 0xFFC, 2_000)]
    public void Locked_additions_are_not_lost(ulong address, int rounds)
    {
        void Count(Assembler a)
        {
            Label top = a.CreateLabel();
            a.mov(ecx, rounds);
            a.mov(rbx, address);
            a.Label(ref top);
            a.@lock.add(__qword_ptr[rbx], 3);
            a.dec(ecx);
            a.jne(top);
        }

        Run(Count, Count);

        Assert.Equal(6UL * (ulong)rounds, Get(address));
    }

    [Theory]
    [InlineData(Data + 8)]
    [InlineData(Data + 0xFFE)]
    public void An_exchange_is_one_access(ulong address)
    {
        // Each takes what is there and puts it back with its own bits: were it two accesses, a half of the other's value would be seen.
        const int rounds = 3_000;
        void Swap(Assembler a, uint mine)
        {
            Label top = a.CreateLabel(), good = a.CreateLabel();
            a.mov(ecx, rounds);
            a.mov(rbx, address);
            a.Label(ref top);
            a.mov(eax, mine);
            a.xchg(__dword_ptr[rbx], eax);
            a.cmp(eax, 0x11111111);
            a.je(good);
            a.cmp(eax, 0x22222222);
            a.je(good);
            a.mov(rdx, Wrong);
            a.@lock.inc(__dword_ptr[rdx]);
            a.Label(ref good);
            a.dec(ecx);
            a.jne(top);
        }

        Put(address, 0x11111111);
        Run(a => Swap(a, 0x11111111), a => Swap(a, 0x22222222));

        Assert.Equal(0u, (uint)Get(Wrong));
    }

    [Fact]
    public void Code_that_another_vcpu_patched_runs_as_patched()
    {
        const int rounds = 300;
        Run(
            a => CallWhenTold(a, rounds, _ => a.mov(rax, Code)),
            a => Tell(a, rounds, () =>
            {
                a.mov(rdx, Code + 1);
                a.mov(__dword_ptr[rdx], ecx);
            }),
            (Code, [0xB8, 0, 0, 0, 0, 0xC3]));

        Assert.Equal(0u, (uint)Get(Wrong));
        Assert.Equal((ulong)rounds, Get(Acknowledged));
    }

    [Fact]
    public void Code_that_another_vcpu_writes_into_pages_that_were_data_runs()
    {
        // Page after page: by then the writer has written each many times without anybody looking.
        const int rounds = 300;
        void Page(Assembler a, AssemblerRegister64 to)
        {
            a.mov(to, rcx);
            a.and(to, 31);
            a.shl(to, 12);
            a.add(to, 0x4_0000);
        }

        Run(
            a => CallWhenTold(a, rounds, _ => Page(a, rax)),
            a => Tell(a, rounds, () =>
            {
                Page(a, rdx);
                a.mov(__byte_ptr[rdx], 0xB8);
                a.mov(__dword_ptr[rdx + 1], ecx);
                a.mov(__byte_ptr[rdx + 5], 0xC3);
                a.mov(__dword_ptr[rdx + 0x800], ecx);
            }));

        Assert.Equal(0u, (uint)Get(Wrong));
        Assert.Equal((ulong)rounds, Get(Acknowledged));
    }

    [Fact]
    public void Data_beside_code_is_everybodys()
    {
        const int rounds = 3_000;
        void Count(Assembler a)
        {
            Label top = a.CreateLabel();
            a.mov(ecx, rounds);
            a.mov(rbx, Code);
            a.Label(ref top);
            a.call(rbx);
            a.@lock.inc(__qword_ptr[rbx + 0x400]);
            a.dec(ecx);
            a.jne(top);
        }

        Run(Count, Count, (Code, [0xC3]));

        Assert.Equal(2UL * rounds, Get(Code + 0x400));
    }

    // Waits for each number, calls code that should return it, and says that it did.
    private static void CallWhenTold(Assembler a, int rounds, Action<Assembler> target)
    {
        Label top = a.CreateLabel(), wait = a.CreateLabel(), good = a.CreateLabel();
        a.mov(ecx, 1);
        a.Label(ref top);
        a.mov(rbx, Flag);
        a.Label(ref wait);
        a.pause();
        a.cmp(__dword_ptr[rbx], ecx);
        a.jne(wait);
        target(a);
        a.call(rax);
        a.cmp(eax, ecx);
        a.je(good);
        a.mov(rdx, Wrong);
        a.inc(__dword_ptr[rdx]);
        a.Label(ref good);
        a.mov(rbx, Acknowledged);
        a.mov(__qword_ptr[rbx], rcx);
        a.inc(ecx);
        a.cmp(ecx, rounds + 1);
        a.jne(top);
    }

    // What a disk reads into memory over a program, as a kernel does with pages that it uses again.
    [Fact]
    public void Code_that_a_device_writes_is_what_runs_next()
    {
        const int rounds = 300;
        byte[] function = [0xB8, 0, 0, 0, 0, 0xC3]; // mov eax, 0; ret
        void Call(Assembler a)
        {
            Label top = a.CreateLabel();
            a.Label(ref top);
            a.call(Code);
            a.mov(rbx, Data);
            a.mov(__dword_ptr[rbx], eax);
            a.inc(__qword_ptr[rbx + 8]);
            a.cmp(__qword_ptr[rbx + 0x100], 0);
            a.je(top);
        }

        string wrong = "";
        var device = new Thread(() =>
        {
            // The program is there, and runs.
            while (Get(Data + 8) == 0)
            {
                Thread.Yield();
            }

            for (int n = 1; n <= rounds && wrong.Length == 0; n++)
            {
                _pair.Memory.Write(Code + 1, BitConverter.GetBytes(n));
                _pair.Vm.MemoryWritten(Code + 1, 4);
                ulong calls = Get(Data + 8);
                while (Get(Data + 8) < calls + 2)
                {
                    Thread.Yield();
                }

                wrong = (int)Get(Data) == n ? "" : $"{Get(Data)} for {n}";
            }

            Put(Flag, 1);
        });
        device.Start();
        Run(Call, _ => { }, (Code, function));
        device.Join();
        Assert.Equal("", wrong);
    }

    [Fact]
    public void A_vcpu_sleeps_while_another_stops_the_world_a_million_times()
    {
        (Vcpu first, Vcpu second) = ((Vcpu)_pair.Vcpus[0], (Vcpu)_pair.Vcpus[1]);
        Coherence coherence = ((TranslationVm)_pair.Vm).Coherence;
        for (int i = 0; i < 1_000_000; i++)
        {
            using (coherence.StopTheWorld(first))
            {
                Assert.Equal(0, second.Requests.Count);
            }
        }

        Assert.Equal((1_000_000, 0), (coherence.WorldStops, coherence.Requests));
        Run(_ => { }, a => a.inc(__qword_ptr[Data]));
        Assert.Equal(1ul, Get(Data));
    }

    [Fact]
    public void A_halted_vcpu_wakes_after_another_stopped_the_world_again_and_again()
    {
        const int rounds = 20_000;
        Run(_ => { }, _ => { });
        Run(
            a =>
            {
                Label top = a.CreateLabel();
                a.mov(ecx, rounds);
                a.mov(rbx, Data + 0xFFE);
                a.Label(ref top);
                a.@lock.inc(__dword_ptr[rbx]);
                a.dec(ecx);
                a.jne(top);
            },
            _ => { });
        Run(_ => { }, a => a.inc(__qword_ptr[Data]));

        Assert.Equal((uint)rounds, (uint)Get(Data + 0xFFE));
        Assert.Equal(1u, (uint)Get(Data));
    }

    [Fact]
    public void A_vcpu_that_comes_inside_while_another_has_stopped_the_world_parks_until_the_end_of_it()
    {
        _pair.Memory.Write(Second, [0x48, 0xFF, 0x03, 0xF4]); // inc qword [rbx]; hlt
        X86State state = FlatPair.StateAt(_pair.Vcpus[1], Second);
        state.Gpr[3] = Data;
        _pair.Vcpus[1].Load(state);
        var thread = new Thread(() => _pair.Vcpus[1].Run());
        using (((TranslationVm)_pair.Vm).Coherence.StopTheWorld((Vcpu)_pair.Vcpus[0]))
        {
            thread.Start();
            Assert.False(thread.Join(50));
            Assert.Equal(0ul, Get(Data));
        }

        thread.Join();
        Assert.Equal(1ul, Get(Data));
    }

    [Fact]
    public void A_program_of_nothing_but_such_sections_does_not_keep_another_vcpu_from_running()
    {
        const int rounds = 300;
        Run(
            a =>
            {
                // Until the other is done.
                Label top = a.CreateLabel();
                a.mov(rbx, Data + 0xFFE);
                a.mov(rdx, Flag);
                a.Label(ref top);
                a.@lock.inc(__dword_ptr[rbx]);
                a.cmp(__dword_ptr[rdx], rounds);
                a.jne(top);
            },
            a =>
            {
                Label top = a.CreateLabel();
                a.mov(rdx, Flag);
                a.Label(ref top);
                a.cpuid(); // Comes out of guest code each time.
                a.mov(rdx, Flag);
                a.inc(__dword_ptr[rdx]);
                a.cmp(__dword_ptr[rdx], rounds);
                a.jne(top);
            });
        Assert.Equal((uint)rounds, (uint)Get(Flag));
    }

    [Fact]
    public void What_is_asked_of_a_sleeping_vcpu_is_kept_once_a_page_and_done_when_it_wakes()
    {
        // The second vCPU calls code and writes data, then sleeps.
        void CallAndWrite(Assembler a)
        {
            a.call(Code);
            a.mov(rbx, Data);
            a.mov(__qword_ptr[rbx], rax);
        }

        Run(_ => { }, CallAndWrite, (Code, [0xB8, 1, 0, 0, 0, 0xC3]));
        Assert.Equal(1ul, Get(Data));
        (Vcpu first, Vcpu second) = ((Vcpu)_pair.Vcpus[0], (Vcpu)_pair.Vcpus[1]);
        Coherence coherence = ((TranslationVm)_pair.Vm).Coherence;
        long asked = coherence.Requests;
        for (int i = 1; i <= 100_000; i++)
        {
            // A device writes over the code, and the data becomes code of the first vCPU's.
            _pair.Memory.Write(Code + 1, BitConverter.GetBytes(i));
            _pair.Vm.MemoryWritten(Code + 1 + ((ulong)i % 4), 1);
            coherence.BecomesCode(first, Data);
            coherence.IsNoCode(first, Data);
            Assert.InRange(second.Requests.Count, 1, 2);
        }

        coherence.BecomesCode(first, Data);
        Assert.Equal(asked, coherence.Requests);
        Run(_ => { }, CallAndWrite);
        Assert.Equal(0, second.Requests.Count);
        Assert.Equal(100_000ul, Get(Data));
    }

    // Writes code for each number, tells, and waits until it was called.
    private static void Tell(Assembler a, int rounds, Action write)
    {
        Label top = a.CreateLabel(), wait = a.CreateLabel();
        a.mov(ecx, 1);
        a.Label(ref top);
        write();
        a.mov(rbx, Flag);
        a.mov(__qword_ptr[rbx], rcx);
        a.mov(rbx, Acknowledged);
        a.Label(ref wait);
        a.pause();
        a.cmp(__dword_ptr[rbx], ecx);
        a.jne(wait);
        a.inc(ecx);
        a.cmp(ecx, rounds + 1);
        a.jne(top);
    }

    private void Run(Action<Assembler> first, Action<Assembler> second, params ReadOnlySpan<(ulong Address, byte[] Bytes)> more)
    {
        foreach ((ulong address, byte[] bytes) in more)
        {
            _pair.Memory.Write(address, bytes);
        }

        Thread[] threads = [_pair.Prepare(0, First, first), _pair.Prepare(1, Second, second)];
        Array.ForEach(threads, t => t.Start());
        foreach (Thread thread in threads)
        {
            if (!thread.Join(TimeSpan.FromSeconds(60)))
            {
                Array.ForEach(_pair.Vcpus, v => v.Kick());
                Array.ForEach(threads, t => t.Join());
                Assert.Fail("The vCPUs wait for each other.");
            }
        }

        _pair.Check();
    }

    private ulong Get(ulong gpa) => _pair.Get(gpa);

    private void Put(ulong gpa, ulong value) => _pair.Put(gpa, value);
}
