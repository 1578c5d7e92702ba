namespace Yadokari.Networks.User;

/// <summary>The bytes that all flows of a network may hold together. Under the network's lock.</summary>
/// <param name="most">So many.</param>
internal sealed class ByteBudget(int most)
{
    /// <summary>Bytes that nobody has taken.</summary>
    public int Left { get; private set; } = most;

    /// <summary>Takes so many. False, and nothing is taken, if there are fewer.</summary>
    public bool TryTake(int bytes)
    {
        if (bytes > Left)
        {
            return false;
        }

        Left -= bytes;
        return true;
    }

    /// <summary>Gives back what was taken.</summary>
    public void Give(int bytes) => Left += bytes;
}
