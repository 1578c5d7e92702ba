namespace Yadokari.Translation.Direct;

/// <summary>Measurements of one window of direct running. Times are nanoseconds of processor time.</summary>
internal readonly record struct DirectWindow
{
    /// <summary>Time of the process, including its share of stops but not the sandbox's own operations.</summary>
    public required long Time { get; init; }

    /// <summary>Number of stops.</summary>
    public required int Stops { get; init; }

    /// <summary>Time of the monitor for these stops, and of the sandbox's own operations.</summary>
    public long Cost { get; init; }

    /// <summary>Time of translated code: the guest's kernel, and code of the program that must be translated.</summary>
    public long Translated { get; init; }

    /// <summary>Progress: the number of exceptions, system calls and runs of code that must be translated.</summary>
    public long Progress { get; init; }

    /// <summary>Whether no other program ran in the window.</summary>
    public required bool Alone { get; init; }
}
