using System.Diagnostics;

namespace Yadokari.Bench;

/// <summary>The same programs on the host, through their own loader, limited to one processor because the guests have one.</summary>
internal sealed class Native(string tree) : Contender("native")
{
    public override Measurement? Run(Workload workload, int percent)
    {
        if (workload == Workload.Boot || workload.IsSystem)
            return null;
        var work = Directory.CreateTempSubdirectory("yado-bench-");
        try
        {
            var busybox = Path.Combine(tree, "bin/busybox");
            var script = Path.Combine(tree, "yado/workloads.sh");
            string[] arguments = ["taskset", FirstProcessor(), busybox, "sh", script, workload.Name, $"{percent}"];
            var start = new ProcessStartInfo(busybox, arguments);
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
