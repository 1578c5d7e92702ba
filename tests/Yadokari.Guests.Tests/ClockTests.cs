using System.Diagnostics;
using System.Globalization;

namespace Yadokari.Guests.Tests;

/// <summary>The guest's clock is the host's, by the processor's counter and by KVM's clock, also after the monitor stood still.</summary>
[Collection(nameof(AloneCollection))]
public sealed class ClockTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void The_guests_time_is_the_hosts(int cpus)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        using var vm = Guest.Start("--cpus", $"{cpus}");
        vm.Console.WaitFor("# ");
        vm.Console.Send("cd /sys/devices/system/clocksource/clocksource0; echo have $(cat available_clocksource)");
        vm.Console.WaitFor("have ");
        vm.Console.WaitFor("kvm-clock");
        foreach (var source in (string[])["kvm-clock", "tsc"])
        {
            vm.Console.Send($"echo {source} >current_clocksource; sleep 1; echo now $(cat current_clocksource)");
            vm.Console.WaitFor("now " + source);
            Compare(vm);
            Signal("-STOP", vm.ProcessId);
            Thread.Sleep(3000); // Longer than what a clock that stood still could be off unnoticed.
            Signal("-CONT", vm.ProcessId);
            Compare(vm);
        }

        vm.Console.Send("poweroff");
        Assert.Equal(0, vm.Console.WaitForEnd());
    }

    // The guest answers between two looks at the host's clock; its own was set to the full second at its start.
    private static void Compare(Guest vm)
    {
        var seen = vm.Console.Text.Length;
        var before = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        vm.Console.Send("echo time_is_$(date +%s)_now");
        vm.Console.WaitFor("time_is_1");
        vm.Console.WaitFor("_now");
        var after = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        var text = vm.Console.Text[seen..];
        var at = text.IndexOf("time_is_1", StringComparison.Ordinal) + "time_is_".Length;
        var guest = long.Parse(text.AsSpan(at, text.IndexOf('_', at) - at), CultureInfo.InvariantCulture);
        Assert.InRange(guest, before - 2, after + 1);
    }

    private static void Signal(string signal, int process)
    {
        using var kill = Process.Start(Guest.HostProgram("kill"), [signal, $"{process}"]);
        kill.WaitForExit();
        Assert.Equal(0, kill.ExitCode);
    }
}
