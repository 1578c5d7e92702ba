namespace Yadokari.Translation.Direct;

/// <summary>What a program did directly between two looks. Times are nanoseconds of processor time.</summary>
internal readonly record struct DirectWindow
{
    /// <summary>Of its process, stops included but not what was mapped at the monitor's word.</summary>
    public required long Time { get; init; }

    /// <summary>How often it stopped.</summary>
    public required int Stops { get; init; }

    /// <summary>Of the monitor, and of the process at its word.</summary>
    public long Cost { get; init; }

    /// <summary>Of translated code: the guest's kernel, and what of the program must be translated.</summary>
    public long Translated { get; init; }

    /// <summary>How far it came: exceptions, system calls and runs of code that must be translated.</summary>
    public long Progress { get; init; }

    /// <summary>No other program ran meanwhile.</summary>
    public required bool Alone { get; init; }
}
