namespace Yadokari.Translation;

/// <summary>The set of used entries of a table, so that clearing the table costs only as much as was filled.</summary>
internal sealed class EntrySet(int entries)
{
    private readonly ulong[] _members = new ulong[entries / 64];
    private readonly List<int> _list = [];

    /// <summary>Adds an entry unless it is there.</summary>
    public void Add(int entry)
    {
        ref ulong members = ref _members[entry >> 6];
        ulong member = 1ul << (entry & 63);
        if ((members & member) == 0)
        {
            members |= member;
            _list.Add(entry);
        }
    }

    /// <summary>Whether an entry is in the set.</summary>
    public bool Contains(int entry) => (_members[entry >> 6] & (1ul << (entry & 63))) != 0;

    public List<int>.Enumerator GetEnumerator() => _list.GetEnumerator();

    /// <summary>Removes all entries.</summary>
    public void Clear()
    {
        foreach (int entry in _list)
        {
            _members[entry >> 6] = 0;
        }

        _list.Clear();
    }
}
