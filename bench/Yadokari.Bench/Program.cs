using Yadokari.Bench;
using Yadokari.Core;
using Yadokari.Guests;

try
{
    var options = Options.Parse(args);
    if (options.Help)
    {
        Console.WriteLine(Options.Usage);
        return 0;
    }
    if (options.List)
    {
        foreach (var workload in Workload.All)
            Console.WriteLine($"{workload.Name,-12} {workload.What}");
        return 0;
    }
    return Compare(options);
}
catch (UserErrorException error)
{
    Console.Error.WriteLine($"compare: {error.Message}");
    return 2;
}

static int Compare(Options options)
{
    var contenders = Contenders(options);
    using var busy = new BusyLoops(options.Busy);
    var comparisons = options.Workloads.Select(static workload => new Comparison(workload)).ToList();
    for (var round = 1; round <= options.Rounds; round++)
    {
        foreach (var comparison in comparisons)
        {
            // Contenders take turns at each workload, so that a host that slows down for a while slows all of them.
            foreach (var contender in contenders)
            {
                Progress($"round {round} of {options.Rounds}: {comparison.Workload.Name} under {contender.Name}");
                if (contender.Run(comparison.Workload, options.Percent) is { } measurement)
                    comparison.Add(contender.Name, measurement);
            }
        }
    }
    Progress("");

    var beside = options.Busy > 0 ? $", beside {options.Busy} busy loops" : "";
    Console.WriteLine($"{Host()}; the shortest of {options.Rounds} rounds at {options.Percent} % size{beside}");
    Console.WriteLine();
    Console.Write(Report.Table(comparisons));
    if (options.Ways)
    {
        Console.WriteLine();
        Console.Write(Report.Ways(comparisons));
    }
    foreach (var line in Report.Scaling(comparisons))
        Console.WriteLine(line);
    var remarks = comparisons.SelectMany(static comparison => comparison.Remarks()).ToList();
    if (remarks.Count > 0)
        Console.WriteLine();
    foreach (var remark in remarks)
        Console.WriteLine(remark);

    var folder = Directory.CreateDirectory(options.OutFolder ?? Path.Combine(options.Repository, "bench", "out")).FullName;
    File.WriteAllText(Path.Combine(folder, "compare.svg"), Chart.Draw(comparisons, Host()));
    File.WriteAllText(Path.Combine(folder, "compare.tsv"), Report.Values(comparisons));
    Console.WriteLine();
    Console.WriteLine($"picture: {Path.Combine(folder, "compare.svg")}");
    return remarks.Count == 0 ? 0 : 1;
}

static List<Contender> Contenders(Options options)
{
    if (!options.Without.Contains("tcg"))
        Tcg.Prepare();
    var cache = new GuestCache(progress: static step => Console.Error.WriteLine($"compare: {step}"));
    var images = new GuestImages(cache);
    var command = options.YadoPath ?? Path.Combine(options.Repository, "yado");
    var system = options.Workloads.Any(static workload => workload.IsSystem) ? SystemImage.Make(cache, command) : null;
    var files = new GuestFiles(images.Kernel(KernelFlavour.Cloud), images.MiniInitrd(), images.BenchInitrd(), system);
    var yado = new Yado(command, files);
    var contenders = new List<Contender>();
    if (!options.Without.Contains("native"))
        contenders.Add(new Native(images.BenchTree()));
    if (!options.Without.Contains("tcg"))
        contenders.Add(new Tcg(files));
    if (!options.Without.Contains("yadokari"))
    {
        yado.Prepare();
        contenders.Add(yado);
        if (options.Ways)
            contenders.AddRange(Yado.Ways.Select(way => new Yado(command, files, way)));
    }
    return contenders;
}

static string Host()
{
    var model = File.ReadLines("/proc/cpuinfo").FirstOrDefault(static line => line.StartsWith("model name", StringComparison.Ordinal));
    return $"{model?.Split(':')[1].Trim() ?? "an unnamed processor"}, {Environment.ProcessorCount} processors, {DateTime.UtcNow:yyyy-MM-dd}";
}

static void Progress(string line)
{
    if (!Console.IsErrorRedirected)
        Console.Error.Write($"\r\u001b[K{line}");
}
