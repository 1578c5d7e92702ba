using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Yadokari.Host.Control;

/// <summary>What a monitor measures of itself and of its machine. Nothing is measured before somebody asks. Any thread.</summary>
internal sealed class MonitorMetrics : IDisposable
{
    private readonly Meter _meter = new("Yadokari.Monitor");
    private readonly MeterListener _listener = new();
    private readonly Lock _lock = new(); // Guards all below, and that one collects at a time.
    private readonly List<Instrument> _instruments = [];
    private readonly Dictionary<Instrument, List<(double Value, KeyValuePair<string, object?>[] Labels)>> _samples = [];

    /// <summary>Makes the instruments.</summary>
    public MonitorMetrics(IMonitor monitor, MachineDescription machine, IReadOnlyList<IControlResource> resources)
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter == _meter)
            {
                _instruments.Add(instrument);
                _samples.Add(instrument, []);
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.SetMeasurementEventCallback<double>((instrument, value, labels, _) => _samples[instrument].Add((value, labels.ToArray())));
        _listener.SetMeasurementEventCallback<long>((instrument, value, labels, _) => _samples[instrument].Add((value, labels.ToArray())));
        lock (_lock)
        {
            _listener.Start();
            _meter.CreateObservableGauge("yadokari.machine.vcpus", () => (long)machine.Vcpus, null, "vCPUs of the machine.");
            _meter.CreateObservableGauge("yadokari.machine.memory", () => (long)machine.Memory, "bytes", "Memory that the machine was built with.");
            foreach (IControlResource resource in resources)
            {
                _meter.CreateObservableGauge($"yadokari.machine.{resource.Name}.current", () => Current(resource), resource.Gauge.Unit, resource.Gauge.Help);
            }

            _meter.CreateObservableGauge("yadokari.machine.start.time", () => machine.Started.ToUnixTimeMilliseconds() / 1000.0, "seconds", "When the machine was started, since the beginning of 1970.");
            _meter.CreateObservableCounter("process.cpu", () => Environment.CpuUsage.TotalTime.TotalSeconds, "seconds", "Processor time of the monitor, its vCPUs among it.");
            _meter.CreateObservableGauge("process.resident.memory", () => Environment.WorkingSet, "bytes", "Memory of the host that the monitor has, the guest's among it.");
            _meter.CreateObservableGauge("yadokari.statistic", () => Statistics(monitor), null, "What engine and devices did since the machine was last started or reset, as yado run --stats shows it.");
        }
    }

    /// <summary>All metrics, as Prometheus reads them.</summary>
    public byte[] Collect()
    {
        lock (_lock)
        {
            _listener.RecordObservableInstruments();
            var text = new PrometheusText();
            foreach (Instrument instrument in _instruments)
            {
                List<(double Value, KeyValuePair<string, object?>[] Labels)> samples = _samples[instrument];
                if (samples.Count > 0)
                {
                    bool isCounter = instrument is ObservableCounter<double> or ObservableCounter<long>;
                    string metric = text.Begin(instrument.Name, instrument.Unit ?? "", isCounter, instrument.Description!);
                    samples.ForEach(s => text.Add(metric, s.Value, s.Labels));
                    samples.Clear();
                }
            }

            return text.ToBytes();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _listener.Dispose();
        _meter.Dispose();
    }

    private static IEnumerable<Measurement<long>> Current(IControlResource resource) =>
        resource.Current() is { } now ? [new Measurement<long>(now)] : [];

    // Names may come twice, as those of two devices of a kind: Prometheus refuses a sample that comes twice.
    private static IEnumerable<Measurement<double>> Statistics(IMonitor monitor) => monitor.Statistics
        .GroupBy(row => (row.Group, Name: row.Name.Trim(), row.Unit))
        .Select(rows => new Measurement<double>(rows.Sum(r => r.Value), new TagList { { "group", rows.Key.Group }, { "name", rows.Key.Name }, { "unit", rows.Key.Unit } }));
}
