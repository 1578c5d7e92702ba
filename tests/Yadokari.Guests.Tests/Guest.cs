using System.Diagnostics;
using Yadokari.Core;

namespace Yadokari.Guests.Tests;

/// <summary>
/// A machine that a test boots with the <c>yado</c> command, as a user would: <c>using var vm = Guest.Boot(kernel).WithMemory("512M");</c>
/// It starts when its console is first asked for and is ended with the test.
/// </summary>
/// <remarks>
/// With <c>YADOKARI_TEST_MACHINE=qemu</c> in the environment the machine is QEMU's instead, which shows whether a test that fails is itself
/// at fault. What is particular to <c>yado</c>, such as its exit codes, is then skipped.
/// </remarks>
internal sealed class Guest : IDisposable
{
    private static readonly Lazy<GuestImages> s_images = new(static () => new GuestImages(new GuestCache(progress: System.Console.Error.WriteLine)));

    private readonly string _kernel;
    private readonly string[]? _arguments;
    private readonly string[]? _argumentsOnQemu;
    private string _initrd = "";
    private string _memory = "512M";
    private string _words = "";
    private int _cpus = 1;
    private string[] _under = [];
    private Process? _process;
    private GuestConsole? _console;

    private Guest(string kernel, string[]? arguments = null, string[]? argumentsOnQemu = null)
    {
        _kernel = kernel;
        _arguments = arguments;
        _argumentsOnQemu = argumentsOnQemu;
    }

    /// <summary>Whether the tests run on QEMU to be checked themselves.</summary>
    public static bool OnQemu => Environment.GetEnvironmentVariable("YADOKARI_TEST_MACHINE") == "qemu";

    /// <summary>The program.</summary>
    public static string Yado => Path.Combine(Repository(), "yado");

    /// <summary>The images that guests boot.</summary>
    public static GuestImages Images => s_images.Value;

    /// <summary>The console; asking for it the first time starts the machine.</summary>
    public GuestConsole Console => _console ??= Start();

    /// <summary>A machine with one of Debian's kernels and the smallest initial RAM file system. Skips the test if they can't be had.</summary>
    public static Guest Boot(KernelFlavour kernel) => new(Had(() => Images.Kernel(kernel))) { _initrd = Had(() => Images.MiniInitrd(kernel)) };

    /// <summary>A machine with the given arguments of <c>yado run</c> and no others.</summary>
    public static Guest Start(params string[] arguments) => new("", arguments);

    /// <summary>The same under another program, such as one that traces it.</summary>
    /// <param name="program">The program and its arguments.</param>
    /// <param name="arguments">Those of <c>yado run</c>.</param>
    public static Guest Under(string[] program, params string[] arguments) => new("", arguments) { _under = program };

    /// <summary>The same, where there are arguments of QEMU's that mean the same machine.</summary>
    public static Guest StartOn(string[] argumentsOnQemu, params string[] arguments) => new("", arguments, argumentsOnQemu);

    /// <summary>Gets what has to be downloaded first, and skips the test, saying why, where that fails.</summary>
    public static T Had<T>(Func<T> get)
    {
        try
        {
            return get();
        }
        catch (UserErrorException error)
        {
            Assert.Skip($"No guest to boot: {error.Message}");
            throw;
        }
    }

    /// <summary>One of the host's programs that may be for root's path only. Skips the test if it is not there.</summary>
    public static string HostProgram(string name)
    {
        var path = new[] { "/usr/sbin", "/sbin", "/usr/bin", "/bin" }.Select(folder => Path.Combine(folder, name)).FirstOrDefault(File.Exists);
        Assert.SkipWhen(path is null, $"{name} is not installed.");
        return path!;
    }

    /// <summary>Gives it memory, as <c>--memory</c> takes it.</summary>
    public Guest WithMemory(string memory)
    {
        _memory = memory;
        return this;
    }

    /// <summary>Gives it processors.</summary>
    public Guest WithCpus(int cpus)
    {
        _cpus = cpus;
        return this;
    }

    /// <summary>Gives it another initial RAM file system.</summary>
    public Guest WithInitrd(Func<string> image)
    {
        _initrd = Had(image);
        return this;
    }

    /// <summary>Adds words to the kernel's command line.</summary>
    public Guest With(string words)
    {
        _words += " " + words;
        return this;
    }

    /// <summary>The monitor's process.</summary>
    public int ProcessId => _process!.Id;

    /// <summary>Bytes of memory files that the monitor has resident: the guest's RAM, mostly (proc(5), RssShmem).</summary>
    public long SharedMemory => File.ReadLines($"/proc/{_process!.Id}/status").Where(static line => line.StartsWith("RssShmem:", StringComparison.Ordinal))
        .Select(static line => long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1].Trim()) << 10).Single();

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_process is null)
            return;
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            _process.WaitForExit();
        }

        _process.Dispose();
    }

    private GuestConsole Start()
    {
        Hang.FailIfTooMany();
        var append = "console=ttyS0" + _words;
        var start = OnQemu
            ? new ProcessStartInfo("qemu-system-x86_64",
                ["-accel", "tcg", "-cpu", "max,la57=off", "-m", _memory, "-smp", $"{_cpus}", "-display", "none", "-nodefaults", "-serial", "stdio",
                 .. _argumentsOnQemu ?? ["-kernel", _kernel, "-initrd", _initrd, "-append", append]])
            : new ProcessStartInfo(_under.FirstOrDefault(Yado),
                [.. _under.Append(Yado).Skip(1), "run",
                 .. _arguments ?? ["--kernel", _kernel, "--initrd", _initrd, "--append", append, "--memory", _memory, "--cpus", $"{_cpus}", "--engine", "translate", "--console", "stdio"]]);
        start.RedirectStandardInput = true;
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        _process = Process.Start(start)!;
        return new GuestConsole(_process);
    }

    private static string Repository()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "Yadokari.slnx")))
            folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("The tests do not lie in the repository.");
        return folder;
    }
}
