using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;

namespace Yadokari.Tests;

/// <summary>The package, as somebody else's project has it: it is made, added from a folder, and holds all that it needs.</summary>
public sealed class PackageTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("yadokari-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void A_project_with_nothing_but_the_package_runs_an_example()
    {
        string cache = Environment.GetEnvironmentVariable("NUGET_PACKAGES")
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        Dotnet(Repository.Root, "pack", "src/Yadokari", "-c", Repository.Configuration, "--no-build", "-o", In("feed"), "-p:PackageVersion=0.0.1-test");

        // Folders of its own, so that nothing is left in the user's; what the package depends on is where this repository's builds have put it.
        File.WriteAllText(In("nuget.config"), $"""
            <configuration>
              <packageSources><clear /><add key="made" value="{In("feed")}" /><add key="had" value="{cache}" /></packageSources>
              <config><add key="globalPackagesFolder" value="{In("packages")}" /></config>
            </configuration>
            """);
        File.WriteAllText(In("App.csproj"), """
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <Nullable>enable</Nullable>
                <ImplicitUsings>enable</ImplicitUsings>
                <UseAppHost>false</UseAppHost>
                <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
                <NuGetAudit>false</NuGetAudit>
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="Yadokari" Version="0.0.1-test" />
              </ItemGroup>
            </Project>
            """);
        File.Copy(Path.Combine(Repository.Root, "examples", "BootKernel", "Program.cs"), In("Program.cs"));
        Dotnet(_folder, "build", "-o", In("out"));

        string app = In(Path.Combine("out", "App.dll"));
        (int code, string output, string errors) = HostProgram.Run("dotnet", [app, .. ExampleTests.Guest()], _folder);
        Assert.Equal((0, ""), (code, errors));
        Assert.EndsWith("The machine ended: PowerOff.\n", output, StringComparison.Ordinal);
        Assert.True(File.Exists(In("packages/yadokari/0.0.1-test/lib/net10.0/Yadokari.Boards.xml")));
        Assert.True(File.Exists(In("packages/yadokari/0.0.1-test/LICENSE")));

        // What no example uses is there too: the disks', networks' and shared folders' assemblies.
        string[] assemblies = [.. Directory.GetFiles(In("packages/yadokari/0.0.1-test/lib/net10.0"), "*.dll")];
        Assert.All(assemblies.SelectMany(References).Distinct().Where(name => name.StartsWith("Yadokari", StringComparison.Ordinal)),
            name => Assert.Contains(name, assemblies.Select(Path.GetFileNameWithoutExtension)));
    }

    private static string[] References(string assembly)
    {
        using var reader = new PEReader(File.OpenRead(assembly));
        MetadataReader metadata = reader.GetMetadataReader();
        return [.. metadata.AssemblyReferences.Select(reference => metadata.GetString(metadata.GetAssemblyReference(reference).Name))];
    }

    private static void Dotnet(string folder, params string[] arguments)
    {
        (int code, string output, string errors) = HostProgram.Run("dotnet", [.. arguments, "--nologo", "-nodeReuse:false", "-p:UseSharedCompilation=false"], folder);
        Assert.True(code == 0, $"dotnet {string.Join(' ', arguments)}:\n{output}\n{errors}");
    }

    private string In(string name) => Path.Combine(_folder, name);
}
