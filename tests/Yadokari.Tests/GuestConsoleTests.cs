using System.Text;

namespace Yadokari.Tests;

/// <summary>What a console keeps, gives and holds back, with no guest behind it.</summary>
public sealed class GuestConsoleTests
{
    private readonly OutputBuffer _output = new();
    private readonly StringBuilder _typed = new();
    private readonly GuestConsole _console;
    private int _roomAtATime = int.MaxValue;

    public GuestConsoleTests() => _console = new GuestConsole(_output, Type);

    [Fact]
    public async Task A_wait_for_a_text_gives_what_came_before_and_leaves_what_comes_after()
    {
        Task<string> wait = _console.WaitForAsync("$ ");
        Show("boot\r\n");
        Show("$");
        Assert.False(wait.IsCompleted);
        Show(" and more");
        Assert.Equal("boot\r\n$ ", await wait);
        Assert.Equal("and more", await ReadSome());
    }

    [Fact]
    public async Task A_text_that_came_in_pieces_of_any_size_is_found()
    {
        const string Text = "aab aaab aaaab é";
        for (int size = 1; size <= Text.Length; size++)
        {
            Task<string> wait = _console.WaitForAsync("aaaab é");
            foreach (byte[] piece in Encoding.UTF8.GetBytes(Text).Chunk(size))
            {
                _output.Write(piece);
            }

            Assert.Equal(Text, await wait);
        }
    }

    [Fact]
    public async Task A_cancelled_read_loses_nothing()
    {
        using var source = new CancellationTokenSource();
        Task<string> wait = _console.WaitForAsync("never", cancellationToken: source.Token);
        Show("some");
        source.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => wait);
        byte[] buffer = new byte[10];
        Task<int> read = _console.ReadAsync(new byte[0], source.Token).AsTask();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => read);
        Assert.Equal(4, await _console.ReadAsync(buffer));
        Assert.Equal("some", Encoding.UTF8.GetString(buffer, 0, 4));
    }

    [Fact]
    public async Task Too_much_without_the_text_fails_the_wait_and_loses_nothing()
    {
        Task<string> wait = _console.WaitForAsync("never", limit: 8);
        Show("1234567");
        Assert.False(wait.IsCompleted);
        Show("8");
        Assert.Contains("8 bytes without 'never'", (await Assert.ThrowsAsync<InvalidDataException>(() => wait)).Message);
        Assert.Equal("12345678", await ReadSome());
    }

    [Fact]
    public async Task At_the_end_what_is_left_can_be_read()
    {
        Task<string> wait = _console.WaitForAsync("never");
        Show("last words");
        _output.End();
        Show("nobody hears this");
        await Assert.ThrowsAsync<EndOfStreamException>(() => wait);
        Assert.Equal("last words", await _console.ReadToEndAsync());
        Assert.Equal("", await ReadSome());
    }

    [Fact]
    public async Task All_is_read_to_the_end_up_to_a_limit()
    {
        Show("12345678");
        Task<string> tooMuch = _console.ReadToEndAsync(limit: 7);
        await Assert.ThrowsAsync<InvalidDataException>(() => tooMuch);
        Task<string> all = _console.ReadToEndAsync(limit: 8);
        Assert.False(all.IsCompleted);
        _output.End();
        Assert.Equal("12345678", await all);
    }

    [Fact]
    public async Task A_second_read_at_a_time_is_refused_and_leaves_the_first_alone()
    {
        Task<string> first = _console.WaitForAsync("#");
        await Assert.ThrowsAsync<InvalidOperationException>(ReadSome);
        Show("#");
        Assert.Equal("#", await first);
    }

    [Fact]
    public async Task A_mebibyte_that_nobody_reads_makes_the_guest_wait_until_some_is_read()
    {
        int ready = 0;
        _output.Ready += () => ready++;
        _output.Write(new byte[OutputBuffer.Full - 1]);
        Assert.True(_output.HasRoom);
        _output.Write([1]);
        Assert.False(_output.HasRoom);
        Assert.Equal(1, await _console.ReadAsync(new byte[1]));
        Assert.Equal((1, true), (ready, _output.HasRoom));
    }

    // Another device may have found it full in the moment between the two.
    [Fact]
    public async Task Room_that_is_there_again_at_once_is_told_of_too()
    {
        int ready = 0;
        _output.Ready += () => ready++;
        Task<int> read = _console.ReadAsync(new byte[OutputBuffer.Full]).AsTask();
        _output.Write(new byte[OutputBuffer.Full]);
        Assert.Equal(OutputBuffer.Full, await read);
        Assert.Equal(1, ready);
    }

    [Fact]
    public async Task A_wait_for_a_text_lets_the_guest_put_out_more_than_is_kept()
    {
        _output.Write(new byte[OutputBuffer.Full]);
        Task<string> wait = _console.WaitForAsync("#");
        Assert.True(_output.HasRoom);
        _output.Write(new byte[OutputBuffer.Full]);
        Show("#");
        Assert.Equal((2 * OutputBuffer.Full) + 1, (await wait).Length);
    }

    [Fact]
    public async Task Devices_that_cannot_wait_are_held_until_somebody_reads()
    {
        byte[] bytes = new byte[3 * OutputBuffer.Full];
        Random.Shared.NextBytes(bytes);
        Task write = Task.Run(() => _output.Write(bytes));
        var read = new MemoryStream();
        Task copy = _console.CopyToAsync(read);
        await write;
        _output.End();
        await copy;
        Assert.Equal(bytes, read.ToArray());
    }

    [Fact]
    public async Task The_end_lets_go_of_a_device_that_waits()
    {
        using var begun = new ManualResetEventSlim();
        Task write = Task.Run(() =>
        {
            begun.Set();
            _output.Write(new byte[2 * OutputBuffer.Full]);
        });
        begun.Wait();
        _output.End();
        await write;
        Assert.True(_output.HasRoom);
    }

    [Fact]
    public async Task What_has_no_room_yet_is_typed_later_and_in_order()
    {
        _roomAtATime = 2;
        Task first = _console.WriteLineAsync("one");
        Task second = _console.WriteAsync("two");
        await first;
        await second;
        Assert.Equal("one\ntwo", _typed.ToString());
    }

    [Fact]
    public async Task A_write_that_waits_ends_with_the_machine()
    {
        _roomAtATime = 0;
        Task write = _console.WriteAsync("nobody reads this");
        _output.End();
        await Assert.ThrowsAsync<IOException>(() => write);
        await Assert.ThrowsAsync<IOException>(() => _console.WriteAsync("nor this"));
    }

    private int Type(ReadOnlyMemory<byte> bytes)
    {
        int taken = Math.Min(bytes.Length, _roomAtATime);
        _typed.Append(Encoding.UTF8.GetString(bytes.Span[..taken]));
        return taken;
    }

    private void Show(string text) => _output.Write(Encoding.UTF8.GetBytes(text));

    private async Task<string> ReadSome()
    {
        byte[] buffer = new byte[100];
        return Encoding.UTF8.GetString(buffer, 0, await _console.ReadAsync(buffer));
    }
}
