using System.Runtime.InteropServices;
using Yadokari.Core;

namespace Yadokari.Linux;

/// <summary>Events of a descriptor (sys/epoll.h).</summary>
[Flags]
public enum Readiness : uint
{
    /// <summary>EPOLLIN: readable, or the peer has shut down its sending side.</summary>
    Read = 1,

    /// <summary>EPOLLOUT: writable.</summary>
    Write = 4,

    /// <summary>EPOLLERR: an error is pending.</summary>
    Error = 8,

    /// <summary>EPOLLHUP: both directions are shut down.</summary>
    HungUp = 16,
}

/// <summary>The kernel's <c>struct epoll_event</c>, which is packed on x86-64.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct ReadyEvent(Readiness Readiness, ulong Token);

/// <summary>
/// An epoll instance (epoll(7)), edge-triggered, with an eventfd for <see cref="Wake"/>. A descriptor is removed when it is
/// closed.
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

    /// <summary>Creates an epoll instance without descriptors.</summary>
    /// <exception cref="IOException">The host has no descriptors left.</exception>
    public Epoll()
    {
        if (_descriptor < 0 || _wake < 0)
        {
            string why = Marshal.GetLastPInvokeErrorMessage();
            Dispose();
            throw new IOException($"The host can't create an epoll instance ({why}).");
        }

        Add(_wake, WakeToken, Readiness.Read);
    }

    /// <summary>As <see cref="TryAdd"/>, but throws if the host does not add the descriptor.</summary>
    /// <exception cref="UserErrorException">The host does not add the descriptor.</exception>
    public void Add(int descriptor, ulong token, Readiness readiness)
    {
        if (!TryAdd(descriptor, token, readiness))
        {
            throw new UserErrorException($"epoll takes no more descriptors ({Marshal.GetLastPInvokeErrorMessage()}): raise its limit fs.epoll.max_user_watches.");
        }
    }

    /// <summary>Adds a descriptor. False if the host refuses. Any thread, also during <see cref="Wait"/>.</summary>
    public bool TryAdd(int descriptor, ulong token, Readiness readiness)
    {
        var wanted = new ReadyEvent((Readiness)((uint)readiness | EdgeTriggered), token);
        return Control(_descriptor, AddOne, descriptor, &wanted) == 0; // SAFETY: the kernel reads the event, which lives until the call returns.
    }

    /// <summary>Waits for events, a call of <see cref="Wake"/>, or the timeout. Returns the number of events.</summary>
    /// <param name="events">Receives the events.</param>
    /// <param name="milliseconds">The timeout; infinite if negative.</param>
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

    /// <summary>Makes the current or the next <see cref="Wait"/> return. Any thread.</summary>
    public void Wake()
    {
        ulong one = 1;
        _ = Libc.Write(_wake, &one, sizeof(ulong)); // SAFETY: eight bytes, which is what an eventfd takes.
    }

    /// <summary>Closes the epoll instance. No thread may be in <see cref="Wait"/>.</summary>
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
    private static partial int Wait(int epoll, ReadyEvent* events, int maxEvents, int milliseconds);
}
