using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.Translation.Code;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation.Tests;

/// <summary>How much of the code cache is used.</summary>
public sealed class CodeCacheTests : IDisposable
{
    private const int First = 24 << 20;
    private const CpuMode Mode = CpuMode.Code64 | CpuMode.Protected | CpuMode.User;

    private readonly GuestMemory _memory = GuestRam.Create([(0, 8 << 20)]);
    private readonly TranslatedCode _code;

    public CodeCacheTests()
    {
        _code = new TranslatedCode(_memory, 96 << 20, new InstructionSet(CpuidModel.FromHost(new CpuidConfiguration(1, 1_000_000_000, 1_000_000_000))));

        // mov eax, [rbx]; mov [rbx+8], eax; mov ecx, [rbx+16]; ret: sixteen bytes apart.
        byte[] page = new byte[4096];
        for (int at = 0; at < page.Length; at += 16)
        {
            ReadOnlySpan<byte> block = [0x8B, 0x03, 0x89, 0x43, 0x08, 0x8B, 0x4B, 0x10, 0xC3];
            block.CopyTo(page.AsSpan(at));
        }

        for (ulong gpa = 0; gpa < 8 << 20; gpa += 4096)
        {
            _memory.Write(gpa, page);
        }
    }

    public void Dispose()
    {
        _code.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void Code_that_goes_by_takes_no_more_than_at_first()
    {
        for (ulong gpa = 0; gpa < 8 << 20 && _code.CacheFlushes < 3; gpa += 16)
        {
            Run(gpa);
        }

        Assert.Equal(3, _code.CacheFlushes);
        Assert.Equal(First, _code.Cache.Limit);
    }

    [Fact]
    public void Code_that_does_not_fit_makes_room()
    {
        // Somewhat more than fits at first.
        ulong end = 0;
        while (_code.CacheFlushes == 0)
        {
            Run(end += 16);
        }

        end += end / 4;
        for (int pass = 0; pass < 8; pass++)
        {
            for (ulong gpa = 0; gpa < end; gpa += 16)
            {
                Run(gpa);
            }
        }

        Assert.Equal(2 * First, _code.Cache.Limit);
        Assert.InRange(_code.CacheFlushes, 2, 3);
    }

    [Fact]
    public void A_flush_is_no_time_to_collect_garbage()
    {
        // Collections that others caused may fall into one of them or another, not into each.
        var collections = new List<int>();
        for (ulong gpa = 0; gpa < 8 << 20 && _code.CacheFlushes < 4; gpa += 16)
        {
            long flushes = _code.CacheFlushes;
            int before = GC.CollectionCount(GC.MaxGeneration);
            Run(gpa);
            if (_code.CacheFlushes != flushes)
            {
                collections.Add(GC.CollectionCount(GC.MaxGeneration) - before);
            }
        }

        Assert.Equal(4, collections.Count);
        Assert.Contains(0, collections);
    }

    [Fact]
    public void What_describes_blocks_is_taken_again_after_a_flush()
    {
        var described = new HashSet<Block>(ReferenceEqualityComparer.Instance);
        int most = 0;
        int blocks = 0;
        for (ulong gpa = 0; gpa < 8 << 20 && _code.CacheFlushes < 3; gpa += 16)
        {
            long flushes = _code.CacheFlushes;
            Block block = _code.Translate(gpa, 0, gpa, Mode)!;
            blocks = _code.CacheFlushes == flushes ? blocks + 1 : 1;
            most = Math.Max(most, blocks);
            described.Add(block);
            Assert.Equal((gpa, gpa & ~0xFFFul, Mode, true), (block.Gpa, block.LinearPage, block.Mode, block.Valid));
            Assert.Same(block, _code.Find(gpa, gpa, Mode));
        }

        Assert.Equal(3, _code.CacheFlushes);
        Assert.Equal(most, described.Count);
    }

    private void Run(ulong gpa)
    {
        if (_code.Find(gpa, gpa, Mode) == null)
        {
            Assert.NotNull(_code.Translate(gpa, 0, gpa, Mode));
        }
    }
}
