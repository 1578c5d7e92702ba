using System.Buffers.Binary;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Debugging.Tests;

/// <summary>
/// A processor small enough to be trusted: NOP, INC r64, JMP rel8, HLT and UD2 (a triple fault) in 64-bit mode, with 4 KiB pages through
/// real page tables or none. Everything of the contract that a debugger relies on is there.
/// </summary>
internal sealed class ScriptedVcpu(int id, GuestMemory memory) : IX86Vcpu
{
    private readonly X86State _state = new();
    private HashSet<ulong> _breakpoints = [];
    private int _kicked;

    public int Id => id;

    public bool SingleStep { get; set; }

    public int BreakpointCount => _breakpoints.Count;

    public long Executed { get; private set; }

    public long Halts { get; private set; }

    public VmExit Run()
    {
        while (true)
        {
            if (Interlocked.Exchange(ref _kicked, 0) != 0)
            {
                return VmExit.Kicked;
            }

            if (_breakpoints.Contains(_state.Rip))
            {
                return VmExit.Debug;
            }

            if (Execute() is { } exit)
            {
                return exit;
            }

            Executed++;
            if (SingleStep)
            {
                return VmExit.Debug;
            }

            // A core is shared by everything in these tests.
            if (Executed % 1024 == 0)
            {
                Thread.Yield();
            }
        }
    }

    public void Kick() => Interlocked.Exchange(ref _kicked, 1);

    public void Notify()
    {
    }

    public void MemoryWritten(ulong gpa, ulong length)
    {
    }

    public bool HasNmi => false;

    public void RaiseNmi()
    {
    }

    public void SetA20(bool open)
    {
    }

    public ulong ReadTsc() => 0;

    public bool CatchExceptions
    {
        get => false;
        set => throw new NotSupportedException();
    }

    public CaughtException Caught => default;

    public void Save(X86State state) => _state.CopyTo(state);

    public void Load(X86State state) => state.CopyTo(_state);

    public bool ReadLinear(ulong address, Span<byte> data)
    {
        for (int i = 0; i < data.Length; i++)
        {
            if (Translate(address + (ulong)i) is not { } physical || !memory.Read(physical, data.Slice(i, 1)))
            {
                return false;
            }
        }

        return true;
    }

    public bool WriteLinear(ulong address, ReadOnlySpan<byte> data)
    {
        for (int i = 0; i < data.Length; i++)
        {
            if (Translate(address + (ulong)i) is not { } physical || !memory.Write(physical, data.Slice(i, 1)))
            {
                return false;
            }
        }

        return true;
    }

    public void SetBreakpoints(IReadOnlyCollection<ulong> addresses) => _breakpoints = [.. addresses];

    public void Dispose()
    {
    }

    private VmExit? Execute()
    {
        Span<byte> code = stackalloc byte[3];
        if (!ReadLinear(_state.Rip, code))
        {
            return VmExit.Shutdown;
        }

        switch (code)
        {
            case [0x90, ..]:
                _state.Rip++;
                return null;
            case [0x48, 0xFF, >= 0xC0 and <= 0xC7]:
                _state.Gpr[code[2] & 7]++;
                _state.Rip += 3;
                return null;
            case [0xEB, ..]:
                _state.Rip = _state.Rip + 2 + (ulong)(sbyte)code[1];
                return null;
            case [0xF4, ..]:
                _state.Rip++;
                Halts++;
                return VmExit.Halted;
            default:
                return VmExit.Shutdown;
        }
    }

    private ulong? Translate(ulong address)
    {
        if (_state.Cr0 >> 31 == 0)
        {
            return address;
        }

        ulong table = _state.Cr3 & ~0xFFFUL;
        Span<byte> bytes = stackalloc byte[8];
        for (int shift = 39; shift >= 12; shift -= 9)
        {
            memory.Read(table + ((address >> shift & 511) * 8), bytes);
            ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            if ((entry & 1) == 0)
            {
                return null;
            }

            table = entry & 0x000F_FFFF_FFFF_F000;
        }

        return table | (address & 0xFFF);
    }
}
