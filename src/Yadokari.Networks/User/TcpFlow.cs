using Yadokari.Core.Networks;
using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>
/// A connection: TCP spoken with the guest on one side (RFC 9293), a socket of the host's on the other. What the guest sends is acknowledged
/// once the host's kernel or a buffer here has it; the window that the guest is given is the room in that buffer. Data from the host is read
/// only as far as there is room to keep it until the guest acknowledges it. Under the network's lock.
/// </summary>
internal sealed class TcpFlow : IReady, IDisposable
{
    /// <summary>Bytes of <see cref="TcpTable.Budget"/> that a connection has from its beginning to its end.</summary>
    public const int Reserve = 2 * ByteRing.Least;

    private const int MostToGuest = 1 << 20;
    private const int MostToHost = 1 << 18;
    private const int OwnScale = 3;
    private const int OptionsSize = 8;
    private const int MostSegment = 60_000; // Data of a segment that the guest cuts.
    private const int DefaultSegmentSize = 536; // RFC 9293, 3.7.1
    private const int LeastSegmentSize = 48;
    private const int MostTries = 8;
    private const int DuplicatesThatTell = 3; // RFC 5681, 3.2
    private const long FirstPatience = 300; // Milliseconds, doubled with each try.

    private readonly TcpTable _table;
    private readonly GuestLink _link;
    private readonly HostSocket _socket;
    private readonly ByteRing _toGuest; // From the first byte on that is not acknowledged.
    private readonly ByteRing _toHost;
    private readonly int _ownSegmentSize;
    private State _state;
    private uint _receiveNext;
    private uint _sendFirst; // The first that is not acknowledged.
    private uint _sendNext;
    private uint _sendMost; // The furthest ever sent: sending may have gone back since.
    private uint _recovered; // What had been sent when it last went back: not again before all that is acknowledged.
    private int _window;
    private int _scale;
    private int _ownScale; // None for a guest that does not scale windows (RFC 7323, 2.2).
    private int _segmentSize = DefaultSegmentSize;
    private int _lastAdvertised;
    private int _duplicates;
    private int _tries;
    private bool _hostMayRead = true;
    private bool _hostMayWrite;
    private bool _hostEnded;
    private bool _guestEnded;
    private bool _guestKnowsOfEnd;
    private bool _hostToldOfEnd;
    private bool _acknowledge;

    private TcpFlow(TcpTable table, GuestLink link, in Conversation conversation, HostSocket socket, State state)
    {
        (_table, _link, _socket, _state) = (table, link, socket, state);
        (_toGuest, _toHost) = (new ByteRing(MostToGuest, table.Budget), new ByteRing(MostToHost, table.Budget));
        Conversation = conversation;
        _sendFirst = _sendNext = _sendMost = _recovered = (uint)Random.Shared.NextInt64(uint.MaxValue);
        _ownSegmentSize = GuestLink.Mtu - (GuestLink.Headers(conversation.Guest.IsV6) - GuestLink.EthernetSize) - TcpSegment.HeaderSize;
    }

    private enum State
    {
        /// <summary>The guest asked; the host is still connecting.</summary>
        Connecting,

        /// <summary>The guest asked and was answered.</summary>
        Answered,

        /// <summary>The guest was asked.</summary>
        Asked,

        /// <summary>Both know of one another.</summary>
        Established,

        /// <summary>It is over.</summary>
        Gone,
    }

    /// <summary>Between whom.</summary>
    public Conversation Conversation { get; }

    /// <summary>By which the reactor knows its socket.</summary>
    public ulong Token { get; set; }

    /// <summary>When it wants to be looked at again (<see cref="OnTime"/>), in milliseconds; no time if it doesn't.</summary>
    public long Deadline { get; private set; } = long.MaxValue;

    /// <summary>The guest asks for a connection, and the socket is on its way.</summary>
    public static TcpFlow FromGuest(TcpTable table, GuestLink link, in Conversation conversation, HostSocket socket, in TcpSegment syn)
    {
        var flow = new TcpFlow(table, link, conversation, socket, State.Connecting) { _receiveNext = syn.Sequence + 1 };
        flow.TakeOptions(syn);
        return flow;
    }

    /// <summary>Somebody connected to a port of the host's: asks the guest.</summary>
    public static TcpFlow FromHost(TcpTable table, GuestLink link, in Conversation conversation, HostSocket socket)
    {
        var flow = new TcpFlow(table, link, conversation, socket, State.Asked) { _hostMayWrite = true };
        flow.SendSyn();
        return flow;
    }

    /// <inheritdoc/>
    public void OnReady(Readiness readiness)
    {
        if (_state == State.Gone)
        {
            return;
        }

        bool error = (readiness & (Readiness.Error | Readiness.HungUp)) != 0;
        _hostMayRead |= error || (readiness & Readiness.Read) != 0;
        if (error || (readiness & Readiness.Write) != 0)
        {
            if (_state == State.Connecting)
            {
                if (_socket.TakeError() < 0)
                {
                    Refuse();
                    return;
                }

                _state = State.Answered;
                _socket.SendAtOnce();
                SendSyn();
            }

            _hostMayWrite = true;
        }

        Drain();
        Move();
    }

    /// <summary>A segment of the guest's.</summary>
    public void OnSegment(in TcpSegment segment)
    {
        if (segment.Has(TcpSegment.Rst))
        {
            // RFC 5961, 3.2: only one that is just the next is believed; of an asked guest, one that answers.
            if (_state == State.Asked ? segment.Has(TcpSegment.Ack) && segment.Acknowledged == _sendNext : segment.Sequence == _receiveNext)
            {
                Abort();
            }

            return;
        }

        if (segment.Has(TcpSegment.Syn))
        {
            OnSyn(segment);
            return;
        }

        if (!segment.Has(TcpSegment.Ack) || _state is State.Connecting or State.Asked or State.Gone)
        {
            return;
        }

        OnAcknowledgement(segment);
        if (_state == State.Established && segment.Length > 0)
        {
            OnData(segment);
        }

        Move();
    }

    /// <summary>Goes on where the way to the guest was full, or the guest acknowledged something.</summary>
    public void Move()
    {
        if (_state != State.Established)
        {
            return;
        }

        do
        {
            Send();
        }
        while (ReadHost());

        if (_state == State.Established && _hostEnded && _guestEnded && _toHost.Count == 0 && _guestKnowsOfEnd)
        {
            Acknowledge();
            End();
        }
    }

    /// <summary>Its time has come: nothing was acknowledged for a while.</summary>
    public void OnTime(long now)
    {
        if (now < Deadline || _state == State.Gone)
        {
            return;
        }

        if (++_tries > MostTries)
        {
            Abort();
            Reset();
            return;
        }

        Wait();
        GoBack();
        if (_state != State.Established)
        {
            SendSyn();
            return;
        }

        if (_window == 0 && _toGuest.Count > 0)
        {
            SendData(0, 1, TcpSegment.Psh); // Asks whether the window is open again (RFC 9293, 3.8.6.1).
            GoBack();
        }

        Move();
    }

    /// <summary>Tells the guest what has come, if something has since it was last told.</summary>
    public void Acknowledge()
    {
        if (_acknowledge && _state == State.Established)
        {
            SendEmpty(TcpSegment.Ack, _sendNext);
        }
    }

    /// <summary>Ends it: the host's socket is closed, nobody is told.</summary>
    public void Dispose()
    {
        _state = State.Gone;
        Deadline = long.MaxValue;
        _socket.Dispose();
        _toGuest.Dispose();
        _toHost.Dispose();
    }

    private uint EndOfStream => _sendFirst + (uint)_toGuest.Count;

    private void OnSyn(in TcpSegment segment)
    {
        if (_state == State.Asked && segment.Has(TcpSegment.Ack) && segment.Acknowledged == _sendFirst + 1)
        {
            TakeOptions(segment);
            _receiveNext = segment.Sequence + 1;
            _window = segment.Window;
            _sendFirst++;
            Establish();
            OweAcknowledgement();
            Move();
        }
        else if (_state == State.Answered && segment.Sequence + 1 == _receiveNext)
        {
            _sendNext = _sendFirst;
            SendSyn();
        }
        else if (_state == State.Established)
        {
            SendEmpty(TcpSegment.Ack, _sendNext); // RFC 5961, 4.2: a guest that has forgotten this one answers with a reset.
        }
    }

    private void OnAcknowledgement(in TcpSegment segment)
    {
        int window = segment.Window << _scale;
        uint more = segment.Acknowledged - _sendFirst;
        if (more > _sendMost - _sendFirst)
        {
            OweAcknowledgement(); // It speaks of what was never sent.
            return;
        }

        if (_state == State.Answered)
        {
            if (more != 1)
            {
                return;
            }

            _sendFirst++;
            more = 0;
            _window = window;
            Establish();
        }

        if (more > 0)
        {
            _guestKnowsOfEnd |= more > (uint)_toGuest.Count; // The end is counted too, but not kept.
            _toGuest.Take((int)Math.Min(more, (uint)_toGuest.Count));
            _sendFirst = segment.Acknowledged;
            if ((int)(_sendNext - _sendFirst) < 0)
            {
                _sendNext = _sendFirst;
            }

            (_duplicates, _tries, _window) = (0, 0, window);
            Wait();
        }
        else if (segment.Length == 0 && window == _window && window > 0 && _sendNext != _sendFirst && ++_duplicates == DuplicatesThatTell
            && (int)(_sendFirst - _recovered) >= 0)
        {
            _recovered = _sendMost;
            GoBack();
        }

        // It lives, and may keep its window shut as long as it likes.
        _tries = Math.Min(_tries, window == 0 ? MostTries / 2 : _tries);
        _window = window;
    }

    private void OnData(in TcpSegment segment)
    {
        OweAcknowledgement();
        uint before = _receiveNext - segment.Sequence;
        if (before >= segment.Length)
        {
            return; // All of it has come, or some before it has not.
        }

        ReadOnlySpan<byte> data = segment.Data[(int)Math.Min(before, (uint)segment.Data.Length)..];
        int taken = 0;
        if (_toHost.Count == 0 && _hostMayWrite && data.Length > 0)
        {
            taken = SendToHost(data);
            if (taken < 0)
            {
                return;
            }
        }

        taken += _toHost.Put(data[taken..]);
        _receiveNext += (uint)taken;
        if (segment.Has(TcpSegment.Fin) && taken == data.Length && !_guestEnded)
        {
            _receiveNext++;
            _guestEnded = true;
        }

        Drain();
    }

    // Below zero: it broke, and is gone.
    private int SendToHost(ReadOnlySpan<byte> data)
    {
        int sent = _socket.Send(data);
        if (sent == HostSocket.Again)
        {
            _hostMayWrite = false;
            return 0;
        }

        if (sent < 0)
        {
            Abort();
            Reset();
        }
        else if (sent < data.Length)
        {
            _hostMayWrite = false;
        }

        return sent;
    }

    private void Drain()
    {
        if (_state != State.Established)
        {
            return;
        }

        while (_toHost.Count > 0 && _hostMayWrite)
        {
            int sent = SendToHost(_toHost.First());
            if (sent < 0)
            {
                return;
            }

            _toHost.Take(sent);
        }

        if (_guestEnded && _toHost.Count == 0 && !_hostToldOfEnd)
        {
            _hostToldOfEnd = true;
            _socket.EndSending();
        }

        // The guest may wait for a window: for a large one, or if there is no memory for that, for what there is once all has been passed on.
        if (_lastAdvertised < MostToHost / 4 && _toHost.Free is var free && (free >= MostToHost / 2 || (free > _lastAdvertised && _toHost.Count == 0)))
        {
            OweAcknowledgement();
        }
    }

    private void OweAcknowledgement()
    {
        _acknowledge = true;
        _table.ToAcknowledge(this);
    }

    // True if something came that can be sent.
    private bool ReadHost()
    {
        bool came = false;
        while (_state == State.Established && _hostMayRead && !_hostEnded && _toGuest.Room() is { Length: > 0 } room)
        {
            int count = _socket.Receive(room);
            _toGuest.Came(Math.Max(count, 0));
            if (count > 0)
            {
                came = true;
                if (count == room.Length)
                {
                    continue;
                }
            }

            if (count == 0)
            {
                _hostEnded = true;
                came = true;
            }
            else if (count == HostSocket.Again)
            {
                _hostMayRead = false;
            }
            else if (count < 0)
            {
                Abort();
                Reset();
                return false;
            }

            // Fewer than there was room for: send these first. The next read finds out whether there are more.
            break;
        }

        return came;
    }

    private void Send()
    {
        bool cuts = (_link.Taken & (Conversation.Guest.IsV6 ? NetworkOffloads.Tcp6 : NetworkOffloads.Tcp4)) != 0;
        int most = cuts ? Math.Max(_segmentSize, MostSegment / _segmentSize * _segmentSize) : _segmentSize;
        while (true)
        {
            int sent = (int)(_sendNext - _sendFirst);
            int left = _toGuest.Count - sent;
            int piece = Math.Min(Math.Min(left, _window - sent), most);

            // A small piece waits while the window is what keeps it small (RFC 9293, 3.8.6.2.1).
            if (piece <= 0 || (piece < _segmentSize && piece < left && sent > 0))
            {
                break;
            }

            if (!SendData(sent, piece, piece == left ? TcpSegment.Psh : (byte)0))
            {
                return;
            }
        }

        if (_hostEnded && !_guestKnowsOfEnd && _sendNext == EndOfStream && SendEmpty(TcpSegment.Fin | TcpSegment.Ack, _sendNext))
        {
            Advance(_sendNext + 1);
        }
    }

    private bool SendData(int offset, int length, byte push)
    {
        if (!_link.TryBegin(Conversation.Guest.IsV6, TcpSegment.HeaderSize + length, out Span<byte> body))
        {
            _table.WaitForRoom(this);
            return false;
        }

        _toGuest.CopyTo(offset, body[TcpSegment.HeaderSize..]);
        uint sequence = _sendFirst + (uint)offset;
        WriteHeader(body, (byte)(TcpSegment.Ack | push), sequence);
        _link.End(Conversation.Other, Conversation.Guest, GuestLink.Tcp, body, TcpSegment.ChecksumAt, TcpSegment.HeaderSize, length > _segmentSize ? _segmentSize : 0);
        Advance(sequence + (uint)length);
        return true;
    }

    private bool SendEmpty(byte flags, uint sequence)
    {
        if (!_link.TryBegin(Conversation.Guest.IsV6, TcpSegment.HeaderSize, out Span<byte> body))
        {
            _table.WaitForRoom(this);
            return false;
        }

        WriteHeader(body, flags, sequence);
        _link.End(Conversation.Other, Conversation.Guest, GuestLink.Tcp, body, TcpSegment.ChecksumAt);
        return true;
    }

    private void SendSyn()
    {
        if (_link.TryBegin(Conversation.Guest.IsV6, TcpSegment.HeaderSize + OptionsSize, out Span<byte> body))
        {
            byte flags = (byte)(TcpSegment.Syn | (_state == State.Answered ? TcpSegment.Ack : 0));
            _lastAdvertised = _toHost.Free;
            TcpSegment.Write(body, Conversation.OtherPort, Conversation.GuestPort, _sendFirst, _receiveNext, flags, _lastAdvertised, OptionsSize);
            TcpSegment.WriteOptions(body[TcpSegment.HeaderSize..], _ownSegmentSize, OwnScale);
            _link.End(Conversation.Other, Conversation.Guest, GuestLink.Tcp, body, TcpSegment.ChecksumAt);
        }

        Advance(_sendFirst + 1);
    }

    private void WriteHeader(Span<byte> body, byte flags, uint sequence)
    {
        _lastAdvertised = _toHost.Free;
        TcpSegment.Write(body, Conversation.OtherPort, Conversation.GuestPort, sequence, _receiveNext, flags, _lastAdvertised >> _ownScale);
        _acknowledge = false;
    }

    private void Advance(uint next)
    {
        _sendNext = next;
        if ((int)(next - _sendMost) > 0)
        {
            _sendMost = next;
        }

        if (Deadline == long.MaxValue)
        {
            Wait();
        }
    }

    // Until what was sent is acknowledged, or the guest has a window for what was not.
    private void Wait()
    {
        bool waits = _sendMost != _sendFirst || (_window == 0 && _toGuest.Count > 0);
        Deadline = waits ? Environment.TickCount64 + (FirstPatience << _tries) : long.MaxValue;
        _table.Expect(Deadline);
    }

    private void GoBack()
    {
        _sendNext = _sendFirst;
        _duplicates = 0;
    }

    private void TakeOptions(in TcpSegment syn)
    {
        (int size, int? scale) = syn.ReadOptions(DefaultSegmentSize);
        _segmentSize = Math.Clamp(size, LeastSegmentSize, _ownSegmentSize);
        (_scale, _ownScale) = (scale ?? 0, scale is null ? 0 : OwnScale);
    }

    private void Establish()
    {
        _state = State.Established;
        _tries = 0;
        Wait();
    }

    private void Refuse()
    {
        Reset();
        Abort();
    }

    private void Reset() => _table.SendReset(Conversation, _state == State.Connecting ? 0 : _sendNext, _receiveNext);

    private void Abort()
    {
        _socket.Abort();
        End();
    }

    private void End()
    {
        Dispose();
        _table.Remove(this);
    }
}
