// Runs an untrusted program in a machine without disk and network, with a time limit; prints the program's output and ends with its
// exit code:  dotnet run --project examples/Sandbox KERNEL INITRD PROGRAM SECONDS
// KERNEL is a Linux kernel and INITRD an initial RAM disk with /bin/busybox; PROGRAM is a script for busybox, or a static executable.
using System.Globalization;
using Yadokari;
using Yadokari.Boards.Specs;
using Yadokari.Core;
using Yadokari.Core.Files;
using Yadokari.Machines;

const int TimeIsUp = 124; // The exit code of timeout(1).

if (args.Length != 4 || !double.TryParse(args[3], CultureInfo.InvariantCulture, out double seconds))
{
    Console.Error.WriteLine("usage: Sandbox KERNEL INITRD PROGRAM SECONDS");
    return 2;
}

string initrd = Path.GetTempFileName();
try
{
    WriteInitrd(initrd, args[1], args[2]);
    using var time = new CancellationTokenSource(TimeSpan.FromSeconds(seconds));
    await using var machine = await VirtualMachine.StartAsync(
        new MachineSpec
        {
            Kernel = args[0],
            Initrd = initrd,
            Memory = 256.Mebibytes(),
            Append = "console=ttyS0 loglevel=0 panic=-1 rdinit=/sandbox/init",
        },
        cancellationToken: time.Token);
    string output = await machine.Console.ReadToEndAsync(limit: 64 << 10, time.Token);
    MachineEnd end = await machine.Completion;

    // The last line is the exit code: the program has ended when it is written.
    output = output.ReplaceLineEndings("\n").TrimEnd('\n');
    int codeLine = output.LastIndexOf('\n');
    if (end.Reason == EndReason.PowerOff && codeLine >= 0 && int.TryParse(output[(codeLine + 1)..], out int code))
    {
        Console.Write(output[..codeLine]);
        return code;
    }

    Console.Error.WriteLine($"The machine ended before the program did: {end.Panic ?? end.Reason.ToString()}");
    return 1;
}
catch (OperationCanceledException)
{
    Console.Error.WriteLine($"The program did not end within {seconds} seconds.");
    return TimeIsUp;
}
catch (InvalidDataException e)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}
catch (Exception e) when (e is UserErrorException or IOException)
{
    Console.Error.WriteLine(e.Message);
    return 2;
}
finally
{
    File.Delete(initrd);
}

// Linux unpacks several archives in sequence: appends to the given one an archive with the program and a script that runs in place of /init.
static void WriteInitrd(string path, string given, string program)
{
    const uint Executable = 0x1ED; // rwxr-xr-x
    const string Init = """
        #!/bin/busybox sh
        /bin/busybox mount -t devtmpfs dev /dev
        /bin/busybox stty -echo
        cd /sandbox
        ./program </dev/null 2>&1
        echo "
        $?"
        /bin/busybox poweroff -f

        """;
    using FileStream file = File.Create(path);
    file.Write(File.ReadAllBytes(given));
    file.SetLength((file.Length + 3) & ~3L);
    file.Seek(0, SeekOrigin.End);
    var archive = new CpioWriter(file);
    archive.AddDirectory("sandbox");
    archive.AddFile("sandbox/init", Executable, System.Text.Encoding.UTF8.GetBytes(Init));
    archive.AddFile("sandbox/program", Executable, File.ReadAllBytes(program));
    archive.Finish();
}
