using Microsoft.Win32.SafeHandles;
using Yadokari.Linux;

namespace Yadokari.Shares;

/// <summary>
/// The nodes (inodes) that a guest refers to: a node has an ID until FUSE_FORGET has dropped all of its lookups. A node keeps its parent and its
/// last known name; its O_PATH descriptor is opened on demand, by name from the parent's, and closed again when too many are open. A name that
/// does not refer to the same file any more gives ESTALE. Any thread.
/// </summary>
internal sealed class NodeTable : IDisposable
{
    /// <summary>The node ID of the shared folder (FUSE_ROOT_ID).</summary>
    public const ulong RootId = 1;

    private const int MaxNodes = 1 << 20;
    private const int MaxDepth = 4096;
    private const long SettledSeconds = 60;

    private readonly Lock _lock = new(); // Innermost.
    private readonly Dictionary<ulong, Node> _byId = [];
    private readonly Dictionary<(ulong Device, ulong Inode), Node> _byFile = [];
    private readonly LinkedList<Node> _open = new(); // Without the root; recently used nodes are at the end, or marked.
    private readonly List<Node> _way = [];
    private readonly Node _root;
    private readonly int _mostOpen;
    private ulong _lastId = RootId;

    /// <summary>Makes one.</summary>
    /// <param name="root">The shared folder; owned by the table.</param>
    /// <param name="status">What is known of it.</param>
    /// <param name="mostOpen">The maximum number of open descriptors: 2 or more.</param>
    public NodeTable(SafeFileHandle root, in FileStatus status, int mostOpen)
    {
        _root = new Node(RootId, status) { Place = root };
        _mostOpen = mostOpen;
        Clear();
    }

    private sealed class Node
    {
        public Node(ulong id, in FileStatus status) => (Id, File, Type, Link) = (id, (status.Device, status.Inode), status.Type, new LinkedListNode<Node>(this));

        public ulong Id { get; }

        public (ulong Device, ulong Inode) File { get; }

        public uint Type { get; }

        public LinkedListNode<Node> Link { get; }

        public Node? Parent { get; set; }

        public byte[] Name { get; set; } = [];

        /// <summary>The lookup count.</summary>
        public ulong Lookups { get; set; }

        /// <summary>The number of child nodes.</summary>
        public int Children { get; set; }

        public SafeFileHandle? Place { get; set; }

        public bool Recent { get; set; }

        /// <summary>What its bytes were like when it was last opened; default where that would tell nothing.</summary>
        public (FileTime Modified, FileTime Changed, ulong Size) Seen { get; set; }

        /// <summary>It lost a name: once closed, it may not be found again.</summary>
        public bool Kept { get; set; }
    }

    /// <summary>Gets the O_PATH descriptor of a node. 0, or an error.</summary>
    public int Use(ulong id, out Lease place)
    {
        lock (_lock)
        {
            place = default;
            if (!_byId.TryGetValue(id, out Node? node))
            {
                return Error.Stale;
            }

            int error = Open(node);
            if (error == 0)
            {
                place = new Lease(node.Place!, node.Type);
            }

            return error;
        }
    }

    /// <summary>Looks up a name in a folder, and increments the lookup count. 0, or an error.</summary>
    /// <param name="folderId">The folder.</param>
    /// <param name="name">Its name there.</param>
    /// <param name="status">What is known of it.</param>
    /// <param name="id">Gets its number.</param>
    public int Add(ulong folderId, ReadOnlySpan<byte> name, in FileStatus status, out ulong id)
    {
        lock (_lock)
        {
            return Add(folderId, name, status, out id, out _);
        }
    }

    /// <summary>Adds a file without a name (O_TMPFILE), which stays open until it is evicted or forgotten. 0, or an error.</summary>
    /// <param name="folderId">The folder in whose file system it is.</param>
    /// <param name="file">The file, which is open.</param>
    /// <param name="status">What is known of it.</param>
    /// <param name="id">Gets its number.</param>
    public int AddUnnamed(ulong folderId, SafeFileHandle file, in FileStatus status, out ulong id)
    {
        lock (_lock)
        {
            id = 0;
            int error = FileTree.PlaceOf(file, out SafeFileHandle place);
            if (error != 0 || (error = Add(folderId, default, status, out id, out Node? node)) != 0)
            {
                place.Dispose();
                return error;
            }

            Close(node!); // The descriptor of a deleted file that had the same inode number.
            MakeRoom();
            Hold(node!, place);
            node!.Kept = true;
            return 0;
        }
    }

    /// <summary>
    /// The guest opens a file. True if its bytes have not changed since it did so before. That is not known of what changed of late: times are
    /// coarse, and a host's mapping that is written shows in them only when its pages went to the disk before.
    /// </summary>
    public bool IsUnchanged(ulong id, in FileStatus status)
    {
        lock (_lock)
        {
            if (!_byId.TryGetValue(id, out Node? node))
            {
                return false;
            }

            long age = DateTimeOffset.UtcNow.ToUnixTimeSeconds() - Math.Max(status.Modified.Seconds, status.Changed.Seconds);
            (FileTime, FileTime, ulong) now = age > SettledSeconds ? (status.Modified, status.Changed, status.Size) : default;
            bool unchanged = now != default && now == node.Seen;
            node.Seen = now;
            return unchanged;
        }
    }

    /// <summary>FUSE_FORGET: decrements the lookup count.</summary>
    public void Forget(ulong id, ulong count)
    {
        lock (_lock)
        {
            if (_byId.TryGetValue(id, out Node? node))
            {
                node.Lookups -= Math.Min(count, node.Lookups);
                Collect(node);
            }
        }
    }

    /// <summary>A name of a file is about to be removed: keeps the node's descriptor open.</summary>
    public void Keep(in FileStatus status)
    {
        lock (_lock)
        {
            if (_byFile.TryGetValue((status.Device, status.Inode), out Node? node) && Open(node) == 0)
            {
                node.Kept = true;
            }
        }
    }

    /// <summary>A file was renamed.</summary>
    public void Moved(in FileStatus status, ulong folderId, ReadOnlySpan<byte> name)
    {
        lock (_lock)
        {
            if (_byFile.TryGetValue((status.Device, status.Inode), out Node? node) && _byId.TryGetValue(folderId, out Node? folder))
            {
                Move(node, folder, name);
            }
        }
    }

    /// <summary>Drops all nodes but the root.</summary>
    public void Clear()
    {
        lock (_lock)
        {
            foreach (Node node in _open)
            {
                node.Place!.Dispose();
            }

            _open.Clear();
            _byId.Clear();
            _byFile.Clear();
            (_root.Lookups, _root.Children) = (0, 0);
            _byId.Add(RootId, _root);
            _byFile.Add(_root.File, _root);
        }
    }

    public void Dispose()
    {
        Clear();
        _root.Place!.Dispose();
    }

    private int Add(ulong folderId, ReadOnlySpan<byte> name, in FileStatus status, out ulong id, out Node? node)
    {
        (id, node) = (0, null);
        if (!_byId.TryGetValue(folderId, out Node? folder))
        {
            return Error.Stale;
        }

        // The host may reuse an inode number for another file.
        if (!_byFile.TryGetValue((status.Device, status.Inode), out node) || node.Type != status.Type)
        {
            if (_byId.Count >= MaxNodes)
            {
                return Error.TooManyOpen;
            }

            node = new Node(++_lastId, status);
            _byId.Add(node.Id, node);
            _byFile[node.File] = node;
        }

        node.Lookups++;
        Move(node, folder, name);
        id = node.Id;
        return 0;
    }

    private void Move(Node node, Node folder, ReadOnlySpan<byte> name)
    {
        if (node == _root || node == folder)
        {
            return;
        }

        if (!name.SequenceEqual(node.Name))
        {
            node.Name = name.ToArray();
        }

        if (node.Parent != folder)
        {
            Node? old = node.Parent;
            folder.Children++;
            node.Parent = folder;
            Leave(old);
        }
    }

    private void Leave(Node? folder)
    {
        if (folder is not null)
        {
            folder.Children--;
            Collect(folder);
        }
    }

    private void Collect(Node node)
    {
        while (node is { Lookups: 0, Children: 0, Parent: { } folder } && _byId.Remove(node.Id))
        {
            if (_byFile.TryGetValue(node.File, out Node? known) && known == node)
            {
                _byFile.Remove(node.File);
            }

            Close(node);
            folder.Children--;
            node = folder;
        }
    }

    private int Open(Node node)
    {
        node.Recent = true;
        _way.Clear();
        Node at = node;
        for (; at.Place is null; at = at.Parent!)
        {
            // Folders that the host moves may appear to be each other's parent.
            if (_way.Count == MaxDepth)
            {
                return Error.Stale;
            }

            _way.Add(at);
        }

        int error = 0;
        for (int i = _way.Count - 1; i >= 0 && error == 0; i--)
        {
            // Eviction may close the folder too, but only after this use.
            using var folder = new Lease(at.Place!, at.Type);
            at = _way[i];
            MakeRoom();
            error = OpenIn(folder.File, at);
        }

        return error == Error.NoEntry ? Error.Stale : error;
    }

    private int OpenIn(SafeFileHandle folder, Node node)
    {
        if (node.Name.Length == 0)
        {
            return Error.Stale;
        }

        int error = FileTree.OpenPlace(folder, node.Name, out SafeFileHandle place);
        if (error != 0)
        {
            return error;
        }

        error = FileStatus.Of(place, out FileStatus status);
        if (error != 0 || (status.Device, status.Inode) != node.File || status.Type != node.Type)
        {
            place.Dispose();
            return error != 0 ? error : Error.Stale;
        }

        Hold(node, place);
        return 0;
    }

    private void Hold(Node node, SafeFileHandle place)
    {
        node.Place = place;
        node.Recent = true;
        _open.AddLast(node.Link);
    }

    // Clock (second chance) replacement: a node that was used since the last pass stays.
    private void MakeRoom()
    {
        for (int i = 2 * _open.Count; _open.Count >= _mostOpen; i--)
        {
            Node first = _open.First!.Value;
            if (i > 0 && (first.Recent || first.Kept))
            {
                first.Recent = false;
                _open.RemoveFirst();
                _open.AddLast(first.Link);
                continue;
            }

            Close(first);
        }
    }

    private void Close(Node node)
    {
        if (node.Place is not null)
        {
            node.Place.Dispose();
            node.Place = null;
            _open.Remove(node.Link);
        }
    }
}
