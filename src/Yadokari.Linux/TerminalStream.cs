using System.Runtime.InteropServices;

namespace Yadokari.Linux;

/// <summary>
/// Reads and writes an inherited file descriptor (standard input, standard output), without the buffering and the terminal settings of
/// <see cref="Console"/>. Works on blocking and non-blocking descriptors. Reads and writes may be on different
/// threads.
/// </summary>
public sealed unsafe partial class TerminalStream(int descriptor)
{
    private const int Eintr = 4;
    private const int Eagain = 11;
    private const short PollIn = 1;
    private const short PollOut = 4;

    /// <summary>Waits for bytes and reads them. Returns 0 at the end of input, and after a hang-up or an error.</summary>
    public int Read(Span<byte> buffer)
    {
        while (true)
        {
            nint count;

            // SAFETY: the kernel writes at most buffer.Length bytes into the pinned span.
            fixed (byte* start = buffer)
            {
                count = ReadDescriptor(descriptor, start, (nuint)buffer.Length);
            }

            if (count >= 0)
            {
                return (int)count;
            }

            if (!WaitAfterError(PollIn))
            {
                return 0;
            }
        }
    }

    /// <summary>Writes all bytes. Returns 0, or an errno.</summary>
    public int Write(ReadOnlySpan<byte> data)
    {
        while (!data.IsEmpty)
        {
            nint count;

            // SAFETY: the kernel reads at most data.Length bytes of the pinned span.
            fixed (byte* start = data)
            {
                count = WriteDescriptor(descriptor, start, (nuint)data.Length);
            }

            if (count >= 0)
            {
                data = data[(int)count..];
            }
            else if (!WaitAfterError(PollOut))
            {
                return Marshal.GetLastPInvokeError();
            }
        }

        return 0;
    }

    private bool WaitAfterError(short events)
    {
        int error = Marshal.GetLastPInvokeError();
        if (error == Eagain)
        {
            var poll = new PollDescriptor { Descriptor = descriptor, Events = events };
            _ = Poll(ref poll, 1, -1);
        }

        Marshal.SetLastPInvokeError(error);
        return error is Eagain or Eintr;
    }

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint ReadDescriptor(int descriptor, byte* buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint WriteDescriptor(int descriptor, byte* buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    private static partial int Poll(ref PollDescriptor descriptors, nuint count, int timeoutMilliseconds);

    [StructLayout(LayoutKind.Sequential)]
    private struct PollDescriptor
    {
        public int Descriptor;
        public short Events;
        public short Returned;
    }
}
