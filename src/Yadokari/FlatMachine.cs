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
/// One processor, and memory at addresses that the caller chooses, without operating system and devices: runs pieces of machine code with the
/// same engine as whole machines. Members may be called from any thread, one at a time, but not from callbacks. After disposal they throw
/// <see cref="ObjectDisposedException"/>.
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
    private readonly DisposableStack _parts = new(); // In order of creation; disposed of in reverse.

    /// <summary>Creates a machine without mapped memory (in real mode, with all memory).</summary>
    /// <param name="mode">The mode that code starts in.</param>
    /// <param name="options">Options; null for the defaults.</param>
    /// <exception cref="ArgumentException">The options contradict each other or the mode.</exception>
    public FlatMachine(FlatMode mode, FlatOptions? options = null)
    {
        options ??= new FlatOptions();
        if (mode == FlatMode.Real16 && options.User)
        {
            throw new ArgumentException("Real mode has no privilege levels: leave User false.", nameof(options));
        }

        if (options.Memory is < 4 << 20 or > 64L << 30)
        {
            throw new ArgumentException($"The memory size of {options.Memory} bytes is not valid: give from 4 MiB to 64 GiB.", nameof(options));
        }

        using var unfinished = new DisposableStack();
        unfinished.Push(_parts); // Disposes of the parts so far if creating a later one fails.
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

    /// <summary>All registers except <see cref="Vectors"/>: the input of <see cref="Run"/>, and its output.</summary>
    public X86State Registers { get; }

    /// <summary>x87, XMM, YMM, ZMM and mask registers: also input and output of <see cref="Run"/>.</summary>
    public VectorRegisters Vectors { get; }

    /// <summary>Handles IN: receives the port and the size of 1, 2 or 4 bytes. If null, all bits read as ones. Called on the machine's thread.</summary>
    public Func<ushort, int, uint>? PortRead
    {
        get => _host.OnRead;
        set => _host.OnRead = value;
    }

    /// <summary>Handles OUT. If null, OUT ends <see cref="Run"/>. Called on the machine's thread.</summary>
    public Action<PortWrite>? PortWritten
    {
        get => _host.OnWrite;
        set => _host.OnWrite = value;
    }

    /// <summary>Maps zeroed memory, or changes the rights of mapped memory.</summary>
    /// <param name="address">Linear address, a multiple of 4096.</param>
    /// <param name="length">Bytes, more than 0; rounded up to whole pages.</param>
    /// <param name="rights">The access rights; in real mode only <see cref="MemoryRights.All"/>.</param>
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
                    throw new InvalidOperationException($"The machine's {_memory.Size >> 20} MiB of memory are used up at {page:X}: raise FlatOptions.Memory.");
                }
            }

            // The page tables changed: loading the state flushes the TLB.
            _vcpu.Load(Registers);
        });
    }

    /// <summary>Writes memory, regardless of its rights.</summary>
    /// <exception cref="ArgumentException">Part of the range is not mapped.</exception>
    public void Write(ulong address, ReadOnlySpan<byte> data)
    {
        byte[] copy = data.ToArray();
        if (!_worker.Do(() => _vcpu.WriteLinear(address, copy)))
        {
            throw new ArgumentException($"{copy.Length} bytes at {address:X} can't be written: not all of them are mapped; map them first.", nameof(address));
        }
    }

    /// <summary>Reads memory, regardless of its rights.</summary>
    /// <exception cref="ArgumentException">Part of the range is not mapped.</exception>
    public byte[] Read(ulong address, int length)
    {
        byte[] data = new byte[length];
        return _worker.Do(() => _vcpu.ReadLinear(address, data)) ? data
            : throw new ArgumentException($"{length} bytes at {address:X} can't be read: not all of them are mapped; map them first.", nameof(address));
    }

    /// <summary>Runs code from <see cref="Registers"/> and <see cref="Vectors"/> until an event of <see cref="FlatStopReason"/>, and stores the registers there. Blocks.</summary>
    /// <param name="budget">The largest count of instructions to execute; a repeated string instruction may count several times. Counting makes code much slower.</param>
    /// <param name="cancellation">Cancelling ends the run.</param>
    public FlatStop Run(long budget = long.MaxValue, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(budget);
        if (_mode == FlatMode.Real16)
        {
            for (int i = 0; i < 6; i++)
            {
                // In real mode the selector determines the base: a caller that sets one expects the other.
                SegmentState segment = Registers.Segments[i];
                Registers.Segments[i] = (Registers.Cr0 & 1) == 0 ? segment with { Base = (ulong)segment.Selector << 4 } : segment;
            }
        }

        return _worker.Do(() =>
        {
            Vectors.Claim();
            Registers.Activity = ActivityState.Active; // Also after a run that ended with HLT or a shutdown.
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

    /// <summary>Releases all resources. Waits for a running call; cancel a run before.</summary>
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
        private Action? _work; // Guarded by the lock, as are the following fields; null ends the thread.
        private Exception? _failure;
        private bool _stopped;

        public VcpuWorker()
        {
            _thread = HostThread.Start("flat", Main, null); // Exceptions of work are passed to the caller.
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
                throw new InvalidOperationException("The machine is running: a callback must not call its members.");
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
                    // The caller's thread rethrows it.
                    _failure = e;
                }

                _done.Release();
            }
        }
    }
}
