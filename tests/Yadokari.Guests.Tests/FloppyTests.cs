using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

namespace Yadokari.Guests.Tests;

/// <summary>Guests that boot from a floppy, and reach one by the BIOS, by Linux's driver and by the controller's own registers.</summary>
public sealed class FloppyTests : IDisposable
{
    private const string Bios = "/usr/share/seabios/bios.bin";

    private readonly string _folder = Directory.CreateTempSubdirectory("yadokari-floppy-").FullName;

    private string Image => Path.Combine(_folder, "floppy.img");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(80, 18, 0, "")]
    [InlineData(40, 9, 1, ",snapshot")]
    public void A_boot_loader_keeps_its_own_descriptor_table_while_the_bios_reads(int cylinders, int sectors, int rate, string settings)
    {
        Assert.SkipUnless(File.Exists(Bios), $"SeaBIOS is not installed ({Bios}; Debian's package seabios).");
        var image = new byte[cylinders * 2 * sectors * 512];
        Assemble($"RATE={rate}", $"CYLINDER={cylinders - 1}", $"SECTOR={sectors}").CopyTo(image, 0);
        Put(image, (((5 * 2) + 1) * sectors) + 2, "floppy: cylinder 5\r\n\0");
        Put(image, 4, "floppy: sector 5\r\n\0");
        File.WriteAllBytes(Image, image);
        using var vm = Guest.StartOn(
            ["-m", "64", "-device", "isa-debug-exit,iobase=0xf4", "-drive", $"file={Image},format=raw,if=floppy,snapshot={(settings.Length > 0 ? "on" : "off")}"],
            "--firmware", Bios, "--floppy", Image + settings, "--memory", "64M", "--device", "debug-exit");
        Assert.Equal(1, vm.Console.WaitForEnd());
        Assert.Equal(
            ["loaded", "cylinder 5", "its own GDT", "wide segment", "written", "sector 5"],
            Regex.Matches(vm.Console.Text, "floppy: (.*)").Select(static match => match.Groups[1].Value));
        var last = Encoding.ASCII.GetString(File.ReadAllBytes(Image), image.Length - 512, 19);
        Assert.Equal(settings.Length > 0 ? new string('\0', 19) : "written by the BIOS", last);
    }

    [Fact]
    public void Linux_reads_and_writes_a_floppy_by_its_driver()
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var kernel = Guest.Had(() => Guest.Images.Kernel(KernelFlavour.Generic));
        var initrd = Guest.Had(Guest.Images.FloppyInitrd);
        var image = new byte[1440 << 10];
        new Random(1).NextBytes(image);
        File.WriteAllBytes(Image, image);
        using var vm = Guest.Start("--kernel", kernel, "--initrd", initrd, "--floppy", Image, "--append", "console=ttyS0 quiet", "--memory", "256M");
        vm.Console.WaitFor("# ");
        vm.Console.Send("insmod /floppy/floppy.ko && dmesg | grep -i fdc; dd if=/dev/fd0 bs=18k count=80 2>/dev/null | md5sum");
        vm.Console.WaitFor("82077");
        vm.Console.WaitFor(Convert.ToHexStringLower(MD5.HashData(image)));
        vm.Console.Send("echo written by Linux $((6 * 7)) | dd of=/dev/fd0 bs=512 seek=2000 conv=sync,fsync 2>/dev/null && echo fd0: $((40 + 2))");
        vm.Console.WaitFor("fd0: 42");
        vm.Console.Send("poweroff -f");
        Assert.Equal(0, vm.Console.WaitForEnd());
        var expected = Encoding.ASCII.GetBytes("written by Linux 42\n".PadRight(512, '\0'));
        expected.CopyTo(image, 2000 * 512);
        Assert.Equal(image, File.ReadAllBytes(Image));
    }

    private static void Put(byte[] image, int sector, string text) => Encoding.ASCII.GetBytes(text, image.AsSpan(sector * 512));

    private byte[] Assemble(params string[] symbols)
    {
        var (code, program) = (Path.Combine(_folder, "floppy.o"), Path.Combine(_folder, "floppy.bin"));
        Host("as", ["--32", .. symbols.SelectMany(static s => new[] { "--defsym", s }), "-o", code, Path.Combine(AppContext.BaseDirectory, "Programs", "floppy.s")]);
        Host("ld", ["-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", program, code]);
        return File.ReadAllBytes(program);
    }

    private static void Host(string program, string[] arguments)
    {
        using var process = Process.Start(Guest.HostProgram(program), arguments);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
