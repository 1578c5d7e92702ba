using Yadokari.Core;
using Yadokari.Core.Files;

namespace Yadokari.Guests;

/// <summary>
/// A folder of unpacked packages, and the copying of chosen programs out of it into an initial RAM file system, each together with the
/// shared libraries that it needs, found by following the files themselves rather than package dependencies.
/// </summary>
public sealed class GuestTree(string folder)
{
    private static readonly string[] s_libraryFolders = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];

    /// <summary>The folder on the host.</summary>
    public string Folder { get; } = folder;

    /// <summary>Copies a file or link, what a link leads to, and every library that is needed. Copying one twice does nothing.</summary>
    /// <param name="archive">Where to.</param>
    /// <param name="name">Path in the tree, without a leading slash.</param>
    /// <exception cref="UserErrorException">A library that is needed is in none of the packages.</exception>
    public void Copy(CpioWriter archive, string name)
    {
        if (archive.Contains(name))
            return;
        var info = new FileInfo(Path.Combine(Folder, name));
        if (info.LinkTarget is { } target)
        {
            archive.AddSymbolicLink(name, target);
            Copy(archive, Follow(name, target));
            return;
        }
        var contents = File.ReadAllBytes(info.FullName);
        archive.AddFile(name, (info.UnixFileMode & UnixFileMode.UserExecute) != 0 ? GuestImages.Executable : GuestImages.Readable, contents);
        foreach (var library in ElfNeeds.Read(contents))
            Copy(archive, FindLibrary(library, name));
    }

    /// <summary>Copies every file under a folder of the tree.</summary>
    public void CopyFolder(CpioWriter archive, string name)
    {
        var root = Path.Combine(Folder, name);
        foreach (var file in Directory.EnumerateFiles(root, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
            Copy(archive, Path.GetRelativePath(Folder, file));
    }

    private static string Follow(string name, string target)
    {
        var path = target.StartsWith('/') ? target : Path.Combine("/", Path.GetDirectoryName(name)!, target);
        return Path.GetFullPath(path)[1..];
    }

    private string FindLibrary(string library, string wantedBy)
    {
        // Some bring libraries of their own, beside them or near.
        var own = Path.GetDirectoryName(wantedBy)!;
        string[] near = [own, Follow(wantedBy, "../lib"), Follow(wantedBy, ".."), Path.Combine(own, "server")];
        foreach (var place in s_libraryFolders.Concat(near))
        {
            if (Path.Exists(Path.Combine(Folder, place, library)))
                return $"{place}/{library}";
        }
        throw new UserErrorException($"The library {library}, needed by {wantedBy}, is in none of the guest's packages; add the package that has it.");
    }
}
