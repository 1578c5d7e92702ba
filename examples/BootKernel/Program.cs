// Boots a kernel and types a line at its first prompt:  dotnet run --project examples/BootKernel KERNEL [INITRD]
using System.Text;
using Yadokari.Boards.Pc;
using Yadokari.Core;
using Yadokari.Devices.Serial;
using Yadokari.Linux;
using Yadokari.Machines;
using Yadokari.Translation;

if (args.Length is < 1 or > 2)
{
    Console.Error.WriteLine("usage: BootKernel KERNEL [INITRD]");
    return 2;
}

try
{
    using var clock = new HostClock();
    var screen = new Screen(Console.OpenStandardOutput());
    var config = new PcConfig
    {
        Memory = 512 << 20,
        Kernel = args[0],
        Initrd = args.ElementAtOrDefault(1),
        CommandLine = "console=ttyS0 panic=-1",
        Console = screen,
        Clock = clock,
        RestartOnReset = false,
    };
    using var pc = new Machine(config, new TranslationEngine());
    screen.Prompted = () => pc.Type("uname -a; poweroff -f\n"u8);
    MachineEnd end = pc.Run();
    Console.WriteLine($"The machine ended: {end.Reason}.");
    return end.Reason == EndReason.PowerOff ? 0 : 1;
}
catch (UserErrorException e)
{
    Console.Error.WriteLine(e.Message);
    return 2;
}

/// <summary>The serial port's output, byte by byte on the processor's thread.</summary>
internal sealed class Screen(Stream output) : IConsole
{
    private readonly StringBuilder _line = new();

    /// <summary>Called at the first prompt of a shell.</summary>
    public Action? Prompted { get; set; }

    public void Write(ReadOnlySpan<byte> bytes)
    {
        output.Write(bytes);
        foreach (byte b in bytes)
        {
            _line.Append((char)b);
            if (b == '\n')
            {
                _line.Clear();
            }
            else if (_line.ToString().EndsWith("# ", StringComparison.Ordinal))
            {
                Prompted?.Invoke();
                Prompted = null;
            }
        }
    }
}
