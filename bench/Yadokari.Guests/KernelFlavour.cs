namespace Yadokari.Guests;

/// <summary>Which of Debian's kernels.</summary>
public enum KernelFlavour
{
    /// <summary><c>linux-image-cloud-amd64</c>: few drivers, those that virtual machines have.</summary>
    Cloud,

    /// <summary><c>linux-image-amd64</c>: the kernel for any PC.</summary>
    Generic,
}
