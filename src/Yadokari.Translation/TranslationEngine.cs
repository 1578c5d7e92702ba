using System.Diagnostics;
using Iced.Intel;
using Yadokari.Core;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Translation.Code;
using Yadokari.Translation.Direct;
using Yadokari.Translation.Memory;
using Yadokari.X86.Cpuid;

namespace Yadokari.Translation;

/// <summary>
/// Dynamic translation: runs guests without a hypervisor, a kernel module or root. Innocuous instructions go to the processor itself,
/// sensitive ones are emulated.
/// </summary>
public sealed class TranslationEngine : IEngine
{
    /// <summary>
    /// The most bytes of host code kept for a vCPU, a multiple of 8192; more than two vCPUs share twice as many among them, but have
    /// <see cref="LeastCodeCacheBytes"/> each. 24 MiB are enough for most guests, and more is taken only where these are translated again
    /// and again: programs with compilers of their own want tens of MiB.
    /// </summary>
    public int CodeCacheBytes { get; init; } = 128 << 20;

    /// <summary>What each vCPU keeps however many there are, unless <see cref="CodeCacheBytes"/> is less.</summary>
    public const int LeastCodeCacheBytes = 32 << 20;

    /// <summary>When user code runs on the processor itself rather than translated.</summary>
    public DirectMode Direct { get; init; } = DirectMode.Auto;

    /// <summary>Whether CPUID stops a program that runs directly where the host can make it; else pages with it run translated, for tests.</summary>
    internal bool UsesCpuidFaulting { get; init; } = true;

    /// <summary>Measures the time spent in emulated instructions.</summary>
    public bool Timed { get; init; }

    /// <summary>Where to write every block entered, exception and interrupt; null for no trace.</summary>
    public TextWriter? Trace { get; init; }

    /// <inheritdoc/>
    public string Name => "translate";

    /// <inheritdoc/>
    public Support Probe()
    {
        if (!OperatingSystem.IsLinux() || System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture != System.Runtime.InteropServices.Architecture.X64)
        {
            return Support.No("the translation engine needs Linux on x86-64");
        }

        (_, _, int ecx, _) = System.Runtime.Intrinsics.X86.X86Base.CpuId(1, 0);
        return (ecx & (1 << 27)) != 0 ? Support.Yes : Support.No("the translation engine needs a processor with XSAVE (2008 or later)");
    }

    /// <summary>Looks whether this host lets user code run directly, by starting a process for it. Where not, all code is translated.</summary>
    public static Support ProbeDirect()
    {
        using GuestMemory memory = Linux.GuestRam.Create([(0, 4096)]);
        using Sandbox? sandbox = Sandbox.Start(memory);
        return sandbox != null ? Support.Yes : Support.No("direct execution needs a host that lets a process trace its child (ptrace with seccomp)");
    }

    /// <inheritdoc/>
    public IEngineVm CreateVm(GuestMemory memory, IVcpuHost host, int vcpus = 1) => new TranslationVm(this, memory, host, vcpus);
}

/// <summary>A machine under translation: what its vCPUs share.</summary>
internal sealed class TranslationVm : IEngineVm
{
    private static readonly TimeSpan s_betweenLooks = TimeSpan.FromMinutes(1);

    private readonly List<Vcpu> _vcpus = [];
    private readonly long[] _emulated = new long[Enum.GetValues<Mnemonic>().Length + 1];
    private readonly long[] _emulatedTicks = new long[Enum.GetValues<Mnemonic>().Length + 1];

    // What the counters of vCPUs were ahead of the host's at power-on, or at the last reset.
    private ulong _tscOffset = 0 - HostTsc.Read();

    private readonly TscGap _tscGap = new(HostTsc.Read, () => Linux.SleepWatch.BootTime, HostTsc.Hz);
    private readonly Timer _tscLooks;

    internal TranslationVm(TranslationEngine engine, GuestMemory memory, IVcpuHost host, int vcpus)
    {
        Memory = memory;
        Host = host;
        Timed = engine.Timed;
        const long ApicTimerHz = 1_000_000_000;
        Cpuid = CpuidModel.FromHost(new CpuidConfiguration(vcpus, (long)HostTsc.Hz, ApicTimerHz));
        InstructionSet = new InstructionSet(Cpuid);
        int share = Math.Max((int)(2L * engine.CodeCacheBytes / vcpus) & -8192, TranslationEngine.LeastCodeCacheBytes);
        CodeCacheBytes = Math.Min(share, engine.CodeCacheBytes);
        Vcpus = vcpus;
        Coherence = new Coherence(memory, vcpus);
        TraceWriter = engine.Trace == null ? null : TextWriter.Synchronized(engine.Trace);
        _tscLooks = new Timer(_ => LookAtTsc(), null, s_betweenLooks, s_betweenLooks);
        Direct = engine.Trace == null ? engine.Direct : DirectMode.Off;
        UsesCpuidFaulting = engine.UsesCpuidFaulting;
    }

    /// <inheritdoc/>
    public ulong TscHz => HostTsc.Hz;

    internal GuestMemory Memory { get; }

    internal IVcpuHost Host { get; }

    internal int CodeCacheBytes { get; }

    /// <summary>How many vCPUs it is made for.</summary>
    internal int Vcpus { get; }

    /// <summary>There are more vCPUs than processors: who only waits should give way.</summary>
    internal bool Crowded => Vcpus > Environment.ProcessorCount;

    internal Coherence Coherence { get; }

    internal CpuidModel Cpuid { get; }

    /// <summary>What the guest has; the rest is #UD.</summary>
    internal InstructionSet InstructionSet { get; }

    internal bool Timed { get; }

    /// <summary>What guests asked for in vain: model-specific registers (#GP), instructions that the processor does not have (#UD).</summary>
    internal Tally Refused { get; } = new();

    internal DirectMode Direct { get; }

    internal bool UsesCpuidFaulting { get; }

    /// <summary>What programs that ran directly showed, on any vCPU.</summary>
    internal DirectOutlook Outlook { get; } = new();

    internal TextWriter? TraceWriter { get; }

    /// <inheritdoc/>
    public IReadOnlyList<(string Group, string Name, double Value, string Unit)> Statistics
    {
        get
        {
            var rows = new List<(string, string, double, string)>
            {
                ("translation", "blocks translated", _vcpus.Sum(v => v.Translated.BlocksTranslated), ""),
                ("translation", "instructions translated", _vcpus.Sum(v => v.Translated.Translator.InstructionsTranslated), ""),
                ("translation", "blocks refused", _vcpus.Sum(v => v.Translated.Translator.Failures), ""),
                ("translation", "jumps chained", _vcpus.Sum(v => v.Translated.LinksMade), ""),
                ("translation", "code cache in use", _vcpus.Sum(v => v.Translated.Cache.Used) / 1048576.0, "MiB"),
                ("translation", "code cache flushes", _vcpus.Sum(v => v.Translated.CacheFlushes), ""),
                ("translation", "pages of code written", _vcpus.Sum(v => v.Translated.Invalidations), ""),
            };
            rows.Add(("translation", "requests to vCPUs", Coherence.Requests, ""));
            rows.Add(("translation", "times one vCPU ran alone", Coherence.Exclusives, ""));

            foreach (Vcpu vcpu in _vcpus)
            {
                rows.Add(("vcpu " + vcpu.Id, "exits to the monitor", vcpu.Exits, ""));
                foreach (SiteKind kind in Enum.GetValues<SiteKind>())
                {
                    rows.Add(("vcpu " + vcpu.Id, "  for " + kind.ToString().ToLowerInvariant(), vcpu.ExitsByKind[(int)kind], ""));
                }

                rows.Add(("vcpu " + vcpu.Id, "instructions across pages", vcpu.Crossings, ""));
                rows.Add(("vcpu " + vcpu.Id, "TLB misses filled", vcpu.TlbFills, ""));
                rows.Add(("vcpu " + vcpu.Id, "TLB flushes", vcpu.TlbFlushes, ""));
                rows.Add(("vcpu " + vcpu.Id, "bounced accesses", vcpu.Bounces, ""));
                rows.Add(("vcpu " + vcpu.Id, "interrupts", vcpu.Interrupts, ""));
                rows.Add(("vcpu " + vcpu.Id, "exceptions", vcpu.Exceptions, ""));
                rows.Add(("vcpu " + vcpu.Id, "system calls", vcpu.SystemCalls, ""));
                if (vcpu.Direct is { } direct)
                {
                    rows.Add(("direct " + vcpu.Id, "programs taken on", direct.Promotions, ""));
                    rows.Add(("direct " + vcpu.Id, "programs given back", direct.Demotions, ""));
                    rows.Add(("direct " + vcpu.Id, "processes started", direct.Sandboxes, ""));
                    rows.Add(("direct " + vcpu.Id, "entries", direct.Entries, ""));
                    rows.Add(("direct " + vcpu.Id, "  ended by missing pages", direct.Faults, ""));
                    rows.Add(("direct " + vcpu.Id, "  ended by system calls", direct.SystemCalls, ""));
                    rows.Add(("direct " + vcpu.Id, "  ended by other traps", direct.Traps, ""));
                    rows.Add(("direct " + vcpu.Id, "pages mapped", direct.PagesMapped, ""));
                    rows.Add(("direct " + vcpu.Id, "time in user code", direct.UserTime / 1e6, "ms"));
                    rows.Add(("direct " + vcpu.Id, "cost of a stop", direct.StopCost / 1e3, "us"));
                }
            }

            foreach ((int mnemonic, long count) in _emulated.Select((n, i) => (i, n)).Where(p => p.n > 0).OrderByDescending(p => p.n))
            {
                rows.Add(("emulated", ((Mnemonic)mnemonic).ToString().ToLowerInvariant(), count, ""));
                if (Timed)
                {
                    rows.Add(("emulated", ((Mnemonic)mnemonic).ToString().ToLowerInvariant() + " time", _emulatedTicks[mnemonic] * 1000.0 / Stopwatch.Frequency, "ms"));
                }
            }

            rows.AddRange(Refused.Counts.Select(r => ("refused", r.Name, (double)r.Count, "")));
            return rows;
        }
    }

    /// <inheritdoc/>
    public void Written(ulong gpa, ulong length) => Coherence.Written(gpa, length);

    /// <inheritdoc/>
    public void Reset()
    {
        lock (_tscGap)
        {
            _tscOffset = 0 - HostTsc.Read();
            _vcpus.ForEach(v => v.PowerOn(_tscOffset));
        }
    }

    /// <inheritdoc/>
    public void HostResumed()
    {
        ulong gap;
        lock (_tscGap)
        {
            gap = _tscGap.Take();
            _vcpus.ForEach(v => v.MoveTsc(gap));
        }

        if (gap != 0)
        {
            _vcpus.ForEach(v => Host.TscChanged(v.Id));
        }
    }

    /// <inheritdoc/>
    public IVcpu CreateVcpu(int id)
    {
        var vcpu = new Vcpu(this, id);
        vcpu.PowerOn(_tscOffset);
        _vcpus.Add(vcpu);
        return vcpu;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _tscLooks.Dispose();
        foreach (Vcpu vcpu in _vcpus)
        {
            vcpu.Dispose();
        }
    }

    private void LookAtTsc()
    {
        lock (_tscGap)
        {
            _tscGap.Look();
        }
    }

    internal void CountEmulated(in Instruction instruction, long start)
    {
        int mnemonic = (int)instruction.Mnemonic;
        _emulated[mnemonic]++;
        if (Timed)
        {
            _emulatedTicks[mnemonic] += Stopwatch.GetTimestamp() - start;
        }
    }
}
