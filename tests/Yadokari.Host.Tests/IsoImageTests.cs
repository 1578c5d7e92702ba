using System.Diagnostics;
using System.Text;
using Xunit;
using Yadokari.Host.Recipes;

namespace Yadokari.Host.Tests;

/// <summary>What xorriso, which we did not write, reads in our images. The kernel's own reading is part of booting Debian.</summary>
public sealed class IsoImageTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("yado-test-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("norock")]
    [InlineData("nojoliet")]
    public void Files_come_out_as_they_went_in(string tree)
    {
        Assert.SkipUnless(File.Exists("/usr/bin/xorriso"), "xorriso is not installed.");
        byte[] long1 = [.. Enumerable.Range(0, 5000).Select(i => (byte)(i * 31))];
        byte[] sector = new byte[2048];
        sector.AsSpan().Fill(7);
        (string Name, byte[] Content)[] files = [("meta-data", Encoding.UTF8.GetBytes("a: b\n")), ("user-data", long1), ("vendor-data", []), ("Network.Config-v2.txt", sector)];
        string image = Path.Combine(_folder, "image");
        File.WriteAllBytes(image, IsoImage.Make("CIDATA", files));

        string output = Path.Combine(_folder, "out");
        (int code, string text) = Xorriso("-read_fs", tree, "-indev", image, "-pvd_info", "-osirrox", "on", "-extract", "/", output);
        Assert.True(code == 0, text);
        Assert.Contains("Volume Id    : CIDATA", text);
        string[] names = [.. Directory.GetFiles(output).Select(f => Path.GetFileName(f)!).Order(StringComparer.Ordinal)];
        if (tree == "norock")
        {
            Assert.Equal(files.Select(f => f.Name).Order(StringComparer.Ordinal), names);
            Assert.All(files, f => Assert.Equal(f.Content, File.ReadAllBytes(Path.Combine(output, f.Name))));
        }
        else
        {
            Assert.Equal(files.Length, names.Length);
            Assert.Equal(files.Select(f => f.Content.Length).Order(), names.Select(n => (int)new FileInfo(Path.Combine(output, n)).Length).Order());
        }
    }

    private static (int Code, string Text) Xorriso(params string[] arguments)
    {
        var start = new ProcessStartInfo("/usr/bin/xorriso", arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.Result);
    }
}
