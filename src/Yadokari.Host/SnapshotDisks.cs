using Yadokari.Boards.Pc;
using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Machines;

namespace Yadokari.Host;

/// <summary>The disks of a run, of which what is written to snapshots outlives a guest's reboot, for which each time a machine is built anew.</summary>
internal sealed class SnapshotDisks : IDisposable
{
    private readonly List<IDisk> _open = [];

    /// <summary>Opens those that are snapshots.</summary>
    /// <exception cref="UserErrorException">One can't be.</exception>
    public SnapshotDisks(IReadOnlyList<DiskConfig> disks, DiskConfig? floppy)
    {
        try
        {
            Disks = [.. disks.Select(d => Opened(d, d.Open))];
            Floppy = floppy is null ? null : Opened(floppy, floppy.OpenFloppy);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>All disks.</summary>
    public IReadOnlyList<DiskConfig> Disks { get; }

    /// <summary>The floppy, if there is one.</summary>
    public DiskConfig? Floppy { get; }

    /// <inheritdoc/>
    public void Dispose() => _open.ForEach(disk => disk.Dispose());

    private DiskConfig Opened(DiskConfig config, Func<IDisk> open)
    {
        if (!config.Snapshot)
        {
            return config;
        }

        IDisk disk = open();
        _open.Add(disk);
        return config with { Opened = disk };
    }
}
