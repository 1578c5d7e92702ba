using System.Runtime.ExceptionServices;

namespace Yadokari.Core.Lifetimes;

/// <summary>
/// Resources that an object owns, disposed of in reverse order. A constructor that may throw half-way keeps one in a <c>using</c> declaration
/// and calls <see cref="Release"/> as its last step. One thread at a time.
/// </summary>
public sealed class DisposableStack : IDisposable
{
    private readonly Stack<IDisposable> _items = [];

    /// <summary>Takes ownership of an object, and returns it.</summary>
    public T Push<T>(T item)
        where T : IDisposable
    {
        _items.Push(item);
        return item;
    }

    /// <summary>Adds an action to be called at disposal, in its order.</summary>
    public void Defer(Action action) => _items.Push(new Deferred(action));

    /// <summary>Gives up ownership of all objects, to another owner.</summary>
    public void Release() => _items.Clear();

    /// <summary>Disposes of all, the last first. If one throws, the others are disposed of all the same, and the first exception is thrown at the end.</summary>
    public void Dispose()
    {
        ExceptionDispatchInfo? first = null;
        while (_items.TryPop(out IDisposable? item))
        {
            try
            {
                item.Dispose();
            }
            catch (Exception error)
            {
                first ??= ExceptionDispatchInfo.Capture(error);
            }
        }

        first?.Throw();
    }

    private sealed class Deferred(Action action) : IDisposable
    {
        public void Dispose() => action();
    }
}
