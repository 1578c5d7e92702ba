using System.Runtime.InteropServices;
using Yadokari.Core;

namespace Yadokari.Linux;

/// <summary>What a descriptor is ready for (sys/epoll.h).</summary>
[Flags]
public enum Readiness : uint
{
    /// <summary>Something can be read, or the other side has ended.</summary>
    Read = 1,

    /// <summary>Something can be written.</summary>
    Write = 4,

    /// <summary>An error is to be asked for.</summary>
    Error = 8,

    /// <summary>Both sides have ended.</summary>
    HungUp = 16,
}

/// <summary>The kernel's <c>struct epoll_event</c>, which is packed on x86-64.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct ReadyEvent(Readiness Readiness, ulong Token);

/// <summary>
/// Waits for many descriptors (epoll(7)), each reported once for every time that it becomes ready, and for <see cref="Wake"/>. Descriptors leave
/// when they are closed.
/// </summary>
public sealed unsafe partial class Epoll : IDisposable
{
    private const int CloseOnExec = 0x80000;
    private const int NonBlocking = 0x800;
    private const int AddOne = 1;
    private const uint EdgeTriggered = 1u << 31;
    private const ulong WakeToken = ulong.MaxValue;

    private int _descriptor = Create(CloseOnExec);
    private int _wake = Libc.EventFd(0, CloseOnExec | NonBlocking);

    /// <summary>Makes one that waits for nothing yet.</summary>
    /// <exception cref="IOException">The host has no descriptors left.</exception>
    public Epoll()
    {
        if (_descriptor < 0 || _wake < 0)
        {
            string why = Marshal.GetLastPInvokeErrorMessage();
            Dispose();
            throw new IOException($"The host gives no descriptor to wait with ({why}).");
        }

        Add(_wake, WakeToken, Readiness.Read);
    }

    /// <summary>The same as <see cref="TryAdd"/> for what nothing goes without.</summary>
    /// <exception cref="UserErrorException">The host can't.</exception>
    public void Add(int descriptor, ulong token, Readiness readiness)
    {
        if (!TryAdd(descriptor, token, readiness))
        {
            throw new UserErrorException($"The host waits for no more descriptors ({Marshal.GetLastPInvokeErrorMessage()}): raise its limit fs.epoll.max_user_watches.");
        }
    }

    /// <summary>Waits for a descriptor too. False where the host can't. Any thread, also during <see cref="Wait"/>.</summary>
    public bool TryAdd(int descriptor, ulong token, Readiness readiness)
    {
        var wanted = new ReadyEvent((Readiness)((uint)readiness | EdgeTriggered), token);
        return Control(_descriptor, AddOne, descriptor, &wanted) == 0; // SAFETY: the kernel reads the event, which lives until the call returns.
    }

    /// <summary>Waits until something is ready, somebody calls <see cref="Wake"/>, or the time is over. Returns how many events came.</summary>
    /// <param name="events">Gets them.</param>
    /// <param name="milliseconds">The most to wait; below 0 for ever.</param>
    public int Wait(Span<ReadyEvent> events, int milliseconds)
    {
        int count;

        // SAFETY: the kernel writes as many events as there is room for.
        fixed (ReadyEvent* first = events)
        {
            count = Math.Max(0, Wait(_descriptor, first, events.Length, milliseconds));
        }

        int kept = 0;
        for (int i = 0; i < count; i++)
        {
            if (events[i].Token != WakeToken)
            {
                events[kept++] = events[i];
                continue;
            }

            ulong calls;
            _ = Libc.Read(_wake, &calls, sizeof(ulong)); // SAFETY: eight bytes, which is what an eventfd gives.
        }

        return kept;
    }

    /// <summary>Ends a <see cref="Wait"/>, now or when it begins. Any thread.</summary>
    public void Wake()
    {
        ulong one = 1;
        _ = Libc.Write(_wake, &one, sizeof(ulong)); // SAFETY: eight bytes, which is what an eventfd takes.
    }

    /// <summary>Gives the descriptors back. Nobody may wait any more.</summary>
    public void Dispose()
    {
        Close(ref _wake);
        Close(ref _descriptor);
    }

    private static void Close(ref int descriptor)
    {
        if (descriptor >= 0)
        {
            _ = Libc.Close(descriptor);
            descriptor = -1;
        }
    }

    [LibraryImport("libc", EntryPoint = "epoll_create1", SetLastError = true)]
    private static partial int Create(int flags);

    [LibraryImport("libc", EntryPoint = "epoll_ctl", SetLastError = true)]
    private static partial int Control(int epoll, int operation, int descriptor, ReadyEvent* wanted);

    [LibraryImport("libc", EntryPoint = "epoll_wait", SetLastError = true)]
    private static partial int Wait(int epoll, ReadyEvent* events, int most, int milliseconds);
}
