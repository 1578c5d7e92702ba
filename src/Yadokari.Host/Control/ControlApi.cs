using System.Text.Json;
using System.Text.Json.Nodes;

namespace Yadokari.Host.Control;

/// <summary>
/// The HTTP resources of a running machine, as <c>openapi.json</c> beside this file describes them. Any thread. A request is checked
/// completely before any part of it takes effect.
/// </summary>
internal sealed class ControlApi : IDisposable
{
    /// <summary>The protocol that a connection to <see cref="ConsolePath"/> is upgraded to: after the response, the console's bytes in both directions.</summary>
    public const string ConsoleProtocol = "yadokari-console";

    /// <summary>The console; needs an upgraded connection.</summary>
    public const string ConsolePath = "/machine/console";

    /// <summary>The size of the console's terminal.</summary>
    public const string ConsoleSizePath = "/machine/console/size";

    /// <summary>The stream of events.</summary>
    public const string EventsPath = "/events";

    /// <summary>The machine.</summary>
    public const string MachinePath = "/machine";

    /// <summary>Whether the machine runs or is paused.</summary>
    public const string StatePath = "/machine/state";

    /// <summary>Value of <see cref="StatePath"/>: the machine runs.</summary>
    public const string Running = "running";

    /// <summary>Value of <see cref="StatePath"/>: the machine is paused.</summary>
    public const string Paused = "paused";

    /// <summary>Actions on the machine's power.</summary>
    public const string PowerPath = "/machine/power";

    /// <summary>Action of <see cref="PowerPath"/>: presses the power button. The guest decides what to do.</summary>
    public const string PressButton = "press-button";

    /// <summary>Action of <see cref="PowerPath"/>: cuts the power.</summary>
    public const string Off = "off";

    private const int Kill = 9; // asm/signal.h

    private static readonly byte[] s_openApi = ReadDocument();

    private readonly IMonitor _monitor;
    private readonly MachineDescription _machine;
    private readonly Dictionary<string, Action> _powerActions;
    private readonly Dictionary<(string Method, string Path), Func<HttpRequest, Answer>> _routes;
    private readonly IReadOnlyList<IControlResource> _resources;
    private readonly Lazy<MonitorMetrics> _metrics;
    private volatile bool _ending;

    /// <summary>Creates the API of one machine.</summary>
    /// <param name="monitor">Runs the machine; not owned.</param>
    /// <param name="machine">Describes the machine.</param>
    public ControlApi(IMonitor monitor, MachineDescription machine)
    {
        _monitor = monitor;
        _machine = machine;
        _resources = [new BalloonControl(monitor, machine)];
        _metrics = new Lazy<MonitorMetrics>(() => new MonitorMetrics(monitor, machine, _resources));
        _powerActions = new Dictionary<string, Action>(StringComparer.Ordinal)
        {
            [PressButton] = monitor.PressPower,
            [Off] = CutPower,
        };
        _routes = new Dictionary<(string, string), Func<HttpRequest, Answer>>
        {
            [("GET", MachinePath)] = _ => Answer.Of(HttpResponse.Json(Status)),
            [("PUT", StatePath)] = SetState,
            [("PUT", PowerPath)] = Power,
            [("GET", ConsolePath)] = Console,
            [("PUT", ConsoleSizePath)] = Resize,
            [("GET", EventsPath)] = _ => new Answer(new HttpResponse(200, "text/event-stream", null, ("Cache-Control", "no-store")), After.StreamEvents),
            [("GET", "/metrics")] = _ => Answer.Of(new HttpResponse(200, PrometheusText.ContentType, _metrics.Value.Collect())),
            [("GET", "/openapi.json")] = _ => Answer.Of(new HttpResponse(200, "application/json", s_openApi)),
        };
        foreach (IControlResource resource in _resources)
        {
            string path = $"{MachinePath}/{resource.Name}";
            _routes.Add(("GET", path), _ => Show(resource));
            _routes.Add(("PUT", path), request =>
            {
                resource.Set(request.Body);
                return Show(resource);
            });
        }
    }

    /// <summary>What the connection does after the response.</summary>
    public enum After
    {
        /// <summary>It is closed.</summary>
        Close,

        /// <summary>It carries the console.</summary>
        AttachConsole,

        /// <summary>It carries events until the client closes it or the machine ends.</summary>
        StreamEvents,
    }

    /// <summary>Methods and paths of all resources.</summary>
    public IEnumerable<(string Method, string Path)> Routes => _routes.Keys;

    private JsonNode Status
    {
        get
        {
            var status = new MachineStatus(
                _machine.Name, _ending ? "ending" : _monitor.IsPaused ? Paused : Running, _machine.Vcpus, _machine.Memory, Environment.ProcessId, _machine.Started);
            JsonNode node = JsonSerializer.SerializeToNode(status, ControlJson.Default.MachineStatus)!;
            foreach (IControlResource resource in _resources)
            {
                if (resource.Status() is { } state)
                {
                    node[resource.Name] = state;
                }
            }

            return node;
        }
    }

    /// <summary>Executes a request.</summary>
    /// <exception cref="HttpError">The resource does not exist, or the request is not valid for it.</exception>
    public Answer Handle(HttpRequest request)
    {
        string method = request.Method == "HEAD" ? "GET" : request.Method; // RFC 9110, 9.3.2: as GET, without the body.
        if (!_routes.TryGetValue((method, request.Path), out Func<HttpRequest, Answer>? route))
        {
            string[] methods = [.. _routes.Keys.Where(r => r.Path == request.Path).Select(r => r.Method)];
            throw methods.Length == 0
                ? new HttpError(404, null, $"There is nothing at {request.Path}", "GET /openapi.json lists what there is")
                : new HttpError(405, null, $"The method {request.Method} is not for {request.Path}", $"send {string.Join(" or ", methods)}")
                {
                    Allow = string.Join(", ", methods),
                };
        }

        return method == "GET" && request.Body.Length > 0
            ? throw new HttpError(400, null, $"A request to read {request.Path} has a body", "send none")
            : route(request);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_metrics.IsValueCreated)
        {
            _metrics.Value.Dispose();
        }
    }

    private static byte[] ReadDocument()
    {
        using Stream stream = typeof(ControlApi).Assembly.GetManifestResourceStream("openapi.json")!;
        byte[] document = new byte[stream.Length];
        stream.ReadExactly(document);
        return document;
    }

    private Answer SetState(HttpRequest request)
    {
        string state = ControlJson.Read(request.Body, ControlJson.Default.StateRequest).State;
        return state is not (Running or Paused)
            ? throw new HttpError(400, "/state", $"The state '{state}' is not valid", $"give '{Running}' or '{Paused}'")
            : _monitor.SetPaused(state == Paused) ? Answer.Of(HttpResponse.NoContent) : throw Passing();
    }

    private Answer Power(HttpRequest request)
    {
        PowerRequest wanted = ControlJson.Read(request.Body, ControlJson.Default.PowerRequest);
        Action action = _powerActions.GetValueOrDefault(wanted.Action) ?? throw new HttpError(
            400, "/action", $"The action '{wanted.Action}' is not valid", $"give {string.Join(" or ", _powerActions.Keys.Select(a => $"'{a}'"))}");
        return new Answer(new HttpResponse(202, null, []), After.Close, action); // After the response: the client must get it before the monitor ends.
    }

    private void CutPower()
    {
        _ending = true;
        _monitor.End(ExitCodes.Signal(Kill));
    }

    private Answer Show(IControlResource resource) => resource.Status() is { } status
        ? Answer.Of(HttpResponse.Json(status))
        : throw Passing();

    private HttpError Passing() => new(409, null, $"The machine {_machine.Name} is restarting or ending", "try again");

    private Answer Resize(HttpRequest request)
    {
        SizeRequest size = ControlJson.Read(request.Body, ControlJson.Default.SizeRequest);
        _monitor.Resize(size.Rows, size.Columns);
        return Answer.Of(HttpResponse.NoContent);
    }

    private Answer Console(HttpRequest request) => request.Method == "GET" && request.Upgrades(ConsoleProtocol)
        ? new Answer(new HttpResponse(101, null, null, ("Connection", "Upgrade"), ("Upgrade", ConsoleProtocol)), After.AttachConsole)
        : throw new HttpError(426, "Upgrade", "The console needs an upgraded connection", $"send Connection: Upgrade and Upgrade: {ConsoleProtocol}, or use yado console {_machine.Name}");

    /// <summary>A response, and what follows it.</summary>
    /// <param name="Response">The response to send.</param>
    /// <param name="Then">What the connection does next.</param>
    /// <param name="Action">Called after the response was sent or sending failed; null for nothing.</param>
    public sealed record Answer(HttpResponse Response, After Then, Action? Action = null)
    {
        /// <summary>A response after which the connection is closed.</summary>
        public static Answer Of(HttpResponse response) => new(response, After.Close);
    }
}
