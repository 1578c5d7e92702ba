using System.Diagnostics;
using System.Text.Json;

namespace Yadokari.Guests.Tests;

/// <summary>Machines with names, in a folder that goes with the test, and the commands for them.</summary>
internal sealed class NamedMachines : IDisposable
{
    /// <summary>Skips the test, saying why, where a system can't be made.</summary>
    public NamedMachines()
    {
        Assert.SkipWhen(Guest.OnQemu, "The commands are yado's.");
        Hang.FailIfTooMany();
        Guest.HostProgram("mke2fs");
        Guest.HostProgram("apt-get");
    }

    /// <summary>How long a command may take: it only guards against hangs.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromMinutes(15);

    /// <summary>The folder.</summary>
    public string Folder { get; } = Directory.CreateTempSubdirectory("yado-debian-").FullName;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var name in Yado("ls", "-q").Output.Split('\n', StringSplitOptions.RemoveEmptyEntries))
            Yado("rm", "-f", name);
        Directory.Delete(Folder, recursive: true);
    }

    /// <summary>Kills the monitor of the one machine that there is.</summary>
    public void KillMonitor()
    {
        using var monitor = Monitor();
        monitor.Kill();
        monitor.WaitForExit();
    }

    private Process Monitor()
    {
        using var list = JsonDocument.Parse(Run("ls", "--json").Output);
        return Process.GetProcessById(list.RootElement[0].GetProperty("process").GetInt32());
    }

    /// <summary>Runs a command that has to succeed. Skips the test, saying why, where packages can't be fetched.</summary>
    public (int Code, string Output) Run(params string[] arguments)
    {
        var (code, output, errors) = Yado(arguments);
        Assert.SkipWhen(code == 2 && errors.Contains("can't be fetched", StringComparison.Ordinal), $"No guest to boot: {errors}");
        if (code != 0)
            Assert.Fail($"yado {string.Join(' ', arguments)} ended with {code}: {errors}\n{string.Join('\n', Yado("logs", Yado("ls", "-q").Output.Split('\n')[0]).Output.Split('\n').TakeLast(30))}");
        return (code, output);
    }

    /// <summary>Runs a command.</summary>
    public (int Code, string Output, string Errors) Yado(params string[] arguments)
    {
        using var process = Process.Start(Program(arguments))!;
        process.StandardInput.Close();
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEndAsync();
        if (process.WaitForExit(Patience) && Task.WaitAll([output, errors], Patience))
            return (process.ExitCode, output.Result, errors.Result);
        List<string> threads = [Hang.Describe(process)];
        foreach (var monitor in Process.GetProcessesByName("yado").Where(one => one.Id != process.Id))
            threads.Add(Hang.Describe(monitor));
        process.Kill(entireProcessTree: true);
        process.WaitForExit();
        return (process.ExitCode, "", $"It, or a process that it left behind with its output open, did not end within {Patience.TotalMinutes} minutes.\n{string.Join('\n', threads)}");
    }

    /// <summary>A command, to be started.</summary>
    public ProcessStartInfo Program(params string[] arguments) => new(Guest.Yado, arguments)
    {
        RedirectStandardInput = true,
        RedirectStandardOutput = true,
        RedirectStandardError = true,
        Environment = { ["XDG_DATA_HOME"] = Folder },
    };
}
