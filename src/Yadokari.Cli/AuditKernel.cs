using System.Runtime.InteropServices;
using Yadokari.Boards.Pc.Boot;
using Yadokari.Core;
using Yadokari.Core.Memory;

namespace Yadokari.Cli;

/// <summary>Extracts the kernel, an ELF file, from a compressed kernel image.</summary>
internal static class AuditKernel
{
    private const int LargestKernel = 1 << 30;
    private const int PageMask = 4095;

    /// <summary>Unpacks a bzImage.</summary>
    /// <exception cref="UserErrorException">The file is not a bzImage, or is damaged.</exception>
    public static ReadOnlyMemory<byte> Unpack(string path, byte[] file)
    {
        KernelImage kernel = KernelImage.Parse(path, file);
        if (kernel.Format != KernelFormat.BzImage)
        {
            throw new UserErrorException($"'{path}' is a Multiboot kernel without an ELF header, so its code can't be located: give an ELF file or a bzImage.");
        }

        SetupHeader setup = kernel.Setup;
        long offset = setup.ProtectedModeOffset + (long)setup.PayloadOffset;
        if (setup.PayloadOffset == 0 || offset + setup.PayloadLength > file.Length)
        {
            throw new UserErrorException($"'{path}' is a kernel image without its payload: copy or download it again.");
        }

        var payload = new ArraySegment<byte>(file, (int)offset, (int)setup.PayloadLength);
        uint length = PayloadUnpacker.UnpackedLength(payload);
        if (PayloadUnpacker.Recognise(payload) is null || length is 0 or > LargestKernel)
        {
            throw new UserErrorException($"'{path}' has a payload in an unknown compression format: unpack it to an ELF file (vmlinux) and give that.");
        }

        // The unpacker writes to guest memory, as at boot; here that is a plain array.
        byte[] unpacked = GC.AllocateUninitializedArray<byte>(((int)length + PageMask) & ~PageMask, pinned: true);
        using var memory = new GuestMemory(
            [new MemoryRegion(0, (ulong)unpacked.Length, Marshal.UnsafeAddrOfPinnedArrayElement(unpacked, 0))], null);
        if (!PayloadUnpacker.Unpack(payload, memory, 0, (int)length))
        {
            throw new UserErrorException($"'{path}' has a damaged payload: copy or download it again.");
        }

        return unpacked.AsMemory(0, (int)length);
    }
}
