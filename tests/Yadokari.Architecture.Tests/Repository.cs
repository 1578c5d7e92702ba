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
