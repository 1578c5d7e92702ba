using System.Text.RegularExpressions;

namespace Yadokari.Guests.Tests;

/// <summary>Suites that others wrote to see whether a processor and a kernel do what they should, run in a guest.</summary>
public sealed partial class SuiteTests
{
    // These ask for what the processor that the guest sees does not have.
    private static readonly string[] s_without = ["amx_64"];

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void The_kernels_selftests_pass(int cpus)
    {
        using var vm = Guest.Boot(KernelFlavour.Generic).WithMemory("1G").WithCpus(cpus).WithInitrd(Guest.Images.SelftestsInitrd).With("quiet yado.run=selftests");
        vm.Console.WaitFor("selftests: done");
        Assert.Equal(0, vm.Console.WaitForEnd());
        var results = Results(vm.Console.Text, SelftestLine());
        Assert.True(results.Count > 40, vm.Console.Text);
        Assert.True(results.All(r => r.Status == 0 || s_without.Contains(r.Name)), vm.Console.Text);
    }

    [Fact]
    public void Stress_finds_nothing_wrong()
    {
        using var vm = Guest.Boot(KernelFlavour.Generic).WithMemory("2G").WithCpus(4).WithInitrd(Guest.Images.StressInitrd).With("quiet yado.run=stress");
        vm.Console.WaitFor("guest: dmesg ends");
        Assert.Equal(0, vm.Console.WaitForEnd());
        var results = Results(vm.Console.Text, StressLine());
        Assert.True(results.Count > 50, vm.Console.Text);
        Assert.True(results.All(r => r.Status == 0), vm.Console.Text);
        Assert.DoesNotMatch("WARNING|BUG:|Oops|soft lockup|rcu.*stall", vm.Console.Text);
    }

    private static List<(string Name, int Status)> Results(string text, Regex line) =>
        [.. line.Matches(text).Select(static m => (m.Groups[1].Value, int.Parse(m.Groups[2].ValueSpan)))];

    [GeneratedRegex("^selftest: (\\S+) (\\d+)$", RegexOptions.Multiline)]
    private static partial Regex SelftestLine();

    [GeneratedRegex("^stress: (\\S+) (\\d+)$", RegexOptions.Multiline)]
    private static partial Regex StressLine();
}
