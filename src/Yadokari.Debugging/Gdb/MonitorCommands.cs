using Yadokari.Debugging.Dump;

namespace Yadokari.Debugging.Gdb;

/// <summary>Commands of GDB's <c>monitor</c>.</summary>
internal static class MonitorCommands
{
    private const string Help =
        """
        help            this text
        regs            all registers of the current vCPU, its code, stack and the page walk of RIP
        pagewalk ADDR   the page-table entries that translate a linear address (hexadecimal)
        vcpus           where each vCPU is
        msrs            the model-specific registers the engine keeps

        """;

    /// <summary>Executes a command and returns its output.</summary>
    public static string Run(string command, DebugTarget target, IReadOnlyList<VcpuView> vcpus, int current)
    {
        string[] words = command.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        using var writer = new StringWriter { NewLine = "\n" };
        VcpuView vcpu = vcpus[current];
        switch (words)
        {
            case [] or ["help"]:
                writer.Write(Help);
                break;

            case ["regs"] or ["info", "registers"]:
                StateDump.Write(writer, vcpu.Vcpu, target.Memory);
                break;

            case ["pagewalk", string text]:
                ReadOnlySpan<char> digits = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? text.AsSpan(2) : text;
                if (HexText.TryNumber(digits, out ulong address))
                {
                    PageWalkTrace.Write(writer, vcpu.State, target.Memory, address);
                }
                else
                {
                    writer.WriteLine($"pagewalk {text}: not a hexadecimal address");
                }

                break;

            case ["vcpus"]:
                for (int i = 0; i < vcpus.Count; i++)
                {
                    string mark = i == current ? "*" : " ";
                    writer.WriteLine($"{mark} vCPU {i} at {vcpus[i].State.Rip:x16}, {StateDump.DescribeMode(vcpus[i].State)}");
                }

                break;

            case ["msrs"]:
                foreach ((uint index, ulong value) in vcpu.State.Msrs.OrderBy(m => m.Key))
                {
                    writer.WriteLine($"{index:x8}  {value:x16}");
                }

                break;

            default:
                writer.WriteLine($"{command}: no such command; 'monitor help' lists them");
                break;
        }

        return writer.ToString();
    }
}
