namespace Yadokari.Guests.Tests;

/// <summary>Debian's other releases, made by a recipe and booted to a login. An image takes many minutes: only <c>./test --long</c> runs these.</summary>
[Trait("length", "long")]
public sealed class ReleaseTests : IDisposable
{
    private readonly NamedMachines _machines = new() { Patience = TimeSpan.FromHours(1) };

    public void Dispose() => _machines.Dispose();

    [Theory(Explicit = true)]
    [InlineData("trixie", "cloud")]
    [InlineData("trixie", "generic")]
    [InlineData("sid", "cloud")]
    public void A_suite_is_installed_and_boots_to_a_login(string suite, string kernel)
    {
        Guest.HostProgram("ssh");
        var recipe = Path.Combine(_machines.Folder, $"{suite}.yaml");
        File.WriteAllText(recipe, $"suite: {suite}\nkernel: {kernel}\n");
        Assert.Equal((0, "box\n"), _machines.Run("run", recipe, "--name", "box", "--detach", "--memory", "768M"));
        Assert.Equal((0, "status: done\n"), _machines.Run("ssh", "box", "--", "cloud-init status --wait | tail -1"));
        Assert.Equal((0, ""), _machines.Run("ssh", "box", "--", "systemctl is-system-running --wait >/dev/null; systemctl --failed --no-legend"));
        Assert.Equal((0, "debian root\n"), _machines.Run("ssh", "box", "--", "echo $(whoami) $(sudo whoami)"));
        Assert.Contains("box login: ", _machines.Run("logs", "box").Output);
        Assert.Equal((0, "box\n"), _machines.Run("stop", "box", "--time", "600"));
    }
}
