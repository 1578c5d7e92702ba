using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Microsoft.Extensions.Logging;
using Yadokari.Core;
using Yadokari.Devices.Virtio;

namespace Yadokari.Host.Control;

/// <summary>Memory, as <c>/machine/balloon</c> shows it.</summary>
/// <param name="Current">Bytes that the guest has at present.</param>
/// <param name="Target">Bytes that the balloon should leave to the guest.</param>
/// <param name="Full">Memory size of the machine in bytes.</param>
internal sealed record BalloonStatus(ulong Current, ulong Target, ulong Full);

/// <summary>The body of <c>PUT /machine/balloon</c>.</summary>
/// <param name="Target">Bytes of memory that the balloon should leave to the guest.</param>
internal sealed record BalloonRequest([property: JsonRequired] ulong Target);

/// <summary>The balloon: how much of its memory the guest has, and should have. Its driver follows the target in its own time. Any thread.</summary>
internal sealed partial class BalloonControl(IMonitor monitor, MachineDescription machine) : IControlResource
{
    private const ulong Page = 4096;

    // No kernel with a balloon driver can run with less.
    internal const ulong Least = 16UL << 20;

    /// <inheritdoc/>
    public string Name => "balloon";

    /// <inheritdoc/>
    public (string Unit, string Help) Gauge => ("bytes", "Memory that the guest has at present.");

    /// <inheritdoc/>
    public JsonNode? Status() => monitor.Use((VirtioBalloon balloon) => (Without(balloon.Actual), Without(balloon.Target))) is var (now, target)
        ? JsonSerializer.SerializeToNode(new BalloonStatus((ulong)now, (ulong)target, machine.Memory), BalloonJson.Default.BalloonStatus)
        : null;

    /// <inheritdoc/>
    public long? Current() => monitor.Use((VirtioBalloon balloon) => Without(balloon.Actual));

    /// <inheritdoc/>
    public void Set(byte[] body)
    {
        ulong target = ControlJson.Read(body, BalloonJson.Default.BalloonRequest).Target;
        if (target % Page != 0 || target < Least || target > machine.Memory)
        {
            throw new HttpError(400, "/target", $"The balloon's target {target} is not valid", $"give bytes as a multiple of {Page} from {Least} to {machine.Memory}");
        }

        if (monitor.Use((VirtioBalloon balloon) => balloon.Target = (long)(machine.Memory - target)) is not null)
        {
            monitor.Events.Publish(new RunEvent(DateTimeOffset.UtcNow, Name, target));
            LogTarget(monitor.Log, target);
        }
    }

    private long Without(long balloon) => (long)machine.Memory - Math.Min(balloon, (long)machine.Memory);

    [LoggerMessage(6, LogLevel.Information, "the balloon's target is {Target} bytes of memory", EventName = "BalloonSet")]
    private static partial void LogTarget(ILogger log, ulong target);
}

/// <summary>The requests for it.</summary>
public static class BalloonRequests
{
    private const string Path = "/machine/balloon";

    /// <summary>The least target in bytes.</summary>
    public const ulong Least = BalloonControl.Least;

    /// <summary>Bytes of memory that the guest has at present, should have, and that the machine has.</summary>
    /// <exception cref="UserErrorException">The machine does not run.</exception>
    public static (ulong Now, ulong Target, ulong Full) Balloon(this MachineControl control) => Ask(control, "GET", null);

    /// <summary>Sets the balloon's target in bytes and returns as <see cref="Balloon(MachineControl)"/>.</summary>
    /// <exception cref="UserErrorException">The machine does not run, or the target is not valid.</exception>
    public static (ulong Now, ulong Target, ulong Full) Balloon(this MachineControl control, ulong target) =>
        Ask(control, "PUT", JsonSerializer.SerializeToUtf8Bytes(new BalloonRequest(target), BalloonJson.Default.BalloonRequest));

    private static (ulong Now, ulong Target, ulong Full) Ask(MachineControl control, string method, byte[]? body)
    {
        BalloonStatus status = JsonSerializer.Deserialize(control.Ask($"{method} {Path}", body), BalloonJson.Default.BalloonStatus)!;
        return (status.Current, status.Target, status.Full);
    }
}

/// <summary>Reads and writes them as <see cref="ControlJson"/> does.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    AllowDuplicateProperties = false,
    MaxDepth = 8)]
[JsonSerializable(typeof(BalloonStatus))]
[JsonSerializable(typeof(BalloonRequest))]
internal sealed partial class BalloonJson : JsonSerializerContext;
