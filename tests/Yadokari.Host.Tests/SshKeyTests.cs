using System.Diagnostics;
using Xunit;
using Yadokari.Host.Instances;

namespace Yadokari.Host.Tests;

public sealed class SshKeyTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("yado-test-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Ssh_keygen_reads_the_key()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/ssh-keygen"), "ssh-keygen is not installed.");
        string file = Path.Combine(_folder, "key");
        string line = SshKey.FindOrMake(file);
        Assert.Equal(line, SshKey.FindOrMake(file));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
        var start = new ProcessStartInfo("/usr/bin/ssh-keygen", ["-y", "-f", file]) { RedirectStandardOutput = true };
        using Process process = Process.Start(start)!;
        Assert.Equal(line.Split(' ')[..2], process.StandardOutput.ReadToEnd().Trim().Split(' ')[..2]);
    }
}
