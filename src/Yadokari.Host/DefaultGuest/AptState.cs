using System.Formats.Tar;

namespace Yadokari.Host.DefaultGuest;

/// <summary>Runs the host's apt with a state folder of its own: the host's state does not change, and root is not needed. Reads packages.</summary>
internal static class AptState
{
    /// <summary>Creates a state without packages or lists. Returns the path of the configuration for apt's programs, which is read after the host's.</summary>
    /// <param name="folder">The folder for the state.</param>
    /// <param name="more">Additional lines of configuration.</param>
    public static string Make(string folder, string more = "")
    {
        Directory.CreateDirectory(Path.Combine(folder, "lists/partial"));
        Directory.CreateDirectory(Path.Combine(folder, "archives/partial"));
        File.WriteAllText(Path.Combine(folder, "status"), "");
        string configuration = Path.Combine(folder, "apt.conf");

        // Container images have hooks that need root and run after an update.
        File.WriteAllText(
            configuration,
            $"""
            Dir::State "{folder}";
            Dir::State::lists "{folder}/lists";
            Dir::State::status "{folder}/status";
            Dir::Cache "{folder}";
            Dir::Cache::archives "{folder}/archives";
            Dir::Log "{folder}";
            Acquire::Languages "none";
            #clear APT::Update::Pre-Invoke;
            #clear APT::Update::Post-Invoke;
            #clear APT::Update::Post-Invoke-Success;
            #clear DPkg::Post-Invoke;
            #clear APT::Architectures;
            APT::Architecture "amd64";
            #clear Acquire::IndexTargets::deb::DEP-11;
            #clear Acquire::IndexTargets::deb::Contents-deb;
            {more}

            """);
        return configuration;
    }

    /// <summary>Total size in bytes of the files in a download folder.</summary>
    public static long SizeOf(string folder)
    {
        try
        {
            return new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(f => f.Length);
        }
        catch (IOException)
        {
            return 0; // A file was removed during the enumeration; the caller polls again.
        }
    }

    /// <summary>Reads the files in a package with dpkg-deb.</summary>
    public static HostTool.Outcome Read(HostTool dpkg, string folder, string deb, Action<TarEntry> read) => dpkg.Stream(
        folder,
        stream =>
        {
            using var tar = new TarReader(stream, leaveOpen: true);
            while (tar.GetNextEntry() is { } entry)
            {
                read(entry);
            }
        },
        "--fsys-tarfile",
        deb);

    /// <summary>Checks whether a program failed because the disk was full.</summary>
    /// <exception cref="DiskFullException">The disk was full.</exception>
    public static void ThrowIfFull(HostTool.Outcome outcome)
    {
        if (outcome.DiskFull)
        {
            throw new DiskFullException();
        }
    }
}
