using System.Diagnostics;
using System.Text;

namespace Yadokari.Guests.Tests;

/// <summary>
/// A guest's serial console, as a person at a terminal has it: text that has come, and a keyboard. Control sequences are left out: firmware sends
/// one wherever a timer has it look at the screen, also within a word.
/// </summary>
internal sealed class GuestConsole
{
    // No test waits this long for a guest that works, however slow the host: it only guards against hangs.
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(5);

    private readonly Process _process;
    private readonly StringBuilder _text = new();
    private readonly StringBuilder _complaints = new();
    private readonly Task _reading;
    private int _seen;
    private bool _ended; // Nothing comes any more. Guarded, like the text, by the text's lock, which is notified of every change.

    public GuestConsole(Process process)
    {
        _process = process;
        _reading = Read();
    }

    /// <summary>All that the guest has printed so far, line ends as plain newlines.</summary>
    public string Text
    {
        get
        {
            lock (_text)
                return _text.ToString().Replace("\r", "");
        }
    }

    /// <summary>All that the monitor has said on standard error so far.</summary>
    public string Complaints
    {
        get
        {
            lock (_complaints)
                return _complaints.ToString();
        }
    }

    /// <summary>Waits until <paramref name="text"/> comes, after what was waited for before. Fails the test if the machine ends first.</summary>
    public void WaitFor(string text)
    {
        var began = Stopwatch.GetTimestamp();
        lock (_text)
        {
            var from = _seen;
            while (true)
            {
                var at = _text.ToString(from, _text.Length - from).IndexOf(text, StringComparison.Ordinal);
                if (at >= 0)
                {
                    _seen = from + at + text.Length;
                    return;
                }

                // Guests write a few characters at a time: each is looked at once.
                from = Math.Max(from, _text.Length - text.Length + 1);
                if (_ended)
                {
                    _process.WaitForExit(s_patience);
                    Assert.Fail($"The machine ended with exit code {_process.ExitCode} before its console showed '{text}'.\n{Tail()}");
                }
                var left = s_patience - Stopwatch.GetElapsedTime(began);
                if (left <= TimeSpan.Zero || !Monitor.Wait(_text, left))
                    Assert.Fail($"The console did not show '{text}' within {s_patience.TotalMinutes} minutes.\n{Tail()}\n{Hang.Describe(_process)}");
            }
        }
    }

    /// <summary>Types a line.</summary>
    public void Send(string line) => Type(line + "\n");

    /// <summary>Types keys, such as control characters.</summary>
    public void Type(string keys)
    {
        _process.StandardInput.Write(keys);
        _process.StandardInput.Flush();
    }

    /// <summary>Waits for the machine's end and returns its exit code. Fails the test if it does not end.</summary>
    public int WaitForEnd()
    {
        if (!_process.WaitForExit(s_patience))
            Assert.Fail($"The machine did not end within {s_patience.TotalMinutes} minutes.\n{Tail()}\n{Hang.Describe(_process)}");
        if (!_reading.Wait((int)s_patience.TotalMilliseconds, TestContext.Current.CancellationToken))
            Assert.Fail($"The machine ended with exit code {_process.ExitCode}, and a process that it left behind has its console open.\n{Tail()}");
        return _process.ExitCode;
    }

    private async Task Read()
    {
        await Task.WhenAll(Pump(_process.StandardOutput, _text, new ControlSequences()), Pump(_process.StandardError, _complaints, null));
        lock (_text)
        {
            _ended = true;
            Monitor.PulseAll(_text);
        }
    }

    private static async Task Pump(StreamReader from, StringBuilder to, ControlSequences? leftOut)
    {
        var buffer = new char[4096];
        int count;
        while ((count = await from.ReadAsync(buffer)) > 0)
        {
            count = leftOut?.RemoveFrom(buffer.AsSpan(0, count)) ?? count;
            lock (to)
            {
                to.Append(buffer, 0, count);
                Monitor.PulseAll(to);
            }
        }
    }

    private string Tail()
    {
        var lines = Text.Split('\n');
        lock (_complaints)
            return $"{string.Join('\n', lines.TakeLast(25))}\n{_complaints}";
    }
}
