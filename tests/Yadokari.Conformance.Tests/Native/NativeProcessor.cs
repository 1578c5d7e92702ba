using System.Buffers.Binary;
using System.ComponentModel;
using System.Diagnostics;
using System.IO.MemoryMappedFiles;
using Microsoft.Win32.SafeHandles;

namespace Yadokari.Conformance.Tests.Native;

/// <summary>
/// The host's processor as a subject: programs run in a process of their own (<see cref="RunnerProgram"/>), entered and left through
/// the kernel's signal frames, which hold the complete state (Linux: arch/x86/include/uapi/asm/sigcontext.h and ucontext.h).
/// </summary>
public sealed class NativeProcessor : ISubject
{
    private const int ContextLength = 304;
    private const int TimeoutSignal = 26;

    /// <summary>Offsets in <c>ucontext_t</c> of the registers in the order of their encoding.</summary>
    private static readonly int[] s_gpr = [144, 152, 136, 128, 160, 120, 112, 104, 40, 48, 56, 64, 72, 80, 88, 96];

    private readonly string _folder;
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private readonly SafeMemoryMappedViewHandle _memory;
    private readonly byte[] _context = new byte[ContextLength];
    private readonly byte[] _template = new byte[ContextLength];
    private readonly byte[] _fpu;
    private readonly byte[] _fpuTemplate;
    private readonly byte[] _answer = new byte[1];
    private readonly Process _process;
    private readonly Stream _toRunner;
    private readonly Stream _fromRunner;

    /// <summary>Starts the runner. The temporary folder must allow executables.</summary>
    public NativeProcessor()
    {
        _folder = Directory.CreateTempSubdirectory("yadokari-conformance-").FullName;
        string shared = Path.Combine(_folder, "arena");
        string program = Path.Combine(_folder, "runner");
        long length = Arena.Length + RunnerProgram.ControlLength;
        _file = MemoryMappedFile.CreateFromFile(shared, FileMode.CreateNew, null, length);
        _view = _file.CreateViewAccessor(0, length);
        _memory = _view.SafeMemoryMappedViewHandle;
        File.WriteAllBytes(program, RunnerProgram.Build(shared));
        File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);

        // it_value of half a second of processor time: no program of a test takes that long.
        _memory.Write<long>(Control(RunnerProgram.Timer + 24), 500_000);
        _process = Start(program);
        _toRunner = _process.StandardInput.BaseStream;
        _fromRunner = _process.StandardOutput.BaseStream;
        AwaitAnswer();
        (ulong context, ulong fpu) = LastFrame();
        _memory.ReadSpan<byte>(context, _template);

        // struct _fpx_sw_bytes, at the end of the legacy region: magic1, extended_size, xfeatures, xstate_size.
        int extended = _memory.Read<int>(fpu + 468);
        _fpu = new byte[extended];
        _fpuTemplate = new byte[extended];
        _memory.ReadSpan<byte>(fpu, _fpuTemplate);
        Directory.Delete(_folder, recursive: true);
    }

    /// <inheritdoc/>
    public void Run(MachineImage before, Outcome after)
    {
        _memory.WriteSpan<byte>(0, before.Memory);
        WriteFrame(before);
        _answer[0] = 1;
        _toRunner.Write(_answer);
        _toRunner.Flush();
        AwaitAnswer();
        ReadFrame(after);
        if (before.Segments.StackBits == 16)
        {
            // IRET to such a stack leaves the kernel's own there.
            after.Gpr[4] = (uint)after.Gpr[4];
        }

        _memory.ReadSpan<byte>(0, after.Memory);
    }

    /// <summary>
    /// Why the host's kernel can't run a program from a state that the processor itself could; null if it can. A kernel that is itself a
    /// guest without hardware support may know neither 32-bit code nor stack pointers that are not canonical.
    /// </summary>
    public string? Refuses(MachineImage before)
    {
        if (before.Bitness != 64)
        {
            if (!_runs.TryGetValue(before.Segments, out bool runs))
            {
                runs = _runs[before.Segments] = RunsFrom(before.Segments, before.Gpr[4] & uint.MaxValue);
            }

            return runs ? null : before.Segments.IsFlat ? "The host's kernel does not run 32-bit code." : "The host's kernel does not run code in segments of a local descriptor table.";
        }

        ulong rsp = before.Gpr[4];
        if ((long)(rsp << 16) >> 16 == (long)rsp)
        {
            return null;
        }

        _takesAnyStack ??= RunsFrom(Segmentation.Flat64, 0x1111_2222_3333_0000);
        return _takesAnyStack.Value ? null : "The host's kernel does not run code whose stack pointer is not canonical.";
    }

    private readonly Dictionary<Segmentation, bool> _runs = [];
    private bool? _stopsAtInt1;

    /// <summary>
    /// Whether an INT1 is told of at its own address and not behind it: a hypervisor's fault, if the host is a guest of one that catches #DB.
    /// </summary>
    public bool StopsAtInt1
    {
        get
        {
            if (_stopsAtInt1 is null)
            {
                var after = new Outcome();
                Run(MachineImage.With(0xF1, 0xCC), after);
                _stopsAtInt1 = after.Vector == 1 && after.Rip == Arena.Code;
            }

            return _stopsAtInt1.Value;
        }
    }

    private bool? _takesAnyStack;

    private bool RunsFrom(Segmentation segments, ulong rsp)
    {
        MachineImage before = MachineImage.With(0xCC);
        before.Segments = segments;
        before.Rip = Arena.Code - segments.CodeBase;
        before.Gpr[4] = rsp;
        var after = new Outcome();
        Run(before, after);
        return after.Vector == 3;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _toRunner.Dispose();
        _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
        _view.Dispose();
        _file.Dispose();
    }

    private static ulong Control(int offset) => (ulong)(Arena.Length + offset);

    private static Process Start(string program)
    {
        ProcessStartInfo start = new(program) { RedirectStandardInput = true, RedirectStandardOutput = true };
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                return Process.Start(start)!;
            }
            catch (Win32Exception) when (attempt < 20)
            {
                // ETXTBSY: another thread that is just starting a process still holds our writing descriptor of the file.
                Thread.Sleep(10); // Nothing tells when it has let go.
            }
        }
    }

    private void AwaitAnswer()
    {
        if (_fromRunner.Read(_answer) != 1)
        {
            _process.WaitForExit();
            throw new InvalidOperationException($"The native runner ended with exit code {_process.ExitCode}.");
        }
    }

    private (ulong Context, ulong Fpu) LastFrame()
    {
        ulong context = FileOffset(_memory.Read<ulong>(Control(RunnerProgram.LastContext)));
        return (context, FileOffset(_memory.Read<ulong>(context + 224)));
    }

    private static ulong FileOffset(ulong address) => Control((int)(address - RunnerProgram.Control));

    private void WriteFrame(MachineImage before)
    {
        _template.CopyTo(_context, 0);
        for (int i = 0; i < 16; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(_context.AsSpan(s_gpr[i]), before.Gpr[i]);
        }

        BinaryPrimitives.WriteUInt64LittleEndian(_context.AsSpan(168), before.Rip);
        BinaryPrimitives.WriteUInt64LittleEndian(_context.AsSpan(176), before.Rflags | 0x202);
        if (before.Bitness != 64)
        {
            // CS, GS, FS, SS; the kernel leaves GS and FS to the runner.
            Selectors selectors = Selectors.Of(before.Segments);
            BinaryPrimitives.WriteUInt16LittleEndian(_context.AsSpan(184), selectors.Cs);
            BinaryPrimitives.WriteUInt16LittleEndian(_context.AsSpan(190), selectors.Ss);
        }

        WriteSelectors(Selectors.Of(before.Segments));

        BinaryPrimitives.WriteUInt64LittleEndian(_context.AsSpan(224), RunnerProgram.Control + RunnerProgram.Fpu);
        _memory.WriteSpan<byte>(Control(RunnerProgram.Context), _context);

        // Components that tests do not know (PKRU) keep the kernel's values; so do the software bytes that make the area acceptable.
        _fpuTemplate.CopyTo(_fpu, 0);
        for (int i = 0; i < 8; i++)
        {
            if ((XsaveLayout.Components >> i & 1) != 0)
            {
                (int offset, int length) = XsaveLayout.Component(i);
                before.Xsave.AsSpan(offset, length).CopyTo(_fpu.AsSpan(offset));
            }
        }

        ulong present = BinaryPrimitives.ReadUInt64LittleEndian(_fpuTemplate.AsSpan(512));
        BinaryPrimitives.WriteUInt64LittleEndian(_fpu.AsSpan(512), present | XsaveLayout.Components);
        _memory.WriteSpan<byte>(Control(RunnerProgram.Fpu), _fpu);
    }

    private void WriteSelectors(Selectors selectors)
    {
        _memory.Write(Control(RunnerProgram.Selectors), selectors.Ds);
        _memory.Write(Control(RunnerProgram.Selectors + 2), selectors.Es);
        _memory.Write(Control(RunnerProgram.Selectors + 4), selectors.Fs);
        _memory.Write(Control(RunnerProgram.Selectors + 6), selectors.Gs);
    }

    private void ReadFrame(Outcome after)
    {
        (ulong context, ulong fpu) = LastFrame();
        _memory.ReadSpan<byte>(context, _context);
        for (int i = 0; i < 16; i++)
        {
            after.Gpr[i] = BinaryPrimitives.ReadUInt64LittleEndian(_context.AsSpan(s_gpr[i]));
        }

        after.Rip = BinaryPrimitives.ReadUInt64LittleEndian(_context.AsSpan(168));
        after.Rflags = BinaryPrimitives.ReadUInt64LittleEndian(_context.AsSpan(176));
        bool timedOut = _memory.Read<int>(Control(RunnerProgram.LastSignal)) == TimeoutSignal;
        after.Vector = timedOut ? Outcome.TimedOut : (int)BinaryPrimitives.ReadUInt64LittleEndian(_context.AsSpan(200));
        after.ErrorCode = after.Vector is 8 or (>= 10 and <= 14) or 17 ? BinaryPrimitives.ReadUInt64LittleEndian(_context.AsSpan(192)) : 0;
        after.FaultAddress = after.Vector == 14 ? BinaryPrimitives.ReadUInt64LittleEndian(_context.AsSpan(216)) : 0;
        _memory.ReadSpan<byte>(fpu, after.Xsave);
        XsaveLayout.Complete(after.Xsave);
    }
}
