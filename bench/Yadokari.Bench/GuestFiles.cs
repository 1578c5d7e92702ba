namespace Yadokari.Bench;

/// <summary>The files that guests boot.</summary>
/// <param name="Kernel">Debian's cloud kernel.</param>
/// <param name="MiniInitrd">A minimal initial RAM disk.</param>
/// <param name="BenchInitrd">An initial RAM disk with the programs to compare.</param>
/// <param name="System">A complete system; null if no workload needs one.</param>
internal sealed record GuestFiles(string Kernel, string MiniInitrd, string BenchInitrd, SystemImage? System);
