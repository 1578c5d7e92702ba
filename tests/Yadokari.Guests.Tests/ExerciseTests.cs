namespace Yadokari.Guests.Tests;

/// <summary>
/// Programs of every kind print in a guest what the same files print on the host. One boot serves all sections of <c>exercise.sh</c>.
/// </summary>
public sealed class ExerciseTests(ExerciseTests.OneRun run) : IClassFixture<ExerciseTests.OneRun>
{
    [Theory]
    [InlineData("processes")]
    [InlineData("signals")]
    [InlineData("memory")]
    [InlineData("pipes")]
    [InlineData("floats")]
    [InlineData("perls")]
    [InlineData("packers")]
    [InlineData("threads")]
    [InlineData("crypto")]
    [InlineData("jit")]
    [InlineData("files")]
    public void Prints_what_the_host_prints(string section) =>
        Assert.Equal(Section(Guest.Had(() => run.OnHost.Value), section), Section(Guest.Had(() => run.InGuest.Value), section));

    [Fact]
    public void Powers_off_afterwards()
    {
        Assert.Contains("exercise: done", Guest.Had(() => run.InGuest.Value), StringComparison.Ordinal);
        Assert.Equal(0, run.ExitCode);
    }

    [Theory]
    [InlineData(KernelFlavour.Generic, 1)]
    [InlineData(KernelFlavour.Cloud, 2)]
    [InlineData(KernelFlavour.Cloud, 4)]
    public void Other_machines_run_the_same(KernelFlavour kernel, int cpus)
    {
        using var vm = Guest.Boot(kernel).WithCpus(cpus).WithInitrd(Guest.Images.BenchInitrd).With("quiet yado.run=exercise");
        vm.Console.WaitFor("exercise: done");
        Assert.Equal(0, vm.Console.WaitForEnd());
        Assert.Equal(All(Guest.Had(() => run.OnHost.Value)), All(vm.Console.Text));
    }

    [Fact]
    public void Node_runs_the_same()
    {
        var expected = Guest.Had(() => HostRun.ExerciseInside(Guest.Images.NodeTree(), "node"));
        Assert.SkipWhen(expected is null, "The host allows no namespaces in which node could be run for comparison.");
        using var vm = Guest.Boot(KernelFlavour.Cloud).WithMemory("1G").WithInitrd(Guest.Images.NodeInitrd).With("quiet yado.run=node");
        vm.Console.WaitFor("exercise: done");
        Assert.Equal(0, vm.Console.WaitForEnd());
        Assert.Contains("workers 300000", expected, StringComparison.Ordinal);
        Assert.Equal(Section(expected, "node"), Section(vm.Console.Text, "node"));
    }

    [Theory]
    [InlineData("java", "overflow true", 2)]
    [InlineData("pypy", "recursion", 2)]
    public void Compiled_programs_run_the_same(string section, string last, int cpus)
    {
        var expected = Guest.Had(() => HostRun.ExerciseInside(Guest.Images.CompilerTree(), section));
        Assert.SkipWhen(expected is null, "The host allows no namespaces in which the programs could be run for comparison.");
        using var vm = Guest.Boot(KernelFlavour.Cloud).WithMemory("2G").WithCpus(cpus).WithInitrd(Guest.Images.CompilerInitrd).With($"quiet yado.run={section}");
        vm.Console.WaitFor("exercise: done");
        Assert.Equal(0, vm.Console.WaitForEnd());
        Assert.Contains(last, expected, StringComparison.Ordinal);
        Assert.Equal(Section(expected, section), Section(vm.Console.Text, section));
    }

    // What goes wrong on one processor only, other tests find sooner.
    [Fact(Explicit = true)]
    [Trait("length", "long")]
    public void Java_runs_the_same_on_one_processor() => Compiled_programs_run_the_same("java", "overflow true", 1);

    private static string All(string output) => Between(output, "exercise: processes begins\n", "exercise: done");

    private static string Section(string output, string name) => Between(output, $"exercise: {name} begins\n", $"exercise: {name} ends");

    private static string Between(string text, string begin, string end)
    {
        var from = text.IndexOf(begin, StringComparison.Ordinal);
        Assert.True(from >= 0, $"The output lacks '{begin.Trim()}':\n{text}");
        var to = text.IndexOf(end, from, StringComparison.Ordinal);
        Assert.True(to >= 0, $"The output lacks '{end}':\n{text[from..]}");
        return text[from..to];
    }

    /// <summary>What the script printed on the host and in a guest, each run when first asked for.</summary>
    public sealed class OneRun
    {
        public OneRun()
        {
            OnHost = new Lazy<string>(static () => HostRun.Exercise(Guest.Images.BenchTree()));
            InGuest = new Lazy<string>(RunInGuest);
        }

        internal Lazy<string> OnHost { get; }

        internal Lazy<string> InGuest { get; }

        internal int ExitCode { get; private set; } = -1;

        private string RunInGuest()
        {
            using var vm = Guest.Boot(KernelFlavour.Cloud).WithInitrd(Guest.Images.BenchInitrd).With("quiet yado.run=exercise");
            ExitCode = vm.Console.WaitForEnd();
            return vm.Console.Text;
        }
    }
}
