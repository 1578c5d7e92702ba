using Yadokari.Boards.Pc.Boot;
using Yadokari.Core;
using Yadokari.Core.Configuration;
using Yadokari.Core.Lifetimes;

namespace Yadokari.Boards.Pc;

/// <summary>
/// All resources of the host that a PC uses: opened, bound and started here, before the first guest instruction, and released in reverse order
/// after the machine's devices. Devices do not own them.
/// </summary>
public sealed class PcResources : IDisposable
{
    private readonly DisposableStack _owned = new();
    private readonly Lock _failing = new(); // Guards the two below.
    private Action<Exception>? _failed;
    private Exception? _failure;

    private PcResources()
    {
    }

    /// <summary>The kernel; null where firmware starts alone.</summary>
    public KernelFile? Kernel { get; private set; }

    /// <summary>The kernel as it was when it was opened.</summary>
    public KernelImage? KernelImage { get; private set; }

    /// <summary>The firmware's ROM; null for none.</summary>
    public FirmwareImage? Firmware { get; private set; }

    /// <summary>The video BIOS; null where there is no firmware or no screen.</summary>
    public byte[]? VideoBios { get; private set; }

    /// <summary>The initial RAM disk; null for none.</summary>
    public Initrd? Initrd { get; private set; }

    /// <summary>Files for a Multiboot kernel.</summary>
    public IReadOnlyList<BootModule> Modules { get; private set; } = [];

    /// <summary>The backends of the devices of the configuration, in its order; null for a device without one.</summary>
    public IReadOnlyList<IDisposable?> Devices { get; private set; } = [];

    /// <summary>
    /// Gives the kernel to be loaded: as it was when it was opened, and from the second call on as its file has it now. Its bytes are not kept for a next time.
    /// </summary>
    /// <exception cref="UserErrorException">It can't be read any more.</exception>
    internal KernelImage TakeKernelImage()
    {
        KernelImage image = KernelImage ?? Kernel!.Read();
        KernelImage = null;
        return image;
    }

    /// <summary>Opens what a configuration names.</summary>
    /// <param name="config">The configuration, checked.</param>
    /// <exception cref="UserErrorException">A resource can't be opened; all others are closed again.</exception>
    public static PcResources Open(PcConfig config)
    {
        var resources = new PcResources();
        using var unfinished = new DisposableStack();
        unfinished.Push(resources);
        resources.OpenAll(config);
        unfinished.Release();
        return resources;
    }

    /// <summary>
    /// Sets the handler of unexpected exceptions of backends' threads: called on that thread, or immediately for an exception that occurred
    /// before.
    /// </summary>
    public void OnFailure(Action<Exception> failed)
    {
        Exception? failure;
        lock (_failing)
        {
            (_failed, failure) = (failed, _failure);
        }

        if (failure is not null)
        {
            failed(failure);
        }
    }

    /// <summary>Releases all, the last first. After the devices that use them.</summary>
    public void Dispose() => _owned.Dispose();

    private void OpenAll(PcConfig config)
    {
        Kernel = config.Kernel is null ? null : _owned.Push(KernelFile.Open(config.Kernel));
        KernelImage = Kernel?.Read();
        Firmware = config.FirmwareFor(KernelImage) is { } firmware ? FirmwareImage.Open(firmware) : null;
        VideoBios = config.Screen && Firmware is not null ? FirmwareImage.ReadVideoBios(Firmware.Name) : null;
        Initrd = config.Initrd is null ? null : _owned.Push(Initrd.Open(config.Initrd));
        Modules = [.. config.Modules.Select(ModuleText.Parse).Select(m => new BootModule(_owned.Push(Initrd.Open(m.Path, Initrd.Module)), m.CommandLine))];
        List<IDisposable?> devices = [];
        config.ForEachDevice((device, context) =>
        {
            try
            {
                devices.Add(device.Open(context, Fail) is { } opened ? _owned.Push(opened) : null);
            }
            catch (ConfigurationException error)
            {
                throw error.Within(context.Field);
            }
        });
        Devices = devices;
    }

    private void Fail(Exception error)
    {
        Action<Exception>? failed;
        lock (_failing)
        {
            _failure ??= error;
            failed = _failed;
        }

        failed?.Invoke(error);
    }
}
