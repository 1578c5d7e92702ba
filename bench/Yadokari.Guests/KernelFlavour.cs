namespace Yadokari.Guests;

/// <summary>Which of Debian's kernels.</summary>
public enum KernelFlavour
{
    /// <summary><c>linux-image-cloud-amd64</c>: few drivers, those that virtual machines have.</summary>
    Cloud,

    /// <summary><c>linux-image-amd64</c>: the kernel for any PC.</summary>
    Generic,

    /// <summary><c>linux-image-686</c>: 32 bits, page tables of two levels.</summary>
    I686,

    /// <summary><c>linux-image-686-pae</c>: 32 bits, page tables of three levels.</summary>
    I686Pae,
}
