using System.Diagnostics;

namespace Yadokari.Shares.Tests;

/// <summary>A folder with secrets around it, shared, and a guest that has begun.</summary>
internal sealed class SharedFolder : IDisposable
{
    private readonly string _around = Directory.CreateTempSubdirectory("yadokari-share-").FullName;

    public SharedFolder(bool readOnly = false, int mostOpen = 64)
    {
        Path = System.IO.Path.Combine(_around, "shared");
        Directory.CreateDirectory(Path);
        Secret = System.IO.Path.Combine(_around, "secret");
        Directory.CreateDirectory(Secret);
        File.WriteAllText(System.IO.Path.Combine(Secret, "file"), "secret");
        Share = FolderShare.Open(Path, readOnly, mostOpen);
        Guest = new FuseClient(Share);
        Assert.Equal(0, Guest.Init().Error);
    }

    public string Path { get; }

    public string Secret { get; }

    public FolderShare Share { get; }

    public FuseClient Guest { get; }

    /// <summary>The host's path of something in it.</summary>
    public string this[string name] => System.IO.Path.Combine(Path, name);

    /// <summary>Nothing around the folder has changed.</summary>
    public void CheckSecret()
    {
        Assert.Equal([Secret, Path], Directory.EnumerateFileSystemEntries(_around).Order());
        Assert.Equal("secret", File.ReadAllText(Assert.Single(Directory.EnumerateFileSystemEntries(Secret))));
    }

    /// <summary>What a program of the host's says.</summary>
    public static string Host(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        string text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        return text.TrimEnd();
    }

    public void Dispose()
    {
        Share.Dispose();
        Directory.Delete(_around, recursive: true);
    }
}
