using System.Diagnostics;

namespace Yadokari.Disks.Tests;

/// <summary>QEMU's tools for images, which know the format from who made it; and a folder for what they make, gone at the end.</summary>
internal sealed class QemuTools : IDisposable
{
    public string Folder { get; } = Directory.CreateTempSubdirectory("yadokari-qcow2-").FullName;

    public void Dispose() => Directory.Delete(Folder, recursive: true);

    public static void Needed()
    {
        try
        {
            Run("qemu-img", "--version");
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("qemu-img is not installed: Debian's package is qemu-utils.");
        }
    }

    public string File(string name) => Path.Combine(Folder, name);

    /// <summary>Runs qemu-img, which succeeds.</summary>
    public static string Img(params string[] arguments)
    {
        (int code, string output) = Run("qemu-img", arguments);
        Assert.True(code == 0, $"qemu-img {string.Join(' ', arguments)}: {code}: {output}");
        return output;
    }

    /// <summary>Runs commands of qemu-io on an image, which succeed.</summary>
    public static void Io(string image, params IEnumerable<string> commands)
    {
        (int code, string output) = Run("qemu-io", ["-f", "qcow2", .. commands.SelectMany(c => (string[])["-c", c]), image]);
        Assert.True(code == 0 && !output.Contains("failed", StringComparison.Ordinal), $"qemu-io: {code}: {output}");
    }

    /// <summary>An image is sound; after a crash it may have leaks.</summary>
    public static void Check(string image, bool mayLeak = false)
    {
        (int code, string output) = Run("qemu-img", "check", "-f", "qcow2", image);
        Assert.True(code == 0 || (mayLeak && code == 3), $"qemu-img check: {code}: {output}");
    }

    /// <summary>What the guest sees of an image, says QEMU.</summary>
    public byte[] Contents(string image, string format = "qcow2")
    {
        string raw = File("contents.raw");
        Img("convert", "-f", format, "-O", "raw", image, raw);
        return System.IO.File.ReadAllBytes(raw);
    }

    public static (int Code, string Output) Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd() + error.Result;
        process.WaitForExit();
        return (process.ExitCode, output);
    }
}
