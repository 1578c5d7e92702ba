using System.Diagnostics;
using Xunit;
using Yadokari.Boards.Specs;
using Yadokari.Host;
using Yadokari.Machines;

namespace Yadokari.Cli.Tests;

/// <summary>The program itself, as users meet it.</summary>
public sealed class ProgramTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("yado-test-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private ProcessStartInfo Start(params string[] arguments) => new(Path.Combine(AppContext.BaseDirectory, "yado"), arguments)
    {
        RedirectStandardInput = true,
        RedirectStandardOutput = true,
        RedirectStandardError = true,
        WorkingDirectory = _folder,
        Environment = { ["XDG_CACHE_HOME"] = Path.Combine(_folder, "cache"), ["PATH"] = _folder },
    };

    private (int ExitCode, string Output, string Errors) Yado(params string[] arguments)
    {
        using Process process = Process.Start(Start(arguments))!;
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, errors.Result);
    }

    private void Refuses(string says, params string[] arguments)
    {
        (int code, string output, string errors) = Yado(arguments);
        Assert.Equal("", output);
        Assert.StartsWith("yado: ", errors);
        Assert.Contains(says, errors);
        Assert.Equal(1, errors.Count(c => c == '\n')); // One sentence, one line.
        Assert.Equal(ExitCodes.BadInput, code);
    }

    private (int ExitCode, string Errors) Redirected(string how, string[] arguments)
    {
        ProcessStartInfo start = Start(arguments);
        start = new ProcessStartInfo("/bin/sh", ["-c", $"exec {how}; exec \"$0\" \"$@\"", start.FileName, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardError = true,
            WorkingDirectory = _folder,
            Environment = { ["XDG_DATA_HOME"] = Path.Combine(_folder, "data") },
        };
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, errors);
    }

    // A Multiboot kernel (0.6.96, 3.1) that writes to COM1 for ever.
    internal static byte[] WritingKernel() =>
        MultibootKernel([0x66, 0xBA, 0xF8, 0x03, 0xB0, (byte)'x', 0xEE, 0xEB, 0xFD]); // mov dx, 3F8h; mov al, 'x'; out dx, al; jmp to that

    private static byte[] MultibootKernel(byte[] program)
    {
        const uint magic = 0x1BADB002;
        const uint withAddresses = 1 << 16;
        const uint start = 1 << 20;
        uint[] header = [magic, withAddresses, unchecked(0u - magic - withAddresses), start, start, 0, 0, start + 32];
        return [.. header.SelectMany(BitConverter.GetBytes), .. program];
    }

    [Fact]
    public async Task A_trace_has_whole_lines_though_a_signal_ends_a_machine_that_does_not_stop()
    {
        // To somebody who does not read it.
        File.WriteAllBytes(Path.Combine(_folder, "kernel"), WritingKernel());
        string trace = Path.Combine(_folder, "trace");
        string console = Path.Combine(_folder, "console");
        Process.Start("mkfifo", [console]).WaitForExit();
        using var reader = new FileStream(console, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        using Process process = Process.Start(Start("run", "--kernel", "kernel", "--memory", "16M", "--trace", trace, "--console", console))!;
        Task<string> errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        Assert.True(SpinWait.SpinUntil(() => process.HasExited || (File.Exists(trace) && new FileInfo(trace).Length > 1 << 20), TimeSpan.FromMinutes(2)));
        Assert.False(process.HasExited);
        for (long length = 0; length < new FileInfo(trace).Length;)
        {
            length = new FileInfo(trace).Length;
            Thread.Sleep(100); // Until it goes on no more, for the pipe is full; that it only rests is as good.
        }

        Process.Start("kill", ["-TERM", $"{process.Id}"]).WaitForExit();
        Assert.True(process.WaitForExit(TimeSpan.FromMinutes(2)));
        Assert.Equal((143, ""), (process.ExitCode, await errors));
        string[] lines = File.ReadAllText(trace).Split('\n');
        Assert.Equal("", lines[^1]);
        Assert.Matches("^B .* fl=[0-9a-f]+$|^E [0-9a-f]+ out ", lines[^2]);
    }

    [Fact]
    public async Task A_machine_of_one_processor_goes_on_though_nobody_reads_its_console()
    {
        // Writes to COM1 until its transmitter is busy, and then shuts down.
        byte[] program =
        [
            0x66, 0xBA, 0xFD, 0x03, 0xEC, 0xA8, 0x20, 0x74, 0x09, // mov dx, 3FDh; in al, dx; test al, 20h; jz to the last line
            0x66, 0xBA, 0xF8, 0x03, 0xB0, (byte)'x', 0xEE, 0xEB, 0xEE, // mov dx, 3F8h; mov al, 'x'; out dx, al; jmp to the start
            0x0F, 0x0B, // ud2
        ];
        File.WriteAllBytes(Path.Combine(_folder, "kernel"), MultibootKernel(program));
        using Process process = Process.Start(Start("run", "--kernel", "kernel", "--memory", "16M", "--net", "none"))!;
        process.StandardInput.Close();

        // The processor's state is shown when the guest has shut down, while its output waits to be read.
        Assert.NotNull(await process.StandardError.ReadLineAsync(TestContext.Current.CancellationToken));
        Task<string> errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string output = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        Assert.Contains("triple fault", await errors);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(ExitCodes.TripleFault, process.ExitCode);
        Assert.True(output.Length > 1 << 20);
        Assert.Equal("", output.Trim('x'));
    }

    [Theory]
    [InlineData("--help")]
    [InlineData("run", "--help")]
    [InlineData("audit", "/bin/true")]
    [InlineData("audit", "--json", "/bin/true")]
    [InlineData("disk", "info", "image")]
    [InlineData("disk", "info", "--json", "image")]
    [InlineData("disk", "check", "image.qcow2")]
    [InlineData("logs", "there")]
    [InlineData("ls")]
    [InlineData("run", "--kernel", "kernel", "--memory", "16M")]
    public void Output_that_can_not_be_written_is_told_of_once(params string[] arguments)
    {
        string machine = Path.Combine(_folder, "data", "yadokari", "machines", "there");
        Directory.CreateDirectory(machine);
        File.WriteAllText(Path.Combine(machine, "machine.json"), "{}");
        File.WriteAllText(Path.Combine(machine, "console.log"), "said");
        File.WriteAllBytes(Path.Combine(_folder, "kernel"), WritingKernel());
        File.WriteAllBytes(Path.Combine(_folder, "image"), new byte[1 << 20]);
        Assert.Equal(0, Yado("disk", "create", "image.qcow2", "1M").ExitCode);
        (int code, string errors) = Redirected(">/dev/full", arguments);
        Assert.Equal(ExitCodes.Internal, code);
        Assert.Equal("yado: standard output can't be written (No space left on device): redirect it to a file on a disk with free space, or to /dev/null.\n", errors);

        (code, errors) = Redirected("1</dev/null", arguments);
        Assert.Equal(ExitCodes.Internal, code);
        Assert.Contains("(Bad file descriptor)", errors);
        Assert.Equal(1, errors.Count(c => c == '\n'));

        // A pipe that nobody reads any more.
        Process.Start("mkfifo", [Path.Combine(_folder, "pipe")]).WaitForExit();
        Assert.Equal((ExitCodes.Signal(13), ""), Redirected("3<>pipe >pipe 3<&-", arguments));
    }

    [Fact]
    public void Help_goes_to_standard_output()
    {
        (int code, string output, string errors) = Yado("--help");
        Assert.Equal((0, ""), (code, errors));
        Assert.Contains("run", output);
        Assert.Equal(output, Yado().Output);

        (code, output, errors) = Yado("run", "--help");
        Assert.Equal((0, ""), (code, errors));
        Assert.Contains($"{ExitCodes.GuestPanic} the guest's kernel panicked", output);
        Assert.Contains("--console <stdio|virtio|vga|FILE|none>", output);
    }

    [Fact]
    public void Words_it_does_not_know()
    {
        Refuses("'nonsense'", "nonsense");
        Refuses("'--nonsense'", "run", "--nonsense");
        Refuses("yado run --help", "run", "--kernel");
        Refuses("yado run --help", "run", "--memory", "1G", "--memory", "2G");
    }

    [Fact]
    public void Bad_values()
    {
        Refuses("--memory 0 ", "run", "--memory", "0");
        Refuses("'12Q' is not a size (--memory)", "run", "--memory", "12Q");
        Refuses("'0' of 'cpus' is out of range (--cpus): give a number from 1 to 32", "run", "--cpus", "0");
        Refuses("--memory 72M is too little for the default guest on one processor: give 82M", "run", "--memory", "72M");
        Refuses("--memory 128M is too little for the default guest on 32 processors", "run", "--memory", "128M", "--cpus", "32");
        Refuses("--memory 128M is too little for a whole system on one processor: give 162M", "run", "debian", "--memory", "128M");
        Refuses("--memory 900T is more than this host has", "run", "--memory", "900T");
    }

    [Fact]
    public void Bad_files()
    {
        string empty = Path.Combine(_folder, "empty");
        File.WriteAllBytes(empty, []);
        string text = Path.Combine(_folder, "text");
        File.WriteAllText(text, new string('x', 5000));

        Refuses("missing", "run", "--kernel", "missing");
        Refuses(empty, "run", "--kernel", empty);
        Refuses(text, "run", "--kernel", text);
        Refuses(_folder, "run", "--kernel", _folder);
        Refuses("/dev/zero", "run", "--kernel", "/dev/zero"); // Never ends.
        Refuses("missing", "run", "--initrd", "missing");
        Refuses(empty, "run", "--initrd", empty);
    }

    [Fact]
    public void Bad_images()
    {
        File.WriteAllBytes(Path.Combine(_folder, "kernel"), WritingKernel());
        File.WriteAllBytes(Path.Combine(_folder, "empty"), []);
        File.WriteAllBytes(Path.Combine(_folder, "odd"), new byte[1000]);
        File.WriteAllBytes(Path.Combine(_folder, "image"), new byte[1 << 20]);
        File.CreateSymbolicLink(Path.Combine(_folder, "link"), "image");
        string[] run = ["run", "--kernel", "kernel", "--memory", "16M"];
        Refuses("The floppy 'empty' is empty", [.. run, "--floppy", "empty"]);
        Refuses("The disk 'empty' is empty", [.. run, "--disk", "empty"]);
        Refuses("The floppy 'odd' has 1000 bytes, which is no multiple of 512", [.. run, "--floppy", "odd,snapshot"]);
        Refuses("The floppy 'missing' does not exist", [.. run, "--floppy", "missing"]);
        Refuses("The image './image' is named by --disk too, and what may be written is one drive's alone (--disk)", [.. run, "--disk", "image", "--disk", "./image,ro"]);
        Refuses("The image 'link' is named by --disk too, and what may be written is one drive's alone (--floppy)", [.. run, "--disk", "image,snapshot", "--floppy", "link"]);
        using (new FileStream(Path.Combine(_folder, "image"), FileMode.Open, FileAccess.ReadWrite, FileShare.None))
        {
            Refuses("The floppy 'image' is in use", [.. run, "--floppy", "image"]);
            Refuses("The disk 'image' is in use", [.. run, "--disk", "image,snapshot"]);
        }

        string image = Path.Combine(_folder, "image");
        new MachineSpec { Kernel = "k", Firmware = "f", Devices = [new DiskSpec(image, ReadOnly: true), new DiskSpec(image, Snapshot: true), new FloppySpec(image, ReadOnly: true), new CdromSpec(image)] }.Check();
    }

    [Fact]
    public void A_kernel_without_sections_or_a_payload_is_not_audited()
    {
        File.WriteAllBytes(Path.Combine(_folder, "kernel"), WritingKernel());
        Refuses("Multiboot", "audit", "kernel");
    }

    [Fact]
    public void A_console_file_that_can_not_be_written() =>
        Refuses("--console no/such/folder", "run", "--kernel", "k", "--console", "no/such/folder");

    [Fact]
    public void Bad_input_leaves_a_console_file_as_it_was()
    {
        string log = Path.Combine(_folder, "log");
        File.WriteAllText(log, "dear to me");
        Refuses("missing", "run", "--kernel", "missing", "--console", log);
        Assert.Equal("dear to me", File.ReadAllText(log));

        Refuses("missing", "run", "--kernel", "missing", "--console", log + "2");
        Assert.False(File.Exists(log + "2"));
    }

    [Fact]
    public void No_apt_get_for_the_default_guest()
    {
        Refuses("apt-get", "run");
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder));
    }
}
