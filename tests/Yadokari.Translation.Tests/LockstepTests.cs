using System.Runtime.InteropServices;
using Iced.Intel;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Translation.Tests;

/// <summary>
/// Two guests side by side, instruction by instruction: one runs on, the other is loaded before each of them with what was saved of the first.
/// What the state lacks shows as soon as it matters. Programs are random, with interrupts, NMIs, breakpoints and single steps of the guest's own.
/// </summary>
public sealed class LockstepTests : IDisposable
{
    private const int RamLength = 2 << 20;
    private const int Episodes = 100;
    private const int Steps = 60;

    private readonly Side _goes = new();
    private readonly Side _loaded = new();

    public void Dispose()
    {
        _goes.Dispose();
        _loaded.Dispose();
    }

    [Theory]
    [InlineData(WildMode.Kernel)]
    [InlineData(WildMode.User)]
    [InlineData(WildMode.Compatibility)]
    [InlineData(WildMode.Protected)]
    [InlineData(WildMode.Real)]
    public void A_vcpu_that_is_loaded_goes_on_as_the_one_that_was_saved(WildMode mode) => OwnThread.Run(() =>
    {
        var random = new Random((int)mode + 1);
        byte[] image = new byte[RamLength];
        long compared = 0;
        var seen = new Seen();
        for (int episode = 0; episode < Episodes; episode++)
        {
            if (episode % 10 == 0)
            {
                WildCode.Fill(random, image);
                MakeRepeatable(image);
                WildTables.Write(image, mode, random);
            }

            _goes.Write(image);
            _loaded.Write(image);
            X86State state = _goes.Saved();
            WildTables.Randomise(state, mode, random);
            Provoke(state, mode, random);
            _goes.Vcpu.Load(state);
            compared += Run(image, random, seen);
            Assert.True(
                ChangedTables(image) || _goes.Bytes.SequenceEqual(_loaded.Bytes),
                $"episode {episode}: memory differs at {_goes.Bytes.CommonPrefixLength(_loaded.Bytes):X}");
        }

        Assert.True(compared > 800, $"{compared} instructions");
        Assert.True(seen.Shadows > 0 && seen.Repeats > 0 && seen.Halts > 0 && (seen.Pending > 0 || mode == WildMode.Real), $"{seen}");
    });

    private long Run(byte[] image, Random random, Seen seen)
    {
        long compared = 0;
        for (int step = 0; step < Steps; step++)
        {
            X86State before = _goes.Saved();
            _loaded.Vcpu.Load(before);
            Instruction instruction = Decode(before);
            if (IsNotRepeatable(instruction, before))
            {
                return compared;
            }

            if (random.Next(8) == 0)
            {
                _goes.Host.Waiting = _loaded.Host.Waiting = random.Next(32, 256);
            }

            if (random.Next(32) == 0)
            {
                _goes.Vcpu.RaiseNmi();
                _loaded.Vcpu.RaiseNmi();
            }

            // What the TLB holds of tables that changed is not of the state: it may be used still, or not any more.
            if (ChangedTables(image))
            {
                return compared;
            }

            VmExit exit = _goes.Vcpu.Run();
            VmExit other = _loaded.Vcpu.Run();
            if (ChangedTables(image))
            {
                return compared;
            }

            X86State after = Canonical(_goes.Saved());
            string where = $"after {step} at {before.Segments[1].Selector:X}:{before.Rip:X}, {instruction}: ";
            Assert.True(exit == other, $"{where}{exit} and {other}, {before.Activity} {before.InterruptShadow}, {after.Segments[1].Selector:X}:{after.Rip:X}; {StateMembers.Difference(after, Canonical(_loaded.Saved()))}");
            string difference = StateMembers.Difference(after, Canonical(_loaded.Saved()));
            Assert.True(difference.Length == 0, where + difference);
            compared++;
            seen.Shadows += after.InterruptShadow ? 1 : 0;
            seen.Repeats += after.Rip == before.Rip && instruction.HasRepPrefix ? 1 : 0;
            seen.Pending += after.PendingDebugExceptions != 0 ? 1 : 0;
            seen.Halts += after.Activity == ActivityState.Halted ? 1 : 0;
            if (exit == VmExit.Shutdown || (before.Activity == ActivityState.Halted && random.Next(4) == 0))
            {
                return compared;
            }
        }

        return compared;
    }

    // Code that holds interrupts off, and a breakpoint on what it loads SS from; then a repeated instruction.
    private void Provoke(X86State state, WildMode mode, Random random)
    {
        state.Activity = ActivityState.Active;
        ulong at = state.Segments[1].Base + state.Rip;
        if (random.Next(2) == 0 || at > RamLength - 256)
        {
            return;
        }

        // STI; NOP; MOV SS, [RBX]; NOP; REP LODSB; HLT; the selector that SS has already.
        byte[] code = [0xFB, 0x90, 0x8E, 0x13, 0x90, 0xF3, 0xAC, 0xF4, (byte)state.Segments[2].Selector, 0];
        bool ring3 = mode is WildMode.User or WildMode.Compatibility;
        code[0] = ring3 ? (byte)0x90 : code[0];
        _goes.Write(at, code);
        _loaded.Write(at, code);
        state.Gpr[1] = (ulong)random.Next(30_000);
        if (mode != WildMode.Real)
        {
            state.Gpr[3] = at + 8;
            state.Gpr[6] = random.Next(4) != 0 ? at : state.Gpr[6];
            state.Dr[0] = at + 8;
            state.Dr[7] = 0x403 | ((ulong)random.Next() & 0xF_0000);
        }
    }

    // Of either guest; accessed and dirty bits do not count.
    private bool ChangedTables(byte[] image) => Differ(_goes.Bytes, image) || Differ(_loaded.Bytes, image);

    private static bool Differ(ReadOnlySpan<byte> now, ReadOnlySpan<byte> image)
    {
        ReadOnlySpan<ulong> entries = MemoryMarshal.Cast<byte, ulong>(now[0x1000..0x7000]);
        ReadOnlySpan<ulong> first = MemoryMarshal.Cast<byte, ulong>(image[0x1000..0x7000]);
        for (int i = 0; i < entries.Length; i++)
        {
            if (((entries[i] ^ first[i]) & ~0x60ul) != 0)
            {
                return true;
            }
        }

        return false;
    }

    // Whether state that is as after a reset counts as in use is the processor's to choose (SDM 1 13.6): here it does not.
    private static X86State Canonical(X86State state)
    {
        byte[] area = state.Xsave;
        (int Component, Range Bytes)[] components = area.Length > 832 ? [(1, 160..416), (2, 576..832), (5, 1088..1152), (6, 1152..1664), (7, 1664..2688)]
            : area.Length > 576 ? [(1, 160..416), (2, 576..832)] : [(1, 160..416)];
        foreach ((int component, Range bytes) in components)
        {
            byte bit = (byte)(1 << component);
            if ((area[512] & bit) == 0)
            {
                area.AsSpan(bytes).Clear();
            }

            area[512] = (byte)(area.AsSpan(bytes).ContainsAnyExcept((byte)0) ? area[512] | bit : area[512] & ~bit);
        }

        return state;
    }

    // Without RDTSC and RDTSCP, and RDRAND and RDSEED, as far as they begin with these bytes.
    private static void MakeRepeatable(Span<byte> image)
    {
        for (int i = 0; i < image.Length - 2; i++)
        {
            if (image[i] == 0x0F && (image[i + 1] is 0x31 or 0xC7 || (image[i + 1], image[i + 2]) == (0x01, 0xF9)))
            {
                image[i + 1] = 0x1F;
            }
        }
    }

    // What shows the time, or what the processor made up.
    private static bool IsNotRepeatable(in Instruction instruction, X86State state) => instruction.Mnemonic switch
    {
        Mnemonic.Rdtsc or Mnemonic.Rdtscp or Mnemonic.Rdrand or Mnemonic.Rdseed => true,
        Mnemonic.Rdmsr or Mnemonic.Wrmsr => (uint)state.Gpr[1] is 0x10 or 0x3B,
        _ => false,
    };

    private Instruction Decode(X86State state)
    {
        byte[] code = new byte[15];
        SegmentState segment = state.Segments[1];
        bool wide = (state.Efer & 0x400) != 0 && (segment.Attributes & 0x2000) != 0;
        ulong at = wide ? state.Rip : segment.Base + state.Rip;
        for (int i = 0; i < code.Length && _goes.Vcpu.ReadLinear(at + (ulong)i, code.AsSpan(i, 1)); i++)
        {
        }

        return Decoder.Create(wide ? 64 : (segment.Attributes & 0x4000) != 0 ? 32 : 16, code, state.Rip).Decode();
    }

    private sealed record Seen
    {
        public int Shadows { get; set; }

        public int Repeats { get; set; }

        public int Pending { get; set; }

        public int Halts { get; set; }
    }

    private sealed class Side : IDisposable
    {
        public Side()
        {
            Vm = new TranslationEngine { CodeCacheBytes = 1 << 20 }.Create(Memory);
            Vcpu = Vm.CreateX86Vcpu(0, Host);
            Vcpu.SingleStep = true;
        }

        public GuestMemory Memory { get; } = GuestRam.Create([(0, RamLength)]);

        public LockstepHost Host { get; } = new();

        public IVm Vm { get; }

        public IX86Vcpu Vcpu { get; }

        public ReadOnlySpan<byte> Bytes => Memory.TrySlice(0, RamLength, out Span<byte> bytes) ? bytes : default;

        public void Write(byte[] image)
        {
            Write(0, image);
            Host.Waiting = -1;
        }

        public void Write(ulong gpa, byte[] data)
        {
            Memory.Write(gpa, data);
            Vm.MemoryWritten(gpa, (ulong)data.Length);
        }

        public X86State Saved()
        {
            var state = new X86State();
            Vcpu.Save(state);
            return state;
        }

        public void Dispose()
        {
            Vm.Dispose();
            Memory.Dispose();
        }
    }
}
