using System.Collections.Frozen;
namespace Yadokari.X86.Msrs;

/// <summary>
/// The model-specific registers of one vCPU that have no effect on execution. Those of <see cref="MsrKind.Engine"/> and
/// <see cref="MsrKind.Machine"/> are not part of it. For one thread at a time; reading and writing allocate nothing.
/// </summary>
public sealed class MsrFile
{
    private readonly MsrDescription[] _descriptions;
    private readonly FrozenDictionary<uint, int> _places;
    private readonly ulong[] _values;
    private readonly ulong _physicalBits;

    /// <summary>Creates the registers with their reset values.</summary>
    public MsrFile(CpuModel model)
    {
        _descriptions = [.. model.Msrs.Where(d => d.Kind is not (MsrKind.Engine or MsrKind.Machine))];
        _places = Enumerable.Range(0, _descriptions.Length).ToFrozenDictionary(i => _descriptions[i].Index);
        _values = new ulong[_descriptions.Length];
        _physicalBits = (1ul << model.Cpuid.PhysicalAddressBits) - 1;
        Reset();
    }

    /// <summary>Sets every register to its reset value.</summary>
    public void Reset()
    {
        for (int i = 0; i < _values.Length; i++)
        {
            _values[i] = _descriptions[i].Reset;
        }
    }

    /// <summary>RDMSR. False if the register is not part of the file, or reading it is #GP.</summary>
    public bool Read(uint index, out ulong value)
    {
        value = 0;
        if (!_places.TryGetValue(index, out int place) || _descriptions[place].Kind == MsrKind.Command)
        {
            return false;
        }

        value = _values[place];
        return true;
    }

    /// <summary>WRMSR. False if the register is not part of the file, or writing it is #GP: it is read-only, or the value is reserved.</summary>
    public bool Write(uint index, ulong value)
    {
        if (!_places.TryGetValue(index, out int place))
        {
            return false;
        }

        MsrDescription description = _descriptions[place];
        if (description.Kind == MsrKind.Constant || (value & ~description.Writable) != 0 || !IsValid(index, value))
        {
            return false;
        }

        if (description.Kind == MsrKind.Stored)
        {
            _values[place] = value;
        }

        return true;
    }

    /// <summary>Copies the stored registers to a saved state.</summary>
    public void Save(Dictionary<uint, ulong> registers)
    {
        for (int i = 0; i < _values.Length; i++)
        {
            if (_descriptions[i].Kind == MsrKind.Stored)
            {
                registers[_descriptions[i].Index] = _values[i];
            }
        }
    }

    /// <summary>Whether a saved value of a register is valid: the register is stored, and WRMSR would accept the value.</summary>
    public bool CanLoad(uint index, ulong value) =>
        _places.TryGetValue(index, out int place) && _descriptions[place].Kind == MsrKind.Stored
        && (value == _descriptions[place].Reset || ((value & ~_descriptions[place].Writable) == 0 && IsValid(index, value)));

    /// <summary>Loads the stored registers from a saved state that <see cref="CanLoad"/> accepts; missing ones get their reset values.</summary>
    public void Load(IReadOnlyDictionary<uint, ulong> registers)
    {
        for (int i = 0; i < _values.Length; i++)
        {
            bool saved = _descriptions[i].Kind == MsrKind.Stored & registers.TryGetValue(_descriptions[i].Index, out ulong value);
            _values[i] = saved ? value : _descriptions[i].Reset;
        }
    }

    private bool IsValid(uint index, ulong value) => index switch
    {
        MsrIndex.Pat => EachByte(value, isPat: true),
        MsrIndex.MtrrFix64K or MsrIndex.MtrrFix16K8 or MsrIndex.MtrrFix16KA => EachByte(value, isPat: false),
        >= MsrIndex.MtrrFix4KC0 and < MsrIndex.MtrrFix4KC0 + 8 => EachByte(value, isPat: false),
        MsrIndex.MtrrDefType => IsMemoryType((byte)value, isPat: false),
        >= MsrIndex.MtrrPhysBase0 and < MsrIndex.MtrrPhysBase0 + 16 =>
            (value & ~_physicalBits) == 0 && ((index & 1) != 0 || IsMemoryType((byte)value, isPat: false)),
        _ => true,
    };

    private static bool EachByte(ulong value, bool isPat)
    {
        for (int i = 0; i < 8; i++)
        {
            if (!IsMemoryType((byte)(value >> (8 * i)), isPat))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>UC, WC, WT, WP, WB; and UC- in the PAT alone (Intel SDM volume 3, 13.11.2.1 and 13.12.2).</summary>
    private static bool IsMemoryType(byte type, bool isPat) => type is 0 or 1 or 4 or 5 or 6 || (isPat && type == 7);
}
