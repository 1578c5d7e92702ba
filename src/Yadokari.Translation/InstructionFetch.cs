using Iced.Intel;
using Yadokari.Core.Memory;
using Yadokari.Translation.Code;
using Yadokari.Translation.Memory;

namespace Yadokari.Translation;

/// <summary>
/// Finds the instruction or the block at RIP, with the checks of an instruction fetch: page rights and the limit of CS. On the vCPU's thread.
/// </summary>
internal sealed unsafe class InstructionFetch(Vcpu cpu, GuestMemory memory, TranslatedCode code, Tlb tlb)
{
    /// <summary>Count of entries into instructions that cross a page boundary.</summary>
    public long Crossings { get; private set; }

    /// <summary>Decodes the instruction at RIP. Returns false after raising the fault of its fetch.</summary>
    public bool TryDecode(out Instruction instruction)
    {
        instruction = default;
        ulong linear = cpu.LinearRip;
        Span<byte> bytes = stackalloc byte[16];
        int first = (int)Math.Min(16, 4096 - (linear & 4095));
        if (!ReadCode(linear, bytes[..first]))
        {
            return false;
        }

        instruction = code.Translator.Decoder.Decode(bytes[..first], cpu.Mode.Current, linear);
        if (first < 16 && !code.Translator.Decoder.IsWhole)
        {
            if (!ReadCode(linear + (ulong)first, bytes[first..]))
            {
                return false;
            }

            instruction = code.Translator.Decoder.Decode(bytes, cpu.Mode.Current, linear);
        }

        return true;
    }

    /// <summary>Finds or translates the block at RIP. Returns null after raising an exception.</summary>
    public Block? FindBlock(CpuMode mode)
    {
        ulong linear = cpu.LinearRip;
        cpu.State->CodePage = linear & ~0xFFFul;
        if ((mode & CpuMode.Limited) != 0 && !IsWithinSegment(linear, ref mode))
        {
            return null;
        }

        if (!cpu.Mmu.TranslateFetch(linear, out ulong gpa))
        {
            return null;
        }

        Block? block = code.Find(gpa, linear, mode);
        if (block != null && block.SecondGpa == 0)
        {
            return block;
        }

        if (memory.HostAddress(gpa & ~0xFFFul, 4096) == 0)
        {
            // Code is fetched from RAM only.
            cpu.Raise(Vector.GeneralProtection, 0);
            return null;
        }

        if (block == null && code.Translate(gpa, 0, linear, mode) is { } fresh)
        {
            return fresh;
        }

        Crossings++;

        // The instruction crosses into the next page: the block is valid only for the current mapping of that page.
        bool global = cpu.Mmu.FetchIsGlobal;
        if (!cpu.Mmu.TranslateFetch((linear & ~0xFFFul) + 4096, out ulong second))
        {
            return null;
        }

        bool secondGlobal = cpu.Mmu.FetchIsGlobal;
        cpu.Mmu.FetchIsGlobal = global;
        if (block != null && block.SecondGpa == second)
        {
            if (secondGlobal || !block.SecondGlobal)
            {
                return block;
            }

            // The block was translated for a global second page, which is not global any more.
            code.Drop(block);
        }

        if (memory.HostAddress(second, 4096) == 0)
        {
            cpu.Raise(Vector.GeneralProtection, 0);
            return null;
        }

        return code.Translate(gpa, second, linear, mode, tlb.FetchEpoch(secondGlobal), secondGlobal);
    }

    /// <summary>
    /// Whether the instruction at RIP ends within the limit of CS; if not, raises #GP (SDM 3A 5.3). Near the limit, sets
    /// <see cref="CpuMode.Single"/> in <paramref name="mode"/>, so that each instruction is checked before it runs.
    /// </summary>
    private bool IsWithinSegment(ulong linear, ref CpuMode mode)
    {
        ulong limit = cpu.Segments.CodeLimit;
        if (cpu.State->Rip > limit)
        {
            return cpu.Raise(Vector.GeneralProtection, 0) == Vcpu.Outcome.Next;
        }

        const ulong Longest = 15;
        ulong left = limit - cpu.State->Rip + 1;
        if (left >= 4096 - (linear & 4095) + Longest)
        {
            return true;
        }

        mode |= CpuMode.Single;
        if (left >= Longest)
        {
            return true;
        }

        // The fetch ends at the limit, so that the page after it can't fault.
        Span<byte> bytes = stackalloc byte[(int)left];
        int first = (int)Math.Min(left, 4096 - (linear & 4095));
        if (!ReadCode(linear, bytes[..first]) || !ReadCode(linear + (ulong)first, bytes[first..]))
        {
            return false;
        }

        return !code.Translator.Decoder.GoesOn(bytes, mode) || cpu.Raise(Vector.GeneralProtection, 0) == Vcpu.Outcome.Next;
    }

    private bool ReadCode(ulong linear, Span<byte> bytes)
    {
        if (bytes.IsEmpty)
        {
            return true;
        }

        if (!cpu.Mmu.TranslateFetch(linear, out ulong gpa))
        {
            return false;
        }

        memory.Read(gpa, bytes);
        return true;
    }
}
