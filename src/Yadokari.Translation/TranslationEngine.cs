using System.Diagnostics;
using Iced.Intel;
using Yadokari.Core;
using Yadokari.Core.Engines;
using Yadokari.Core.Memory;
using Yadokari.Translation.Code;
using Yadokari.Translation.Direct;
using Yadokari.Translation.Memory;
using Yadokari.X86;
using Yadokari.X86.Cpuid;
using Yadokari.X86.Engines;

namespace Yadokari.Translation;

/// <summary>
/// Dynamic binary translation: runs guests without a hypervisor, a kernel module or root. Innocuous instructions are copied to the host code,
/// sensitive ones are emulated.
/// </summary>
public sealed class TranslationEngine : IEngine
{
    /// <summary>
    /// Maximum bytes of host code for a vCPU, a multiple of 8192. More than two vCPUs share twice as many bytes, but each has at least
    /// <see cref="LeastCodeCacheBytes"/>. A cache starts with 24 MiB, which are enough for most guests, and grows only if code is translated again
    /// and again: programs with JIT compilers need tens of MiB.
    /// </summary>
    public int CodeCacheBytes { get; init; } = 128 << 20;

    /// <summary>Minimum bytes of host code for each vCPU, unless <see cref="CodeCacheBytes"/> is less.</summary>
    public const int LeastCodeCacheBytes = 32 << 20;

    /// <summary>When user code runs directly instead of translated.</summary>
    public DirectMode Direct { get; init; } = DirectMode.Auto;

    /// <summary>Whether to use CPUID faulting of the host; if not, pages that contain CPUID run translated. For tests.</summary>
    internal bool UsesCpuidFaulting { get; init; } = true;

    /// <summary>Measures the time spent in emulated instructions.</summary>
    public bool Timed { get; init; }

    /// <summary>Receives a line for each block entered, emulated instruction, exception and interrupt; null for no trace.</summary>
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

    /// <summary>Tests whether this host permits direct execution, by starting a process. If not, all code is translated.</summary>
    public static Support ProbeDirect()
    {
        using GuestMemory memory = Linux.GuestRam.Create([(0, 4096)]);
        using Sandbox? sandbox = Sandbox.Start(memory);
        return sandbox != null ? Support.Yes : Support.No("direct execution needs a host that lets a process trace its child (ptrace with seccomp)");
    }

    /// <inheritdoc/>
    public ulong ClockFrequency => HostTsc.Hz;

    /// <inheritdoc/>
    public IVm Create(VmSpec spec)
    {
        CpuModel model = spec.Cpu as CpuModel
            ?? throw new UserErrorException($"The translation engine runs guests of x86-64, not of {spec.Cpu.Architecture}: choose an engine that does.");
        if (spec.Interrupts != InterruptMode.Emulated)
        {
            throw new UserErrorException($"The translation engine has no interrupt controllers of its own, which {spec.Interrupts} asks for: give {InterruptMode.Emulated}.");
        }

        CpuidConfiguration shown = model.Cpuid.Configuration;
        if (shown.Cpus != spec.Vcpus)
        {
            throw new UserErrorException($"The CPU model says that there are {shown.Cpus} vCPUs, but the machine has {spec.Vcpus}: make the model for {spec.Vcpus}.");
        }

        if ((ulong)shown.TscHz != ClockFrequency)
        {
            throw new UserErrorException(
                $"The translation engine counts time at {ClockFrequency} Hz on this host, but the CPU model says {shown.TscHz}: make the model for {ClockFrequency}.");
        }

        if (!model.Cpuid.IsOfHost)
        {
            CheckFeatures(model.Cpuid);
        }

        return new TranslationVm(this, spec, model);
    }

    // The host's processor runs innocuous instructions: it must support them, and be of the CPU model's vendor.
    private static void CheckFeatures(CpuidModel model)
    {
        CpuidModel host = CpuidModel.FromHost(model.Configuration);
        if (model.Vendor != host.Vendor)
        {
            throw new UserErrorException($"The CPU model is of {model.Vendor}, but this host's processor is of {host.Vendor}: the translation engine needs a model of the same maker.");
        }

        string missing = string.Join(", ", model.FeaturesBeyond(host));
        if (missing.Length != 0)
        {
            throw new UserErrorException($"This host's processor lacks {missing}, which the CPU model shows: take them out of the model for the translation engine.");
        }
    }
}

/// <summary>A virtual machine of the translation engine: the state that its vCPUs share.</summary>
internal sealed class TranslationVm : IVm
{
    private readonly List<Vcpu> _vcpus = [];
    private readonly long[] _emulated = new long[Enum.GetValues<Mnemonic>().Length + 1];
    private readonly long[] _emulatedTicks = new long[Enum.GetValues<Mnemonic>().Length + 1];
    private readonly DirtyLog _dirtyLog;

    internal TranslationVm(TranslationEngine engine, VmSpec spec, CpuModel model)
    {
        Memory = spec.Memory;
        Timed = engine.Timed;
        Model = model;
        InstructionSet = new InstructionSet(Cpuid);
        Vcpus = spec.Vcpus;
        int share = Math.Max((int)(2L * engine.CodeCacheBytes / Vcpus) & -8192, TranslationEngine.LeastCodeCacheBytes);
        CodeCacheBytes = Math.Min(share, engine.CodeCacheBytes);
        Coherence = new Coherence(Memory, Vcpus);
        Clock = new GuestClock(_vcpus);
        _dirtyLog = new DirtyLog(Memory.DirtyPages, Coherence);
        TraceWriter = engine.Trace == null ? null : TextWriter.Synchronized(engine.Trace);
        Direct = engine.Trace == null ? engine.Direct : DirectMode.Off;
        UsesCpuidFaulting = engine.UsesCpuidFaulting;
    }

    /// <inheritdoc/>
    IGuestClock IVm.Clock => Clock;

    internal GuestClock Clock { get; }

    /// <inheritdoc/>
    public IDirtyLog DirtyLog => _dirtyLog;

    internal GuestMemory Memory { get; }

    internal int CodeCacheBytes { get; }

    /// <summary>Number of vCPUs that may be created.</summary>
    internal int Vcpus { get; }

    /// <summary>Whether there are more vCPUs than host processors: a vCPU that spins should yield its processor.</summary>
    internal bool Crowded => Vcpus > Environment.ProcessorCount;

    internal Coherence Coherence { get; }

    /// <summary>The CPU model of all vCPUs.</summary>
    internal CpuModel Model { get; }

    internal CpuidModel Cpuid => Model.Cpuid;

    /// <summary>Instructions that the guest may use; all others raise #UD.</summary>
    internal InstructionSet InstructionSet { get; }

    internal bool Timed { get; }

    /// <summary>Counts unsupported MSRs (#GP) and instructions (#UD) that the guest used.</summary>
    internal Tally Refused { get; } = new();

    internal DirectMode Direct { get; }

    internal bool UsesCpuidFaulting { get; }

    /// <summary>Measurements of programs that ran directly on any vCPU.</summary>
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
            rows.Add(("translation", "times one vCPU stopped the others", Coherence.WorldStops, ""));

            foreach (Vcpu vcpu in _vcpus)
            {
                rows.Add(("vcpu " + vcpu.Id, "exits to the monitor", vcpu.Exits, ""));
                foreach (SiteKind kind in Enum.GetValues<SiteKind>())
                {
                    rows.Add(("vcpu " + vcpu.Id, "  for " + kind.ToString().ToLowerInvariant(), vcpu.ExitsByKind[(int)kind], ""));
                }

                rows.Add(("vcpu " + vcpu.Id, "instructions across pages", vcpu.Fetch.Crossings, ""));
                rows.Add(("vcpu " + vcpu.Id, "TLB misses filled", vcpu.Mmu.Fills, ""));
                rows.Add(("vcpu " + vcpu.Id, "TLB flushes", vcpu.Mmu.Flushes, ""));
                rows.Add(("vcpu " + vcpu.Id, "bounced accesses", vcpu.Accesses.Bounces, ""));
                rows.Add(("vcpu " + vcpu.Id, "interrupts", vcpu.Interrupts, ""));
                rows.Add(("vcpu " + vcpu.Id, "exceptions", vcpu.Exceptions, ""));
                rows.Add(("vcpu " + vcpu.Id, "system calls", vcpu.SystemCalls, ""));
                if (vcpu.Direct is { } direct)
                {
                    rows.Add(("direct " + vcpu.Id, "programs promoted", direct.Promotions, ""));
                    rows.Add(("direct " + vcpu.Id, "programs demoted", direct.Demotions, ""));
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
    public void MemoryWritten(ulong gpa, ulong length)
    {
        Memory.Written(gpa, length);
        Coherence.Written(gpa, length);
    }

    /// <inheritdoc/>
    public IVcpu CreateVcpu(int id, IVcpuHost host)
    {
        if (id < 0 || id >= Vcpus || _vcpus.Exists(v => v.Id == id))
        {
            throw new ArgumentException($"A vCPU can't have the number {id}: give one from 0 to {Vcpus - 1} that no other has.", nameof(id));
        }

        if (host is not IX86VcpuHost x86)
        {
            throw new ArgumentException($"The host of an x86-64 vCPU must be an {nameof(IX86VcpuHost)}, which {host.GetType().Name} is not.", nameof(host));
        }

        var vcpu = new Vcpu(this, id, x86);
        Clock.Add(vcpu);
        return vcpu;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Clock.Dispose();
        foreach (Vcpu vcpu in _vcpus)
        {
            vcpu.Dispose();
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
