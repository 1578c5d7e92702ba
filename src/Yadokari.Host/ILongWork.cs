namespace Yadokari.Host;

/// <summary>How work that takes minutes before a machine starts, such as making an image, is shown to the user and interrupted.</summary>
public interface ILongWork
{
    /// <summary>Does the work on the calling thread and returns what it returns.</summary>
    /// <param name="work">
    /// Gets what it reports to, and a token that interrupts it by an <see cref="OperationCanceledException"/>, after which nothing half-made
    /// is left.
    /// </param>
    T Do<T>(Func<IProgressReport, CancellationToken, T> work);
}
