namespace Yadokari.Bench;

/// <summary>What guests boot.</summary>
/// <param name="Kernel">Debian's kernel for clouds.</param>
/// <param name="MiniInitrd">The least to boot.</param>
/// <param name="BenchInitrd">The programs that are compared.</param>
/// <param name="System">A whole system; null where no workload needs one.</param>
internal sealed record GuestFiles(string Kernel, string MiniInitrd, string BenchInitrd, SystemImage? System);
