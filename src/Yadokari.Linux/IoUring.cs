using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Yadokari.Core.Memory;

namespace Yadokari.Linux;

/// <summary>
/// Asynchronous reads and flushes of files (io_uring(7), linux/io_uring.h of 6.1). A request has a slot from its submission until its completion is
/// taken. One thread calls everything but <see cref="Wake"/>; no request may be in flight at disposal.
/// </summary>
public sealed unsafe partial class IoUring : IDisposable
{
    /// <summary>The maximum number of buffers of one read.</summary>
    public const int MaxPieces = 256;

    // asm/unistd_64.h
    private const nint SetupCall = 425;
    private const nint EnterCall = 426;

    private const uint SingleIssuer = 1 << 12;
    private const uint DeferTaskRun = 1 << 13;
    private const uint SingleMmap = 1 << 0;
    private const uint NoDrop = 1 << 1;
    private const uint SubmitStable = 1 << 2;
    private const uint GetEvents = 1;
    private const long EntriesOffset = 0x1000_0000;
    private const int PieceSize = 16;

    // errno.h
    private const int Interrupted = 4;
    private const int TryAgain = 11;
    private const int Busy = 16;

    // eventfd(2), poll(2)
    private const int CloseOnExec = 0x80000;
    private const int NonBlocking = 0x800;
    private const uint PollIn = 1;

    private readonly int _descriptor;
    private readonly int _wake;
    private readonly Mapping _rings;
    private readonly Mapping _entries;
    private readonly Mapping _pieces; // A page for each slot; the host allocates it at its first use.
    private readonly uint* _submitTail;
    private readonly uint _submitMask;
    private readonly uint* _completeHead;
    private readonly uint* _completeTail;
    private readonly uint _completeMask;
    private readonly Completion* _completions;
    private uint _unsubmitted; // Entries in the submission queue that io_uring_enter has not submitted yet.
    private bool _wakePollArmed; // A poll request on _wake is in flight.
    private Sleep _sleep;

    private IoUring(int descriptor, int wake, in Parameters parameters, Mapping rings, Mapping entries, Mapping pieces, int slots)
    {
        (_descriptor, _wake, _rings, _entries, _pieces, Slots) = (descriptor, wake, rings, entries, pieces, slots);
        byte* start = (byte*)rings.Address;
        _submitTail = (uint*)(start + parameters.Submit.Tail);
        _completeHead = (uint*)(start + parameters.Complete.Head);
        _completeTail = (uint*)(start + parameters.Complete.Tail);
        _completions = (Completion*)(start + parameters.Complete.Entries);

        // SAFETY: the kernel said where in its mapping these are; the array has as many numbers as there are entries.
        _submitMask = *(uint*)(start + parameters.Submit.Mask);
        _completeMask = *(uint*)(start + parameters.Complete.Mask);
        for (uint i = 0; i < parameters.SubmitEntries; i++)
        {
            ((uint*)(start + parameters.Submit.Array))[i] = i;
        }
    }

    // Whether the thread sleeps in the kernel, which a call of Wake has to end.
    private enum Sleep
    {
        Awake,
        Asleep,
        Woken,
    }

    /// <summary>The maximum number of requests in flight.</summary>
    public int Slots { get; }

    /// <summary>Creates a ring. Null if the host has no io_uring or forbids it, as containers often do.</summary>
    public static IoUring? TryCreate(int slots)
    {
        // One more entry than slots: for the poll on _wake. IORING_SETUP_SINGLE_ISSUER and IORING_SETUP_DEFER_TASKRUN (6.1): completions run only when this thread waits, and do not interrupt it.
        var parameters = new Parameters { Flags = SingleIssuer | DeferTaskRun };
        int descriptor = (int)Syscall(SetupCall, slots + 1, (nint)(&parameters), 0, 0, 0, 0); // SAFETY: the kernel fills one struct io_uring_params.
        if (descriptor < 0)
        {
            parameters = default;
            descriptor = (int)Syscall(SetupCall, slots + 1, (nint)(&parameters), 0, 0, 0, 0); // SAFETY: the same.
        }

        if (descriptor < 0)
        {
            return null;
        }

        const uint Needed = SingleMmap | NoDrop | SubmitStable;
        int wake = Libc.EventFd(0, CloseOnExec | NonBlocking);
        nuint submit = parameters.Submit.Array + (parameters.SubmitEntries * sizeof(uint));
        nuint complete = parameters.Complete.Entries + (parameters.CompleteEntries * (nuint)sizeof(Completion));
        var rings = Mapping.Of(descriptor, Math.Max(submit, complete), 0);
        var entries = Mapping.Of(descriptor, parameters.SubmitEntries * (nuint)sizeof(Entry), EntriesOffset);
        var pieces = Mapping.Of(-1, (nuint)(slots * MaxPieces * PieceSize), 0);
        if ((parameters.Features & Needed) == Needed && wake >= 0 && rings.Exists && entries.Exists && pieces.Exists)
        {
            return new IoUring(descriptor, wake, parameters, rings, entries, pieces, slots);
        }

        Release(descriptor, wake, rings, entries, pieces);
        return null;
    }

    /// <summary>The buffers for a read of this slot, to be written by the caller. They are kept until the slot's next read.</summary>
    // SAFETY: the mapping has so many for each slot.
    public Span<HostBuffer> Pieces(int slot)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)slot, (uint)Slots, nameof(slot));
        return new((HostBuffer*)_pieces.Address + (slot * MaxPieces), MaxPieces);
    }

    /// <summary>Queues a read into the first of <see cref="Pieces"/>. The file stays open until its completion is taken.</summary>
    public void Read(SafeFileHandle file, long offset, int pieces, int slot)
    {
        fixed (HostBuffer* first = Pieces(slot)[..pieces])
        {
            Begin(new Entry { Operation = Operation.Readv, File = (int)file.DangerousGetHandle(), Offset = offset, Address = first, Length = (uint)pieces, Token = (ulong)slot });
        }
    }

    /// <summary>Queues a flush of a file (fsync(2)). The file stays open until its completion is taken.</summary>
    public void Flush(SafeFileHandle file, int slot) =>
        Begin(new Entry { Operation = Operation.Fsync, File = (int)file.DangerousGetHandle(), Token = (ulong)slot });

    /// <summary>Submits queued requests.</summary>
    public void Submit()
    {
        if (_unsubmitted > 0)
        {
            Enter(0);
        }
    }

    /// <summary>Submits queued requests and collects completions.</summary>
    /// <param name="wait">Whether to wait for a completion or <see cref="Wake"/>, which counts also if it was called since the last wait.</param>
    public void Poll(bool wait)
    {
        if (wait && !_wakePollArmed)
        {
            _wakePollArmed = true;
            Begin(new Entry { Operation = Operation.PollAdd, File = _wake, Flags = PollIn, Token = (ulong)Slots });
        }

        bool sleeps = wait && Interlocked.CompareExchange(ref _sleep, Sleep.Asleep, Sleep.Awake) == Sleep.Awake;
        Enter(sleeps ? 1u : 0);
        if (wait)
        {
            Interlocked.Exchange(ref _sleep, Sleep.Awake); // Before the caller looks for what it was woken for.
        }
    }

    /// <summary>Takes a completion, in any order. False if <see cref="Poll"/> has collected no more.</summary>
    /// <param name="slot">The slot, which is free again.</param>
    /// <param name="result">Count of bytes, or a negated errno.</param>
    public bool TryTake(out int slot, out int result)
    {
        while (true)
        {
            // SAFETY: the kernel's mapping; it puts completions before the tail that it moves, and leaves them there until the head is moved.
            uint head = *_completeHead;
            if (head == Volatile.Read(ref *_completeTail))
            {
                (slot, result) = (0, 0);
                return false;
            }

            Completion completion = _completions[head & _completeMask];
            Volatile.Write(ref *_completeHead, head + 1);
            (slot, result) = ((int)completion.Token, completion.Result);
            if (slot < Slots)
            {
                return true;
            }

            ulong calls;
            _ = Libc.Read(_wake, &calls, sizeof(ulong)); // SAFETY: eight bytes, which is what an eventfd gives.
            _wakePollArmed = false;
        }
    }

    /// <summary>Makes a waiting <see cref="Poll"/> return, or the next one. Any thread, until this is disposed of.</summary>
    public void Wake()
    {
        if (Interlocked.Exchange(ref _sleep, Sleep.Woken) == Sleep.Asleep)
        {
            ulong one = 1;
            _ = Libc.Write(_wake, &one, sizeof(ulong)); // SAFETY: eight bytes, which is what an eventfd takes.
        }
    }

    /// <summary>Closes the ring and unmaps its memory.</summary>
    public void Dispose() => Release(_descriptor, _wake, _rings, _entries, _pieces);

    private static void Release(int descriptor, int wake, Mapping rings, Mapping entries, Mapping pieces)
    {
        rings.Release();
        entries.Release();
        pieces.Release();
        _ = Libc.Close(descriptor);
        if (wake >= 0)
        {
            _ = Libc.Close(wake);
        }
    }

    // SAFETY: at most one for each slot and one for the wake are with the kernel, so that there is a free entry behind the tail.
    private void Begin(in Entry entry)
    {
        uint tail = *_submitTail;
        ((Entry*)_entries.Address)[tail & _submitMask] = entry;
        Volatile.Write(ref *_submitTail, tail + 1);
        _unsubmitted++;
    }

    private void Enter(uint awaited)
    {
        do
        {
            nint taken = Syscall(EnterCall, _descriptor, (nint)_unsubmitted, (nint)awaited, (nint)GetEvents, 0, 0);
            if (taken >= 0)
            {
                _unsubmitted -= (uint)taken;
            }
            else if (Marshal.GetLastPInvokeError() is int error and not (Interrupted or TryAgain or Busy))
            {
                throw new IOException($"io_uring_enter failed ({Marshal.GetPInvokeErrorMessage(error)}).");
            }
        }
        while (_unsubmitted > 0);
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Syscall(nint number, nint first, nint second, nint third, nint fourth, nint fifth, nint sixth);

    private enum Operation : byte
    {
        Readv = 1,
        Fsync = 3,
        PollAdd = 6,
    }

    /// <summary>Memory that is shared with the kernel.</summary>
    private readonly record struct Mapping(nint Address, nuint Length)
    {
        public bool Exists => Address != Libc.MapFailed;

        /// <summary>Maps a part of a ring's descriptor, or anonymous memory.</summary>
        public static Mapping Of(int descriptor, nuint length, long offset) => new(
            Libc.Mmap(0, length, Libc.ProtRead | Libc.ProtWrite, descriptor < 0 ? Libc.MapPrivate | Libc.MapAnonymous : Libc.MapShared, descriptor, offset), length);

        public void Release()
        {
            if (Exists)
            {
                _ = Libc.Munmap(Address, Length);
            }
        }
    }

    /// <summary>struct io_uring_sqe.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 64)]
    private struct Entry
    {
        [FieldOffset(0)]
        public Operation Operation;
        [FieldOffset(4)]
        public int File;
        [FieldOffset(8)]
        public long Offset;
        [FieldOffset(16)]
        public void* Address;
        [FieldOffset(24)]
        public uint Length;
        [FieldOffset(28)]
        public uint Flags;
        [FieldOffset(32)]
        public ulong Token;
    }

    /// <summary>struct io_uring_cqe.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 16)]
    private readonly struct Completion
    {
        [FieldOffset(0)]
        public readonly ulong Token;
        [FieldOffset(8)]
        public readonly int Result;
    }

    /// <summary>struct io_uring_params.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 120)]
    private struct Parameters
    {
        [FieldOffset(0)]
        public readonly uint SubmitEntries;
        [FieldOffset(4)]
        public readonly uint CompleteEntries;
        [FieldOffset(8)]
        public uint Flags;
        [FieldOffset(20)]
        public readonly uint Features;
        [FieldOffset(40)]
        public readonly SubmitOffsets Submit;
        [FieldOffset(80)]
        public readonly CompleteOffsets Complete;
    }

    /// <summary>struct io_sqring_offsets.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 40)]
    private readonly struct SubmitOffsets
    {
        [FieldOffset(4)]
        public readonly uint Tail;
        [FieldOffset(8)]
        public readonly uint Mask;
        [FieldOffset(24)]
        public readonly uint Array;
    }

    /// <summary>struct io_cqring_offsets.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 40)]
    private readonly struct CompleteOffsets
    {
        [FieldOffset(0)]
        public readonly uint Head;
        [FieldOffset(4)]
        public readonly uint Tail;
        [FieldOffset(8)]
        public readonly uint Mask;
        [FieldOffset(20)]
        public readonly uint Entries;
    }
}
