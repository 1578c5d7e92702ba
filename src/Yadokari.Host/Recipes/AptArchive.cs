using System.Formats.Tar;
using System.Globalization;
using Yadokari.Core;
using Yadokari.Host.DefaultGuest;

namespace Yadokari.Host.Recipes;

/// <summary>
/// Accesses a Debian archive with the host's apt-get, which resolves, downloads and verifies packages. Uses its own sources and state; the
/// host's are neither read nor changed. Needs no root.
/// </summary>
internal sealed class AptArchive
{
    private const string Keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    private const string Remedy = "check the network and the recipe's suite, mirror and packages";

    private readonly HostTool _get;
    private readonly HostTool _dpkg;
    private readonly string _folder;
    private readonly IProgressReport _progress;
    private readonly string[] _options;

    /// <summary>Finds the tools and fetches the archive's lists.</summary>
    /// <param name="sources">Lines of sources.list(5) without <c>deb</c>.</param>
    /// <param name="searchPath">The folders to search for tools, as in PATH.</param>
    /// <param name="folder">An existing folder for downloads and apt's state.</param>
    /// <param name="progress">Receives progress.</param>
    /// <param name="interrupted">Cancelling kills the running tool; the call then throws an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="UserErrorException">A tool is missing, or the lists can't be fetched.</exception>
    public AptArchive(IEnumerable<string> sources, string searchPath, string folder, IProgressReport progress, CancellationToken interrupted)
    {
        _get = Tool("apt-get");
        _dpkg = Tool("dpkg-deb");
        _folder = folder;
        _progress = progress;
        string apt = Directory.CreateDirectory(Path.Combine(folder, "apt")).FullName;
        Directory.CreateDirectory(Path.Combine(apt, "parts"));
        progress.Step("fetching Debian's package lists");
        string keyring = FindKeyring();
        File.WriteAllLines(Path.Combine(apt, "sources.list"), sources.Select(s => $"deb [arch=amd64 signed-by={keyring}] {s}"));
        string configuration = AptState.Make(
            apt,
            $"""
            Dir::Etc::sourcelist "{apt}/sources.list";
            Dir::Etc::sourceparts "{apt}/parts";
            Dir::Etc::preferences "{apt}/preferences";
            Dir::Etc::preferencesparts "{apt}/parts";
            APT::Install-Recommends "false";
            APT::Install-Suggests "false";
            """);
        _options = ["-q", "-y", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20", "-c", configuration];
        Archives = Path.Combine(apt, "archives");
        Run("Debian's package lists can't be fetched", "-o", "APT::Update::Error-Mode=any", "update");

        HostTool Tool(string name) => HostTool.TryFind(name, searchPath, interrupted) ?? throw new UserErrorException(
            $"There is no {name} on this host, which is needed for Debian's packages: install apt and dpkg, or give --kernel and --initrd.");
    }

    /// <summary>The folder of downloaded packages.</summary>
    public string Archives { get; }

    /// <summary>Downloads packages and their dependencies.</summary>
    /// <exception cref="UserErrorException">A package can't be found or downloaded.</exception>
    public void Download(IEnumerable<string> packages)
    {
        string[] wanted = [.. packages];
        long total = 0;
        foreach (string line in Run("Debian's packages can't be found", ["--print-uris", "install", .. wanted]).Split('\n'))
        {
            // 'URI' file size hash
            string[] words = line.Split(' ');
            total += words.Length >= 3 && words[0].StartsWith('\'') && long.TryParse(words[2], CultureInfo.InvariantCulture, out long size) ? size : 0;
        }

        _progress.Step($"downloading Debian's packages ({total / 1e6:F0} MB)");
        using (new Timer(_ => _progress.Fraction(Math.Min(1, AptState.SizeOf(Archives) / (double)Math.Max(1, total))), null, 200, 200))
        {
            Run("Debian's packages can't be downloaded", ["--download-only", "install", .. wanted]);
        }
    }

    /// <summary>The names of packages and their dependencies, in apt's order of installation.</summary>
    public IReadOnlyList<string> Closure(params ReadOnlySpan<string> packages) =>
        [.. Run("Debian's packages can't be found", ["--simulate", "install", .. packages]).Split('\n')
            .Where(line => line.StartsWith("Inst ", StringComparison.Ordinal)).Select(line => line.Split(' ')[1])];

    /// <summary>Downloads one package by itself into a folder. Returns its path.</summary>
    public string DownloadAlone(string package, string folder)
    {
        HostTool.Outcome outcome = _get.Run(Directory.CreateDirectory(folder).FullName, [.. _options, "download", package]);
        ThrowIfBad(outcome, $"Debian's package {package} can't be downloaded");
        return Directory.GetFiles(folder, package + "_*.deb").Single();
    }

    /// <summary>Reads the files in a package.</summary>
    public void Read(string deb, Action<TarEntry> read)
    {
        HostTool.Outcome outcome = AptState.Read(_dpkg, _folder, deb, read);
        ThrowIfBad(outcome, $"The package {Path.GetFileName(deb)} can't be unpacked");
    }

    // Distributions derived from Debian have its keys in a package too.
    private string FindKeyring()
    {
        if (File.Exists(Keyring))
        {
            return Keyring;
        }

        string keys = Directory.CreateDirectory(Path.Combine(_folder, "keys")).FullName;
        _get.Run(keys, "-q", "-o", "APT::Sandbox::User=root", "download", "debian-archive-keyring");
        string found = Path.Combine(keys, "keyring.gpg");
        if (Directory.GetFiles(keys, "*.deb").FirstOrDefault() is { } deb)
        {
            Read(deb, entry =>
            {
                if (entry.DataStream is not null && entry.Name.EndsWith("debian-archive-keyring.gpg", StringComparison.Ordinal) && !File.Exists(found))
                {
                    entry.ExtractToFile(found, overwrite: false);
                }
            });
        }

        return File.Exists(found)
            ? found
            : throw new UserErrorException("This host has no keys to verify Debian's packages with: install debian-archive-keyring.");
    }

    private string Run(string complaint, params ReadOnlySpan<string> arguments)
    {
        HostTool.Outcome outcome = _get.Run(_folder, [.. _options, .. arguments]);
        ThrowIfBad(outcome, complaint);
        return outcome.Output;
    }

    private static void ThrowIfBad(HostTool.Outcome outcome, string complaint)
    {
        AptState.ThrowIfFull(outcome);
        if (outcome.ExitCode != 0)
        {
            throw new UserErrorException($"{complaint} ({outcome.Reason}): {Remedy}.");
        }
    }
}
