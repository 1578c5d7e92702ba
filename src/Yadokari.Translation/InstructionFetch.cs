using Iced.Intel;
using Yadokari.Core.Memory;
using Yadokari.Translation.Code;
using Yadokari.Translation.Memory;

namespace Yadokari.Translation;

/// <summary>
/// What is at RIP, as an instruction or as the block to run: found with the rights and up to the limit with which the processor fetches. Of the
/// vCPU's thread.
/// </summary>
internal sealed unsafe class InstructionFetch(Vcpu cpu, GuestMemory memory, TranslatedCode code, Tlb tlb)
{
    /// <summary>Entries into instructions that cross a page boundary.</summary>
    public long Crossings { get; private set; }

    /// <summary>Decodes the instruction at RIP, or raises the fault its fetch meets.</summary>
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

    /// <summary>The block at RIP, translated if need be. Null: an exception was raised.</summary>
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

        // The instruction crosses into the next page: what stands there decides each time which block it is.
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

            // It relies on a global page, which this is not any more.
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
    /// Whether the instruction at RIP ends within the code segment; if not, #GP is raised (SDM 3A 5.3). Near the segment's end, instructions
    /// run one by one, each looked at before: <paramref name="mode"/> says so.
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

        // It is fetched no further than the segment goes, whatever the page after says.
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
