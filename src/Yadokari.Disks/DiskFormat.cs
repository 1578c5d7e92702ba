namespace Yadokari.Disks;

/// <summary>How an image holds a disk.</summary>
public enum DiskFormat
{
    /// <summary>Byte for byte.</summary>
    Raw,

    /// <summary>qcow2, of version 2 or 3.</summary>
    Qcow2,
}
