namespace Yadokari.Devices.Serial;

/// <summary>A UART's receive FIFO: up to 16 characters, each with its line errors. Guarded by its owner.</summary>
internal sealed class ReceiveFifo
{
    public const int Capacity = 16;

    private readonly byte[] _characters = new byte[Capacity];
    private readonly byte[] _errors = new byte[Capacity];
    private int _first;
    private int _errored;

    public int Count { get; private set; }

    /// <summary>The line status bits (PE, FE, BI) that came with the next character.</summary>
    public byte NextErrors => Count == 0 ? (byte)0 : _errors[_first];

    /// <summary>Whether any character in the FIFO came with an error.</summary>
    public bool HasErrors => _errored > 0;

    public void Push(byte character, byte errors = 0)
    {
        int at = (_first + Count) % Capacity;
        _characters[at] = character;
        _errors[at] = errors;
        _errored += errors != 0 ? 1 : 0;
        Count++;
    }

    public byte Pop()
    {
        byte character = _characters[_first];
        ClearNextErrors();
        _first = (_first + 1) % Capacity;
        Count--;
        return character;
    }

    /// <summary>Clears the errors of the next character, after the guest read them.</summary>
    public void ClearNextErrors()
    {
        if (NextErrors != 0)
        {
            _errored--;
            _errors[_first] = 0;
        }
    }

    public void Clear()
    {
        Array.Clear(_errors);
        _errored = 0;
        Count = 0;
    }
}
