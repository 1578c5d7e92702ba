using System.Diagnostics;
using Yadokari.Core;
using Yadokari.Guests;

namespace Yadokari.Bench;

/// <summary>A way to run workloads.</summary>
internal abstract class Contender(string name)
{
    // Only there so that a machine that hangs does not hold up the rest.
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(3);

    /// <summary>How it is called in the table.</summary>
    public string Name { get; } = name;

    /// <summary>Runs one workload, or returns null if this contender has none such.</summary>
    /// <param name="workload">Which.</param>
    /// <param name="percent">Size of the workload, 100 being the full one.</param>
    public abstract Measurement? Run(Workload workload, int percent);

    /// <summary>Runs a command to its end and takes the marks out of what it prints.</summary>
    protected static Measurement Run(Workload workload, ProcessStartInfo start)
    {
        start.RedirectStandardInput = true;
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        var marks = new MarkReader(workload.Name);
        var complaints = new MarkReader(workload.Name);
        var began = Stopwatch.GetTimestamp();
        using var process = Process.Start(start)!;
        var reading = Task.WhenAll(Pump(process.StandardOutput, marks), Pump(process.StandardError, complaints));
        if (!process.WaitForExit(s_patience))
        {
            process.Kill(entireProcessTree: true);
            return Measurement.Failed($"not done after {s_patience.TotalSeconds:0} s: {marks.Tail}");
        }
        var wall = Stopwatch.GetElapsedTime(began).TotalSeconds;
        reading.Wait();
        if (process.ExitCode != 0)
            return Measurement.Failed($"exit code {process.ExitCode}: {(complaints.Tail.Length > 0 ? complaints.Tail : marks.Tail)}");
        return workload == Workload.Boot
            ? new Measurement { Seconds = wall, HostSeconds = wall }
            : marks.ToMeasurement(workload.IsRate);
    }

    private static async Task Pump(StreamReader from, MarkReader to)
    {
        var buffer = new char[4096];
        int count;
        while ((count = await from.ReadAsync(buffer)) > 0)
            to.Take(buffer.AsSpan(0, count));
    }
}

/// <summary>The same programs on the host, through their own loader, held to one processor as the guests have one.</summary>
internal sealed class Native(string tree) : Contender("native")
{
    public override Measurement? Run(Workload workload, int percent)
    {
        if (workload == Workload.Boot)
            return null;
        var work = Directory.CreateTempSubdirectory("yado-bench-");
        try
        {
            var busybox = Path.Combine(tree, "bin/busybox");
            var script = Path.Combine(tree, "yado/workloads.sh");
            var start = new ProcessStartInfo(busybox, ["taskset", FirstProcessor(), busybox, "sh", script, workload.Name, $"{percent}"]);
            start.Environment["ROOT"] = tree;
            start.Environment["WORK"] = work.FullName;
            return Run(workload, start);
        }
        finally
        {
            work.Delete(recursive: true);
        }
    }

    private static string FirstProcessor()
    {
        const string field = "Cpus_allowed_list:";
        var list = File.ReadLines("/proc/self/status").First(static line => line.StartsWith(field, StringComparison.Ordinal))[field.Length..];
        var first = int.Parse(list.Trim().Split(',', '-')[0]);
        return $"{UInt128.One << first:x}";
    }
}

/// <summary>A contender that boots a guest.</summary>
internal abstract class Guest(string name, GuestFiles files) : Contender(name)
{
    public sealed override Measurement? Run(Workload workload, int percent)
    {
        var end = workload == Workload.Boot ? "yado.end=poweroff" : $"yado.run={workload.Name} yado.scale={percent}";
        var initrd = workload == Workload.Boot ? files.MiniInitrd : files.BenchInitrd;
        return Run(workload, Command(files.Kernel, initrd, $"console=ttyS0 quiet {end}"));
    }

    /// <summary>The command that boots a guest with 512 MiB and one processor, its console on standard output.</summary>
    protected abstract ProcessStartInfo Command(string kernel, string initrd, string append);
}

/// <summary>What guests boot.</summary>
internal sealed record GuestFiles(string Kernel, string MiniInitrd, string BenchInitrd);

/// <summary>Yadokari's translation engine.</summary>
internal sealed class Yado(string command, GuestFiles files) : Guest("Yadokari", files)
{
    /// <summary>Builds the command if need be, so that no measured run does.</summary>
    /// <exception cref="UserErrorException">It does not build or start.</exception>
    public void Prepare()
    {
        using var process = Process.Start(new ProcessStartInfo(command, ["--help"]) { RedirectStandardOutput = true })!;
        process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
            throw new UserErrorException($"{command} --help ended with exit code {process.ExitCode}; mend the build first, or leave Yadokari out with --without yadokari.");
    }

    protected override ProcessStartInfo Command(string kernel, string initrd, string append)
    {
        var start = new ProcessStartInfo(
            command, ["run", "--kernel", kernel, "--initrd", initrd, "--append", append, "--memory", "512M", "--engine", "translate", "--console", "stdio"]);
        start.Environment["YADO_NO_BUILD"] = "1";
        return start;
    }
}

/// <summary>QEMU with its translator.</summary>
internal sealed class Tcg(GuestFiles files) : Guest("TCG", files)
{
    private const string Program = "qemu-system-x86_64";

    /// <summary>Looks whether QEMU is installed.</summary>
    /// <exception cref="UserErrorException">It is not.</exception>
    public static void Prepare()
    {
        var folders = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':');
        if (!folders.Any(static folder => File.Exists(Path.Combine(folder, Program))))
            throw new UserErrorException($"{Program} is not in PATH, and the comparison is with it; install it with: apt-get install --no-install-recommends qemu-system-x86");
    }

    protected override ProcessStartInfo Command(string kernel, string initrd, string append) => new(
        Program,
        [
            "-accel", "tcg", "-cpu", "max,la57=off", "-m", "512M", "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio",
            "-kernel", kernel, "-initrd", initrd, "-append", append,
        ]);
}
