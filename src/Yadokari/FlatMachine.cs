using System.Runtime.ExceptionServices;
using Yadokari.Core.Engines;
using Yadokari.Core.Lifetimes;
using Yadokari.Core.Memory;
using Yadokari.Linux;
using Yadokari.Translation;
using Yadokari.X86;
using Yadokari.X86.Cpuid;
using Yadokari.X86.Engines;
using Yadokari.X86.State;

namespace Yadokari;

/// <summary>
/// One processor and memory at addresses of the caller's choosing, with no operating system and no devices: for running pieces of machine
/// code, under the same engine as whole machines. Members may be called from any thread, one at a time, but not from what they call
/// themselves. Once it is disposed of, they throw <see cref="ObjectDisposedException"/>.
/// </summary>
public sealed class FlatMachine : IDisposable
{
    private const int PageSize = 4096;

    private readonly GuestMemory _memory;
    private readonly IX86Vcpu _vcpu;
    private readonly FlatTables _tables;
    private readonly FlatHost _host;
    private readonly VcpuWorker _worker;
    private readonly FlatMode _mode;
    private readonly DisposableStack _parts = new(); // In the order in which they were made.

    /// <summary>Makes a machine with no memory mapped (in real mode, with all there is).</summary>
    /// <param name="mode">The mode that code starts in.</param>
    /// <param name="options">What differs from the defaults.</param>
    /// <exception cref="ArgumentException">The options do not fit one another or the mode.</exception>
    public FlatMachine(FlatMode mode, FlatOptions? options = null)
    {
        options ??= new FlatOptions();
        if (mode == FlatMode.Real16 && options.User)
        {
            throw new ArgumentException("Real mode has no privilege levels: leave User false.", nameof(options));
        }

        if (options.Memory is < 4 << 20 or > 64L << 30)
        {
            throw new ArgumentException($"A memory of {options.Memory} bytes won't do: give from 4 MiB to 64 GiB.", nameof(options));
        }

        using var unfinished = new DisposableStack();
        unfinished.Push(_parts); // What has been made goes again if anything of the rest can't be.
        _mode = mode;
        _memory = _parts.Push(GuestRam.Create([(0, (ulong)options.Memory & ~0xFFFul)]));
        _worker = _parts.Push(new VcpuWorker());
        _tables = new FlatTables(_memory, mode, options.User);
        Registers = new X86State();
        Vectors = new VectorRegisters(Registers);
        _tables.Initialise(Registers, VectorRegisters.Components);
        _host = new FlatHost();
        _vcpu = _worker.Do(() =>
        {
            var engine = new TranslationEngine { Direct = DirectMode.Off };
            long hz = (long)engine.ClockFrequency;
            IVm vm = engine.Create(new VmSpec(_memory, CpuModel.FromHost(new CpuidConfiguration(Cpus: 1, hz, hz)), Vcpus: 1));
            _parts.Defer(() => _worker.Do(vm.Dispose));
            IX86Vcpu vcpu = vm.CreateX86Vcpu(0, _host);
            vcpu.CatchExceptions = options.CatchExceptions;
            vcpu.Load(Registers);
            return vcpu;
        });
        _host.Stop = _vcpu.Kick;
        unfinished.Release();
    }

    /// <summary>All registers but <see cref="Vectors"/>: what <see cref="Run"/> starts with and what it leaves.</summary>
    public X86State Registers { get; }

    /// <summary>x87, XMM, YMM, ZMM and mask registers, likewise.</summary>
    public VectorRegisters Vectors { get; }

    /// <summary>Answers IN: port and size of 1, 2 or 4 bytes. Without it all bits are ones. Called on the machine's thread.</summary>
    public Func<ushort, int, uint>? PortRead
    {
        get => _host.OnRead;
        set => _host.OnRead = value;
    }

    /// <summary>Takes what OUT writes; without it OUT ends <see cref="Run"/>. Called on the machine's thread.</summary>
    public Action<PortWrite>? PortWritten
    {
        get => _host.OnWrite;
        set => _host.OnWrite = value;
    }

    /// <summary>Maps zeroed memory, or changes the rights of what is mapped.</summary>
    /// <param name="address">Linear address, a multiple of 4096.</param>
    /// <param name="length">Bytes, more than 0; the last page is mapped whole.</param>
    /// <param name="rights">What code may do there; in real mode <see cref="MemoryRights.All"/> and nothing else.</param>
    /// <exception cref="ArgumentException">The range can't be mapped in this mode.</exception>
    /// <exception cref="InvalidOperationException">The machine's memory is used up; <see cref="FlatOptions.Memory"/> gives more.</exception>
    public void Map(ulong address, long length, MemoryRights rights = MemoryRights.All)
    {
        ObjectDisposedException.ThrowIf(_worker.IsStopped, this);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        ulong last = address + (ulong)length - 1;
        bool hole = _mode == FlatMode.Long64 && ((long)(address << 16) >> 16 != (long)address || (long)(last << 16) >> 16 != (long)last || ((address ^ last) >> 63) != 0);
        if (address % PageSize != 0 || last < address || last > _tables.Last || hole)
        {
            throw new ArgumentException(
                $"Memory from {address:X} to {last:X} can't be mapped in {_mode}: give a multiple of {PageSize} and an end up to {_tables.Last:X}"
                + (_mode == FlatMode.Long64 ? ", with canonical addresses only." : "."),
                nameof(address));
        }

        if (_mode == FlatMode.Real16)
        {
            if (rights != MemoryRights.All)
            {
                throw new ArgumentException("Real mode has no paging, and so no rights: give MemoryRights.All.", nameof(rights));
            }

            return;
        }

        _worker.Do(() =>
        {
            for (ulong page = address; page - address < (ulong)length; page += PageSize)
            {
                if (!_tables.Map(page, rights))
                {
                    throw new InvalidOperationException($"The machine's {_memory.Size >> 20} MiB of memory are used up at {page:X}: give FlatOptions.Memory more.");
                }
            }

            // The tables changed behind the processor's back: what it remembers of them goes.
            _vcpu.Load(Registers);
        });
    }

    /// <summary>Writes memory, whatever its rights.</summary>
    /// <exception cref="ArgumentException">It is not mapped.</exception>
    public void Write(ulong address, ReadOnlySpan<byte> data)
    {
        byte[] copy = data.ToArray();
        if (!_worker.Do(() => _vcpu.WriteLinear(address, copy)))
        {
            throw new ArgumentException($"{copy.Length} bytes at {address:X} can't be written: not all of them are mapped; map them first.", nameof(address));
        }
    }

    /// <summary>Reads memory, whatever its rights.</summary>
    /// <exception cref="ArgumentException">It is not mapped.</exception>
    public byte[] Read(ulong address, int length)
    {
        byte[] data = new byte[length];
        return _worker.Do(() => _vcpu.ReadLinear(address, data)) ? data
            : throw new ArgumentException($"{length} bytes at {address:X} can't be read: not all of them are mapped.", nameof(address));
    }

    /// <summary>Runs from <see cref="Registers"/> and <see cref="Vectors"/> until something ends it, and leaves there what it came to.</summary>
    /// <param name="budget">Instructions to execute at most; a repeated string instruction may count several times. Counting makes code much slower.</param>
    /// <param name="cancellation">Ends the run from outside.</param>
    public FlatStop Run(long budget = long.MaxValue, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(budget);
        if (_mode == FlatMode.Real16)
        {
            for (int i = 0; i < 6; i++)
            {
                // Whoever sets a selector in real mode means its base too.
                SegmentState segment = Registers.Segments[i];
                Registers.Segments[i] = (Registers.Cr0 & 1) == 0 ? segment with { Base = (ulong)segment.Selector << 4 } : segment;
            }
        }

        return _worker.Do(() =>
        {
            Vectors.Claim();
            Registers.Activity = ActivityState.Active; // A call of this is a wish to run, wherever the last one ended.
            _vcpu.Load(Registers);
            _vcpu.SingleStep = budget != long.MaxValue;
            _host.Writes.Clear();
            using CancellationTokenRegistration registration = cancellation.Register(_vcpu.Kick);
            FlatStop stop = RunOn(budget, cancellation);
            _vcpu.Save(Registers);
            Vectors.Complete();
            return stop.Vector == 14 ? stop with { Address = Registers.Cr2 } : stop;
        });
    }

    /// <summary>Gives everything back, after it has waited for a call in flight: cancel a run before.</summary>
    public void Dispose()
    {
        if (!_worker.IsStopped)
        {
            _parts.Dispose();
        }
    }

    private FlatStop RunOn(long budget, CancellationToken cancellation)
    {
        while (true)
        {
            if (cancellation.IsCancellationRequested)
            {
                return new FlatStop(FlatStopReason.Cancelled);
            }

            if (budget-- <= 0)
            {
                return new FlatStop(FlatStopReason.Budget);
            }

            VmExit exit = _vcpu.Run();
            if (_host.Writes.Count != 0)
            {
                return new FlatStop(FlatStopReason.PortWrite) { Writes = [.. _host.Writes] };
            }

            switch (exit)
            {
                case VmExit.Halted or VmExit.HaltedWithInterruptsDisabled:
                    return new FlatStop(FlatStopReason.Halt);
                case VmExit.Shutdown:
                    return new FlatStop(FlatStopReason.Shutdown);
                case VmExit.Exception:
                    CaughtException caught = _vcpu.Caught;
                    return new FlatStop(FlatStopReason.Exception)
                    {
                        Vector = caught.Vector,
                        ErrorCode = caught.ErrorCode,
                        Software = caught.Software,
                    };
            }
        }
    }

    /// <summary>The one thread that a vCPU runs on: engines use its gs base.</summary>
    private sealed class VcpuWorker : IDisposable
    {
        private readonly SemaphoreSlim _asked = new(0);
        private readonly SemaphoreSlim _done = new(0);
        private readonly Lock _lock = new();
        private readonly Thread _thread;
        private Action? _work; // Written under the lock, as is what follows; null ends the thread.
        private Exception? _failure;
        private bool _stopped;

        public VcpuWorker()
        {
            _thread = HostThread.Start("flat", Main, null); // What work throws is the caller's.
        }

        public bool IsStopped
        {
            get
            {
                lock (_lock)
                {
                    return _stopped;
                }
            }
        }

        public T Do<T>(Func<T> work)
        {
            T result = default!;
            Do(() =>
            {
                result = work();
            });
            return result;
        }

        public void Do(Action work)
        {
            if (Thread.CurrentThread == _thread)
            {
                throw new InvalidOperationException("The machine is at work: what it calls can't call it.");
            }

            lock (_lock)
            {
                ObjectDisposedException.ThrowIf(_stopped, typeof(FlatMachine));
                _work = work;
                _asked.Release();
                _done.Wait();
                if (_failure is { } failure)
                {
                    ExceptionDispatchInfo.Throw(failure);
                }
            }
        }

        public void Dispose()
        {
            lock (_lock)
            {
                if (_stopped)
                {
                    return;
                }

                _stopped = true;
                _work = null;
                _asked.Release();
            }

            _thread.Join();
            _asked.Dispose();
            _done.Dispose();
        }

        private void Main()
        {
            while (true)
            {
                _asked.Wait();
                if (_work is not { } work)
                {
                    return;
                }

                _failure = null;
                try
                {
                    work();
                }
                catch (Exception e)
                {
                    // The caller's thread has it.
                    _failure = e;
                }

                _done.Release();
            }
        }
    }
}
