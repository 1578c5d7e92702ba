namespace Yadokari.Host.Tests;

/// <summary>Progress that nobody sees.</summary>
internal sealed class NoProgress : IProgressReport
{
    public void Step(string what)
    {
    }

    public void Fraction(double done)
    {
    }

    public void Detail(string what)
    {
    }
}
