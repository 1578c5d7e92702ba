namespace Yadokari.Host;

/// <summary>Receives progress of long work. The implementation decides how often it shows reports; callers may report as often as they like.</summary>
public interface IProgressReport
{
    /// <summary>A step begins; the previous one is complete.</summary>
    void Step(string what);

    /// <summary>The completed part of the step, from 0 to 1. Any thread.</summary>
    void Fraction(double done);

    /// <summary>What the step works on at present, such as a package's name. Any thread.</summary>
    void Detail(string what);
}
