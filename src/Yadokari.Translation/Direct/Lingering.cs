namespace Yadokari.Translation.Direct;

/// <summary>
/// Decides how long a program that is to run directly stays translated after it ran in a page that must be translated: calls of such code come in
/// bursts, and a stop costs as much as many polls. A program that enters and leaves such pages all the time stays translated for longer. On the
/// vCPU's thread.
/// </summary>
internal sealed class Lingering
{
    /// <summary>What translated code does after an exit to C#.</summary>
    public enum Answer
    {
        /// <summary>Run directly.</summary>
        Leave,

        /// <summary>Continue.</summary>
        Stay,

        /// <summary>Continue until the next poll.</summary>
        StayForPoll,

        /// <summary>Continue until the next interrupt.</summary>
        Pause,
    }

    // Number of polls that the program stays translated after it left such a page.
    private const int Polls = 32;

    // Number of consecutive exits to C# before a pause. A pause lasts for one interrupt at first, and for twice as many each time.
    private const int MaxReturns = 512;
    private const int MaxPause = 64;

    private uint _runs;
    private int _polls;
    private int _returns;
    private int _pause = 1;
    private int _paused;

    /// <summary>Called after each exit of translated code to C#.</summary>
    /// <param name="there">Whether RIP is in a page that must be translated.</param>
    /// <param name="runs"><see cref="VcpuState.ReportedRuns"/>, modulo 2^32.</param>
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

        if (++_returns == MaxReturns)
        {
            _paused = _pause;
            _pause = Math.Min(_pause * 2, MaxPause);
            return Answer.Pause;
        }

        if (there)
        {
            return Answer.Stay;
        }

        _polls--;
        return Answer.StayForPoll;
    }

    /// <summary>
    /// Called for each interrupt. Returns true if a pause has ended: the program tries to run directly in any page, because the code of that page
    /// may have changed.
    /// </summary>
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
