using System.Formats.Tar;
using System.Globalization;
using System.Text.RegularExpressions;
using Yadokari.Core;

namespace Yadokari.Host.DefaultGuest;

/// <summary>
/// Takes Debian packages through the host's apt, without root and without touching the host's state: with the host's lists where
/// they serve, otherwise with lists of its own, fetched into a private folder from the host's sources.
/// </summary>
internal sealed partial class DebianPackages
{
    /// <summary>A package as apt knows it. <paramref name="Size"/> is of the download, in bytes.</summary>
    public sealed record Package(string Name, string Version, long Size, string Depends);

    private const string Remedy = "check the network and apt's sources, or give --kernel and --initrd";

    private readonly HostTool _get;
    private readonly HostTool _cache;
    private readonly HostTool _dpkg;
    private readonly string _folder;
    private readonly IProgressReport _progress;
    private readonly List<string> _options = ["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"];
    private bool _private;

    /// <summary>Finds the tools.</summary>
    /// <param name="searchPath">Folders to look for them in, as in PATH.</param>
    /// <param name="folder">Exists; gets downloads and private state.</param>
    /// <param name="progress">Is told what happens.</param>
    /// <param name="interrupted">Ends the tools, and whatever waits for them, by an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="UserErrorException">A tool is missing.</exception>
    public DebianPackages(string searchPath, string folder, IProgressReport progress, CancellationToken interrupted)
    {
        _get = HostTool.Find("apt-get", searchPath, interrupted);
        _cache = HostTool.Find("apt-cache", searchPath, interrupted);
        _dpkg = HostTool.Find("dpkg-deb", searchPath, interrupted);
        _folder = folder;
        _progress = progress;
    }

    /// <summary>
    /// The kernel package that the first known of <paramref name="metaPackages"/> stands for, and busybox-static; both from the same lists.
    /// </summary>
    /// <exception cref="UserErrorException">They are in no list that can be had.</exception>
    public (Package Kernel, Package Busybox) Find(params ReadOnlySpan<string> metaPackages)
    {
        while (true)
        {
            Package? kernel = null;
            foreach (string meta in metaPackages)
            {
                if (kernel is null && Show(meta) is { } found && ImageDependency().Match(found.Depends) is { Success: true } image)
                {
                    kernel = Show(image.Value);
                }
            }

            if (kernel is not null && Show("busybox-static") is { } busybox)
            {
                return (kernel, busybox);
            }

            if (_private)
            {
                throw new UserErrorException(
                    $"This host's apt sources have no {metaPackages[0]} and busybox-static, which the default guest is made of: add Debian's main, or give --kernel and --initrd.");
            }

            UsePrivateLists();
        }
    }

    /// <summary>Downloads packages into the folder. Returns their paths in the order given, or null where the lists are out of date.</summary>
    /// <exception cref="UserErrorException">They can't be had.</exception>
    public string[]? Download(params ReadOnlySpan<Package> packages)
    {
        long total = 0;
        var names = new List<string> { "download" };
        names.AddRange(_options);
        foreach (Package package in packages)
        {
            total += package.Size;
            names.Add($"{package.Name}={package.Version}");
        }

        string debs = Directory.CreateDirectory(Path.Combine(_folder, "debs")).FullName;
        _progress.Step($"downloading {string.Join(" and ", names[^packages.Length..].Select(n => n.Split('=')[0]))} ({total / 1e6:F0} MB)");
        HostTool.Outcome outcome;
        using (new Timer(_ => _progress.Fraction(Math.Min(1, AptState.SizeOf(debs) / (double)total)), null, 100, 100))
        {
            outcome = _get.Run(debs, [.. names]);
        }

        if (outcome.ExitCode == 0)
        {
            var paths = new string[packages.Length];
            for (int i = 0; i < paths.Length; i++)
            {
                paths[i] = Directory.GetFiles(debs, packages[i].Name + "_*.deb").FirstOrDefault()
                    ?? throw new UserErrorException($"apt-get said that it downloaded {packages[i].Name}, and there is no such file: {Remedy}.");
            }

            return paths;
        }

        AptState.ThrowIfFull(outcome);
        if (!_private)
        {
            UsePrivateLists();
            return null;
        }

        throw new UserErrorException($"Debian's packages can't be downloaded ({outcome.Reason}): {Remedy}.");
    }

    /// <summary>Copies files out of a package.</summary>
    /// <param name="deb">The package's path.</param>
    /// <param name="target">Says where a file goes, by its path inside, which begins with no slash; null if it is not wanted. Of several for one place the first counts.</param>
    /// <exception cref="UserErrorException">The package is damaged or has no such file.</exception>
    public void Extract(string deb, Func<string, string?> target)
    {
        bool found = false;
        HostTool.Outcome outcome;
        try
        {
            outcome = AptState.Read(_dpkg, _folder, deb, entry =>
            {
                if (entry.DataStream is not null && target(entry.Name.TrimStart('.').TrimStart('/')) is { } path && !File.Exists(path))
                {
                    using FileStream file = new(path, FileMode.CreateNew);
                    entry.DataStream.CopyTo(file);
                    found = true;
                }
            });
        }
        catch (Exception error) when (error is InvalidDataException or EndOfStreamException or FormatException)
        {
            throw new UserErrorException($"The package {Path.GetFileName(deb)} is damaged: run yado again, or give --kernel and --initrd.");
        }

        AptState.ThrowIfFull(outcome);
        if (outcome.ExitCode != 0 || !found)
        {
            string reason = outcome.ExitCode != 0 ? outcome.Reason : "the file looked for is not in it";
            throw new UserErrorException($"The package {Path.GetFileName(deb)} can't be unpacked ({reason}): run yado again, or give --kernel and --initrd.");
        }
    }

    private Package? Show(string name)
    {
        HostTool.Outcome outcome = _cache.Run(_folder, ["show", "--no-all-versions", .. _options, name]);
        if (outcome.ExitCode != 0)
        {
            return null;
        }

        string Field(string field) =>
            Regex.Match(outcome.Output, $"^{field}: (.*)$", RegexOptions.Multiline).Groups[1].Value.Trim();

        return Field("Version") is { Length: > 0 } version
            ? new Package(name, version, long.TryParse(Field("Size"), CultureInfo.InvariantCulture, out long size) ? size : 1, Field("Depends"))
            : null;
    }

    private void UsePrivateLists()
    {
        _private = true;
        string apt = Directory.CreateDirectory(Path.Combine(_folder, "apt")).FullName;
        _options.AddRange(["-c", AptState.Make(apt)]);

        _progress.Step("fetching Debian's package lists");
        HostTool.Outcome outcome = _get.Run(_folder, ["update", .. _options]);
        AptState.ThrowIfFull(outcome);
        bool any = Directory.EnumerateFiles(Path.Combine(apt, "lists")).Any(f => f.Contains("_Packages", StringComparison.Ordinal));
        if (!any)
        {
            string reason = outcome.Errors.Length == 0 && outcome.ExitCode == 0 ? "apt has no sources" : outcome.Reason;
            throw new UserErrorException($"Debian's package lists can't be fetched ({reason}): {Remedy}.");
        }
    }

    [GeneratedRegex(@"linux-image-(unsigned-)?\d[\w.+-]*")]
    private static partial Regex ImageDependency();
}

/// <summary>A program of the host ran out of room where the default guest is made.</summary>
internal sealed class DiskFullException : IOException;
