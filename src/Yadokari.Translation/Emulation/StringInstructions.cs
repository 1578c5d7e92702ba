using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Iced.Intel;
using static Yadokari.Translation.Emulation.Operands;
using static Yadokari.Translation.Emulation.PortIo;
using Op = Iced.Intel.Code;
using Outcome = Yadokari.Translation.Vcpu.Outcome;

namespace Yadokari.Translation.Emulation;

/// <summary>
/// String instructions. A repeated one processes its elements in pieces: elements within one page of source and destination are accessed by host
/// pointers, the others one by one. Registers are updated after each piece, so that a fault leaves exactly the completed elements counted. After
/// <see cref="BytesPerCall"/> bytes, pending interrupts are checked.
/// </summary>
internal static unsafe class StringInstructions
{
    private const int BytesPerCall = 64 << 10;

    // An access to a device is slow, so a call makes few of them.
    private const int PortsPerCall = 512;

    internal static void Add(HandlerTable table)
    {
        table.On(&Movs<byte>, Op.Movsb_m8_m8);
        table.On(&Movs<ushort>, Op.Movsw_m16_m16);
        table.On(&Movs<uint>, Op.Movsd_m32_m32);
        table.On(&Movs<ulong>, Op.Movsq_m64_m64);
        table.On(&Stos<byte>, Op.Stosb_m8_AL);
        table.On(&Stos<ushort>, Op.Stosw_m16_AX);
        table.On(&Stos<uint>, Op.Stosd_m32_EAX);
        table.On(&Stos<ulong>, Op.Stosq_m64_RAX);
        table.On(&Lods<byte>, Op.Lodsb_AL_m8);
        table.On(&Lods<ushort>, Op.Lodsw_AX_m16);
        table.On(&Lods<uint>, Op.Lodsd_EAX_m32);
        table.On(&Lods<ulong>, Op.Lodsq_RAX_m64);
        table.On(&Scas<byte>, Op.Scasb_AL_m8);
        table.On(&Scas<ushort>, Op.Scasw_AX_m16);
        table.On(&Scas<uint>, Op.Scasd_EAX_m32);
        table.On(&Scas<ulong>, Op.Scasq_RAX_m64);
        table.On(&Cmps<byte>, Op.Cmpsb_m8_m8);
        table.On(&Cmps<ushort>, Op.Cmpsw_m16_m16);
        table.On(&Cmps<uint>, Op.Cmpsd_m32_m32);
        table.On(&Cmps<ulong>, Op.Cmpsq_m64_m64);
        table.On(&Ins<byte>, Op.Insb_m8_DX);
        table.On(&Ins<ushort>, Op.Insw_m16_DX);
        table.On(&Ins<uint>, Op.Insd_m32_DX);
        table.On(&Outs<byte>, Op.Outsb_DX_m8);
        table.On(&Outs<ushort>, Op.Outsw_DX_m16);
        table.On(&Outs<uint>, Op.Outsd_DX_m32);
    }

    // SDM 2B MOVS.
    private static Outcome Movs<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        var run = new StringRun(cpu, instruction, sizeof(T), BytesPerCall / sizeof(T));
        while (run.More(cpu))
        {
            if (!run.Both(cpu, write: true, out ulong source, out ulong destination))
            {
                return Outcome.Fault;
            }

            int count = run.InPage(run.InPage(run.Left(cpu), source), destination);
            byte* from = null;
            byte* to = null;
            if (count > 1 && !run.Reach(cpu, source, destination, count, write: true, out from, out to, out bool fault))
            {
                if (fault)
                {
                    return Outcome.Fault;
                }

                count = 1;
            }

            if (count > 1)
            {
                run.Copy(from, to, count);
            }
            else
            {
                count = 1;
                if (!cpu.Memory.Read(source, out T value) || !cpu.Memory.Write(destination, value))
                {
                    return Outcome.Fault;
                }
            }

            run.Advance(cpu, count, source: true, destination: true);
        }

        return run.Result;
    }

    // SDM 2B STOS.
    private static Outcome Stos<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        // SAFETY: RAX has eight bytes, T at most that.
        T value = *(T*)Unsafe.AsPointer(ref cpu.Rax);
        var run = new StringRun(cpu, instruction, sizeof(T), BytesPerCall / sizeof(T));
        while (run.More(cpu))
        {
            if (!run.Destination(cpu, write: true, out ulong destination))
            {
                return Outcome.Fault;
            }

            int count = run.InPage(run.Left(cpu), destination);
            byte* to = null;
            if (count > 1 && !run.Reach(cpu, destination, count, write: true, out to, out bool fault))
            {
                if (fault)
                {
                    return Outcome.Fault;
                }

                count = 1;
            }

            if (count > 1)
            {
                // SAFETY: Reach found the elements within one page of RAM; Lowest is the first of them in memory.
                Fill(run.Lowest(to, count), value, count);
            }
            else
            {
                count = 1;
                if (!cpu.Memory.Write(destination, value))
                {
                    return Outcome.Fault;
                }
            }

            run.Advance(cpu, count, source: false, destination: true);
        }

        return run.Result;
    }

    // SDM 2A LODS.
    private static Outcome Lods<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        var run = new StringRun(cpu, instruction, sizeof(T), BytesPerCall / 8);
        while (run.More(cpu))
        {
            if (!run.Source(cpu, out ulong source) || !cpu.Memory.Read(source, out T value))
            {
                return Outcome.Fault;
            }

            SetWidth(ref cpu.Rax, ZeroExtend(value), MaskOf(sizeof(T)));
            run.Advance(cpu, 1, source: true, destination: false);
        }

        return run.Result;
    }

    // SDM 2B SCAS.
    private static Outcome Scas<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ulong wanted = cpu.Rax & MaskOf(sizeof(T));
        var run = new StringRun(cpu, instruction, sizeof(T), BytesPerCall / 8);
        while (run.More(cpu))
        {
            if (!run.Destination(cpu, write: false, out ulong destination))
            {
                return Outcome.Fault;
            }

            int count = run.InPage(run.Left(cpu), destination);
            byte* at = null;
            if (count > 1 && !run.Reach(cpu, destination, count, write: false, out at, out bool fault))
            {
                if (fault)
                {
                    return Outcome.Fault;
                }

                count = 1;
            }

            ulong found;
            if (count > 1)
            {
                int done = 0;
                do
                {
                    found = ZeroExtend(run.Element<T>(at, done));
                    done++;
                }
                while (done < count && run.GoesOn(found == wanted));
                count = done;
            }
            else
            {
                count = 1;
                if (!cpu.Memory.Read(destination, out T value))
                {
                    return Outcome.Fault;
                }

                found = ZeroExtend(value);
            }

            SetCompareFlags(cpu, wanted, found, sizeof(T));
            run.Advance(cpu, count, source: false, destination: true);
            if (!run.GoesOn(found == wanted))
            {
                return Outcome.Next;
            }
        }

        return run.Result;
    }

    // SDM 2A CMPS: the source is what is subtracted from.
    private static Outcome Cmps<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        var run = new StringRun(cpu, instruction, sizeof(T), BytesPerCall / 8);
        while (run.More(cpu))
        {
            if (!run.Both(cpu, write: false, out ulong source, out ulong destination))
            {
                return Outcome.Fault;
            }

            int count = run.InPage(run.InPage(run.Left(cpu), source), destination);
            byte* first = null;
            byte* second = null;
            if (count > 1 && !run.Reach(cpu, source, destination, count, write: false, out first, out second, out bool fault))
            {
                if (fault)
                {
                    return Outcome.Fault;
                }

                count = 1;
            }

            ulong left;
            ulong right;
            if (count > 1)
            {
                int done = 0;
                do
                {
                    left = ZeroExtend(run.Element<T>(first, done));
                    right = ZeroExtend(run.Element<T>(second, done));
                    done++;
                }
                while (done < count && run.GoesOn(left == right));
                count = done;
            }
            else
            {
                count = 1;
                if (!cpu.Memory.Read(source, out T a) || !cpu.Memory.Read(destination, out T b))
                {
                    return Outcome.Fault;
                }

                left = ZeroExtend(a);
                right = ZeroExtend(b);
            }

            SetCompareFlags(cpu, left, right, sizeof(T));
            run.Advance(cpu, count, source: true, destination: true);
            if (!run.GoesOn(left == right))
            {
                return Outcome.Next;
            }
        }

        return run.Result;
    }

    // SDM 2A INS: the destination is checked before the port is read, which can't be undone.
    private static Outcome Ins<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ushort port = (ushort)cpu.Rdx;
        if (!MayUsePort(cpu, port, sizeof(T)))
        {
            return Outcome.Fault;
        }

        var run = new StringRun(cpu, instruction, sizeof(T), PortsPerCall);
        while (run.More(cpu))
        {
            if (!run.Destination(cpu, write: true, out ulong destination) || !cpu.Memory.ProbeLinear(destination, sizeof(T), write: true))
            {
                return Outcome.Fault;
            }

            T value = default;
            cpu.ReadPort(port, MemoryMarshal.AsBytes(new Span<T>(ref value)));
            if (!cpu.Memory.Write(destination, value))
            {
                return Outcome.Fault;
            }

            run.Advance(cpu, 1, source: false, destination: true);
        }

        return run.Result;
    }

    // SDM 2B OUTS.
    private static Outcome Outs<T>(Vcpu cpu, in Instruction instruction)
        where T : unmanaged
    {
        ushort port = (ushort)cpu.Rdx;
        if (!MayUsePort(cpu, port, sizeof(T)))
        {
            return Outcome.Fault;
        }

        var run = new StringRun(cpu, instruction, sizeof(T), PortsPerCall);
        while (run.More(cpu))
        {
            if (!run.Source(cpu, out ulong source) || !cpu.Memory.Read(source, out T value))
            {
                return Outcome.Fault;
            }

            cpu.WritePort(port, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));
            run.Advance(cpu, 1, source: true, destination: false);
        }

        return run.Result;
    }

    private static void Fill<T>(byte* first, T value, int count)
        where T : unmanaged
    {
        // SAFETY: the caller's range is within one page of guest RAM.
        if ((nuint)first % (nuint)sizeof(T) == 0)
        {
            new Span<T>(first, count).Fill(value);
            return;
        }

        for (int i = 0; i < count; i++)
        {
            Unsafe.WriteUnaligned(first + (i * sizeof(T)), value);
        }
    }

    /// <summary>The flags of a subtraction: SDM 2A CMP.</summary>
    private static void SetCompareFlags(Vcpu cpu, ulong left, ulong right, int bytes)
    {
        int top = (bytes * 8) - 1;
        ulong result = left - right;
        ulong flags = (left < right ? 1u : 0)
            | ((System.Numerics.BitOperations.PopCount(result & 0xFF) & 1) == 0 ? 4u : 0)
            | ((left ^ right ^ result) & 0x10)
            | (left == right ? FlagZero : 0)
            | ((result >> top & 1) << 7)
            | ((((left ^ right) & (left ^ result)) >> top & 1) << 11);
        SetArithmeticFlags(cpu, flags);
    }
}
