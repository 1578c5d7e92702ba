using System.Runtime.CompilerServices;
using System.Text;
using Yadokari.Core.Engines;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari.Debugging.Gdb;

/// <summary>Registers and memory of one stopped vCPU. The state is saved once for each stop, and loaded after each change.</summary>
internal sealed class VcpuView(DebugTarget target, int index)
{
    private readonly X86State _state = new();
    private bool _saved;

    /// <summary>The vCPU itself.</summary>
    public IX86Vcpu Vcpu => target.Vcpu(index);

    /// <summary>The state as it is now.</summary>
    public X86State State
    {
        get
        {
            if (!_saved)
            {
                Vcpu.Save(_state);
                _saved = true;
            }

            return _state;
        }
    }

    private RegisterFile File => new(State, new StrongBox<byte>(target.ReadTaskPriority(index)));

    /// <summary>Called when the vCPU resumes: invalidates the saved state.</summary>
    public void Forget() => _saved = false;

    /// <summary>Sets the instruction pointer.</summary>
    public void Jump(ulong rip)
    {
        State.Rip = rip;
        Vcpu.Load(State);
    }

    /// <summary>All registers in hexadecimal; 'x' for those this vCPU does not have.</summary>
    public string ReadAll()
    {
        var text = new StringBuilder();
        RegisterFile file = File;
        foreach (GuestRegister register in GuestRegisters.All)
        {
            Append(text, file, register);
        }

        return text.ToString();
    }

    /// <summary>One register in hexadecimal, or null if there is none of that number.</summary>
    public string? Read(ulong number)
    {
        if (number >= (ulong)GuestRegisters.All.Count)
        {
            return null;
        }

        var text = new StringBuilder();
        Append(text, File, GuestRegisters.All[(int)number]);
        return text.ToString();
    }

    /// <summary>Sets one register; false if it is unknown, missing here or of another size.</summary>
    public bool Write(ulong number, ReadOnlySpan<byte> value)
    {
        if (number >= (ulong)GuestRegisters.All.Count)
        {
            return false;
        }

        GuestRegister register = GuestRegisters.All[(int)number];
        RegisterFile file = File;
        return value.Length == register.Bits / 8 && register.Write(file, value) && Store(file);
    }

    /// <summary>Sets all registers; false, with nothing changed, if the size differs from theirs.</summary>
    public bool WriteAll(ReadOnlySpan<byte> values)
    {
        if (values.Length != GuestRegisters.All.Sum(r => r.Bits / 8))
        {
            return false;
        }

        RegisterFile file = File;
        foreach (GuestRegister register in GuestRegisters.All)
        {
            register.Write(file, values[..(register.Bits / 8)]);
            values = values[(register.Bits / 8)..];
        }

        return Store(file);
    }

    /// <summary>Reads the mapped bytes from the start of a range.</summary>
    public byte[] ReadMemory(ulong address, int length)
    {
        byte[] data = new byte[length];
        IX86Vcpu vcpu = Vcpu;
        int done = 0;
        while (done < length)
        {
            ulong at = address + (ulong)done;
            int piece = (int)Math.Min((ulong)(length - done), 4096 - (at & 4095));
            if (!vcpu.ReadLinear(at, data.AsSpan(done, piece)))
            {
                break;
            }

            done += piece;
        }

        return data[..done];
    }

    private static void Append(StringBuilder text, RegisterFile file, GuestRegister register)
    {
        Span<byte> data = stackalloc byte[16];
        data = data[..(register.Bits / 8)];
        text.Append(register.Read(file, data) ? HexText.FromBytes(data) : new string('x', data.Length * 2));
    }

    private bool Store(RegisterFile file)
    {
        Vcpu.Load(file.State);
        if (file.TaskPriority.Value != target.ReadTaskPriority(index))
        {
            target.WriteTaskPriority(index, file.TaskPriority.Value);
        }

        // The engine may have changed values (reserved bits): save the state again before the next read.
        _saved = false;
        return true;
    }
}
