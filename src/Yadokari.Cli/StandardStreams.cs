using Yadokari.Linux;

namespace Yadokari.Cli;

/// <summary>
/// Standard output and error without <see cref="Console"/>'s streams: those set a terminal up for line editing, by escape sequences
/// that stay in it and by signal handlers that undo raw mode. Nobody may be listening any more: errors of writing are ignored.
/// </summary>
internal static class StandardStreams
{
    /// <summary>Standard output. Any thread.</summary>
    public static TextWriter Output { get; } = Open(1);

    /// <summary>Standard error. Any thread.</summary>
    public static TextWriter Error { get; } = Open(2);

    private static TextWriter Open(int descriptor) => TextWriter.Synchronized(new StreamWriter(new DescriptorStream(descriptor)) { AutoFlush = true });

    private sealed class DescriptorStream(int descriptor) : WriteOnlyStream
    {
        private readonly TerminalStream _target = new(descriptor);

        public override void Write(ReadOnlySpan<byte> buffer) => _ = _target.Write(buffer);
    }
}
