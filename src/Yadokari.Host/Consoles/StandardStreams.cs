using System.Runtime.InteropServices;
using Yadokari.Linux;

namespace Yadokari.Host.Consoles;

/// <summary>
/// Standard output and error without <see cref="Console"/>'s streams: those configure a terminal for line editing with escape sequences
/// and install signal handlers that undo raw mode. Writing never throws. <see cref="Finish"/> reports a write error of standard output;
/// errors of standard error are ignored.
/// </summary>
public static class StandardStreams
{
    // errno.h, asm/signal.h
    private const int BrokenPipe = 32;
    private const int Sigpipe = 13;

    private static readonly TerminalStream s_output = new(1);
    private static readonly TerminalStream s_error = new(2);
    private static int s_failure;

    /// <summary>Standard output. Any thread.</summary>
    public static TextWriter Output { get; } = Open(data => _ = WriteOutput(data));

    /// <summary>Standard error. Any thread.</summary>
    public static TextWriter Error { get; } = Open(data => _ = s_error.Write(data));

    private delegate void Put(ReadOnlySpan<byte> data);

    /// <summary>Writes bytes to standard output. Returns 0, or the errno that stopped this or an earlier write. Any thread.</summary>
    public static int WriteOutput(ReadOnlySpan<byte> data)
    {
        if (Volatile.Read(ref s_failure) == 0 && s_output.Write(data) is int error and not 0)
        {
            Interlocked.CompareExchange(ref s_failure, error, 0);
        }

        return Volatile.Read(ref s_failure);
    }

    /// <summary>
    /// The exit code of a command that would end with <paramref name="code"/>: an error code if its output could not be written. A closed pipe
    /// is not reported, as with SIGPIPE; other errors are reported on standard error.
    /// </summary>
    public static int Finish(int code)
    {
        switch (Volatile.Read(ref s_failure))
        {
            case 0:
                return code;
            case BrokenPipe:
                return code == ExitCodes.Success ? ExitCodes.Signal(Sigpipe) : code;
            case int error:
                Error.WriteLine($"yado: standard output can't be written ({Marshal.GetPInvokeErrorMessage(error)}): redirect it to a file on a disk with free space, or to /dev/null.");
                return code == ExitCodes.Success ? ExitCodes.Internal : code;
        }
    }

    private static TextWriter Open(Put put) => TextWriter.Synchronized(new StreamWriter(new DescriptorStream(put)) { AutoFlush = true });

    private sealed class DescriptorStream(Put put) : WriteOnlyStream
    {
        public override void Write(ReadOnlySpan<byte> buffer) => put(buffer);
    }
}
