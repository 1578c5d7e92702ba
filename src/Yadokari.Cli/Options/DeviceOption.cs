using System.Globalization;
using Yadokari.Boards.Pc;
using Yadokari.Core;
using Yadokari.Host;
using Yadokari.Machines;

namespace Yadokari.Cli.Options;

/// <summary><c>--device NAME[,KEY=VALUE]...</c>: devices that a PC has only if asked.</summary>
internal static class DeviceOption
{
    /// <summary>What the option takes, for help.</summary>
    public const string Shape = "debug-exit[,port=0xf4] | debug-console[,port=0xe9] | test-irq[,port=0x2000] | test-memory";

    /// <summary>Reads what was given, each naming one device.</summary>
    /// <exception cref="UserErrorException">A device, a key or a value that is not known.</exception>
    public static DebugPorts Parse(IEnumerable<string> given)
    {
        var ports = new DebugPorts();
        foreach (string text in given)
        {
            string[] parts = text.Split(',');
            ushort? port = null;
            foreach (string setting in parts[1..])
            {
                port = setting.StartsWith("port=", StringComparison.Ordinal)
                    ? ParsePort(setting["port=".Length..], text)
                    : throw new UserErrorException($"--device {text} has a setting '{setting}' that is not known: give {Shape}.");
            }

            ports = parts[0] switch
            {
                "debug-exit" when ports.Exit is null => ports with { Exit = port ?? PcLayout.DebugExit },
                "debug-console" when ports.Console is null => ports with { Console = port ?? PcLayout.DebugConsole },
                "test-irq" when ports.InterruptLines is null => ports with { InterruptLines = port ?? PcLayout.TestInterruptLines },
                "test-memory" when !ports.Memory => port is null ? ports with { Memory = true }
                    : throw new UserErrorException($"--device {text} has a port, which memory has not: give test-memory alone."),
                "debug-exit" or "debug-console" or "test-irq" or "test-memory" => throw new UserErrorException($"--device {parts[0]} is given twice: a machine has one at most."),
                _ => throw new UserErrorException($"--device {UserText.Shown(text)} is not a device that can be added: give {Shape}."),
            };
        }

        return ports;
    }

    private static ushort ParsePort(string value, string text)
    {
        bool hex = value.StartsWith("0x", StringComparison.OrdinalIgnoreCase);
        return ushort.TryParse(hex ? value[2..] : value, hex ? NumberStyles.AllowHexSpecifier : NumberStyles.None, CultureInfo.InvariantCulture, out ushort port)
            ? port
            : throw new UserErrorException($"--device {text} names no I/O port: give a number from 0 to 0xffff, as in port=0xf4.");
    }
}
