namespace Yadokari.Host;

/// <summary>Where long work says what it is doing. Reports may come as often as they like: how often they are shown is up to what shows them.</summary>
public interface IProgressReport
{
    /// <summary>A step begins, and the one before is done.</summary>
    void Step(string what);

    /// <summary>How much of the step is done, 0 to 1. Any thread.</summary>
    void Fraction(double done);

    /// <summary>What the step is at just now, such as a package's name. Any thread.</summary>
    void Detail(string what);
}
