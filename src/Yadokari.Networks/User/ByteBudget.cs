namespace Yadokari.Networks.User;

/// <summary>The limit of bytes in the buffers of all flows of a network. Under the network's lock.</summary>
/// <param name="limit">The limit in bytes.</param>
internal sealed class ByteBudget(int limit)
{
    /// <summary>Bytes that are not charged.</summary>
    public int Left { get; private set; } = limit;

    /// <summary>Charges <paramref name="bytes"/>. False, and nothing is charged, if fewer are left.</summary>
    public bool TryTake(int bytes)
    {
        if (bytes > Left)
        {
            return false;
        }

        Left -= bytes;
        return true;
    }

    /// <summary>Returns bytes that were charged.</summary>
    public void Give(int bytes) => Left += bytes;
}
