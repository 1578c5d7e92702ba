// Boots a kernel and types a line at its first prompt:  dotnet run --project examples/BootKernel KERNEL [INITRD]
using Yadokari;
using Yadokari.Boards.Specs;
using Yadokari.Core;
using Yadokari.Machines;

if (args.Length is < 1 or > 2)
{
    Console.Error.WriteLine("usage: BootKernel KERNEL [INITRD]");
    return 2;
}

try
{
    await using var machine = await VirtualMachine.StartAsync(new MachineSpec
    {
        Kernel = args[0],
        Initrd = args.ElementAtOrDefault(1),
        Memory = 512.Mebibytes(),
    });
    Console.Write(await machine.Console.WaitForAsync("# "));
    await machine.Console.WriteLineAsync("uname -a; poweroff -f");
    Console.Write(await machine.Console.ReadToEndAsync());
    MachineEnd end = await machine.Completion;
    Console.WriteLine($"The machine ended: {end.Reason}.");
    return end.Reason == EndReason.PowerOff ? 0 : 1;
}
catch (EndOfStreamException e)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}
catch (UserErrorException e)
{
    Console.Error.WriteLine(e.Message);
    return 2;
}
