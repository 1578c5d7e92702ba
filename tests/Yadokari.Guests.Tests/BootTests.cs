namespace Yadokari.Guests.Tests;

public sealed class BootTests
{
    // What the kernel prints when the machine under it is at fault, or it itself is.
    private static readonly string[] s_troubles =
    [
        "Oops", "WARNING:", "BUG:", "Call Trace", "unchecked MSR", "Kernel panic", "NMI received for unknown reason", "unknown NMI",
        "general protection fault", "invalid opcode", "soft lockup", "rcu_preempt detected stalls", "rcu_sched detected stalls", "nobody cared",
        "Firmware Bug", "ACPI Error", "ACPI BIOS Error", "clocksource: Marking", "Machine check",
    ];

    [Theory]
    [InlineData(KernelFlavour.Cloud, 1, "x86_64")]
    [InlineData(KernelFlavour.Cloud, 4, "x86_64")]
    [InlineData(KernelFlavour.Cloud, 32, "x86_64")]
    [InlineData(KernelFlavour.Generic, 1, "x86_64")]
    [InlineData(KernelFlavour.Generic, 4, "x86_64")]
    [InlineData(KernelFlavour.I686, 1, "i686")]
    [InlineData(KernelFlavour.I686, 4, "i686")]
    [InlineData(KernelFlavour.I686Pae, 1, "i686")]
    [InlineData(KernelFlavour.I686Pae, 4, "i686")]
    public void Reaches_a_shell_that_answers(KernelFlavour kernel, int cpus, string machine)
    {
        using var vm = Guest.Boot(kernel).WithMemory("512M").WithCpus(cpus).With("quiet");
        vm.Console.WaitFor("guest: ready");
        vm.Console.WaitFor("# ");
        vm.Console.Send("echo $((6 * 7)) $(uname -m) $(grep -c ^processor /proc/cpuinfo)");
        vm.Console.WaitFor($"42 {machine} {cpus}");
        vm.Console.Send("poweroff -f");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    [Theory]
    [InlineData(KernelFlavour.Cloud, 1)]
    [InlineData(KernelFlavour.Cloud, 4)]
    [InlineData(KernelFlavour.Cloud, 32)]
    [InlineData(KernelFlavour.Generic, 1)]
    [InlineData(KernelFlavour.Generic, 4)]
    [InlineData(KernelFlavour.I686, 4)]
    [InlineData(KernelFlavour.I686Pae, 4)]
    public void Kernel_has_nothing_to_complain_of(KernelFlavour kernel, int cpus)
    {
        using var vm = Guest.Boot(kernel).WithCpus(cpus).With("quiet yado.run=dmesg");
        vm.Console.WaitFor("guest: dmesg begins");
        vm.Console.WaitFor("guest: dmesg ends");
        Assert.Equal(0, vm.Console.WaitForEnd());
        var messages = vm.Console.Text.Split('\n');
        Assert.Contains(messages, static line => line.Contains("Linux version", StringComparison.Ordinal));
        var complaints = messages.Where(static line => s_troubles.Any(trouble => line.Contains(trouble, StringComparison.Ordinal)));
        Assert.Equal("", string.Join('\n', complaints));
    }

    // Debian's kernels for clouds are built without MultiProcessor tables.
    [Fact]
    public void Finds_processors_without_acpi()
    {
        using var vm = Guest.Boot(KernelFlavour.Generic).WithCpus(2).With("quiet acpi=off");
        vm.Console.WaitFor("# ");
        vm.Console.Send("echo $(grep -c ^processor /proc/cpuinfo) processors, $(grep -c IO-APIC.*ttyS0 /proc/interrupts) line");
        vm.Console.WaitFor("2 processors, 1 line");
    }

    [Fact]
    public void Sees_the_memory_it_was_given()
    {
        using var vm = Guest.Boot(KernelFlavour.Cloud).WithMemory("256M").With("quiet");
        vm.Console.WaitFor("# ");
        vm.Console.Send("while read -r name size unit; do [ $name = MemTotal: ] && echo between $((size > 180000 && size < 262145)); done < /proc/meminfo");
        vm.Console.WaitFor("between 1");
        vm.Console.Send("poweroff -f");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }
}
