using System.Formats.Tar;

namespace Yadokari.Host.DefaultGuest;

/// <summary>What all use of the host's apt has in common: a state of its own in a folder, so that the host's is not touched and no root is needed, and what packages hold.</summary>
internal static class AptState
{
    /// <summary>Makes a state without packages or lists. Returns the configuration to give to apt's programs, which is read after the host's.</summary>
    /// <param name="folder">Where to.</param>
    /// <param name="more">Further lines of configuration.</param>
    public static string Make(string folder, string more = "")
    {
        Directory.CreateDirectory(Path.Combine(folder, "lists/partial"));
        Directory.CreateDirectory(Path.Combine(folder, "archives/partial"));
        File.WriteAllText(Path.Combine(folder, "status"), "");
        string configuration = Path.Combine(folder, "apt.conf");

        // Container images have hooks after an update that need root.
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

    /// <summary>Bytes of the files in a folder that downloads go to.</summary>
    public static long SizeOf(string folder)
    {
        try
        {
            return new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(f => f.Length);
        }
        catch (IOException)
        {
            return 0; // A file went away under the look; there will be another look.
        }
    }

    /// <summary>Goes through the files in a package by dpkg-deb.</summary>
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

    /// <summary>Looks whether a program ended because there was no room.</summary>
    /// <exception cref="DiskFullException">It did.</exception>
    public static void ThrowIfFull(HostTool.Outcome outcome)
    {
        if (outcome.DiskFull)
        {
            throw new DiskFullException();
        }
    }
}
