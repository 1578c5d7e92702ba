namespace Yadokari.Translation.Direct;

/// <summary>
/// How long a program that is to run directly stays translated after a page that can't run directly: calls of such code come in bursts, and a
/// stop costs as much as many polls. One that is always in and out of such pages is left alone. Of the vCPU's thread.
/// </summary>
internal sealed class Lingering
{
    /// <summary>What translated code that came back to C# is to do.</summary>
    public enum Answer
    {
        /// <summary>Run directly.</summary>
        Leave,

        /// <summary>Go on.</summary>
        Stay,

        /// <summary>Go on until the next poll.</summary>
        StayForPoll,

        /// <summary>Go on, and come back for an interrupt only.</summary>
        Pause,
    }

    // Polls after such a page.
    private const int Polls = 32;

    // Returns to C# one after another before a pause, which is until the next interrupt, and each time for twice as many.
    private const int MostReturns = 512;
    private const int LongestPause = 64;

    private uint _runs;
    private int _polls;
    private int _returns;
    private int _pause = 1;
    private int _paused;

    /// <summary>It came back to C#.</summary>
    /// <param name="there">It is in such a page.</param>
    /// <param name="runs">Runs of the code of such pages so far, modulo 2^32.</param>
    public Answer Next(bool there, uint runs)
    {
        if (there || runs != _runs)
        {
            _runs = runs;
            _polls = Polls;
        }

        if (!there && _polls == 0)
        {
            _returns = 0;
            _pause = 1;
            return Answer.Leave;
        }

        if (_paused > 0)
        {
            return Answer.Pause;
        }

        if (++_returns == MostReturns)
        {
            _paused = _pause;
            _pause = Math.Min(_pause * 2, LongestPause);
            return Answer.Pause;
        }

        if (there)
        {
            return Answer.Stay;
        }

        _polls--;
        return Answer.StayForPoll;
    }

    /// <summary>An interrupt arrives. True if a pause has ended, after which it is to try to run directly wherever it is: the page may hold other code by now.</summary>
    public bool Interrupted(uint runs)
    {
        if (_paused == 0 || --_paused > 0)
        {
            return false;
        }

        (_returns, _polls, _runs) = (0, 0, runs);
        return true;
    }
}
