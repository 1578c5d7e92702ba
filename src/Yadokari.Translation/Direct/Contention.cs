namespace Yadokari.Translation.Direct;

/// <summary>
/// What the host's other work costs the two ways of running. Translated code is one thread, which shares the processors with others alike; a
/// program that runs directly and the monitor wake one another all the time, and the host's scheduler favours what sleeps. Of any vCPU's
/// thread: of two updates at once one may be lost.
/// </summary>
internal sealed class Contention
{
    // Nanoseconds of running, of either way, from which on something is known, and of which the past counts for.
    private const long Least = 5_000_000;
    private const long Past = 500_000_000;

    // What is measured is believed within bounds.
    private const double Most = 2.5;

    // What is supposed of direct running before it is known, on a host that makes translated code wait.
    private const double Supposed = 1.2;

    private Way _translated;
    private Way _direct;

    private struct Way
    {
        private long _ran;
        private long _waited;

        public readonly bool IsKnown => _ran >= Least;

        public readonly double Stretch => 1 + ((double)_waited / _ran);

        public void Add(long ran, long waited)
        {
            if (_ran > Past)
            {
                (_ran, _waited) = (_ran / 2, _waited / 2);
            }

            (_ran, _waited) = (_ran + ran, _waited + waited);
        }
    }

    /// <summary>How many times as long as a program's own process a translated program takes for the same processor time, by waiting: 1 on an idle host.</summary>
    public double Factor => _translated.IsKnown ? Math.Clamp(_translated.Stretch / (_direct.IsKnown ? _direct.Stretch : Supposed), 1, Most) : 1;

    /// <summary>A program was translated for so long, and waited for so long, in nanoseconds.</summary>
    public void Translated(long ran, long waited) => _translated.Add(Math.Max(ran, 0), Math.Max(waited, 0));

    /// <summary>One ran directly: its process and the monitor together.</summary>
    public void Directly(long ran, long waited) => _direct.Add(Math.Max(ran, 0), Math.Max(waited, 0));
}
