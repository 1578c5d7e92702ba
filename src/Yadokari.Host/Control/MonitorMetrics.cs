using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Yadokari.Host.Control;

/// <summary>Metrics of a monitor and its machine. They are measured only when collected. Any thread.</summary>
internal sealed class MonitorMetrics : IDisposable
{
    private readonly Meter _meter = new("Yadokari.Monitor");
    private readonly MeterListener _listener = new();
    private readonly Lock _lock = new(); // Guards all below; one thread collects at a time.
    private readonly List<Instrument> _instruments = [];
    private readonly Dictionary<Instrument, List<(double Value, KeyValuePair<string, object?>[] Labels)>> _samples = [];

    /// <summary>Creates the instruments.</summary>
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
            _meter.CreateObservableGauge("yadokari.machine.memory", () => (long)machine.Memory, "bytes", "Memory of the machine.");
            foreach (IControlResource resource in resources)
            {
                _meter.CreateObservableGauge($"yadokari.machine.{resource.Name}.current", () => Current(resource), resource.Gauge.Unit, resource.Gauge.Help);
            }

            _meter.CreateObservableGauge("yadokari.machine.start.time", () => machine.Started.ToUnixTimeMilliseconds() / 1000.0, "seconds", "When the machine was started, in seconds since 1970-01-01 UTC.");
            _meter.CreateObservableCounter("process.cpu", () => Environment.CpuUsage.TotalTime.TotalSeconds, "seconds", "Processor time of the monitor, including its vCPUs.");
            _meter.CreateObservableGauge("process.resident.memory", () => Environment.WorkingSet, "bytes", "Resident memory of the monitor, including the guest's.");
            _meter.CreateObservableGauge("yadokari.statistic", () => Statistics(monitor), null, "Counters of engine and devices since the last start or reset, as yado run --stats shows them.");
        }
    }

    /// <summary>Measures all metrics. Returns them in Prometheus's text format.</summary>
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

    // Two devices of a kind have the same names: their values are added, because Prometheus refuses duplicate samples.
    private static IEnumerable<Measurement<double>> Statistics(IMonitor monitor) => monitor.Statistics
        .GroupBy(row => (row.Group, Name: row.Name.Trim(), row.Unit))
        .Select(rows => new Measurement<double>(rows.Sum(r => r.Value), new TagList { { "group", rows.Key.Group }, { "name", rows.Key.Name }, { "unit", rows.Key.Unit } }));
}
