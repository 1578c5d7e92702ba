using System.Security.Cryptography;

namespace Yadokari.Devices.Virtio;

/// <summary>An entropy device: random bytes from the host (virtio 1.2, 5.4).</summary>
public sealed class VirtioEntropy : VirtioDevice
{
    private const int Piece = 4096;

    private readonly byte[] _bytes = new byte[Piece];

    /// <inheritdoc/>
    public override string Name => "rng";

    /// <inheritdoc/>
    public override ushort Type => 4;

    /// <inheritdoc/>
    public override IReadOnlyList<ushort> QueueSizes { get; } = [64];

    /// <inheritdoc/>
    public override bool Process(int number, Virtqueue queue, DescriptorChain chain, Action notifyDriver)
    {
        while (queue.TryPop(chain))
        {
            // A short answer is valid: a driver that needs more sends another request.
            int length = (int)Math.Min(Piece, chain.WritableLength);
            RandomNumberGenerator.Fill(_bytes.AsSpan(0, length));
            queue.Push(chain, (uint)chain.Write(0, _bytes.AsSpan(0, length)));
            notifyDriver();
        }

        return true;
    }
}
