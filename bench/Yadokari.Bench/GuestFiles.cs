namespace Yadokari.Bench;

/// <summary>What guests boot.</summary>
internal sealed record GuestFiles(string Kernel, string MiniInitrd, string BenchInitrd);
