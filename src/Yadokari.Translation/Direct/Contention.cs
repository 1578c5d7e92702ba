namespace Yadokari.Translation.Direct;

/// <summary>
/// Measures how the host's other load slows direct and translated execution. Translated code is one thread, which gets a fair share of a
/// processor. A program that runs directly and the monitor wake each other all the time, and the host's scheduler favours threads that sleep. On
/// any vCPU's thread: one of two concurrent updates may be lost.
/// </summary>
internal sealed class Contention
{
    // Nanoseconds of running, in either mode: minimum for a result, and weight of the past.
    private const long MinRun = 5_000_000;
    private const long MaxPast = 500_000_000;

    // Upper bound of the factor.
    private const double MaxFactor = 2.5;

    // Assumed slowdown of direct execution before it is measured, on a host where translated code waits.
    private const double AssumedSlowdown = 1.2;

    private Usage _translated;
    private Usage _direct;

    private struct Usage
    {
        private long _ran;
        private long _waited;

        public readonly bool IsKnown => _ran >= MinRun;

        public readonly double Slowdown => 1 + ((double)_waited / _ran);

        public void Add(long ran, long waited)
        {
            if (_ran > MaxPast)
            {
                (_ran, _waited) = (_ran / 2, _waited / 2);
            }

            (_ran, _waited) = (_ran + ran, _waited + waited);
        }
    }

    /// <summary>
    /// Ratio of elapsed time per processor time of translated execution to that of direct execution. It is 1 on an idle host.
    /// </summary>
    public double Factor => _translated.IsKnown ? Math.Clamp(_translated.Slowdown / (_direct.IsKnown ? _direct.Slowdown : AssumedSlowdown), 1, MaxFactor) : 1;

    /// <summary>Adds a period of translated execution: nanoseconds that the thread ran and waited for a processor.</summary>
    public void Translated(long ran, long waited) => _translated.Add(Math.Max(ran, 0), Math.Max(waited, 0));

    /// <summary>Adds a period of direct execution: nanoseconds of the process and the monitor together.</summary>
    public void Directly(long ran, long waited) => _direct.Add(Math.Max(ran, 0), Math.Max(waited, 0));
}
