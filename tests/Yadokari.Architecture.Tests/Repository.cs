using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Xml.Linq;

namespace Yadokari.Architecture.Tests;

/// <summary>The source tree that this test lies in.</summary>
internal static class Repository
{
    /// <summary>The folder that holds the solution.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>The names of the projects below a folder, and what each refers to.</summary>
    public static IReadOnlyDictionary<string, string[]> References(string folder) => Projects(folder).ToDictionary(
        file => Path.GetFileNameWithoutExtension(file),
        file => XDocument.Load(file).Descendants("ProjectReference")
            .Select(reference => Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value.Replace('\\', '/'))).Order().ToArray());

    /// <summary>The assemblies of the repository that a project's assembly refers to.</summary>
    public static string[] AssemblyReferences(string project)
    {
        string name = XDocument.Load(Projects("src").Single(file => Path.GetFileNameWithoutExtension(file) == project)).Descendants("AssemblyName").SingleOrDefault()?.Value ?? project;
        using var file = new PEReader(File.OpenRead(Path.Combine(AppContext.BaseDirectory, name + ".dll")));
        MetadataReader metadata = file.GetMetadataReader();
        return [.. metadata.AssemblyReferences
            .Select(handle => metadata.GetString(metadata.GetAssemblyReference(handle).Name))
            .Where(reference => reference.StartsWith("Yadokari.", StringComparison.Ordinal)).Order()];
    }

    /// <summary>The full paths of the project files below a folder.</summary>
    public static IEnumerable<string> Projects(string folder) => Directory
        .EnumerateFiles(Path.Combine(Root, folder), "*.csproj", SearchOption.AllDirectories);

    private static string FindRoot()
    {
        string folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "Yadokari.slnx")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("The tests do not lie in the repository.");
        }

        return folder;
    }
}
