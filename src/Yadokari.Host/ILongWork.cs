namespace Yadokari.Host;

/// <summary>Shows work that may take minutes before a machine starts, such as making an image, to the user, and lets the user interrupt it.</summary>
public interface ILongWork
{
    /// <summary>Does the work on the calling thread and returns its result.</summary>
    /// <param name="work">
    /// The work. Receives the progress report to write to, and a token; when that is cancelled, it must throw an
    /// <see cref="OperationCanceledException"/> and leave no incomplete files.
    /// </param>
    T Do<T>(Func<IProgressReport, CancellationToken, T> work);
}
