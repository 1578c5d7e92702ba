using System.Formats.Tar;
using System.Globalization;
using System.Text.RegularExpressions;
using Yadokari.Core;

namespace Yadokari.Host.DefaultGuest;

/// <summary>
/// Gets Debian packages with the host's apt, without root and without changing the host's state. Uses the host's package lists if they have
/// the packages, otherwise fetches lists from the host's sources into a private folder.
/// </summary>
internal sealed partial class DebianPackages
{
    /// <summary>A package in apt's lists. <paramref name="Size"/> is that of the download in bytes.</summary>
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
    /// <param name="searchPath">The folders to search for them, as in PATH.</param>
    /// <param name="folder">An existing folder for downloads and private state.</param>
    /// <param name="progress">Receives progress.</param>
    /// <param name="interrupted">Cancelling kills the running tool; the call then throws an <see cref="OperationCanceledException"/>.</param>
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
    /// The kernel package that the first available one of <paramref name="metaPackages"/> depends on, and busybox-static; both from the same lists.
    /// </summary>
    /// <exception cref="UserErrorException">No available list has both packages.</exception>
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
    /// <exception cref="UserErrorException">A package can't be downloaded.</exception>
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
                    ?? throw new UserErrorException($"apt-get reported success, but did not write the package {packages[i].Name}: {Remedy}.");
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
    /// <param name="target">Maps a file's path in the package, without a leading slash, to the path to write; null skips the file. If several files map to one path, the first is written.</param>
    /// <exception cref="UserErrorException">The package is damaged, or no file in it was selected.</exception>
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
            string reason = outcome.ExitCode != 0 ? outcome.Reason : "it does not contain the file";
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

/// <summary>A tool of the host failed because the disk of the cache folder is full.</summary>
internal sealed class DiskFullException : IOException;
