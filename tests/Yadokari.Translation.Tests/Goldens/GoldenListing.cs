using System.Globalization;
using System.Reflection;
using System.Text;
using Iced.Intel;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.Translation.Code;
using Yadokari.X86.Cpuid;
using Decoder = Iced.Intel.Decoder;

namespace Yadokari.Translation.Tests.Goldens;

/// <summary>
/// Translates the cases and writes the host code down: without addresses of this run, with fields of the vCPU's state by their names, so
/// that the text changes only where the translator does.
/// </summary>
internal sealed unsafe class GoldenListing : ISymbolResolver, IDisposable
{
    private const ulong UserCode = 0x5000;
    private const ulong KernelCode = 0xFFFFFFFF81000000;
    private readonly GuestMemory _memory = GuestRam.Create([(0, 1 << 20)]);
    private readonly SortedDictionary<ulong, string> _names = [];
    private readonly TranslatedCode _code;
    private readonly Dictionary<ulong, string> _labels = [];

    public GoldenListing()
    {
        _code = new TranslatedCode(_memory, 8 << 20, new InstructionSet(CpuidModel.FromHost(new CpuidConfiguration(1, 1_000_000_000, 1_000_000_000))));
        foreach (FieldInfo field in typeof(VcpuState).GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic))
        {
            _names[(ulong)StateLayout.Of(field.Name)] = char.ToLowerInvariant(field.Name[0]) + field.Name[1..];
        }

        for (int i = 0; i < 16; i++)
        {
            _names[(ulong)StateLayout.Gpr(i)] = $"guest_{(Register.RAX + i).ToString().ToLowerInvariant()}";
        }

        for (int i = 0; i < VcpuState.SharedAddresses; i++)
        {
            _names[(ulong)StateLayout.SharedAddress(i)] = $"shared{i}";
        }

        string[] segments = ["es", "cs", "ss", "ds", "fs", "gs"];
        for (int i = 0; i < 6; i++)
        {
            _names[(ulong)StateLayout.SegmentBase(i)] = segments[i] + "_base";
        }

        string[] kinds = ["kernel", "user", "kernel_ac"];
        for (int i = 0; i < StateLayout.TlbCount; i++)
        {
            ulong tlb = (ulong)(StateLayout.Tlb + (i * StateLayout.TlbBytes));
            _names[tlb] = $"{kinds[i / 2]}_{(i % 2 == 0 ? "read" : "write")}_tlb";
            _names[tlb + 8] = _names[tlb] + "_host";
        }

        string[] caches = ["kernel", "user", "kernel_32", "user_32"];
        for (int i = 0; i < StateLayout.JumpCaches; i++)
        {
            ulong cache = (ulong)(StateLayout.JumpCache + (i * StateLayout.JumpBytes));
            _names[cache] = caches[i] + "_jumps";
            _names[cache + 8] = caches[i] + "_jumps_code";
        }
    }

    public string Write()
    {
        var text = new StringBuilder();
        foreach (GoldenCase golden in GoldenCases.All)
        {
            Write(text, golden);
        }

        return text.ToString();
    }

    public bool TryGetSymbol(in Instruction instruction, int operand, int instructionOperand, ulong address, int addressSize, out SymbolResult symbol)
    {
        string? name = null;
        bool found = instruction.SegmentPrefix == Register.GS && instruction.GetOpKind(Math.Max(instructionOperand, 0)) == OpKind.Memory
            ? _names.TryGetValue((uint)address, out name)
            : instruction.FlowControl is not FlowControl.Next && _labels.TryGetValue(address, out name);
        symbol = found ? new SymbolResult(address, name!) : default;
        return found;
    }

    public void Dispose()
    {
        _code.Dispose();
        _memory.Dispose();
    }

    private void Write(StringBuilder text, GoldenCase golden)
    {
        ulong linear = golden.Kernel ? KernelCode : UserCode;
        var assembler = new Assembler(64);
        golden.Emit(assembler);
        int pieces = assembler.Instructions.Count;
        if (!golden.Ends)
        {
            if (!golden.Flags)
            {
                assembler.cmp(AssemblerRegisters.eax, AssemblerRegisters.eax);
            }

            assembler.ud2();
        }

        var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), linear);
        _code.Written(UserCode, 4096);
        _memory.Write(UserCode, stream.ToArray());
        CpuMode mode = CpuMode.Code64 | CpuMode.Protected | (golden.Kernel ? 0 : CpuMode.User);
        Block block = _code.Translate(UserCode, 0, linear, mode, 0) ?? throw new InvalidOperationException("no block");

        byte* end = golden.Ends ? block.End : block.AxEntry + block.Table[(2 * pieces) + 1];
        List<Instruction> host = Disassemble(block.LiveEntry, end);
        if (golden.Ends)
        {
            host.AddRange(Disassemble(block.Cold, _code.Cache.Executable((byte*)block.Table)));
        }

        _labels.Clear();
        _labels[(ulong)_code.Cache.Executable(_code.Stubs.ExitPlain)] = "exit";
        _labels[(ulong)_code.Cache.Executable(_code.Stubs.ExitAx)] = "exit_ax";
        _labels[(ulong)_code.Cache.Executable(_code.Stubs.RestoreSimd)] = "restore_simd";
        foreach (ulong target in host.Where(IsBranch).Select(i => i.NearBranchTarget).Distinct().Order())
        {
            if (host.Any(i => i.IP == target))
            {
                _labels[target] = $"L{_labels.Count - 2}";
            }
            else
            {
                _labels.TryAdd(target, "away");
            }
        }

        var formatter = new NasmFormatter(this);
        formatter.Options.ShowSymbolAddress = false;
        formatter.Options.ShowBranchSize = false;
        formatter.Options.RipRelativeAddresses = false;
        text.Append(CultureInfo.InvariantCulture, $"# {golden.Name}{(golden.Flags ? " [flags live]" : "")}: {host.Count} host instructions\n");
        foreach (Instruction instruction in assembler.Instructions.Take(pieces))
        {
            var guest = new StringOutput();
            new NasmFormatter().Format(instruction, guest);
            text.Append("  ").Append(guest.ToStringAndReset()).Append('\n');
        }

        foreach (Instruction instruction in host)
        {
            if (_labels.TryGetValue(instruction.IP, out string? label))
            {
                text.Append("   ").Append(label).Append(":\n");
            }

            var output = new StringOutput();
            formatter.Format(instruction, output);
            text.Append("      ").Append(output.ToStringAndReset()).Append('\n');
        }

        text.Append('\n');
    }

    private static bool IsBranch(Instruction instruction) => instruction.Op0Kind == OpKind.NearBranch64;

    // Host code up to an address, without the descriptions of sites that stand behind calls to the exits.
    private List<Instruction> Disassemble(byte* start, byte* end)
    {
        List<Instruction> instructions = [];
        ulong[] exits = [(ulong)_code.Cache.Executable(_code.Stubs.ExitPlain), (ulong)_code.Cache.Executable(_code.Stubs.ExitAx)];
        byte* at = start;
        while (at < end)
        {
            // SAFETY: the block's code, which lies in the cache up to its table.
            byte[] bytes = new ReadOnlySpan<byte>(at, (int)Math.Min(15, end - at)).ToArray();
            Instruction instruction = Decoder.Create(64, bytes, (ulong)at).Decode();
            if (instruction.IsInvalid)
            {
                break;
            }

            instructions.Add(instruction);
            at += instruction.Length;
            if (instruction.IsCallNear && exits.Contains(instruction.NearBranchTarget))
            {
                at += sizeof(Site);
                if (end - at < sizeof(int))
                {
                    // Padding before the table.
                    break;
                }
            }
        }

        return instructions;
    }
}
