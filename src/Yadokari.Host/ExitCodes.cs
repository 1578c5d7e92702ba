using Yadokari.Boards.Pc;
using Yadokari.Machines;

namespace Yadokari.Host;

/// <summary>The exit codes of <c>yado</c>. Documented for users in README.md and in <c>yado run --help</c>.</summary>
public static class ExitCodes
{
    /// <summary>The guest powered off, or the command succeeded.</summary>
    public const int Success = 0;

    /// <summary>An internal error of yado, or standard output can't be written.</summary>
    public const int Internal = 1;

    /// <summary>Invalid input: nothing was run.</summary>
    public const int BadInput = 2;

    /// <summary>The guest's kernel panicked.</summary>
    public const int GuestPanic = 3;

    /// <summary>The guest's processor shut down after a triple fault.</summary>
    public const int TripleFault = 4;

    /// <summary>The checked disk image has leaked clusters, and no errors.</summary>
    public const int DiskLeaks = 3;

    /// <summary>The checked disk image has errors.</summary>
    public const int DiskErrors = 4;

    /// <summary>The user ended the machine: Ctrl-A x or SIGINT.</summary>
    public const int EndedByUser = 130;

    /// <summary>The guest wrote a code to the debug exit port. Always odd, as with QEMU's isa-debug-exit, which test kernels expect.</summary>
    public static int DebugExit(uint code) => (int)((code << 1) | 1) & 0xFF;

    /// <summary>The exit code for a machine's end.</summary>
    public static int Of(MachineEnd end) => end.Reason switch
    {
        EndReason.Panic or EndReason.Reset or EndReason.TripleFault when end.Panic is not null => GuestPanic,
        EndReason.PowerOff => Success,
        EndReason.Panic => GuestPanic,
        EndReason.TripleFault => TripleFault,
        EndReason.DebugExit => DebugExit(end.Code),
        EndReason.Stopped => EndedByUser,
        _ => Internal,
    };

    /// <summary>A signal ended the machine: 128 plus its number, as in shells.</summary>
    public static int Signal(int number) => 128 + number;
}
