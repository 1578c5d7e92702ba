using Iced.Intel;
using Yadokari.Conformance.Tests.Samples;
using Yadokari.Core.Engines;
using Yadokari.Translation;
using Yadokari.Translation.Direct;

namespace Yadokari.Conformance.Tests;

/// <summary>
/// Encodings that assemblers do not write against the processor, translated and run directly: what an instruction is, how long, and which
/// fault it takes if it is none. More cases by <c>YADOKARI_CONFORMANCE_CASES</c>.
/// </summary>
public sealed class EncodingTests
{
    private static readonly int s_cases = int.Parse(Environment.GetEnvironmentVariable("YADOKARI_CONFORMANCE_CASES") ?? "3000");

    [Theory]
    [InlineData(64, DirectMode.Off, 0)]
    [InlineData(64, DirectMode.Always, 0)]
    [InlineData(64, DirectMode.Off, 0x100)]
    [InlineData(64, DirectMode.Off, 0x40000)]
    [InlineData(64, DirectMode.Always, 0x40000)]
    [InlineData(32, DirectMode.Off, 0)]
    [InlineData(32, DirectMode.Off, 0x40000)]
    public void Prefixes_mean_what_the_processor_takes_them_for(int bitness, DirectMode mode, ulong flags)
    {
        EncodingMaker maker = new(bitness);
        ConformanceTests.Compare(Engine(mode), s_cases, (ulong seed, MachineImage before, out Sample sample) =>
        {
            bool made = maker.TryMakePrefixed(seed, before, out sample);
            before.Rflags |= flags;
            return made;
        });
    }

    [Theory]
    [InlineData(16, 0)]
    [InlineData(32, 0)]
    [InlineData(16, 0x100)]
    [InlineData(16, 0x40000)]
    [InlineData(32, 0x40000)]
    public void Encodings_in_segments_mean_what_the_processor_takes_them_for(int bitness, ulong flags)
    {
        EncodingMaker maker = new(Segmentation.Within(bitness));
        ConformanceTests.Compare(Engine(DirectMode.Off), s_cases, (ulong seed, MachineImage before, out Sample sample) =>
        {
            bool made = (seed >> 8 & 1) != 0 ? maker.TryMakePrefixed(seed, before, out sample) : maker.TryMakeAny(seed, before, out sample);
            before.Rflags |= flags;
            return made;
        });
    }

    [Theory]
    [InlineData(64, DirectMode.Off)]
    [InlineData(64, DirectMode.Always)]
    [InlineData(32, DirectMode.Off)]
    public void Any_opcode_is_what_the_processor_takes_it_for(int bitness, DirectMode mode)
    {
        EncodingMaker maker = new(bitness);
        ConformanceTests.Compare(Engine(mode), s_cases, maker.TryMakeAny);
    }

    [Theory]
    [InlineData(64, DirectMode.Off)]
    [InlineData(64, DirectMode.Always)]
    [InlineData(32, DirectMode.Off)]
    public void Software_interrupts_and_the_trap_flag_trap_where_the_processor_does(int bitness, DirectMode mode)
    {
        TrapMaker maker = new(bitness);
        ConformanceTests.Compare(Engine(mode), s_cases, maker.TryMake);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(0x100)]
    [InlineData(0x40000)]
    public void Segments_are_loaded_as_the_processor_loads_them(ulong flags)
    {
        Assert.SkipWhen(ProcessorDifferences.IsIntel, "The host's processor is Intel's, with which far transfers have not been compared.");
        DescriptorMaker maker = new();
        ConformanceTests.Compare(Engine(DirectMode.Off), s_cases, (ulong seed, MachineImage before, out Sample sample) =>
        {
            bool made = maker.TryMake(seed, before, out sample);
            before.Rflags |= flags;
            return made;
        });
    }

    private static TranslationEngine Engine(DirectMode mode)
    {
        if (mode != DirectMode.Off)
        {
            Support support = TranslationEngine.ProbeDirect();
            Assert.SkipUnless(support.Available, support.Reason);
        }

        return new TranslationEngine { Direct = mode };
    }
}
