using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.X86;
using Yadokari.X86.Engines;
using Yadokari.X86.Msrs;
using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

/// <summary>The state of a vCPU goes out and in whole, member by member.</summary>
public sealed class StateTests : IDisposable
{
    private readonly GuestMemory _memory = GuestRam.Create([(0, 1 << 20)]);
    private readonly TranslationEngine _engine = new() { CodeCacheBytes = 1 << 20 };
    private readonly CpuModel _model;
    private readonly List<IVm> _vms = [];

    public StateTests() => _model = HostMachine.Model(_engine);

    public static TheoryData<string> Members => [.. StateMembers.Names];

    public void Dispose()
    {
        _vms.ForEach(v => v.Dispose());
        _memory.Dispose();
    }

    [Theory]
    [MemberData(nameof(Members))]
    public void A_member_that_is_loaded_is_saved(string name)
    {
        IX86Vcpu first = NewVcpu();
        IX86Vcpu second = NewVcpu();
        X86State reset = Saved(first);
        var random = new Random(name.Length);
        for (int i = 0; i < 20; i++)
        {
            var loaded = new X86State();
            reset.CopyTo(loaded);
            if (name.StartsWith("X87", StringComparison.Ordinal))
            {
                // Selectors are of an x87 that is in use.
                StateMembers.Randomise(loaded, nameof(X86State.Xsave), _model, random);
            }

            StateMembers.Randomise(loaded, name, _model, random);
            first.Load(loaded);
            X86State saved = Saved(first);
            Assert.Equal("", StateMembers.Difference(loaded, saved));
            second.Load(saved);
            Assert.Equal("", StateMembers.Difference(loaded, Saved(second)));
        }
    }

    [Fact]
    public void All_members_together_are_saved_as_they_are_loaded()
    {
        IX86Vcpu vcpu = NewVcpu();
        var random = new Random(1);
        X86State loaded = Saved(vcpu);
        for (int i = 0; i < 200; i++)
        {
            foreach (string name in StateMembers.Names)
            {
                StateMembers.Randomise(loaded, name, _model, random);
            }

            vcpu.Load(loaded);
            Assert.Equal("", StateMembers.Difference(loaded, Saved(vcpu)));
        }
    }

    [Theory]
    [MemberData(nameof(Members))]
    public void A_copy_has_every_member(string name)
    {
        IX86Vcpu vcpu = NewVcpu();
        X86State from = Saved(vcpu);
        StateMembers.Randomise(from, name, _model, new Random(1));
        X86State to = Saved(vcpu);
        StateMembers.Randomise(to, name, _model, new Random(2));
        from.CopyTo(to);
        Assert.Equal("", StateMembers.Difference(from, to));
        StateMembers.Randomise(to, name, _model, new Random(3));
        Assert.NotEqual("", StateMembers.Difference(from, to));
    }

    // By the guest's own instructions: what a register of the table keeps, another vCPU finds.
    [Fact]
    public void Every_register_that_keeps_what_is_written_is_in_the_state()
    {
        using var first = new EmulationMachine(64);
        using var second = new EmulationMachine(64);
        uint[] kept = [.. _model.Msrs.Where(m => m.Kind is MsrKind.Stored or MsrKind.Engine && m.Index != MsrIndex.Tsc).Select(m => m.Index)];
        Assert.True(kept.Length > 30);
        foreach (uint index in kept)
        {
            MsrDescription register = _model.Msrs.Single(m => m.Index == index);
            ulong value = index switch
            {
                MsrIndex.Efer => 0xD00,
                MsrIndex.MtrrDefType => 0x800,
                _ when register.Kind == MsrKind.Stored => register.Reset ^ Least(register),
                _ => 0x1234,
            };
            (first.Cpu.Rcx, first.Cpu.Rdx, first.Cpu.Rax) = (index, value >> 32, (uint)value);
            Assert.Equal(Vcpu.Outcome.Next, first.Run(0x0F, 0x30));
        }

        second.Cpu.Load(Saved(first.Cpu));
        foreach (uint index in kept)
        {
            Assert.Equal((index, Read(first, index)), (index, Read(second, index)));
            Assert.True(index == MsrIndex.Efer || Read(first, index) is not 0, MsrTable.NameOf(index));
        }
    }

    [Fact]
    public void The_counter_is_the_clock_and_what_the_guest_adjusted()
    {
        IX86Vcpu vcpu = NewVcpu();
        X86State state = Saved(vcpu);
        state.Msrs[MsrIndex.TscAdjust] = 1ul << 50;
        vcpu.Load(state);
        _vms[0].Clock.Stop();
        Assert.Equal((1ul << 50) + _vms[0].Clock.Read(), vcpu.ReadTsc());
        state.Msrs[MsrIndex.TscAdjust] = 0;
        vcpu.Load(state);
        Assert.Equal(_vms[0].Clock.Read(), vcpu.ReadTsc());
    }

    [Fact]
    public void Registers_that_a_state_lacks_are_as_after_reset()
    {
        IX86Vcpu vcpu = NewVcpu();
        X86State reset = Saved(vcpu);
        X86State state = Saved(vcpu);
        StateMembers.Randomise(state, nameof(X86State.Msrs), _model, new Random(1));
        vcpu.Load(state);
        state.Msrs.Clear();
        vcpu.Load(state);
        Assert.Equal("", StateMembers.Difference(reset, Saved(vcpu)));
    }

    [Fact]
    public void A_state_that_the_vcpu_cannot_have_is_refused_and_nothing_of_it_loaded()
    {
        IX86Vcpu vcpu = NewVcpu();
        X86State before = Saved(vcpu);
        (string Named, Action<X86State> Spoil)[] bad =
        [
            ("12345678", s => s.Msrs[0x1234_5678] = 1),
            ("IA32_PAT", s => s.Msrs[MsrIndex.Pat] = 2),
            ("IA32_APIC_BASE", s => s.Msrs[MsrIndex.ApicBase] = 0xFEE0_0900),
            ("3 NMIs", s => s.NmisPending = 3),
            ("10", s => s.PendingDebugExceptions = 0x10),
            ("activity", s => s.Activity = (ActivityState)7),
        ];
        foreach ((string named, Action<X86State> spoil) in bad)
        {
            X86State state = Saved(vcpu);
            state.Rip = 0x1234;
            spoil(state);
            Assert.Contains(named, Assert.Throws<ArgumentException>(() => vcpu.Load(state)).Message, StringComparison.Ordinal);
            Assert.Equal("", StateMembers.Difference(before, Saved(vcpu)));
        }
    }

    private IX86Vcpu NewVcpu()
    {
        IVm vm = _engine.Create(new VmSpec(_memory, _model, 1));
        _vms.Add(vm);
        return vm.CreateX86Vcpu(0, new WildHost(1));
    }

    private static ulong Read(EmulationMachine machine, uint index)
    {
        machine.Cpu.Rcx = index;
        Assert.Equal(Vcpu.Outcome.Next, machine.Run(0x0F, 0x32));
        return (machine.Cpu.Rdx << 32) | (uint)machine.Cpu.Rax;
    }

    // A change that every register takes: of memory types from UC to WC or back, elsewhere of the lowest bit.
    private static ulong Least(MsrDescription register) => register.Writable & (0 - register.Writable);

    private static X86State Saved(IX86Vcpu vcpu)
    {
        var state = new X86State();
        vcpu.Save(state);
        return state;
    }
}
