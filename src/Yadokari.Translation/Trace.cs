using System.Text;
using Iced.Intel;
using Yadokari.Translation.Code;

namespace Yadokari.Translation;

/// <summary>
/// Writes a line for each block entered from C#, emulated instruction, exception and interrupt. While <see cref="TranslationEngine.Trace"/> is
/// set, jumps are not linked, so that every block is entered from C#.
/// </summary>
internal sealed class Trace(TextWriter writer)
{
    private readonly StringBuilder _line = new();

    // Each line is written by one call, because vCPUs share the writer.
    internal void Enter(Vcpu cpu, Block block)
    {
        _line.Clear().Append($"B {cpu.LinearRip:x} {block.Mode} rax={cpu.Rax:x} rcx={cpu.Rcx:x} rdx={cpu.Rdx:x} rbx={cpu.Rbx:x} rsp={cpu.Rsp:x} rbp={cpu.Rbp:x} rsi={cpu.Rsi:x} rdi={cpu.Rdi:x}");
        for (int i = 8; i < 16; i++)
        {
            _line.Append($" r{i}={cpu.Gpr(i):x}");
        }

        writer.WriteLine(_line.Append($" fl={cpu.Rflags:x}"));
    }

    internal void Emulate(Vcpu cpu, in Instruction instruction) => writer.WriteLine($"E {cpu.LinearRip:x} {instruction}");

    internal void Exception(Vcpu cpu, int vector, uint errorCode)
        => writer.WriteLine($"X {vector} error={errorCode:x} rip={cpu.Rip:x} cr2={cpu.Cr2:x} rsp={cpu.Rsp:x} cpl={cpu.Cpl}");

    internal void Interrupt(Vcpu cpu, int vector) => writer.WriteLine($"I {vector} rip={cpu.Rip:x}");

    internal unsafe void HostFault(Vcpu cpu, int signal, byte* address, in Instruction instruction)
        => writer.WriteLine($"F signal {signal} at {(ulong)address:x}: {cpu.LinearRip:x} {instruction}");
}
