using Xunit;
using Yadokari.Boards.Specs;

namespace Yadokari.Host.Tests;

public sealed class KernelCommandLineTests
{
    private static readonly RunOptions s_options = new();

    [Fact]
    public void The_users_kernel_command_line_goes_through_as_it_is()
    {
        Assert.Equal("a  b", KernelCommandLine.Make(s_options with { Append = "a  b" }, (24, 80)));
        Assert.Equal("", KernelCommandLine.Make(s_options with { Append = "" }, null));
        Assert.Equal("console=ttyS0 panic=-1", KernelCommandLine.Make(s_options with { Kernel = "k" }, (24, 80)));
        string own = KernelCommandLine.Make(s_options, (24, 80));
        Assert.StartsWith("console=ttyS0 panic=-1 quiet", own);
        Assert.EndsWith("LINES=24 COLUMNS=80", own);
    }

    [Fact]
    public void The_kernel_is_told_of_a_virtio_console()
    {
        string text = KernelCommandLine.Make(s_options with { ConsoleTo = "virtio" }, (24, 80));
        Assert.StartsWith("console=hvc0 ", text, StringComparison.Ordinal);
        Assert.DoesNotContain("ttyS0", text, StringComparison.Ordinal);
    }

    [Fact]
    public void The_default_guest_is_told_what_to_mount()
    {
        RunOptions options = s_options with { Devices = [new ShareSpec("a", "/a", ReadOnly: false), new ShareSpec("b", "/b", ReadOnly: true)] };
        Assert.EndsWith(" SHARES=/a:/b,ro", KernelCommandLine.Make(options, null), StringComparison.Ordinal);
        Assert.DoesNotContain("SHARES", KernelCommandLine.Make(options with { Kernel = "k" }, null), StringComparison.Ordinal);
    }
}
