using System.Runtime.CompilerServices;
using Iced.Intel;
using static Yadokari.Translation.Emulation.Operands;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>Progress of a string instruction: address size, direction, prefix, and the elements that this call may still process.</summary>
internal unsafe struct StringRun
{
    private readonly ulong _mask;
    private readonly int _bytes;
    private readonly int _segment;
    private readonly bool _repeats;
    private readonly bool _whileEqual;
    private readonly bool _down;
    private int _budget;
    private bool _done;

    public StringRun(Vcpu cpu, in Instruction instruction, int bytes, int budget)
    {
        _bytes = bytes;
        _repeats = instruction.HasRepPrefix || instruction.HasRepnePrefix;
        _whileEqual = !instruction.HasRepnePrefix;
        _down = (cpu.State->SystemFlags & FlagDirection) != 0;

        // With TF set, each element traps.
        _budget = (cpu.State->SystemFlags & FlagTrap) != 0 ? 1 : budget;
        _segment = Ds;
        _mask = ulong.MaxValue;
        for (int operand = 0; operand < instruction.OpCount; operand++)
        {
            OpKind kind = instruction.GetOpKind(operand);
            _mask = kind switch
            {
                OpKind.MemorySegSI or OpKind.MemoryESDI => 0xFFFF,
                OpKind.MemorySegESI or OpKind.MemoryESEDI => 0xFFFFFFFF,
                _ => _mask,
            };
            if (kind is OpKind.MemorySegSI or OpKind.MemorySegESI or OpKind.MemorySegRSI)
            {
                _segment = cpu.Memory.SegmentOf(instruction);
            }
        }
    }

    /// <summary>The handler's result after the loop ended without a fault.</summary>
    public readonly Outcome Result => _done ? Outcome.Next : Outcome.Again;

    /// <summary>Whether there is an element left to do in this call.</summary>
    public bool More(Vcpu cpu)
    {
        _done |= _repeats && (cpu.Rcx & _mask) == 0;
        return !_done && _budget > 0;
    }

    /// <summary>Number of elements left in this call.</summary>
    public readonly int Left(Vcpu cpu) => _repeats ? (int)Math.Min(cpu.Rcx & _mask, (ulong)_budget) : 1;

    /// <summary>Whether the repetition continues after a comparison.</summary>
    public readonly bool GoesOn(bool equal) => !_repeats || equal == _whileEqual;

    public readonly bool Source(Vcpu cpu, out ulong linear) => cpu.Memory.Linear(_segment, cpu.Rsi & _mask, _bytes, write: false, out linear);

    public readonly bool Destination(Vcpu cpu, bool write, out ulong linear)
        => cpu.Memory.Linear(Es, cpu.Rdi & _mask, _bytes, write, out linear);

    /// <summary>Both addresses. Faults of the source have priority over those of the destination.</summary>
    public readonly bool Both(Vcpu cpu, bool write, out ulong source, out ulong destination)
    {
        destination = 0;
        return Source(cpu, out source)
            && (Destination(cpu, write, out destination)
                || (cpu.Memory.ProbeLinear(source, _bytes, write: false) && Destination(cpu, write, out destination)));
    }

    /// <summary>How many of a number of elements, from an address in the run's direction, are within the address's page; 0 if the first crosses it.</summary>
    public readonly int InPage(int count, ulong linear)
    {
        int offset = (int)(linear & 4095);
        int room = _down ? offset + _bytes <= 4096 ? (offset / _bytes) + 1 : 0 : (4096 - offset) / _bytes;
        return Math.Min(count, room);
    }

    /// <summary>
    /// A host pointer to elements within one page, if they are RAM, within the segment's limit, and their addresses do not wrap around. Otherwise false:
    /// the elements must be processed one by one, unless <paramref name="fault"/> reports a raised exception.
    /// </summary>
    public readonly bool Reach(Vcpu cpu, ulong linear, int count, bool write, out byte* host, out bool fault)
    {
        host = null;
        fault = false;
        if (!IsFlat(cpu, count, write))
        {
            return false;
        }

        Reach reach = cpu.Mmu.Translate(linear, write, cpu.Mmu.CurrentTlb, out host, out _);
        fault = reach == Translation.Reach.Fault;
        return reach == Translation.Reach.Ram;
    }

    /// <summary>The same for elements of the source and of the destination, the source first.</summary>
    public readonly bool Reach(Vcpu cpu, ulong source, ulong destination, int count, bool write, out byte* from, out byte* to, out bool fault)
    {
        to = null;
        return Reach(cpu, source, count, write: false, out from, out fault) && Reach(cpu, destination, count, write, out to, out fault);
    }

    /// <summary>The element with the lowest address, of a number of elements in the run's direction.</summary>
    public readonly byte* Lowest(byte* first, int count) => _down ? first - ((count - 1) * _bytes) : first;

    /// <summary>One of the elements from a host address on, in the run's direction.</summary>
    public readonly T Element<T>(byte* first, int index)
        where T : unmanaged

        // SAFETY: Reach found the elements, of this width, within one page of guest RAM; the index is below their number.
        => Unsafe.ReadUnaligned<T>(_down ? first - (index * _bytes) : first + (index * _bytes));

    /// <summary>Copies elements one after the other, so that overlapping ranges repeat the elements just written, as in the processor.</summary>
    public readonly void Copy(byte* from, byte* to, int count)
    {
        long length = (long)count * _bytes;
        byte* lowFrom = Lowest(from, count);
        byte* lowTo = Lowest(to, count);
        bool repeats = _down ? lowTo < lowFrom && lowTo + length > lowFrom : lowTo > lowFrom && lowFrom + length > lowTo;

        // SAFETY: both ranges lie within one page of guest RAM each.
        if (!repeats)
        {
            Buffer.MemoryCopy(lowFrom, lowTo, length, length);
            return;
        }

        long step = _down ? -_bytes : _bytes;
        for (int i = 0; i < count; i++)
        {
            CopyOne(from + (i * step), to + (i * step));
        }
    }

    /// <summary>Counts finished elements.</summary>
    public void Advance(Vcpu cpu, int count, bool source, bool destination)
    {
        ulong distance = (ulong)((long)count * (_down ? -_bytes : _bytes));
        if (source)
        {
            SetWidth(ref cpu.Rsi, cpu.Rsi + distance, _mask);
        }

        if (destination)
        {
            SetWidth(ref cpu.Rdi, cpu.Rdi + distance, _mask);
        }

        _budget -= count;
        if (_repeats)
        {
            SetWidth(ref cpu.Rcx, cpu.Rcx - (ulong)count, _mask);
            _done = (cpu.Rcx & _mask) == 0;
        }
        else
        {
            _done = true;
        }
    }

    // All elements are in one page, so in 64-bit mode with 64-bit addresses no further check is needed.
    private readonly bool IsFlat(Vcpu cpu, int count, bool write)
    {
        if (cpu.Code64 && _mask == ulong.MaxValue)
        {
            return true;
        }

        int span = (count - 1) * _bytes;
        return Ends(cpu, _segment, cpu.Rsi, span) && Ends(cpu, Es, cpu.Rdi, span);
    }

    // Whether the following offsets neither wrap around nor exceed the segment's limit. May be false without need for an unused pointer.
    private readonly bool Ends(Vcpu cpu, int segment, ulong pointer, int span)
    {
        ulong first = pointer & _mask;
        ulong low = _down ? first - (ulong)span : first;
        ulong high = (_down ? first : first + (ulong)span) + (ulong)_bytes - 1;
        if (low > high || high > _mask)
        {
            return false;
        }

        ref readonly X86.State.SegmentState state = ref cpu.Segments[segment];
        bool expandDown = (state.Attributes & 0xC) == 4;
        return cpu.Code64 || (!expandDown && high <= state.Limit) || (expandDown && low > state.Limit);
    }

    private readonly void CopyOne(byte* from, byte* to)
    {
        // SAFETY: the caller's elements lie within one page of guest RAM each.
        switch (_bytes)
        {
            case 1:
                *to = *from;
                break;
            case 2:
                Unsafe.WriteUnaligned(to, Unsafe.ReadUnaligned<ushort>(from));
                break;
            case 4:
                Unsafe.WriteUnaligned(to, Unsafe.ReadUnaligned<uint>(from));
                break;
            default:
                Unsafe.WriteUnaligned(to, Unsafe.ReadUnaligned<ulong>(from));
                break;
        }
    }
}
