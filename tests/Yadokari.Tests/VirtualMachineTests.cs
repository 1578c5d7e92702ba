using Yadokari.Boards.Specs;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Disks;
using Yadokari.Machines;

namespace Yadokari.Tests;

/// <summary>Whole machines, through what a .NET developer sees of them.</summary>
public sealed class VirtualMachineTests : IDisposable
{
    // Milliseconds. No test takes this long with a guest that works, however slow the host: it only guards against hangs.
    private const int Patience = 120_000;

    private readonly string _folder = Directory.CreateTempSubdirectory("yadokari-").FullName;

    public VirtualMachineTests() => EchoFirmware.Write(In("rom"));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private MachineSpec Spec => new() { Firmware = In("rom"), Memory = 16.Mebibytes() };

    [Fact(Timeout = Patience)]
    public async Task The_console_takes_and_gives_text_until_the_guest_powers_off()
    {
        await using VirtualMachine machine = await VirtualMachine.StartAsync(Spec);
        await machine.Console.WriteLineAsync("hello");
        Assert.Equal("hello", await machine.Console.WaitForAsync("hello"));
        Assert.Equal("\n", await machine.Console.WaitForAsync("\n"));
        Assert.False(machine.Completion.IsCompleted);
        await machine.Console.WriteAsync("byeq");
        Assert.Equal("bye", await machine.Console.ReadToEndAsync());
        Assert.Equal(EndReason.PowerOff, (await machine.Completion).Reason);
    }

    [Fact(Timeout = Patience)]
    public async Task The_power_button_is_the_guests_to_heed()
    {
        await using VirtualMachine machine = await VirtualMachine.StartAsync(Spec);
        machine.PressPowerButton();
        Assert.Equal(EndReason.PowerOff, (await machine.Completion).Reason);
    }

    [Fact(Timeout = Patience)]
    public async Task A_reset_is_the_end()
    {
        await using VirtualMachine machine = await VirtualMachine.StartAsync(Spec);
        await machine.Console.WriteAsync("r");
        Assert.Equal(EndReason.Reset, (await machine.Completion).Reason);
    }

    [Fact(Timeout = Patience)]
    public async Task A_reset_starts_it_again_where_that_is_asked_for()
    {
        await using VirtualMachine machine = await VirtualMachine.StartAsync(Spec, restartOnReset: true);
        await machine.Console.WriteAsync("1r");
        await machine.Console.WaitForAsync("1");
        // What is typed before the reset may be lost by it, as on a real machine.
        Task<string> wait = machine.Console.WaitForAsync("2");
        while (!wait.IsCompleted)
        {
            await machine.Console.WriteAsync("2");
            await Task.WhenAny(wait, Task.Delay(100)); // Time for the guest to answer.
        }

        machine.PressPowerButton();
        Assert.Equal(EndReason.PowerOff, (await machine.Completion).Reason);
    }

    [Fact(Timeout = Patience)]
    public async Task A_paused_guest_answers_when_it_goes_on()
    {
        await using VirtualMachine machine = await VirtualMachine.StartAsync(Spec);
        Assert.True(await machine.PauseAsync());
        Assert.True(machine.IsPaused);
        await machine.Console.WriteAsync("x");
        Task<string> answer = machine.Console.WaitForAsync("x");
        await Task.Delay(50); // Nothing is to happen.
        Assert.False(answer.IsCompleted);
        await machine.ResumeAsync();
        Assert.False(machine.IsPaused);
        Assert.Equal("x", await answer);
    }

    [Fact(Timeout = Patience)]
    public async Task Cut_power_is_the_end_also_of_a_paused_one()
    {
        await using VirtualMachine machine = await VirtualMachine.StartAsync(Spec);
        await machine.PauseAsync();
        machine.Stop();
        Assert.Equal(EndReason.Stopped, (await machine.Completion).Reason);
        await machine.ResumeAsync();
        Assert.False(await machine.PauseAsync());
    }

    [Fact(Timeout = Patience)]
    public async Task It_can_be_disposed_of_as_soon_as_it_has_started()
    {
        VirtualMachine machine = await VirtualMachine.StartAsync(Spec with { ConsoleTo = "virtio" });
        await machine.DisposeAsync();
        Assert.Equal(EndReason.Stopped, (await machine.Completion).Reason);
        Assert.Equal("", await machine.Console.ReadToEndAsync());
    }

    [Fact(Timeout = Patience)]
    public async Task It_can_be_disposed_of_while_the_guest_puts_out_what_nobody_reads()
    {
        VirtualMachine machine = await VirtualMachine.StartAsync(Spec);
        await machine.Console.WriteAsync("f");
        await machine.Console.WaitForAsync("ff");
        await Task.WhenAll(machine.DisposeAsync().AsTask(), machine.DisposeAsync().AsTask());
        Assert.Equal(EndReason.Stopped, (await machine.Completion).Reason);
        Assert.Matches("^f*$", await machine.Console.ReadToEndAsync());
        await Assert.ThrowsAsync<IOException>(() => machine.Console.WriteAsync("x"));
        await Assert.ThrowsAsync<ObjectDisposedException>(machine.PauseAsync);
        Assert.Throws<ObjectDisposedException>(machine.Stop);
        Assert.Throws<ObjectDisposedException>(() => machine.IsPaused);
    }

    [Fact(Timeout = Patience)]
    public async Task A_console_that_goes_nowhere_shows_nothing()
    {
        await using VirtualMachine machine = await VirtualMachine.StartAsync(Spec with { ConsoleTo = "none" });
        await machine.Console.WriteAsync("abcq");
        Assert.Equal("", await machine.Console.ReadToEndAsync());
        Assert.Equal(EndReason.PowerOff, (await machine.Completion).Reason);
    }

    [Fact(Timeout = Patience)]
    public async Task A_disk_is_one_machines_until_that_is_disposed_of()
    {
        byte[] disk = new byte[1 << 20];
        (disk[510], disk[511]) = (0x55, 0xAA); // A boot sector, without which firmware is not given a disk.
        File.WriteAllBytes(In("disk"), disk);
        MachineSpec spec = Spec with { Devices = [new DiskSpec(In("disk"), Format: DiskFormat.Raw)] };
        await using (await VirtualMachine.StartAsync(spec))
        {
            await Assert.ThrowsAnyAsync<UserErrorException>(() => VirtualMachine.StartAsync(spec));
        }

        await using VirtualMachine next = await VirtualMachine.StartAsync(spec);
        Assert.False(next.Completion.IsCompleted);
    }

    [Fact(Timeout = Patience)]
    public async Task Memory_is_asked_back_as_much_as_is_given()
    {
        await using VirtualMachine machine = await VirtualMachine.StartAsync(Spec);
        Assert.Equal((16.Mebibytes(), 16.Mebibytes()), (machine.Memory, machine.MemoryTarget));
        machine.MemoryTarget = 12.Mebibytes();
        Assert.Equal((16.Mebibytes(), 12.Mebibytes()), (machine.Memory, machine.MemoryTarget));
        machine.MemoryTarget = 1.Gibibytes();
        Assert.Equal(16.Mebibytes(), machine.MemoryTarget);
    }

    [Theory]
    [InlineData("/memory")]
    [InlineData("/cpus")]
    [InlineData("/console")]
    [InlineData("/engine")]
    [InlineData("")]
    public async Task What_cannot_be_is_refused_by_its_field(string field)
    {
        MachineSpec spec = field switch
        {
            "/memory" => Spec with { Memory = 1 },
            "/cpus" => Spec with { Cpus = 0 },
            "/console" => Spec with { ConsoleTo = "vga" },
            "/engine" => Spec with { Engine = "steam" },
            _ => Spec with { Firmware = null },
        };
        ConfigurationException error = await Assert.ThrowsAsync<ConfigurationException>(() => VirtualMachine.StartAsync(spec));
        Assert.Equal(field, error.Field);
    }

    [Fact(Timeout = Patience)]
    public async Task A_kernel_that_is_missing_is_named()
    {
        UserErrorException error = await Assert.ThrowsAnyAsync<UserErrorException>(() => VirtualMachine.StartAsync(new MachineSpec { Kernel = In("missing") }));
        Assert.Contains(In("missing"), error.Message, StringComparison.Ordinal);
    }

    [Fact(Timeout = Patience)]
    public async Task A_start_that_is_cancelled_starts_nothing() => await Assert.ThrowsAnyAsync<OperationCanceledException>(
        () => VirtualMachine.StartAsync(Spec, cancellationToken: new CancellationToken(canceled: true)));

    private string In(string name) => Path.Combine(_folder, name);
}
