namespace Yadokari.Cli.DefaultGuest;

/// <summary>Where the maker of the default guest says what it is doing.</summary>
internal interface IProgressReport
{
    /// <summary>A step begins, and the one before is done.</summary>
    void Step(string what);

    /// <summary>How much of the step is done, 0 to 1. Any thread.</summary>
    void Fraction(double done);
}

/// <summary>Progress as plain lines, for logs.</summary>
internal sealed class PlainProgress(TextWriter output) : IProgressReport
{
    /// <inheritdoc/>
    public void Step(string what) => output.WriteLine($"yado: {what}");

    /// <inheritdoc/>
    public void Fraction(double done)
    {
    }
}
