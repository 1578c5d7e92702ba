using System.Text.Json.Nodes;

namespace Yadokari.Host.Control;

/// <summary>
/// What a feature of a machine shows and takes: <c>/machine/NAME</c> of the control API, a member of <c>GET /machine</c>, and a gauge. Any thread.
/// </summary>
internal interface IControlResource
{
    /// <summary>Its name.</summary>
    string Name { get; }

    /// <summary>Its unit and meaning, for the gauge <c>yadokari.machine.NAME.current</c>.</summary>
    (string Unit, string Help) Gauge { get; }

    /// <summary>Its state; null while the machine starts anew, or ends.</summary>
    JsonNode? Status();

    /// <summary>What the gauge shows; null as with <see cref="Status"/>.</summary>
    long? Current();

    /// <summary>Takes the body of a request to change it.</summary>
    /// <exception cref="HttpError">It can't be, and nothing is changed.</exception>
    void Set(byte[] body);
}
