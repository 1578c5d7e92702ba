using Yadokari.X86.State;
using static Yadokari.Translation.Emulation.Descriptors;
using static Yadokari.Translation.Emulation.InterruptDelivery;
using static Yadokari.Translation.Emulation.Operands;

namespace Yadokari.Translation.Emulation;

/// <summary>
/// The stack on which a control transfer pushes: the current one, or that of a more privileged level from the TSS. The vCPU's registers do not change
/// before <see cref="Commit"/>.
/// </summary>
internal unsafe struct Stack
{
    private SegmentState _segment;
    private ulong _rsp;
    private ulong _mask;
    private bool _inner;
    private bool _long;
    private bool _code64;
    private bool _aligned;
    private uint _external;

    /// <summary>The current stack.</summary>
    public static Stack Current(Vcpu cpu) => Current(cpu, cpu.Code64, aligned: false);

    /// <summary>The current stack, with the rules of 64-bit or other code, and with or without alignment checking.</summary>
    public static Stack Current(Vcpu cpu, bool code64, bool aligned) => new()
    {
        _rsp = cpu.Rsp,
        _mask = StackMask(cpu, code64),
        _segment = cpu.Segments[Ss],
        _code64 = code64,
        _aligned = aligned,
    };

    /// <summary>The stack of an inner level: SDM 3A 5.8.5, 5.8.5.1. In long mode SS becomes null.</summary>
    public static bool OfLevel(Vcpu cpu, int level, uint external, out Stack stack)
    {
        stack = new Stack { _inner = true, _external = external };
        if (cpu.LongMode)
        {
            stack._long = true;
            stack._mask = ulong.MaxValue;
            stack._segment = NullSegment((ushort)level, level);
            return ReadTask(cpu, 4u + ((uint)level * 8), external, out stack._rsp);
        }

        ushort selector;
        if ((cpu.Segments.Tr.Attributes & 0xF) == Descriptor.TssBusy32)
        {
            if (!ReadTask(cpu, 4u + ((uint)level * 8), external, out uint esp)
                || !ReadTask(cpu, 8u + ((uint)level * 8), external, out selector))
            {
                return false;
            }

            stack._rsp = esp;
        }
        else
        {
            if (!ReadTask(cpu, 2u + ((uint)level * 4), external, out ushort sp)
                || !ReadTask(cpu, 4u + ((uint)level * 4), external, out selector))
            {
                return false;
            }

            stack._rsp = sp;
        }

        if (IsNull(selector))
        {
            return Refuse(cpu, Vector.InvalidTss, external);
        }

        if (!Fetch(cpu, selector, Vector.InvalidTss, external, out Descriptor descriptor, out ulong address))
        {
            return false;
        }

        if ((selector & 3) != level || descriptor.Dpl != level || !descriptor.IsWritable)
        {
            return Refuse(cpu, Vector.InvalidTss, ErrorOf(selector, external));
        }

        if (!descriptor.Present)
        {
            return Refuse(cpu, Vector.StackFault, ErrorOf(selector, external));
        }

        stack._segment = descriptor.ToSegment(selector);
        stack._mask = descriptor.Big ? 0xFFFFFFFF : 0xFFFF;
        return MarkAccessed(cpu, descriptor, address);
    }

    /// <summary>Pushes 2, 4 or 8 bytes.</summary>
    public bool Push(Vcpu cpu, ulong value, int bytes)
    {
        ulong top = (_rsp - (ulong)bytes) & _mask;
        if (!_inner)
        {
            if (!cpu.Memory.Linear(_code64, Ss, top, bytes, write: true, out ulong current))
            {
                return false;
            }

            if (_aligned && (current & (ulong)(bytes - 1)) != 0)
            {
                return Refuse(cpu, Vector.AlignmentCheck);
            }

            if (!WriteSized(cpu, current, bytes, value))
            {
                return false;
            }
        }
        else if (!Fits(top, bytes))
        {
            return Refuse(cpu, Vector.StackFault, ErrorOf(_segment.Selector, _external));
        }
        else if (!WriteInner(cpu, _long ? top : (uint)(_segment.Base + top), bytes, value))
        {
            return false;
        }

        SetPart(ref _rsp, top, _mask);
        return true;
    }

    /// <summary>Loads SS and RSP.</summary>
    public readonly void Commit(Vcpu cpu)
    {
        cpu.Rsp = _rsp;
        if (_inner)
        {
            cpu.SetSegment(Ss, _segment);
        }
    }

    private readonly bool Fits(ulong top, int bytes)
    {
        if (_long)
        {
            return IsCanonical(top) && IsCanonical(top + (ulong)bytes - 1);
        }

        ulong last = top + (ulong)bytes - 1;
        return (_segment.Attributes & 4) != 0 ? top > _segment.Limit && last <= _mask : last <= _segment.Limit;
    }

    // An inner level is never 3, so its stack is written with supervisor rights.
    private static bool WriteInner(Vcpu cpu, ulong linear, int bytes, ulong value) => bytes switch
    {
        2 => cpu.Memory.WriteAs(linear, (ushort)value, user: false),
        4 => cpu.Memory.WriteAs(linear, (uint)value, user: false),
        _ => cpu.Memory.WriteAs(linear, value, user: false),
    };
}
