using Yadokari.Boards.Pc;
using Yadokari.Boards.Specs;
using Yadokari.Core;
using Yadokari.Core.Disks;
using Yadokari.Disks;
using Yadokari.Machines;

namespace Yadokari.Host;

/// <summary>The devices of a run, of which what is written to snapshots outlives a guest's reboot, for which each time a machine is built anew.</summary>
internal sealed class SnapshotDisks : IDisposable
{
    private readonly List<IDisk> _open = [];

    /// <summary>Opens disks that are snapshots.</summary>
    /// <exception cref="UserErrorException">One can't be.</exception>
    public SnapshotDisks(IEnumerable<DeviceSpec> devices)
    {
        try
        {
            Devices = [.. devices.Select(Opened)];
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>All devices.</summary>
    public IReadOnlyList<DeviceSpec> Devices { get; }

    /// <inheritdoc/>
    public void Dispose() => _open.ForEach(disk => disk.Dispose());

    private DeviceSpec Opened(DeviceSpec device) => device switch
    {
        DiskSpec { Snapshot: true } disk => disk with { Opened = Keep(disk.Open()) },
        FloppySpec { Snapshot: true } floppy => floppy with { Opened = Keep(floppy.OpenImage()) },
        _ => device,
    };

    private IDisk Keep(IDisk disk)
    {
        _open.Add(disk);
        return disk;
    }
}
