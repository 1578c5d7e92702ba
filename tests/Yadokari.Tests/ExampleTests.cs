using Yadokari.Core;
using Yadokari.Guests;

namespace Yadokari.Tests;

/// <summary>The examples do what they say, and the documentation shows what they do.</summary>
public sealed class ExampleTests : IDisposable
{
    private static readonly Lazy<GuestImages> s_images = new(static () => new GuestImages(new GuestCache(progress: Console.Error.WriteLine)));

    private readonly string _folder = Directory.CreateTempSubdirectory("yadokari-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Boot_kernel_boots_a_kernel_and_types_a_line()
    {
        (int code, string output, string errors) = Run("BootKernel", Guest());
        Assert.Equal((0, ""), (code, errors));
        Assert.Matches(@"(?s)# .*uname -a; poweroff -f\r\nLinux .* x86_64 GNU/Linux\r\n.*The machine ended: PowerOff\.\n$", output);
    }

    [Fact]
    public void Boot_kernel_names_a_file_that_is_missing()
    {
        (int code, _, string errors) = Run("BootKernel", Path.Combine(_folder, "missing"));
        Assert.Equal(2, code);
        Assert.Contains(Path.Combine(_folder, "missing"), errors, StringComparison.Ordinal);
    }

    [Fact]
    public void Flat_code_shows_a_fault()
    {
        Assert.Equal((0, "rax 42, xmm1 41\nException 14, error code 7, at 40000A, address 600000\n", ""), Run("FlatCode"));
    }

    [Fact]
    public void Sandbox_gives_a_programs_output_and_its_exit_code()
    {
        string program = Script("echo hello from $(uname -s); printf 'no line end'; exit 7");
        Assert.Equal((7, "hello from Linux\nno line end", ""), Run("Sandbox", [.. Guest(), program, "120"]));
    }

    [Fact]
    public void Sandbox_ends_a_program_whose_time_is_up()
    {
        Assert.Equal((124, "", "The program did not end within 3 seconds.\n"), Run("Sandbox", [.. Guest(), Script("while :; do :; done"), "3"]));
    }

    [Fact]
    public void Sandbox_ends_a_program_that_talks_without_end()
    {
        (int code, string output, string errors) = Run("Sandbox", [.. Guest(), Script("yes"), "120"]);
        Assert.Equal((1, ""), (code, output));
        Assert.StartsWith("The console showed more than 65536 bytes", errors, StringComparison.Ordinal);
    }

    // Whoever copies code from the documentation copies what was compiled and run.
    [Theory]
    [InlineData("README.md")]
    [InlineData("docs/library.md")]
    [InlineData("src/Yadokari/README.md")]
    public void Documentation_shows_lines_of_the_examples(string document)
    {
        string[] lines = [.. Directory.EnumerateFiles(Path.Combine(Repository.Root, "examples"), "Program.cs", SearchOption.AllDirectories)
            .Concat(Directory.EnumerateFiles(Path.Combine(Repository.Root, "tests", "Yadokari.Tests"), "Documented.cs"))
            .SelectMany(File.ReadLines).Select(line => line.Trim())];
        string[] shown = [.. File.ReadAllText(Path.Combine(Repository.Root, document)).Split("```").Where(block => block.StartsWith("csharp\n", StringComparison.Ordinal))
            .SelectMany(block => block.Split('\n')[1..]).Select(line => line.Trim())];
        Assert.NotEmpty(shown);
        Assert.Equal([], shown.Except(lines));
    }

    /// <summary>Paths of a kernel and of an initial RAM disk with busybox. Skips the test where they can't be had.</summary>
    internal static string[] Guest()
    {
        try
        {
            return [s_images.Value.Kernel(KernelFlavour.Cloud), s_images.Value.MiniInitrd()];
        }
        catch (UserErrorException error)
        {
            Assert.Skip($"No guest to boot: {error.Message}");
            throw;
        }
    }

    private static (int Code, string Output, string Errors) Run(string example, params string[] arguments) =>
        HostProgram.Run(Path.Combine(Repository.Root, "examples", example, "bin", Repository.Configuration, "net10.0", example), arguments);

    private string Script(string line)
    {
        string path = Path.Combine(_folder, "program");
        File.WriteAllText(path, $"#!/bin/busybox sh\n{line}\n");
        return path;
    }
}
