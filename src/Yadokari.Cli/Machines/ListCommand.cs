using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Host;
using Yadokari.Host.Consoles;
using Yadokari.Host.Control;
using Yadokari.Host.Instances;
using Yadokari.Host.Recipes;

namespace Yadokari.Cli.Machines;

/// <summary><c>yado ls</c>: lists the machines.</summary>
internal static class ListCommand
{
    private static readonly string[] s_titles = ["NAME", "STATE", "RECIPE", "CPUS", "MEMORY", "DISK", "UPTIME", "PORTS"];

    private sealed record Row(string Name, bool IsRunning, bool IsPaused, MachineConfig? Config, MachineProcess? Process);

    /// <summary>Creates the command.</summary>
    public static Command Create()
    {
        var json = new Option<bool>("--json") { Description = "Print JSON, sizes in bytes" };
        var quiet = new Option<bool>("--quiet", "-q") { Description = "Print names only" };
        var command = new Command("ls", "Lists machines with a name.") { json, quiet };
        command.SetAction(result =>
        {
            MachineFolder[] machines = [.. MachineFolder.All()];
            StandardStreams.Output.Write(
                result.GetValue(quiet) ? string.Concat(machines.Select(m => m.Name + "\n"))
                : result.GetValue(json) ? Json(Query(machines))
                : Table(Query(machines)));
            return ExitCodes.Success;
        });
        return command;
    }

    // Each machine on a thread of its own, because a monitor that hangs blocks its thread until the request times out.
    private static Row[] Query(IEnumerable<MachineFolder> machines)
    {
        Task<Row>[] queries = [.. machines.Select(machine =>
            Task.Factory.StartNew(() => Query(machine), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
        return Task.WhenAll(queries).GetAwaiter().GetResult();
    }

    private static Row Query(MachineFolder machine)
    {
        MachineConfig? config = null;
        try
        {
            config = machine.ReadConfig();
        }
        catch (UserErrorException)
        {
            // Damaged: listed, so that the user can remove it.
        }

        bool isRunning = machine.IsRunning();
        return new Row(machine.Name, isRunning, isRunning && new MachineControl(machine).IsPaused(), config, isRunning ? machine.ReadProcess() : null);
    }

    private static string State(Row row) => row.IsPaused ? "paused" : row.IsRunning ? "running" : row.Config is null ? "damaged" : "stopped";

    private static string Table(Row[] rows)
    {
        List<string[]> lines = [s_titles];
        lines.AddRange(rows.Select(r => (string[])
        [
            r.Name,
            State(r),
            r.Config?.Recipe ?? "-",
            r.Config?.Cpus.ToString(CultureInfo.InvariantCulture) ?? "-",
            r.Config is { } config ? ByteSize.Show(config.Memory) : "-",
            r.Config is { DiskSize: > 0 and long size } ? DiskSize.Show(size) : "-",
            r.Process is { } process ? Time(DateTimeOffset.UtcNow - process.Started) : "-",
            r.Process is { Ports.Count: > 0 } p ? string.Join(' ', p.Ports) : "-",
        ]));
        int[] widths = [.. s_titles.Select((_, i) => lines.Max(l => l[i].Length))];
        var text = new StringBuilder();
        foreach (string[] line in lines)
        {
            text.AppendLine(string.Join("  ", line.Select((word, i) => word.PadRight(widths[i]))).TrimEnd());
        }

        return text.ToString();
    }

    private static string Time(TimeSpan time) => time switch
    {
        { TotalDays: >= 1 } => $"{(int)time.TotalDays}d {time.Hours}h",
        { TotalHours: >= 1 } => $"{time.Hours}h {time.Minutes}m",
        { TotalMinutes: >= 1 } => $"{time.Minutes}m {time.Seconds}s",
        _ => $"{Math.Max(0, time.Seconds)}s",
    };

    private static string Json(Row[] rows)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartArray();
            foreach (Row row in rows)
            {
                json.WriteStartObject();
                json.WriteString("name", row.Name);
                json.WriteString("state", State(row));
                if (row.Config is { } config)
                {
                    json.WriteString("recipe", config.Recipe);
                    json.WriteString("created", config.Created);
                    json.WriteNumber("cpus", config.Cpus);
                    json.WriteNumber("memory", config.Memory);
                    json.WriteNumber("disk", config.DiskSize);
                }

                if (row.Process is { } process)
                {
                    json.WriteNumber("process", process.Process);
                    json.WriteString("started", process.Started);
                    json.WriteStartArray("ports");
                    foreach (string port in process.Ports)
                    {
                        json.WriteStringValue(port);
                    }

                    json.WriteEndArray();
                }

                json.WriteEndObject();
            }

            json.WriteEndArray();
        }

        return Encoding.UTF8.GetString(buffer.ToArray()) + "\n";
    }
}
