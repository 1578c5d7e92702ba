using System.Diagnostics;
using System.Reflection;
using Yadokari.Core;
using Yadokari.Guests;

namespace Yadokari.Bench;

/// <summary>
/// A stock Debian with systemd and the programs of its workloads, made by <c>yado run</c> once and then only read. A second disk has random
/// bytes, for the workload that reads a disk.
/// </summary>
/// <param name="Kernel">Debian's kernel.</param>
/// <param name="Initrd">Debian's initial RAM disk.</param>
/// <param name="Disk">The system's disk, raw.</param>
/// <param name="Seed">The volume that cloud-init reads.</param>
/// <param name="Data">A disk of 1 GiB, raw.</param>
internal sealed record SystemImage(string Kernel, string Initrd, string Disk, string Seed, string Data)
{
    private const string Name = "bench";

    private const string Recipe =
        """
        suite: bookworm
        packages: [fio, gcc, iperf3, libc6-dev, libstb-dev, make]
        """;

    // The script is encoded as base64, which contains no YAML syntax.
    private const string UserData =
        """
        #cloud-config
        write_files:
          - path: /usr/local/sbin/system.sh
            permissions: "0755"
            encoding: b64
            content: SCRIPT
          - path: /etc/systemd/system/bench.service
            content: |
              [Unit]
              After=multi-user.target network-online.target
              Wants=network-online.target
              ConditionKernelCommandLine=yado.run
              [Service]
              Type=idle
              ExecStart=/usr/local/sbin/system.sh
              [Install]
              WantedBy=multi-user.target
        runcmd:
          - systemctl enable bench.service
        """;

    /// <summary>Finds the image in the cache, or makes it, which takes some minutes.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="yado">The command.</param>
    /// <exception cref="UserErrorException">The image can't be made.</exception>
    public static SystemImage Make(GuestCache cache, string yado)
    {
        using var script = new MemoryStream();
        Assembly.GetAssembly(typeof(GuestImages))!.GetManifestResourceStream("system.sh")!.CopyTo(script);
        var userData = UserData.Replace("SCRIPT", Convert.ToBase64String(script.ToArray()), StringComparison.Ordinal);
        var folder = cache.GetOrBuild($"system-{GuestCache.Fingerprint(Recipe, userData)}", draft =>
        {
            cache.Announce("making a Debian system");
            Directory.CreateDirectory(draft);
            File.WriteAllText(Path.Combine(draft, "recipe.yaml"), Recipe);
            File.WriteAllText(Path.Combine(draft, "user-data"), userData);
            Run(yado, draft, "run", Path.Combine(draft, "recipe.yaml"), "--name", Name, "--detach", "--memory", "1G", "--user-data", Path.Combine(draft, "user-data"));
            Run(yado, draft, "ssh", Name, "--", "cloud-init status --wait; sudo touch /etc/cloud/cloud-init.disabled");
            Run(yado, draft, "stop", Name);
            using var data = File.Create(Path.Combine(draft, "data.raw"));
            var piece = new byte[1 << 20];
            for (var i = 0; i < 1024; i++)
            {
                Random.Shared.NextBytes(piece);
                data.Write(piece);
            }
        });
        string In(string file) => Path.Combine(folder, "yadokari", "machines", Name, file);
        return new SystemImage(In("vmlinuz"), In("initrd.img"), In("disk.raw"), In("seed.iso"), Path.Combine(folder, "data.raw"));
    }

    private static void Run(string yado, string folder, params string[] arguments)
    {
        var start = new ProcessStartInfo(yado, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true };
        start.Environment["XDG_DATA_HOME"] = folder;
        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
            throw new UserErrorException($"'yado {string.Join(' ', arguments)}' ended with exit code {process.ExitCode}, and there is no system to compare with; mend that first, or name other workloads.");
    }
}
