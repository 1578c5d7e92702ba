using Yadokari.Core;

namespace Yadokari.Guests;

/// <summary>
/// Debian 12's package archive, read by <c>apt-get download</c> with an apt state of our own, so that neither root nor the host's
/// own package sources are needed.
/// </summary>
/// <param name="cache">Keeps apt's state and the packages.</param>
/// <param name="architecture">Whose packages, in Debian's words; need not be the host's.</param>
/// <remarks>The mirror is the one that the host's own apt uses, or what the environment variable <c>YADOKARI_DEBIAN_MIRROR</c> names.</remarks>
public sealed class DebianArchive(GuestCache cache, string architecture = "amd64")
{
    private const string Release = "bookworm";
    private const string Keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

    private string StateFolder => Path.Combine(cache.Root, architecture == "amd64" ? "apt" : $"apt-{architecture}");

    /// <summary>
    /// The .deb files of the named packages at the newest version the archive had when the set was first asked for. Later calls return
    /// the same files without the network.
    /// </summary>
    /// <param name="set">A name for the set, used as the folder's name together with a fingerprint of the package names.</param>
    /// <param name="packages">Package names; a metapackage's own dependency is followed by <see cref="Dependency"/> first.</param>
    public IReadOnlyList<string> Fetch(string set, params IReadOnlyList<string> packages)
    {
        var folder = cache.GetOrBuild($"debs/{set}-{GuestCache.Fingerprint(packages)}", draft =>
        {
            cache.Announce($"downloading {packages.Count} Debian packages ({set})");
            Directory.CreateDirectory(draft);
            Update();
            Apt("apt-get", draft, ["-q", "download", .. packages]);
        });
        return [.. Directory.EnumerateFiles(folder, "*.deb").Order(StringComparer.Ordinal)];
    }

    /// <summary>The package that a metapackage such as <c>linux-image-amd64</c> stands for today: the first of its dependencies.</summary>
    public string Dependency(string metapackage)
    {
        var note = cache.GetOrBuild($"debs/{metapackage}.depends", draft =>
        {
            Update();
            var record = Apt("apt-cache", cache.Root, ["show", "--no-all-versions", metapackage]);
            var depends = record.Split('\n').FirstOrDefault(static line => line.StartsWith("Depends: ", StringComparison.Ordinal))
                ?? throw new UserErrorException($"The package {metapackage} names no dependency; remove {StateFolder} and try again.");
            File.WriteAllText(draft, depends["Depends: ".Length..].Split(' ', ',')[0]);
        });
        return File.ReadAllText(note);
    }

    /// <summary>Unpacks the given packages over one another into <paramref name="folder"/>; only <paramref name="members"/> if any are named.</summary>
    /// <param name="packageFiles">Paths of .deb files.</param>
    /// <param name="folder">Made if missing.</param>
    /// <param name="members">Patterns of tar's, such as <c>./boot/vmlinuz-*</c>.</param>
    public static void Unpack(IEnumerable<string> packageFiles, string folder, params IReadOnlyList<string> members)
    {
        Directory.CreateDirectory(folder);
        foreach (var file in packageFiles)
        {
            if (members.Count == 0)
            {
                HostCommand.Run("dpkg-deb", "dpkg", folder, "-x", file, folder);
                continue;
            }
            HostCommand.Run(
                "sh", "dash", folder, ["-c", "file=$1; shift; dpkg-deb --fsys-tarfile \"$file\" | tar -x --wildcards \"$@\"", "sh", file, .. members]);
        }
    }

    private static readonly string? s_mirror =
        Environment.GetEnvironmentVariable("YADOKARI_DEBIAN_MIRROR") is { Length: > 0 } named ? named.TrimEnd('/') : null;

    private void Update()
    {
        using var turn = cache.Locked(Path.Combine(cache.Root, "apt.lock"));
        var lists = Path.Combine(StateFolder, "lists");
        if (Directory.Exists(lists) && DateTime.UtcNow - Directory.GetLastWriteTimeUtc(lists) < TimeSpan.FromHours(1))
            return;
        Directory.CreateDirectory(Path.Combine(lists, "partial"));
        Directory.CreateDirectory(Path.Combine(StateFolder, "archives", "partial"));
        if (s_mirror is { } mirror)
        {
            var signed = File.Exists(Keyring)
                ? $"[signed-by={Keyring}]"
                : throw new UserErrorException($"Debian's archive keys {Keyring} are missing; install the package debian-archive-keyring.");
            File.WriteAllText(Path.Combine(StateFolder, "sources.list"), $"""
                deb {signed} {mirror}/debian {Release} main
                deb {signed} {mirror}/debian {Release}-updates main
                deb {signed} {mirror}/debian-security {Release}-security main

                """);
        }

        File.WriteAllText(Path.Combine(StateFolder, "status"), "");
        cache.Announce("reading Debian's package lists");
        Apt("apt-get", cache.Root, ["-q", "update"]);
        Directory.SetLastWriteTimeUtc(lists, DateTime.UtcNow);
    }

    private string Apt(string program, string folder, IEnumerable<string> arguments) => HostCommand.Run(program, "apt", folder,
    [
        "-o", $"Dir::State={StateFolder}",
        "-o", $"Dir::State::lists={StateFolder}/lists",
        "-o", $"Dir::State::status={StateFolder}/status",
        "-o", $"Dir::Cache={StateFolder}",
        .. s_mirror is null ? Array.Empty<string>() : ["-o", $"Dir::Etc::sourcelist={StateFolder}/sources.list", "-o", "Dir::Etc::sourceparts=-"],
        "-o", $"APT::Architecture={architecture}",
        "-o", $"APT::Architectures={architecture}",
        // Root's apt would otherwise fetch as a user that may not write into a private folder.
        "-o", "APT::Sandbox::User=",
        "-o", "Acquire::Retries=3",
        .. arguments,
    ]);
}
