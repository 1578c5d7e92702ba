using System.Text.Json.Nodes;

namespace Yadokari.Host.Control;

/// <summary>
/// A feature's resource of the control API: <c>/machine/NAME</c>, a member of <c>GET /machine</c>, and a gauge. Any thread.
/// </summary>
internal interface IControlResource
{
    /// <summary>Its name.</summary>
    string Name { get; }

    /// <summary>Its unit and meaning, for the gauge <c>yadokari.machine.NAME.current</c>.</summary>
    (string Unit, string Help) Gauge { get; }

    /// <summary>Its state; null while the machine restarts or ends.</summary>
    JsonNode? Status();

    /// <summary>The gauge's value; null as with <see cref="Status"/>.</summary>
    long? Current();

    /// <summary>Changes the state as the body of a request says.</summary>
    /// <exception cref="HttpError">The body is not valid; nothing is changed.</exception>
    void Set(byte[] body);
}
